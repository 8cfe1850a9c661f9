//! How well a fitted model agrees with what was measured.

use std::fmt::Write as _;

use inferometer_engine::calibrate::{Compared, Fit};
use inferometer_report::chart::{Axis, Figure, Key, Line, Mark, Marker, Panel};
use serde_json::{Value, json};

use crate::observer::Observer;

/// A load, and how the fitted model compares with it.
pub(super) struct Judged {
    pub(super) load: String,
    pub(super) requests: usize,
    pub(super) fitted: bool,
    pub(super) compared: Vec<Compared>,
}

/// Differences that are named one by one.
const SHOWN: usize = 6;
/// Logarithm of the factor beyond which a difference is named: 15 %.
const FAR: f64 = 0.139_762;
/// Colour of loads that were only compared with the model.
const CHECKED_COLOR: &str = "#d9730d";
/// Colour of loads that the model was fitted to.
const FITTED_COLOR: &str = "#2f6db5";
/// Names the statistics of the fitted loads that the model misses by far, the worst first: a preset is used
/// without its table.
pub(super) fn warn_of_differences(judged: &[Judged], observer: &dyn Observer) {
    let mut far: Vec<(f64, String)> = Vec::new();
    for one in judged.iter().filter(|one| one.fitted) {
        for compared in &one.compared {
            for (name, of) in STATISTICS {
                let change = of(&compared.predicted) / of(&compared.measured) - 1.0;
                // Half as much and twice as much are equally far.
                if change.is_finite() && (1.0 + change).ln().abs() > FAR {
                    let text = format!(
                        "{name} {} of {} {:+.0} %",
                        compared.metric,
                        one.load,
                        change * 100.0
                    );
                    far.push(((1.0 + change).ln().abs(), text));
                }
            }
        }
    }
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some(more) = far.len().checked_sub(SHOWN) else {
        if !far.is_empty() {
            observer.warning(&differences(&far, 0));
        }
        return;
    };
    observer.warning(&differences(&far[..SHOWN], more));
}

fn differences(far: &[(f64, String)], more: usize) -> String {
    let listed: Vec<&str> = far.iter().map(|(_, text)| text.as_str()).collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(
        "the model differs from what was measured by more than {:.0} %: {}{more}; do not rely on it for these",
        (FAR.exp() - 1.0) * 100.0,
        listed.join(", ")
    )
}

pub(super) fn coefficients(found: &Fit) -> String {
    let cost = &found.engine.cost;
    let mut text = String::from(
        "\nA step takes base + prefill · prompt tokens + decode · decoding + kv · context:\n",
    );
    let mut row = |name: &str, value: String| {
        let doubt = if found.undetermined.contains(&name) {
            "  (poorly determined by these loads)"
        } else {
            ""
        };
        let _ = writeln!(text, "  {name:<17} {value}{doubt}");
    };
    row("base", format!("{:.4} ms", cost.base / 1e6));
    row(
        "prefill",
        format!("{:.3} µs per prompt token", cost.prefill / 1e3),
    );
    row(
        "decode",
        format!("{:.3} µs per decoding request", cost.decode / 1e3),
    );
    row("kv", format!("{:.3} ns per token of context", cost.kv));
    row(
        "request overhead",
        format!("{:.3} ms", found.engine.request_overhead.as_millis_f64()),
    );
    row("jitter", format!("{:.2}", cost.jitter));
    let _ = writeln!(
        text,
        "Typical relative difference (root mean square over loads, metrics and quantiles): {:.1} %, {} simulations\n",
        found.error * 100.0,
        found.evaluations
    );
    text
}

/// The name of a statistic and how to get it.
type Statistic = (
    &'static str,
    fn(&inferometer_engine::calibrate::Summary) -> f64,
);

const STATISTICS: [Statistic; 3] = [("mean", |m| m.mean), ("p50", |m| m.p50), ("p99", |m| m.p99)];

