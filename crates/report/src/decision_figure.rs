//! The figure of a comparison: the change of each metric with its interval, and the runs in the order of time.

use inferometer_decide::{Decision, Judgement, Member, number};
use serde_json::Value;

use crate::chart::{Axis, Figure, Key, Line, Mark, Marker, Panel, theme};
use crate::decision::DecisionReport;

/// Metrics whose runs are drawn.
const RUN_PANELS: usize = 4;
/// The axis of changes ends at this many percent: what a test with few runs cannot tell can be endless.
const WIDEST: f64 = 100.0;
/// Half of the narrowest axis of changes, in percent.
const NARROWEST: f64 = 5.0;

impl DecisionReport<'_> {
    /// Forest plot and runs.
    pub fn figure(&self) -> Figure {
        let lang = self.lang;
        let key = |marker: Marker, color: &str, text: &str| Key::Shape {
            color: color.into(),
            marker,
            open: false,
            text: text.into(),
        };
        let diamond = |decision: Decision| {
            let word = self.question.word(decision, lang);
            key(Marker::Diamond, color(decision), word)
        };
        let mut figure = Figure {
            width: 1500.0,
            row_height: 140.0 + 22.0 * self.question.metrics().len().max(8) as f64,
            title: lang.pick("Baseline and candidate", "基准与候选").into(),
            subtitle: lang
                .pick(
                    "change with its 95 % interval; runs in the order of time, so that a drift shows",
                    "变化及其 95 % 置信区间；运行按时间排列，以便看出漂移",
                )
                .into(),
            keys: vec![
                key(Marker::Circle, theme::series(0), lang.pick("baseline", "基准")),
                key(Marker::Square, theme::series(1), lang.pick("candidate", "候选")),
                diamond(Decision::Worse),
                diamond(Decision::Better),
                diamond(Decision::Equivalent),
                diamond(Decision::CannotTell),
            ],
            rows: Vec::new(),
            notes: Vec::new(),
        };
        let mut panels = vec![self.forest()];
        panels.extend(
            self.question
                .metrics()
                .iter()
                .take(RUN_PANELS)
                .map(|metric| self.runs(metric)),
        );
        let (shown, all) = (panels.len() - 1, self.question.metrics().len());
        if shown < all {
            figure.notes.push(match lang {
                crate::Lang::En => format!("Runs are drawn of the first {shown} of {all} metrics."),
                crate::Lang::Zh => format!("仅绘出 {all} 个指标中前 {shown} 个的各次运行。"),
            });
        }
        figure.arranged(panels)
    }

    /// One line for each metric, the first at the top.
    fn forest(&self) -> Panel {
        let lang = self.lang;
        let ends = self.question.metrics().iter().flat_map(|one| {
            [
                Some(one.change_percent),
                one.low_percent,
                one.high_percent,
                Some(one.margin_percent),
            ]
        });
        let widest = ends
            .flatten()
            .map(f64::abs)
            .fold(NARROWEST, f64::max)
            .min(WIDEST)
            * 1.05;
        let names = self
            .question
            .metrics()
            .iter()
            .rev()
            .map(|one| one.metric.clone())
            .collect();
        let mut panel = Panel::new(
            lang.pick("change of the candidate", "候选的变化"),
            Axis::linear(lang.pick("percent of the baseline", "相对基准的百分比"))
                .with_range(-widest, widest),
            Axis::categories("", names),
        );
        panel.marks.push(Mark::Vertical(0.0, String::new()));
        for (row, metric) in self.question.metrics().iter().rev().enumerate() {
            let row = row as f64;
            let clipped = |percent: f64| percent.clamp(-widest, widest);
            if let (Some(low), Some(high)) = (metric.low_percent, metric.high_percent) {
                panel.marks.push(Mark::Line(Line {
                    points: vec![(clipped(low), row), (clipped(high), row)],
                    color: color(metric.decision).into(),
                    width: 3.0,
                    ..Line::default()
                }));
            }
            panel.marks.push(Mark::Line(Line {
                points: vec![(clipped(metric.change_percent), row)],
                color: color(metric.decision).into(),
                marker: Some(Marker::Diamond),
                ..Line::default()
            }));
        }
        panel
    }

    /// The runs of one metric.
    fn runs(&self, metric: &Judgement) -> Panel {
        let mut members: Vec<(usize, &Member)> =
            self.groups.baseline().iter().map(|one| (0, one)).collect();
        members.extend(self.groups.candidate().iter().map(|one| (1, one)));
        members.sort_by_key(|(_, member)| date(member));
        let unit = if metric.unit.is_empty() {
            String::new()
        } else {
            format!(", {}", metric.unit)
        };
        let mut panel = Panel::new(
            metric.metric.clone(),
            Axis::linear(self.lang.pick("run", "运行")).with_range(0.0, members.len() as f64 + 1.0),
            Axis::linear(format!("{}{unit}", metric.metric)),
        );
        let mut values = Vec::new();
        for (side, marker) in [(0, Marker::Circle), (1, Marker::Square)] {
            let points = members
                .iter()
                .enumerate()
                .filter(|(_, (of, _))| *of == side)
                .filter_map(|(place, (_, member))| {
                    Some((place as f64 + 1.0, number(&member.row, &metric.metric)?))
                });
            let points: Vec<(f64, f64)> = points.collect();
            values.extend(points.iter().map(|(_, value)| *value));
            panel.marks.push(Mark::Line(Line {
                points,
                color: theme::series(side).into(),
                marker: Some(marker),
                ..Line::default()
            }));
        }
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // A drift shows in the spread of the runs, not in their distance from 0.
        let room = ((high - low) * 0.3).max(high.abs() * 0.01);
        if room > 0.0 && room.is_finite() {
            panel.y = panel.y.with_range(low - room, high + room);
        }
        panel
    }
}

/// When the run was made, as its file says.
fn date(member: &Member) -> String {
    let date = member.row.get("date").and_then(Value::as_str);
    date.unwrap_or_default().to_owned()
}

fn color(decision: Decision) -> &'static str {
    match decision {
        Decision::Worse => theme::ALARM,
        Decision::Better => theme::series(2),
        Decision::Equivalent => theme::INK,
        Decision::CannotTell => theme::AXIS,
    }
}
