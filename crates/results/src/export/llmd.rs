//! llm-d's Benchmark Report 0.2.1: `schema_v0_2.py` of the package `llmd-benchmark-report`, version
//! 0.2.1.
//!
//! The report allows no keys but its own, except in a few places: settings are under
//! `scenario.load.native`, the verdict under `results.observability`.

use serde_json::{Value, json};

use super::{Distribution, ExportRun, number, without_nulls};

/// The version of the layout.
const SCHEMA: &str = "0.2.1";

/// The whole document.
pub(super) fn form(run: &ExportRun<'_>) -> Value {
    let (start, end) = run.span();
    let seconds = run.manifest.run.duration_ns as f64 / 1e9;
    let keywords: Vec<String> = run
        .metadata
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "version": SCHEMA,
        "run": without_nulls([
            ("uid", json!(run.id())),
            ("time", json!({ "start": start, "end": end, "duration": format!("PT{seconds}S") })),
            ("description", json!(run.manifest.run.label)),
            ("keywords", if keywords.is_empty() { Value::Null } else { json!(keywords) }),
        ]),
        "scenario": without_nulls([("load", load(run))]),
        "results": without_nulls([
            ("request_performance", json!({ "aggregate": aggregate(run) })),
            ("session_performance", sessions(run)),
            ("observability", json!({ "inferometer_verdict": run.manifest.verdict })),
        ]),
    })
}

/// The load; null when not even the length of the prompts is known, which the report insists on.
fn load(run: &ExportRun<'_>) -> Value {
    let Some(input) = run.requested.input.as_ref().or(run.input_tokens.as_ref()) else {
        return Value::Null;
    };
    let manifest = run.manifest;
    let standardized = without_nulls([
        ("tool", json!("inferometer")),
        ("tool_version", json!(manifest.tool.version)),
        ("source", json!(source(run.synthetic_text))),
        ("input_seq_len", length(input)),
        (
            "output_seq_len",
            run.requested.output.as_ref().map_or(Value::Null, length),
        ),
        (
            "multi_turn",
            run.conversations
                .map_or(Value::Null, |_| json!({ "enabled": true })),
        ),
        ("rate_qps", run.request_rate.map_or(Value::Null, number)),
        ("concurrency", json!(run.max_concurrency)),
    ]);
    json!({
        "metadata": { "cfg_id": manifest.workload.sha256 },
        "standardized": standardized,
        "native": {
            "args": manifest.settings_for_display(),
            "config": {
                "target": manifest.target,
                "workload": manifest.workload,
                "schedule": manifest.schedule,
            },
        },
    })
}

/// The report's word for where the text of prompts comes from.
fn source(synthetic: Option<bool>) -> &'static str {
    match synthetic {
        None => "unknown",
        Some(true) => "random",
        Some(false) => "sampled",
    }
}

/// A length is called fixed when all are the same; otherwise their mean, minimum and maximum are given.
fn length(asked: &Distribution) -> Value {
    let (min, max) = (asked.min(), asked.max());
    if min == max {
        return json!({ "distribution": "fixed", "value": max as u64 });
    }
    json!({ "distribution": "other", "value": asked.mean, "min": min as u64, "max": max as u64 })
}

fn aggregate(run: &ExportRun<'_>) -> Value {
    let rate =
        |spread: &Option<Distribution>| spread.as_ref().map(|one| one.sum() / run.duration_s);
    let (input, output) = (rate(&run.input_tokens), rate(&run.output_tokens));
    let total = output.map(|output| input.unwrap_or_default() + output);
    let requests = run.completed as f64 / run.duration_s;
    json!({
        "requests": without_nulls([
            ("total", json!(run.issued())),
            ("failures", json!(run.failures)),
            ("incomplete", json!(run.incomplete)),
            ("input_length", spread("count", run.input_tokens.as_ref())),
            ("output_length", spread("count", run.output_tokens.as_ref())),
        ]),
        "latency": without_nulls([
            ("time_to_first_token", spread("ms", run.ttft.as_ref())),
            ("normalized_time_per_output_token", spread("ms/token", run.normalized_tpot.as_ref())),
            ("time_per_output_token", spread("ms/token", run.tpot.as_ref())),
            ("inter_token_latency", spread("ms/token", run.itl.as_ref())),
            ("request_latency", spread("ms", run.e2el.as_ref())),
        ]),
        "throughput": without_nulls([
            ("input_token_rate", mean("tokens/s", input)),
            ("output_token_rate", mean("tokens/s", output)),
            ("total_token_rate", mean("tokens/s", total)),
            ("request_rate", mean("queries/s", Some(requests))),
        ]),
    })
}

fn sessions(run: &ExportRun<'_>) -> Value {
    let Some(conversations) = run.conversations else {
        return Value::Null;
    };
    json!({
        "sessions": {
            "total": conversations.total,
            "total_events": run.issued(),
            "total_events_completed": conversations.answered_turns,
        },
    })
}

/// A quantity of which there is one value.
fn mean(units: &str, value: Option<f64>) -> Value {
    match value.map(number) {
        None | Some(Value::Null) => Value::Null,
        Some(value) => json!({ "units": units, "mean": value }),
    }
}

fn spread(units: &str, of: Option<&Distribution>) -> Value {
    let Some(of) = of else { return Value::Null };
    let head = [
        ("units", json!(units)),
        ("mean", number(of.mean)),
        ("stddev", number(of.std)),
        ("min", number(of.min())),
        ("p0p1", number(of.at(0.1))),
    ];
    let tail = [("p99p9", number(of.at(99.9))), ("max", number(of.max()))];
    without_nulls(head.into_iter().chain(of.percentiles()).chain(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_random_sampled_or_unknown() {
        assert_eq!(
            [Some(true), Some(false), None].map(source),
            ["random", "sampled", "unknown"]
        );
    }
}
