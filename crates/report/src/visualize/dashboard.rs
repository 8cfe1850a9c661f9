//! The interactive dashboard.

use inferometer_metrics::{Metric, samples_needed};
use serde_json::{Map, Value, json};

use super::latency::ecdf;
use super::rows::{Run, Stat};
use crate::Lang;
use crate::findings;
use crate::page::{Page, short};

/// Requests in all timelines of a page together; more would make it slow to load.
const TIMELINE_BUDGET: usize = 60_000;
/// Requests in one timeline, at most.
const TIMELINE_MAX: usize = 6_000;
/// Steps of a distribution.
const STEPS: usize = 240;

/// The dashboard of many runs as one HTML file that needs no network. Timelines of many requests
/// are thinned evenly, and the page says so; distributions are from all samples.
pub fn dashboard(runs: &[Run], lang: Lang) -> String {
    let detailed = runs
        .iter()
        .filter(|run| run.detail("ttfts").is_some())
        .count();
    let most = (TIMELINE_BUDGET / detailed.max(1)).clamp(50, TIMELINE_MAX);
    let rows: Vec<Value> = runs
        .iter()
        .enumerate()
        .map(|(id, run)| run_value(id, run, most))
        .collect();
    let data = json!({"lang": lang.code(), "needs": needs(runs), "runs": rows});
    Page {
        title: lang.pick("Benchmark dashboard", "基准测试仪表板"),
        lang,
        data: &data,
        scripts: &[
            include_str!("../../assets/html/timeline.js"),
            include_str!("../../assets/html/dashboard_text.js"),
            include_str!("../../assets/html/dashboard_details.js"),
            include_str!("../../assets/html/dashboard.js"),
        ],
        plain: false,
    }
    .to_html()
}

fn run_value(id: usize, run: &Run, most: usize) -> Value {
    let mut numbers: Map<String, Value> = run
        .row
        .keys()
        .filter(|key| !is_setting(key))
        .filter_map(|key| Some((key.clone(), short(run.measured(key)?))))
        .collect();
    // A file of vLLM's may lack these statistics and still have the latencies themselves.
    for (key, stat) in [
        ("mean", Stat::Mean),
        ("median", Stat::Median),
        ("p99", Stat::Tail),
    ] {
        let key = format!("{key}_e2el_ms");
        let stored = stat == Stat::Tail
            && run
                .row
                .keys()
                .any(|key| key.starts_with('p') && key.ends_with("_e2el_ms"));
        if let Some(value) = run
            .latency(Metric::E2el, stat)
            .filter(|_| !stored && !numbers.contains_key(&key))
        {
            numbers.insert(key, short(value));
        }
    }
    let mut value = json!({
        "id": id,
        "name": run.name,
        "model": run.model,
        "backend": run.backend,
        "label": run.label,
        "date": run.date,
        "input": run.input_len.map(short),
        "output": run.output_len.map(short),
        "cap": run.concurrency.map(short),
        "rate": run.rate.map(short),
        "meta": run.metadata,
        "verdict": run.verdict.as_ref().map(findings::in_both),
        "place": run.place(),
        "m": numbers,
    });
    if let Some(detail) = detail_value(run, most) {
        value["detail"] = detail;
    }
    value
}

/// Number of requests that each percentile in the runs needs.
fn needs(runs: &[Run]) -> Value {
    let percentiles = runs.iter().flat_map(Run::percentiles);
    let needed = percentiles.filter_map(|percentile| {
        Some((percentile.to_string(), samples_needed(percentile)?.into()))
    });
    Value::Object(needed.collect::<Map<_, _>>())
}

fn is_setting(key: &str) -> bool {
    matches!(
        key,
        "input_len"
            | "output_len"
            | "max_concurrency"
            | "request_rate"
            | "date"
            | "label"
            | "filename"
    )
}

