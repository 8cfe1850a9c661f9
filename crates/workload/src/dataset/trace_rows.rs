//! What the two kinds of recorded traces share: their range of time, their errors, their blocks.

use std::path::Path;

use serde_json::Value;

use super::fnv1a;
use crate::WorkloadError;

/// Refuses an invalid speed or range.
pub(super) fn check_range(
    speed: f64,
    start: f64,
    duration: Option<f64>,
) -> Result<(), WorkloadError> {
    if !(speed > 0.0 && speed.is_finite()) {
        return Err(WorkloadError::setting(
            "--trace-speed",
            "must be a number above 0",
        ));
    }
    if !(start >= 0.0 && start.is_finite()) {
        return Err(WorkloadError::setting(
            "--trace-start",
            "must be a number of seconds, 0 or more",
        ));
    }
    if !duration.is_none_or(|duration| duration > 0.0) {
        return Err(WorkloadError::setting(
            "--trace-duration",
            "must be a number of seconds above 0",
        ));
    }
    Ok(())
}

/// The message for a trace without a row in the range that the flags give.
pub(super) fn outside_range(rows: usize) -> String {
    format!("none of its {rows} rows is in the range of --trace-start and --trace-duration")
}

/// The error for a trace whose time goes backwards.
pub(super) fn backwards(path: &Path, line: usize, before: f64, after: f64) -> WorkloadError {
    WorkloadError::format(
        path,
        Some(line),
        format!("time goes backwards, from {before} to {after}; sort the rows by time"),
    )
}

/// A block is named by a number, or by anything that can be turned into one.
pub(super) fn block_id(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| fnv1a(value.to_string().bytes()))
}