pub(super) fn table(judged: &[Judged]) -> String {
    let mut text = format!(
        "{:<28} {:>6} {:<5}  {:>30}  {:>30}  {:>30}\n",
        "load",
        "n",
        "",
        "mean ms: measured, model",
        "p50 ms: measured, model",
        "p99 ms: measured, model"
    );
    for one in judged {
        let name = if one.fitted {
            one.load.clone()
        } else {
            format!("{} (check)", one.load)
        };
        for compared in &one.compared {
            let _ = write!(
                text,
                "{name:<28} {:>6} {:<5}",
                one.requests, compared.metric
            );
            for (_, of) in STATISTICS {
                let (measured, predicted) = (of(&compared.measured), of(&compared.predicted));
                let change = (predicted / measured - 1.0) * 100.0;
                let (measured, predicted) = (measured * 1e3, predicted * 1e3);
                let _ = write!(
                    text,
                    "  {measured:>10.3} {predicted:>10.3} {change:>+6.1} %"
                );
            }
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

pub(super) fn origin(found: &Fit, judged: &[Judged]) -> Value {
    let differences: Vec<Value> = judged
        .iter()
        .flat_map(|one| {
            one.compared.iter().map(|compared| {
                let mut entry =
                    json!({"load": one.load, "fitted": one.fitted, "metric": compared.metric});
                for (name, of) in STATISTICS {
                    let relative = of(&compared.predicted) / of(&compared.measured) - 1.0;
                    entry[name] = json!((relative * 1e4).round() / 1e4);
                }
                entry
            })
        })
        .collect();
    json!({
        "made_by": "inferometer calibrate",
        "typical_relative_difference": (found.error * 1e4).round() / 1e4,
        "hardly_determined": found.undetermined,
        "relative_differences": differences,
    })
}

/// Fitted against measured values: points on the diagonal agree.
pub(super) fn figure(judged: &[Judged]) -> Figure {
    let panel = |metric: &'static str| {
        let title = |what: &str| format!("{what} {metric}, ms");
        let mut panel = Panel::new(
            metric,
            Axis::log(title("measured")),
            Axis::log(title("model")),
        );
        let of_metric = |one: &&Judged| {
            one.compared
                .iter()
                .find(|one| one.metric == metric)
                .copied()
        };
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        let mut marks = Vec::new();
        for (fitted, color) in [(true, FITTED_COLOR), (false, CHECKED_COLOR)] {
            for (at, (_, of)) in STATISTICS.iter().enumerate() {
                let points: Vec<(f64, f64)> = judged
                    .iter()
                    .filter(|one| one.fitted == fitted)
                    .filter_map(|one| of_metric(&one))
                    .map(|compared| (of(&compared.measured) * 1e3, of(&compared.predicted) * 1e3))
                    .collect();
                for &(x, y) in &points {
                    low = low.min(x).min(y);
                    high = high.max(x).max(y);
                }
                let marker = Some(Marker::of(at));
                marks.push(Mark::Line(Line {
                    points,
                    color: color.to_owned(),
                    marker,
                    ..Line::default()
                }));
            }
        }
        let (low, high) = (low / 1.3, high * 1.3);
        panel.x = panel.x.with_range(low, high);
        panel.y = panel.y.with_range(low, high);
        panel.marks.push(Mark::Line(Line {
            points: vec![(low, low), (high, high)],
            color: "#9aa0a6".to_owned(),
            width: 1.0,
            dash: "4 4".to_owned(),
            ..Line::default()
        }));
        panel.marks.append(&mut marks);
        panel
    };
    let key = |color: &str, marker: usize, text: &str| Key::Line {
        color: color.to_owned(),
        dash: String::new(),
        marker: Some(Marker::of(marker)),
        text: text.to_owned(),
    };
    let mut keys: Vec<Key> = STATISTICS
        .iter()
        .enumerate()
        .map(|(at, (name, _))| key("#5f6368", at, name))
        .collect();
    keys.push(key(FITTED_COLOR, 0, "fitted loads"));
    if judged.iter().any(|one| !one.fitted) {
        keys.push(key(CHECKED_COLOR, 0, "other loads"));
    }
    Figure {
        width: 1000.0,
        row_height: 330.0,
        title: "Engine model against a real server".to_owned(),
        subtitle: "One point per load and statistic; on the dashed line the model agrees with the measurement."
            .to_owned(),
        keys,
        rows: vec![["TTFT", "ITL", "E2EL"].map(panel).into()],
        notes: Vec::new(),
    }
}
