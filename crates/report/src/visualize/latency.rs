//! The latency figure: how long users wait.

use inferometer_metrics::{Estimate, Metric};

use super::groups::{Level, Load, MAX_LINES, Series, drawn, lens_name, series, thinned};
use super::notes::{keys, notes, subtitle};
use super::rows::{Run, Stat};
use super::throughput::{add_level, load_axis, nothing, panel};
use crate::Lang;
use crate::chart::{
    Axis, Bar, Figure, Interval, Key, Line, Mark, Marker, Panel, fitted_apart, theme,
};
use crate::format::duration_ms;

/// The four metrics against the load with median, mean and tail, the parts of an answer's time, and
/// the distributions where runs have details. When both caps and rates vary, there is a row for
/// each.
pub fn latency_figure(runs: &[Run], lang: Lang) -> Figure {
    let main = Load::of(runs);
    let all = drawn(series(runs, main, lang));
    let mut panels: Vec<Panel> = [Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::E2el]
        .into_iter()
        .map(|metric| metric_panel(&all, main, metric, lang))
        .collect();
    let other = match main {
        Load::Concurrency => Load::Rate,
        Load::Rate => Load::Concurrency,
    };
    let by_other = drawn(series(runs, other, lang));
    if by_other.iter().any(|one| one.levels.len() > 1) {
        panels.push(metric_panel(&by_other, other, Metric::Ttft, lang));
        panels.push(metric_panel(&by_other, other, Metric::E2el, lang));
    }
    panels.push(component_panel(&all, main, lang));
    panels.push(distribution_panel(runs, lang));
    let mut legend = vec![
        Key::Line {
            color: theme::INK.into(),
            dash: String::new(),
            marker: Some(Marker::Circle),
            text: lang.pick("median", "中位数").into(),
        },
        Key::Line {
            color: theme::INK.into(),
            dash: "2 5".into(),
            marker: None,
            text: lang.pick("mean", "均值").into(),
        },
    ];
    let tail = tail_name(runs);
    legend.push(if all.len() <= BANDS_UP_TO {
        Key::Area {
            color: theme::INK.into(),
            opacity: 0.14,
            text: match lang {
                Lang::En => format!("median to {tail}"),
                Lang::Zh => format!("中位数至 {tail}"),
            },
        }
    } else {
        Key::Line {
            color: theme::INK.into(),
            dash: "8 5".into(),
            marker: None,
            text: tail,
        }
    });
    if runs.iter().filter(|run| run.is_sound()).any(is_tail_thin) {
        legend.push(Key::Shape {
            color: theme::INK.into(),
            marker: Marker::Diamond,
            open: true,
            text: lang
                .pick(
                    "tail of too few requests: largely chance",
                    "样本不足的尾部百分位：多属偶然",
                )
                .into(),
        });
    }
    legend.extend(keys(runs, lang));
    Figure {
        width: 1400.0,
        row_height: 400.0,
        title: lang.pick("Latency", "延迟分析").to_owned(),
        subtitle: subtitle(runs, lang),
        keys: legend,
        rows: Vec::new(),
        notes: notes(runs, lang),
    }
    .arranged(panels)
}

/// Bands of more series than this would hide each other.
const BANDS_UP_TO: usize = 3;

/// True when a run has fewer requests than its tail needs.
fn is_tail_thin(run: &Run) -> bool {
    run.tail(Metric::Ttft)
        .is_some_and(|(percentile, _)| run.is_below_floor(percentile))
}

/// The tails that the runs have, such as "p99" or "p95–p99".
fn tail_name(runs: &[Run]) -> String {
    let mut tails: Vec<f64> = runs
        .iter()
        .filter_map(|run| run.tail(Metric::Ttft))
        .map(|tail| tail.0)
        .collect();
    tails.sort_by(f64::total_cmp);
    match (tails.first(), tails.last()) {
        (Some(first), Some(last)) if first == last => format!("p{first}"),
        (Some(first), Some(last)) => format!("p{first}–p{last}"),
        _ => "p99".to_owned(),
    }
}

