//! The page of one run.

mod histogram;
mod scan;

use inferometer_core::{ClientHealth, Records, Verdict};
use inferometer_metrics::{Extras, Intervals, MetricInterval, Summary, samples_needed};
use serde_json::{Map, Value, json};

use crate::Lang;
use crate::findings;
use crate::page::{Page, short};
use scan::Scan;

/// Requests in the timeline and scatter plots; more are thinned evenly, and the page says so.
const MAX_REQUESTS: usize = 8_000;

/// What the page of one run shows.
pub struct RunPageInput<'a> {
    /// Name of the run: its label or folder.
    pub title: &'a str,
    /// The records of the run.
    pub records: &'a dyn Records,
    /// vLLM's numbers.
    pub summary: &'a Summary,
    /// The numbers that vLLM does not have.
    pub extras: &'a Extras,
    /// How precise both are.
    pub intervals: &'a Intervals,
    /// Whether they can be trusted.
    pub verdict: &'a Verdict,
    /// The state of the client.
    pub health: &'a ClientHealth,
    /// Where the run comes from. Must not hold secrets.
    pub about: &'a RunAbout,
    /// The resolved settings. Must not hold secrets.
    pub settings: &'a Value,
    /// The settings of a run that chose none, in the same form; `null` if unknown.
    pub defaults: &'a Value,
    /// Host and process; `null` if unknown.
    pub environment: &'a Value,
    /// The server's own counters; `null` where they were not read.
    pub server_metrics: &'a Value,
    /// The run was stopped before its end.
    pub partial: bool,
    /// The run was killed, and its records come from its log: whether the requests that the log lacks
    /// were sent is unknown.
    pub recovered: bool,
    /// Initial language; the page can switch.
    pub lang: Lang,
}

/// When a run took place, what made it, and how it is made again. What is unknown is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunAbout {
    /// Start of the run, RFC 3339.
    pub started: String,
    /// The program, its version and build.
    pub version: String,
    /// The command that makes the run again.
    pub command: String,
    /// What was measured.
    pub urls: Vec<String>,
}

impl std::fmt::Debug for RunPageInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunPageInput")
            .field("title", &self.title)
            .field("records", &self.records.count())
            .finish_non_exhaustive()
    }
}

/// The page of one run as one HTML file that needs no network: requests in flight, tokens per
/// second, latencies over time, distributions, slowest requests, errors, the client's own state,
/// settings.
pub fn run_page(input: &RunPageInput<'_>) -> String {
    let scan = Scan::of(input.records);
    let (chosen, default): (Vec<Value>, Vec<Value>) = {
        let defaults = flat(input.defaults);
        flat(input.settings)
            .into_iter()
            .partition(|pair| !defaults.contains(pair))
    };
    let data = json!({
        "lang": input.lang.code(),
        "title": input.title,
        "partial": input.partial,
        "recovered": input.recovered,
        "verdict": findings::in_both(input.verdict),
        "summary": summary_value(input.summary),
        "extras": input.extras,
        "intervals": interval_rows(input.intervals),
        "series": scan.series(),
        "distributions": scan.distributions(),
        "timeline": scan.timeline(MAX_REQUESTS),
        "slowest": scan.slowest(20),
        "errors": scan.errors(),
        "health": health_facts(input, scan.most_in_flight()),
        "about": {
            "started": input.about.started, "version": input.about.version,
            "command": input.about.command, "urls": input.about.urls,
        },
        "settings": chosen,
        "defaults": default,
        "environment": flat(input.environment),
        "server": flat(input.server_metrics),
    });
    Page {
        title: input.title,
        lang: input.lang,
        data: &data,
        scripts: &[
            include_str!("../../assets/html/timeline.js"),
            include_str!("../../assets/html/run.js"),
        ],
        plain: false,
    }
    .to_html()
}