fn detail_value(run: &Run, most: usize) -> Option<Value> {
    let ttfts = run.detail("ttfts")?;
    let mut detail = Map::new();
    let mut add = |name: &str, mut ms: Vec<f64>| {
        ms.retain(|value| value.is_finite() && *value > 0.0);
        ms.sort_by(f64::total_cmp);
        if !ms.is_empty() {
            let steps: Vec<Value> = ecdf(&ms, STEPS)
                .into_iter()
                .map(|(value, fraction)| json!([short(value), short(fraction)]))
                .collect();
            detail.insert(name.to_owned(), json!({"n": ms.len(), "q": steps}));
        }
    };
    let gaps = gaps(run);
    let ends = ends(run, &ttfts, &gaps);
    // As in the metrics, only successful requests count.
    let good = |place: &usize| !run.has_failed(*place);
    let to_ms = |seconds: &[f64]| {
        (0..seconds.len())
            .filter(good)
            .map(|i| seconds[i] * 1e3)
            .collect::<Vec<f64>>()
    };
    add("ttft", to_ms(&ttfts));
    add(
        "itl",
        (0..gaps.len())
            .filter(good)
            .flat_map(|i| &gaps[i])
            .map(|s| s * 1e3)
            .collect(),
    );
    add("e2el", to_ms(&ends));
    let lengths = lengths(run, &gaps);
    let both = ends.len().min(ttfts.len()).min(lengths.len());
    let tpot = (0..both).filter(good).filter(|i| lengths[*i] > 1.0);
    add(
        "tpot",
        tpot.map(|i| (ends[i] - ttfts[i]) / (lengths[i] - 1.0) * 1e3)
            .collect(),
    );
    if let Some(timeline) = timeline(run, &ttfts, &ends, most) {
        detail.insert("timeline".to_owned(), timeline);
    }
    Some(Value::Object(detail))
}

/// Gaps between token events of each request, in seconds.
fn gaps(run: &Run) -> Vec<Vec<f64>> {
    let lists = run.row.get("itls").and_then(Value::as_array);
    lists
        .map(|lists| {
            lists
                .iter()
                .map(|list| {
                    list.as_array()
                        .map(|gaps| gaps.iter().filter_map(Value::as_f64).collect())
                        .unwrap_or_default()
                })
                .collect()
        })
        .unwrap_or_default()
}

/// End-to-end latencies in seconds; old files have only their parts.
fn ends(run: &Run, ttfts: &[f64], gaps: &[Vec<f64>]) -> Vec<f64> {
    run.detail("latencies")
        .filter(|list| list.len() == ttfts.len())
        .unwrap_or_else(|| {
            let whole = |(i, first): (usize, &f64)| {
                first + gaps.get(i).map_or(0.0, |gaps| gaps.iter().sum())
            };
            ttfts.iter().enumerate().map(whole).collect()
        })
}

fn lengths(run: &Run, gaps: &[Vec<f64>]) -> Vec<f64> {
    run.detail("output_lens")
        .unwrap_or_else(|| gaps.iter().map(|gaps| gaps.len() as f64 + 1.0).collect())
}

fn timeline(run: &Run, ttfts: &[f64], ends: &[f64], most: usize) -> Option<Value> {
    let starts = run
        .detail("start_times")
        .filter(|starts| starts.len() == ttfts.len())?;
    let origin = starts
        .iter()
        .copied()
        .filter(|s| *s > 0.0)
        .fold(f64::INFINITY, f64::min);
    let total = starts.len();
    let stride = total.div_ceil(most).max(1);
    let rows: Vec<Value> = (0..total)
        .step_by(stride)
        .filter(|i| starts[*i] >= origin)
        .map(|i| {
            let start = starts[i] - origin;
            let failed = run.has_failed(i) || ends[i] <= 0.0;
            let first = (ttfts[i] > 0.0).then(|| short(start + ttfts[i]));
            json!([
                i,
                short(start),
                first,
                short(start + ends[i]),
                u8::from(failed)
            ])
        })
        .collect();
    Some(json!({"rows": rows, "total": total}))
}
