//! Results that are objects within objects: AIPerf and GenAI-Perf, GuideLLM.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::flat::milliseconds;
use super::{ImportedRun, Source};

/// Maximum number of values kept per run beside the translated ones: enough for all settings, not
/// enough for lists of requests.
const MAX_KEPT: usize = 2_000;

pub(super) fn import(value: &Value) -> Option<Vec<ImportedRun>> {
    let object = value.as_object()?;
    if let Some(benchmarks) = object.get("benchmarks").and_then(Value::as_array) {
        let runs: Vec<_> = benchmarks
            .iter()
            .filter_map(|run| guidellm(run, object))
            .collect();
        return (!runs.is_empty() && runs.len() == benchmarks.len()).then_some(runs);
    }
    nvidia(object).map(|run| vec![run])
}

fn run(source: Source, keys: IndexMap<String, Value>) -> ImportedRun {
    ImportedRun {
        source,
        keys,
        details: IndexMap::new(),
        file: std::path::PathBuf::new(),
        position: 0,
    }
}

/// Keys of a result and where AIPerf and GenAI-Perf keep them in `input_config`, by version.
const NVIDIA_SETTINGS: [(&str, &[&str]); 6] = [
    (
        "model_id",
        &[
            "/endpoint/model_names/0",
            "/model_names/0",
            "/model/0",
            "/model",
        ],
    ),
    ("tokenizer_id", &["/tokenizer/name", "/tokenizer"]),
    ("backend", &["/endpoint/type", "/endpoint_type"]),
    ("request_rate", &["/loadgen/request_rate", "/request_rate"]),
    (
        "max_concurrency",
        &[
            "/loadgen/concurrency",
            "/concurrency",
            "/perf_analyzer/stimulus/concurrency",
        ],
    ),
    ("num_prompts", &["/loadgen/request_count", "/request_count"]),
];
/// Keys of a result and the names of the metrics whose average they are.
const NVIDIA_TOTALS: [(&str, &str); 9] = [
    ("duration", "benchmark_duration"),
    ("completed", "request_count"),
    ("failed", "error_request_count"),
    ("total_input_tokens", "total_isl"),
    ("total_output_tokens", "total_osl"),
    ("request_throughput", "request_throughput"),
    ("request_goodput", "goodput"),
    ("output_throughput", "output_token_throughput"),
    ("total_token_throughput", "total_token_throughput"),
];
/// Latencies, their names in GuideLLM, and the factor from its unit to milliseconds.
const GUIDELLM_LATENCIES: [(&str, &str, f64); 3] = [
    ("ttft", "time_to_first_token_ms", 1.0),
    ("tpot", "inter_token_latency_ms", 1.0),
    ("e2el", "request_latency", 1e3),
];

/// `profile_export_aiperf.json` and `profile_export_genai_perf.json`: a metric is an object with
/// `unit`, `avg`, `min`, `max`, `std`, `p50` ….
fn nvidia(object: &Map<String, Value>) -> Option<ImportedRun> {
    // Some versions hold the metrics in `records`, others at the top.
    let metrics = object
        .get("records")
        .and_then(Value::as_object)
        .unwrap_or(object);
    let average = |name: &str| {
        metrics
            .get(name)?
            .get("avg")
            .filter(|value| value.is_number())
    };
    average("request_throughput").or_else(|| average("request_latency"))?;
    let is_aiperf = object.contains_key("aiperf_version")
        || object.contains_key("schema_version")
        || metrics.contains_key("benchmark_duration");
    let source = if is_aiperf {
        Source::Aiperf
    } else {
        Source::GenaiPerf
    };

    let mut keys = IndexMap::new();
    let config = object.get("input_config").unwrap_or(&Value::Null);
    for (key, paths) in NVIDIA_SETTINGS {
        let scalar = |path: &&str| {
            config
                .pointer(path)
                .filter(|value| value.is_string() || value.is_number())
        };
        if let Some(value) = paths.iter().find_map(scalar) {
            keys.insert(key.to_owned(), value.clone());
        }
    }
    for (key, name) in NVIDIA_TOTALS {
        let is_seconds =
            key != "duration" || unit(metrics, name).is_some_and(|unit| unit.starts_with('s'));
        if let (Some(value), true) = (average(name), is_seconds) {
            keys.insert(key.to_owned(), value.clone());
        }
    }
    for (metric, name) in [
        ("ttft", "time_to_first_token"),
        ("tpot", "inter_token_latency"),
        ("itl", "inter_chunk_latency"),
        ("e2el", "request_latency"),
    ] {
        if let (Some(stats), Some(factor)) = (
            metrics.get(name).and_then(Value::as_object),
            unit(metrics, name).and_then(to_milliseconds),
        ) {
            put_stats(&mut keys, metric, "avg", "std", stats, stats, factor);
        }
    }
    keep(&mut keys, "", &Value::Object(object.clone()));
    Some(run(source, keys))
}

fn unit<'a>(metrics: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    metrics.get(name)?.get("unit")?.as_str()
}

