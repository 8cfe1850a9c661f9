//! `{stem}.pytorch.json`: the form of the PyTorch benchmark database, one record per metric.

use std::path::{Path, PathBuf};

use inferometer_core::python::write_json;
use serde_json::{Map, Value, json};

use crate::ResultsError;
use crate::atomic::{Links, write_atomically};

/// The metrics that become records, in vLLM's order.
const METRICS: [&str; 12] = [
    "median_ttft_ms",
    "mean_ttft_ms",
    "std_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "median_tpot_ms",
    "std_tpot_ms",
    "p99_tpot_ms",
    "median_itl_ms",
    "mean_itl_ms",
    "std_itl_ms",
    "p99_itl_ms",
];

/// Lists that are left out because of their size.
const IGNORED: [&str; 6] = [
    "ttfts",
    "itls",
    "generated_texts",
    "errors",
    "server_queue_times",
    "server_ttfts",
];

/// The records for a result: `args` are all arguments of the run as vLLM names them, without
/// secrets, and `result` is [`VllmResult::to_map`](super::VllmResult::to_map).
///
/// A `tensor_parallel_size` in the metadata is copied into the arguments.
pub fn pytorch_records(
    args: &Map<String, Value>,
    model: &str,
    result: &Map<String, Value>,
) -> Value {
    let mut args = args.clone();
    let has_size = args
        .get("tensor_parallel_size")
        .is_some_and(|size| !size.is_null());
    if let (false, Some(size)) = (has_size, result.get("tensor_parallel_size")) {
        args.insert("tensor_parallel_size".to_owned(), size.clone());
    }
    let field = |name: &str| {
        args.get(name)
            .or_else(|| result.get(name))
            .cloned()
            .unwrap_or_else(|| "".into())
    };
    let mode = field("compilation_config.mode");
    let optimization_level = field("optimization_level");
    let file_name = args
        .get("result_filename")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let use_compile = mode != "0" && !file_name.contains("eager");
    let extra_info: Map<String, Value> = result
        .iter()
        .filter(|(key, _)| !METRICS.contains(&key.as_str()) && !IGNORED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let record = |name: &&str| {
        let value = result.get(*name)?;
        Some(json!({
            "benchmark": {
                "name": "vLLM benchmark",
                "extra_info": {
                    "args": args,
                    "compilation_config.mode": mode,
                    "optimization_level": optimization_level,
                    "use_compile": use_compile,
                },
            },
            "model": {"name": model},
            "metric": {"name": name, "benchmark_values": [value], "extra_info": extra_info},
        }))
    };
    METRICS.iter().filter_map(record).collect()
}

/// Writes [`pytorch_records`] beside the result file and returns the path, `{stem}.pytorch.json`.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_pytorch(result_file: &Path, records: &Value) -> Result<PathBuf, ResultsError> {
    let path = result_file.with_extension("pytorch.json");
    write_atomically(&path, Links::Replace, |out| {
        write_json(out, records).map_err(ResultsError::io("write", &path))
    })?;
    Ok(path)
}
