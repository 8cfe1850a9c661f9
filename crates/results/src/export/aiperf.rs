//! AIPerf's summary of a run, schema 1.4: `common/models/export_models.py` of the package, version
//! 0.13.

use serde_json::{Value, json};

use super::{Distribution, ExportRun, number, without_nulls};

/// The version of the layout.
const SCHEMA: &str = "1.4";

/// The whole document. `aiperf_version` and `input_config` are left out: AIPerf did not run.
pub(super) fn form(run: &ExportRun<'_>) -> Value {
    let (start, end) = run.span();
    let partial = run.manifest.run.partial;
    let mut form = without_nulls([
        ("schema_version", json!(SCHEMA)),
        ("benchmark_id", json!(run.id())),
        ("was_cancelled", json!(partial)),
        ("is_complete", json!(!partial)),
        (
            "incomplete_reason",
            if partial {
                json!("the run was stopped before its end")
            } else {
                Value::Null
            },
        ),
        ("error_summary", errors(run)),
        ("start_time", json!(start)),
        ("end_time", json!(end)),
        ("run_info", run_info(run)),
    ]);
    for (key, metric) in metrics(run) {
        form[key] = metric;
    }
    // The model takes further keys; ours has its own name.
    form["inferometer"] = json!({
        "version": run.manifest.tool.version,
        "verdict": run.manifest.verdict,
        "target": run.manifest.target,
        "settings": run.manifest.settings_for_display(),
    });
    form
}

fn run_info(run: &ExportRun<'_>) -> Value {
    without_nulls([
        ("benchmark_id", json!(run.id())),
        ("random_seed", json!(run.manifest.seeds.get("all"))),
        ("run_label", json!(run.manifest.run.label)),
    ])
}

fn errors(run: &ExportRun<'_>) -> Value {
    let error = |one: &super::ExportError| {
        let details = without_nulls([
            ("code", json!(one.status)),
            ("type", json!(one.outcome)),
            ("message", json!(one.message)),
        ]);
        json!({ "error_details": details, "count": one.count })
    };
    run.errors.iter().map(error).collect()
}

fn metrics(run: &ExportRun<'_>) -> Vec<(&'static str, Value)> {
    let total = |spread: &Option<Distribution>| spread.as_ref().map(Distribution::sum);
    let (input, output) = (total(&run.input_tokens), total(&run.output_tokens));
    let rate =
        |amount: Option<f64>, unit| amount.map(|amount| single(unit, run.per_second(amount)));
    let good = run.goodput.as_ref().map(|goodput| goodput.good);
    let all = [
        (
            "request_throughput",
            rate(Some(run.completed as f64), "requests/sec"),
        ),
        ("request_latency", spread("ms", run.e2el.as_ref())),
        ("request_count", Some(single("requests", run.completed))),
        ("time_to_first_token", spread("ms", run.ttft.as_ref())),
        (
            "time_to_second_token",
            spread("ms", run.second_token.as_ref()),
        ),
        ("inter_token_latency", spread("ms", run.tpot.as_ref())),
        ("output_token_throughput", rate(output, "tokens/sec")),
        (
            "output_token_throughput_per_user",
            spread("tokens/sec/user", run.user_rate.as_ref()),
        ),
        (
            "e2e_output_token_throughput",
            spread("tokens/sec/user", run.e2e_rate.as_ref()),
        ),
        (
            "output_sequence_length",
            spread("tokens", run.output_tokens.as_ref()),
        ),
        (
            "input_sequence_length",
            spread("tokens", run.input_tokens.as_ref()),
        ),
        (
            "goodput",
            rate(good.map(|good| good as f64), "requests/sec"),
        ),
        (
            "good_request_count",
            good.map(|good| single("requests", good)),
        ),
        ("inter_chunk_latency", spread("ms", run.itl.as_ref())),
        (
            "benchmark_duration",
            Some(single("sec", number(run.duration_s))),
        ),
        (
            "total_isl",
            input.map(|sum| single("tokens", number(sum.round()))),
        ),
        (
            "total_osl",
            output.map(|sum| single("tokens", number(sum.round()))),
        ),
        (
            "total_token_throughput",
            output.and_then(|output| rate(Some(input.unwrap_or_default() + output), "tokens/sec")),
        ),
        (
            "error_request_count",
            Some(single("requests", run.failures + run.incomplete)),
        ),
    ];
    all.into_iter()
        .filter_map(|(key, metric)| Some((key, metric?)))
        .collect()
}

/// A metric of which there is one value.
fn single(unit: &str, value: impl Into<Value>) -> Value {
    json!({ "unit": unit, "avg": value.into() })
}

/// A metric with one value per request, or several.
fn spread(unit: &str, of: Option<&Distribution>) -> Option<Value> {
    let of = of?;
    let head = [("unit", json!(unit)), ("avg", number(of.mean))];
    let tail = [
        ("min", number(of.min())),
        ("max", number(of.max())),
        ("std", number(of.std)),
        ("count", json!(of.count)),
        ("sum", number(of.sum())),
    ];
    Some(without_nulls(
        head.into_iter().chain(of.percentiles()).chain(tail),
    ))
}