fn metric_panel(all: &[Series<'_>], load: Load, metric: Metric, lang: Lang) -> Panel {
    let name = metric.key().to_ascii_uppercase();
    let title = match (metric, lang) {
        (Metric::Ttft, Lang::En) => "TTFT: time to first token",
        (Metric::Ttft, Lang::Zh) => "TTFT：首 token 延迟",
        (Metric::Tpot, Lang::En) => "TPOT: time per output token after the first",
        (Metric::Tpot, Lang::Zh) => "TPOT：首 token 之后每个输出 token 的时间",
        (Metric::Itl, Lang::En) => "ITL: gap between token events",
        (Metric::Itl, Lang::Zh) => "ITL：token 事件间隔",
        (_, Lang::En) => "E2EL: end-to-end latency",
        (_, Lang::Zh) => "E2EL：端到端延迟",
    };
    let mut marks = Vec::new();
    let mut values = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let lines = MetricLines::of(one, index, all.len(), metric);
        lines.add_to(&mut marks, &mut values);
    }
    let y = Axis::spanning(format!("{name} (ms)"), values, 20.0);
    Panel {
        marks,
        empty: nothing(lang),
        ..panel(title, load_axis(all, load, lang), y, lang)
    }
}

/// What a panel shows of one metric of one series.
struct MetricLines {
    median: Line,
    mean: Line,
    tail: Line,
    /// Tails of too few requests.
    thin: Line,
}

impl MetricLines {
    /// The lines of series number `index` of `count`. Up to [`BANDS_UP_TO`] series have a band from
    /// the median to the tail, more have a line for it.
    fn of(one: &Series<'_>, index: usize, count: usize, metric: Metric) -> Self {
        let of = |width: f64, dash: &str| Line {
            color: theme::series(index).into(),
            width,
            dash: dash.into(),
            ..Line::default()
        };
        let mut lines = Self {
            median: Line {
                marker: Some(Marker::of(index)),
                label: (count > 1).then(|| one.name.clone()),
                ..of(2.4, "")
            },
            mean: of(1.8, "2 5"),
            tail: of(1.4, "8 5"),
            thin: Line {
                marker: Some(Marker::Diamond),
                ..of(0.0, "")
            },
        };
        for level in &one.levels {
            lines.add(level, metric, count <= BANDS_UP_TO);
        }
        lines
    }

    fn add(&mut self, level: &Level<'_>, metric: Metric, band: bool) {
        let Some(centre) = level.latency(metric, Stat::Median) else {
            return;
        };
        add_level(&mut self.median, level, &centre);
        // Nothing is joined to a level that is not data.
        let data = |found: Option<Estimate>| match found {
            Some(found) if !level.is_suspect() => found.mean,
            _ => f64::NAN,
        };
        let mean = data(level.latency(metric, Stat::Mean));
        self.mean.points.push((level.load, mean));
        let high = data(level.latency(metric, Stat::Tail));
        if band {
            self.median.band.push(Interval {
                x: level.load,
                low: centre.mean,
                high,
            });
        } else {
            self.tail.points.push((level.load, high));
        }
        if level.sound().any(is_tail_thin) {
            self.thin.open.push(self.thin.points.len());
            self.thin.points.push((level.load, high));
        }
    }

    /// Adds the marks, and the values that decide the scale.
    fn add_to(self, marks: &mut Vec<Mark>, values: &mut Vec<f64>) {
        let Self {
            median,
            mean,
            tail,
            thin,
        } = self;
        values.extend(median.points.iter().map(|(_, value)| *value));
        values.extend(median.band.iter().map(|band| band.high));
        values.extend(tail.points.iter().map(|(_, value)| *value));
        for line in [mean, tail, median, thin] {
            if line.points.iter().any(|(_, value)| value.is_finite()) {
                marks.push(Mark::Line(line));
            }
        }
    }
}

