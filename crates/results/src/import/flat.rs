//! Results that are one flat object: vLLM's of every era, its Rust client's, SGLang's, llmperf's,
//! ours.

use indexmap::IndexMap;
use inferometer_core::names;
use inferometer_core::python::float_repr;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{ImportedRun, RawObject, Source, VllmEra};

/// Lists with one item per request, by vLLM's names; SGLang uses the same.
const DETAILS: [&str; 11] = [
    "input_lens",
    "output_lens",
    "ttfts",
    "itls",
    "latencies",
    "start_times",
    "queue_times",
    "generated_texts",
    "errors",
    "server_queue_times",
    "server_ttfts",
];

/// The tool that wrote such an object, if it is one.
pub(super) fn source_of(object: &RawObject<'_>) -> Option<Source> {
    let has = |key: &str| object.contains_key(key);
    if has("results_ttft_s_mean") || has("results_end_to_end_latency_s_mean") {
        return Some(Source::Llmperf);
    }
    // What AIPerf and GenAI-Perf call request_throughput is an object.
    let is_number = |key: &str| {
        object
            .get(key)
            .is_some_and(|raw| !raw.get().starts_with(['{', '[']))
    };
    if !is_number("request_throughput") || !has("completed") || !has("duration") {
        return None;
    }
    if has(names::NAME) || has(names::OLD_NAME) {
        Some(Source::Inferometer)
    } else if has("total_output_tokens_retokenized") || has("mean_e2e_latency_ms") {
        Some(Source::Sglang)
    } else if has("max_model_len") || (has("steady_state") && has("input_throughput")) {
        Some(Source::VllmRust)
    } else if has("total_token_throughput") || has("total_input_tokens") {
        Some(Source::Vllm(era(has)))
    } else {
        None
    }
}

/// The era by the newest key that the object has.
fn era(has: impl Fn(&str) -> bool) -> VllmEra {
    if has("queue_times") {
        VllmEra::QueueTimes
    } else if has("rtfx") {
        VllmEra::Rtfx
    } else if has("failed") {
        VllmEra::Failures
    } else if has("max_output_tokens_per_s") {
        VllmEra::Peaks
    } else if has("request_goodput:") {
        VllmEra::Legacy
    } else {
        VllmEra::Summer2025
    }
}

pub(super) fn import(source: Source, object: &RawObject<'_>, with_details: bool) -> ImportedRun {
    let mut keys = IndexMap::with_capacity(object.len());
    let mut details = IndexMap::new();
    for (key, raw) in object {
        if DETAILS.contains(&key.as_str()) {
            if with_details && let Some(value) = value_of(raw) {
                details.insert(key.clone(), value);
            }
        } else if let Some(value) = value_of(raw) {
            keys.insert(vllm_key(source, key), value);
        }
    }
    if source == Source::Llmperf {
        keys = llmperf(keys);
    }
    ImportedRun {
        source,
        keys,
        details,
        file: std::path::PathBuf::new(),
        position: 0,
    }
}

fn value_of(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok()
}

fn vllm_key(source: Source, key: &str) -> String {
    match source {
        Source::Sglang if key == "total_throughput" => "total_token_throughput".to_owned(),
        Source::Sglang => key.replace("_e2e_latency_ms", "_e2el_ms"),
        // The key had a colon until July 2025.
        Source::Vllm(_) if key == "request_goodput:" => "request_goodput".to_owned(),
        _ => names::current(key).into_owned(),
    }
}

/// llmperf's summary: latencies in seconds, statistics in the key's ending. Its standard deviation
/// is that of a sample, not of a population as vLLM's, and keeps its own name.
fn llmperf(keys: IndexMap<String, Value>) -> IndexMap<String, Value> {
    keys.into_iter()
        .map(|(key, value)| llmperf_entry(&key, &value).unwrap_or((key, value)))
        .collect()
}

fn llmperf_entry(key: &str, value: &Value) -> Option<(String, Value)> {
    let renamed = match key {
        "model" => "model_id",
        "num_concurrent_requests" => "max_concurrency",
        "results_num_requests_started" => "num_prompts",
        "results_num_completed_requests" => "completed",
        "results_number_errors" => "failed",
        "results_mean_output_throughput_token_per_s" => "output_throughput",
        "results_num_completed_requests_per_min" => {
            return Some((
                "request_throughput".to_owned(),
                Value::from(value.as_f64()? / 60.0),
            ));
        }
        _ => {
            let rest = key.strip_prefix("results_")?;
            let (metric, statistic) = [("ttft_s_", "ttft"), ("end_to_end_latency_s_", "e2el")]
                .into_iter()
                .find_map(|(prefix, metric)| Some((metric, rest.strip_prefix(prefix)?)))?;
            let statistic = match statistic {
                "mean" => "mean",
                "quantiles_p50" => "median",
                _ => statistic.strip_prefix("quantiles_")?,
            };
            return Some((
                format!("{statistic}_{metric}_ms"),
                milliseconds(value.as_f64()?),
            ));
        }
    };
    Some((renamed.to_owned(), value.clone()))
}

/// Seconds in milliseconds, without the digits that only the multiplication brought in.
pub(super) fn milliseconds(seconds: f64) -> Value {
    let product = seconds * 1e3;
    let shortest = float_repr(seconds);
    let exact = format!("{shortest}e3").parse::<f64>().ok();
    // "1e-05e3" does not parse; then the product is good enough.
    Value::from(exact.filter(|exact| exact.is_finite()).unwrap_or(product))
}