/// The entries of the intervals, with the reason in both languages where there is none.
fn interval_rows(intervals: &Intervals) -> Vec<Value> {
    let row = |entry: &MetricInterval| {
        let bounds = entry
            .bounds
            .map(|bounds| json!([short(bounds.low), short(bounds.high)]));
        let independent = entry.if_independent.unwrap_or_default();
        let either = independent.low.zip(independent.high);
        json!({
            "metric": entry.metric, "unit": entry.unit, "value": short(entry.value), "n": entry.requests,
            "bounds": bounds,
            "n_eff": entry.bounds.and_then(|bounds| bounds.n_eff).map(f64::round),
            "independent": either.map(|(low, high)| json!([short(low), short(high)])),
            "why": entry.refused.map(|why| json!([why.sentence(), why.sentence_zh()])),
        })
    };
    intervals.metrics.iter().map(row).collect()
}

fn summary_value(summary: &Summary) -> Value {
    let stats: Vec<Value> = summary
        .stats
        .iter()
        .map(|stats| {
            let percentiles: Vec<Value> = stats
                .percentiles
                .iter()
                .map(|(p, value)| json!([p, short(*value), samples_needed(*p)]))
                .collect();
            json!({
                "metric": stats.metric.key(), "n": stats.samples, "mean": short(stats.mean_ms),
                "median": short(stats.median_ms), "std": short(stats.std_ms), "p": percentiles,
            })
        })
        .collect();
    json!({
        "duration": short(summary.duration_s), "completed": summary.completed, "failed": summary.failed,
        "not_sent": summary.not_sent,
        "input": summary.total_input_tokens, "output": summary.total_output_tokens,
        "request_throughput": short(summary.request_throughput),
        "goodput": summary.request_goodput.map(short),
        "output_throughput": short(summary.output_throughput),
        "total_throughput": short(summary.total_token_throughput),
        "stats": stats,
    })
}

/// The client's state as (key, value) pairs; the page has the words. `most_in_flight` is from the
/// records, because the client itself only samples it.
fn health_facts(input: &RunPageInput<'_>, most_in_flight: i64) -> Value {
    let (health, receive) = (input.health, &input.extras.receive);
    let mut facts = Map::new();
    let wall = health.wall.as_secs_f64();
    let busiest = health
        .workers
        .iter()
        .map(|worker| worker.cpu.since(worker.spin).as_secs_f64() / wall.max(1e-9))
        .fold(0.0, f64::max);
    let stall = health
        .workers
        .iter()
        .map(|worker| worker.largest_stall.as_millis_f64())
        .fold(0.0, f64::max);
    facts.insert("workers".into(), json!(health.workers.len()));
    if wall > 0.0 {
        facts.insert("busiest".into(), short(busiest));
    }
    facts.insert("stall_ms".into(), short(stall));
    if receive.events > 0 {
        let share = receive.kernel_stamped_share;
        facts.insert("kernel_stamps".into(), short(share));
    }
    facts.insert("clock_steps".into(), json!(health.clock_steps));
    facts.insert("in_flight_peak".into(), json!(most_in_flight));
    facts.insert(
        "connections_opened".into(),
        json!(health.connections_opened),
    );
    if let Some(throttled) = health.cgroup_throttled {
        facts.insert("throttled_ms".into(), short(throttled.time.as_millis_f64()));
    }
    if let Some(segments) = health.tcp_retransmits {
        facts.insert("retransmits".into(), json!(segments));
    }
    if let (Some(open), Some(limit)) = (health.open_files_peak, health.file_limit) {
        facts.insert("files".into(), json!(format!("{open} / {limit}")));
    }
    Value::Object(facts)
}

/// Nested settings as (dotted key, value) pairs in order.
fn flat(value: &Value) -> Vec<Value> {
    fn walk(prefix: &str, value: &Value, out: &mut Vec<Value>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, inner) in map {
                    let name = if prefix.is_empty() {
                        key.clone()
                    } else {
                        format!("{prefix}.{key}")
                    };
                    walk(&name, inner, out);
                }
            }
            Value::Null if prefix.is_empty() => {}
            Value::String(text) => out.push(json!([prefix, text])),
            other => out.push(json!([prefix, other.to_string()])),
        }
    }
    let mut pairs = Vec::new();
    walk("", value, &mut pairs);
    pairs
}
