//! Values of a result by the names that people use.

use inferometer_core::names;
use inferometer_metrics::measured;
use inferometer_results::ImportedRun;
use serde_json::Value;

use crate::flag_table::text;

/// A number of a result, by vLLM's key or by a path with dots; `failed_share` is calculated. A
/// latency or rate of a run without answers is not a number.
pub(crate) fn number_of(run: &ImportedRun, key: &str) -> Option<f64> {
    if key == "failed_share" {
        let (failed, completed) = (run.number("failed")?, run.number("completed")?);
        return (failed + completed > 0.0).then(|| failed / (failed + completed));
    }
    match run.number(key) {
        Some(_) => measured(key, |key| run.number(key)),
        None => value_at(run, key)?.as_f64(),
    }
}

/// A text of a result; `verdict` is the level of its verdict.
pub(crate) fn text_of(run: &ImportedRun, key: &str) -> Option<String> {
    let key = if key == "verdict" {
        "inferometer.verdict.level"
    } else {
        key
    };
    value_at(run, key).map(|value| text(&value))
}

/// A value of a result, by vLLM's key or by a path with dots.
pub(crate) fn value_at(run: &ImportedRun, key: &str) -> Option<Value> {
    if let Some(value) = run.keys.get(key) {
        return Some(value.clone());
    }
    let key = &*names::current(key);
    let mut parts = key.split('.');
    let mut value = run.keys.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value.clone())
}
