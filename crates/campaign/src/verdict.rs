//! The verdict in a result file.

use inferometer_results::ImportedRun;
use serde_json::Value;

use crate::lookup::{text_of, value_at};

/// The verdict of a result, where it has one.
pub fn verdict_of(run: &ImportedRun) -> Option<String> {
    text_of(run, "verdict")
}

/// A finding of a result's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable code.
    pub code: String,
    /// What to do about it.
    pub remedy: String,
}

/// The findings behind the verdict of a result, the worst first.
pub fn findings_of(run: &ImportedRun) -> Vec<Finding> {
    let Some(Value::Array(reasons)) = value_at(run, "inferometer.verdict.reasons") else {
        return Vec::new();
    };
    let field = |reason: &Value, key: &str| {
        reason
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    reasons
        .iter()
        .map(|reason| Finding {
            code: field(reason, "code"),
            remedy: field(reason, "remedy"),
        })
        .collect()
}