fn to_milliseconds(unit: &str) -> Option<f64> {
    match unit {
        "ms" | "milliseconds" => Some(1.0),
        "s" | "sec" | "seconds" => Some(1e3),
        "us" | "microseconds" => Some(1e-3),
        "ns" | "nanoseconds" => Some(1e-6),
        _ => None,
    }
}

/// One entry of GuideLLM's `benchmarks`. Its statistics are grouped by how requests ended; those of
/// the successful ones are used, as vLLM does.
fn guidellm(entry: &Value, report: &Map<String, Value>) -> Option<ImportedRun> {
    let metrics = entry.get("metrics")?.as_object()?;
    let successful = |name: &str| metrics.get(name)?.get("successful");
    successful("request_latency").or_else(|| successful("time_to_first_token_ms"))?;

    let mut keys = IndexMap::new();
    let mut put = |key: &str, value: Option<&Value>| {
        if let Some(value) = value.filter(|value| value.is_number() || value.is_string()) {
            keys.insert(key.to_owned(), value.clone());
        }
    };
    let either = |paths: &[&str]| {
        paths
            .iter()
            .find_map(|path| entry.pointer(path).filter(|v| !v.is_null()))
    };
    let report_model = ["/model", "/backend_kwargs/model"];
    let args = report.get("args");
    put(
        "model_id",
        either(&[
            "/config/backend/model",
            "/config/model",
            "/args/model",
            "/worker/backend_model",
        ])
        .or_else(|| report_model.iter().find_map(|path| args?.pointer(path))),
    );
    put(
        "request_rate",
        either(&["/config/strategy/rate", "/args/strategy/rate"]),
    );
    put(
        "max_concurrency",
        either(&["/config/strategy/streams", "/args/strategy/streams"]),
    );
    put("duration", either(&["/duration"]));
    let counts = |name: &str| {
        either(&[
            &format!("/metrics/request_totals/{name}"),
            &format!("/run_stats/requests_made/{name}"),
        ])
        .cloned()
    };
    put("num_prompts", counts("total").as_ref());
    put("completed", counts("successful").as_ref());
    put("failed", counts("errored").as_ref());
    let sum = |name: &str| successful(name)?.get("total_sum");
    put("total_input_tokens", sum("prompt_token_count"));
    put("total_output_tokens", sum("output_token_count"));
    let mean = |name: &str| successful(name)?.get("mean");
    put("request_throughput", mean("requests_per_second"));
    put("output_throughput", mean("output_tokens_per_second"));
    put("total_token_throughput", mean("tokens_per_second"));
    for (metric, name, factor) in GUIDELLM_LATENCIES {
        if let Some(stats) = successful(name).and_then(Value::as_object) {
            let percentiles = stats
                .get("percentiles")
                .and_then(Value::as_object)
                .unwrap_or(stats);
            put_stats(
                &mut keys,
                metric,
                "mean",
                "std_dev",
                stats,
                percentiles,
                factor,
            );
        }
    }
    for part in ["config", "args", "run_stats", "metrics"] {
        if let Some(value) = entry.get(part) {
            keep(&mut keys, part, value);
        }
    }
    Some(run(Source::Guidellm, keys))
}

/// Writes `mean_X_ms`, `median_X_ms`, `std_X_ms` and `pNN_X_ms` from another tool's statistics.
fn put_stats(
    keys: &mut IndexMap<String, Value>,
    metric: &str,
    mean: &str,
    std: &str,
    stats: &Map<String, Value>,
    percentiles: &Map<String, Value>,
    factor: f64,
) {
    let mut put = |statistic: &str, value: Option<&Value>| {
        let Some(number) = value.and_then(Value::as_f64) else {
            return;
        };
        let scaled = match factor {
            1.0 => Value::from(number),
            1e3 => milliseconds(number),
            _ => Value::from(number * factor),
        };
        keys.insert(format!("{statistic}_{metric}_ms"), scaled);
    };
    put("mean", stats.get(mean));
    put(
        "median",
        stats.get("median").or_else(|| percentiles.get("p50")),
    );
    put("std", stats.get(std));
    for (name, value) in percentiles {
        if let Some(word) = name.strip_prefix('p').and_then(percentile_word) {
            put(&format!("p{word}"), Some(value));
        }
    }
}

/// `99` of `p99`; GuideLLM writes `p999` for 99.9 and `p001` for 0.1.
fn percentile_word(digits: &str) -> Option<String> {
    let number: u32 = digits.parse().ok()?;
    match digits {
        "999" => Some("99.9".to_owned()),
        "001" => Some("0.1".to_owned()),
        _ if digits.len() <= 2 && number > 0 => Some(number.to_string()),
        _ => None,
    }
}

/// Keeps all scalars below `value` under their own names, parts joined by dots; lists are left out.
fn keep(keys: &mut IndexMap<String, Value>, name: &str, value: &Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                keep(keys, &name, value);
            }
        }
        Value::Array(_) | Value::Null => {}
        scalar if keys.len() < MAX_KEPT => {
            keys.entry(name.to_owned())
                .or_insert_with(|| scalar.clone());
        }
        _ => {}
    }
}