/// Stacked bars: time to the first token, and generation after it, of the mean answer.
fn component_panel(all: &[Series<'_>], load: Load, lang: Lang) -> Panel {
    const MAX_BARS: usize = 12;
    let mut names = Vec::new();
    let mut owners: Vec<usize> = Vec::new();
    let mut bars = Vec::new();
    let total: usize = all.iter().map(|one| one.levels.len()).sum();
    // With many settings, only the lowest, middle and highest load of each series are shown.
    let wanted = |position: usize, count: usize| {
        total <= MAX_BARS || position == 0 || position == count / 2 || position + 1 == count
    };
    for (owner, one) in all.iter().enumerate() {
        for (position, level) in one.levels.iter().enumerate() {
            if !wanted(position, one.levels.len()) || names.len() >= MAX_BARS || level.is_suspect()
            {
                continue;
            }
            let first = level.latency(Metric::Ttft, Stat::Mean).map(|e| e.mean);
            let Some(first) = first else { continue };
            let whole = level
                .latency(Metric::E2el, Stat::Mean)
                .map(|e| e.mean)
                .or_else(|| {
                    let gaps = one.lens.1? - 1.0;
                    Some(first + level.latency(Metric::Tpot, Stat::Mean)?.mean * gaps)
                });
            let Some(whole) = whole else { continue };
            let at = names.len() as f64;
            names.push(level.load.to_string());
            owners.push(owner);
            bars.push(Bar {
                x: (at - 0.34, at + 0.34),
                y: (0.0, first),
                color: theme::SERIES[1].into(),
                label: None,
            });
            bars.push(Bar {
                x: (at - 0.34, at + 0.34),
                y: (first, whole.max(first)),
                color: theme::SERIES[5].into(),
                label: Some(duration_ms(whole)),
            });
        }
    }
    if all.len() > 1 {
        name_groups(&mut names, &owners, all);
    }
    let title = lang.pick(
        "Time of the mean request: first token (orange), generation (blue)",
        "平均回答的时间构成：首 token（橙）与生成（蓝）",
    );
    let x_title = match (load, lang) {
        (Load::Concurrency, Lang::En) => "Concurrency, by setting",
        (Load::Rate, Lang::En) => "Request rate, by setting",
        (Load::Concurrency, Lang::Zh) => "并发（按设置分组）",
        (Load::Rate, Lang::Zh) => "请求速率（按设置分组）",
    };
    let y = Axis::linear(lang.pick("Time (ms)", "时间 (ms)"));
    let marks = if bars.is_empty() {
        Vec::new()
    } else {
        vec![Mark::Bars(bars)]
    };
    Panel {
        marks,
        empty: nothing(lang),
        ..panel(title, Axis::categories(x_title, names), y, lang)
    }
}

/// Writes each setting's name once, below the middle of its bars, as far as it fits there.
fn name_groups(names: &mut [String], owners: &[usize], all: &[Series<'_>]) {
    // A panel is about 560 pixels wide.
    let room_per_bar = 560.0 / names.len().max(1) as f64;
    let mut groups = Vec::new();
    for owner in 0..all.len() {
        let bars = owners.iter().filter(|o| **o == owner).count();
        if let Some(first) = owners.iter().position(|o| *o == owner) {
            groups.push((owner, first + bars / 2, bars as f64 * room_per_bar));
        }
    }
    let texts: Vec<&str> = groups
        .iter()
        .map(|(owner, ..)| all[*owner].name.as_str())
        .collect();
    let rooms: Vec<f64> = groups.iter().map(|(.., room)| *room).collect();
    let fitted = fitted_apart(&texts, theme::TICK_SIZE, &rooms);
    for ((_, middle, room), text) in groups.iter().zip(fitted) {
        if *room >= 32.0 {
            let name = &mut names[*middle];
            *name = format!("{name}\n{text}");
        }
    }
}

/// Sound runs with the TTFT of each successful request in milliseconds, ascending; by load, then name.
fn ttft_details(runs: &[Run]) -> Vec<(&Run, Vec<f64>)> {
    let mut detailed: Vec<(&Run, Vec<f64>)> = runs
        .iter()
        .filter(|run| run.is_sound())
        .filter_map(|run| {
            let mut ms: Vec<f64> = run
                .good_detail("ttfts")?
                .iter()
                .filter(|s| **s > 0.0)
                .map(|s| s * 1e3)
                .collect();
            ms.sort_by(f64::total_cmp);
            (!ms.is_empty()).then_some((run, ms))
        })
        .collect();
    detailed.sort_by(|a, b| {
        let load = |run: &Run| run.concurrency.or(run.rate).unwrap_or(f64::MAX);
        load(a.0)
            .total_cmp(&load(b.0))
            .then_with(|| a.0.name.cmp(&b.0.name))
    });
    detailed
}

/// Cumulative fractions of TTFT for some runs with details; the title says when there are more.
fn distribution_panel(runs: &[Run], lang: Lang) -> Panel {
    let all = ttft_details(runs);
    let found = all.len();
    let asked = runs.iter().any(|run| run.detail("ttfts").is_some());
    let detailed = thinned(all, MAX_LINES);
    let names = run_names(
        &detailed.iter().map(|(run, _)| *run).collect::<Vec<_>>(),
        lang,
    );
    let mut marks = Vec::new();
    let mut values = Vec::new();
    for (index, (_, ms)) in detailed.iter().enumerate() {
        values.extend([ms[0], ms[ms.len() - 1]]);
        let name = names.get(index).map_or("", String::as_str);
        marks.push(Mark::Line(Line {
            points: ecdf(ms, 400),
            color: theme::series(index).into(),
            width: 2.0,
            step: true,
            label: Some(format!("{name}, n={}", ms.len())),
            ..Line::default()
        }));
    }
    let shown = detailed.len();
    let title = match (lang, shown < found) {
        (Lang::En, false) => "Distribution of TTFT (runs with details)".to_owned(),
        (Lang::Zh, false) => "TTFT 分布（含明细的运行）".to_owned(),
        (Lang::En, true) => {
            format!("Distribution of TTFT ({shown} of {found} runs with details, evenly by load)")
        }
        (Lang::Zh, true) => {
            format!("TTFT 分布（{found} 个含明细的运行中按负载间隔选取 {shown} 个）")
        }
    };
    let x = Axis::spanning("TTFT (ms)", values, 20.0);
    let y = Axis::linear(lang.pick("Fraction of requests at or below", "累计请求比例"))
        .with_range(0.0, 1.0);
    let empty = if asked {
        lang.pick(
            "no run with per-request data has a TTFT and a verdict other than INVALID",
            "含逐请求数据的运行均无 TTFT，或判定为 INVALID",
        )
    } else {
        lang.pick(
            "the results hold no per-request data: draw the run folders themselves, or save with --save-detailed",
            "结果中没有逐请求数据：请直接绘制运行目录，或用 --save-detailed 保存",
        )
    }
    .to_owned();
    Panel {
        marks,
        empty,
        ..panel(title, x, y, lang)
    }
}

/// Lengths and load of each run, or its file name where that is not unique.
fn run_names(runs: &[&Run], lang: Lang) -> Vec<String> {
    let settings = |run: &Run| {
        let lens = lens_name((run.input_len, run.output_len), lang);
        match (run.concurrency, run.rate) {
            (Some(cap), Some(rate)) => format!("{lens} @{cap}, {rate}/s"),
            (Some(cap), None) => format!("{lens} @{cap}"),
            (None, Some(rate)) => format!("{lens} @{rate}/s"),
            (None, None) => lens,
        }
    };
    let all: Vec<String> = runs.iter().map(|run| settings(run)).collect();
    runs.iter()
        .zip(&all)
        .map(|(run, name)| {
            if all.iter().filter(|other| *other == name).count() == 1 {
                name.clone()
            } else {
                run.name.trim_end_matches(".json").to_owned()
            }
        })
        .collect()
}

/// The empirical distribution function of ascending values, thinned to about `most` steps. The
/// first and last values always stay, so that the ends are true.
pub(crate) fn ecdf(sorted: &[f64], most: usize) -> Vec<(f64, f64)> {
    let n = sorted.len();
    let stride = n.div_ceil(most).max(1);
    let mut points: Vec<(f64, f64)> = vec![(sorted[0], 0.0)];
    points.extend(
        (0..n)
            .filter(|i| (i + 1) % stride == 0 || i + 1 == n)
            .map(|i| (sorted[i], (i + 1) as f64 / n as f64)),
    );
    points
}
