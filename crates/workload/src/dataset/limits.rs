//! Limits on what a request may ask for, so that a mistyped number is an error and does not exhaust
//! the memory.

use std::path::Path;

use crate::WorkloadError;

/// Most tokens of a prompt or an answer: 16 million, above the longest context of a model (10
/// million, Llama 4 Scout). The text of such a prompt takes about 100 MB.
pub(crate) const MAX_TOKENS: usize = 1 << 24;

/// Most requests of a synthetic workload: without their texts they take tens of gigabytes.
pub(super) const MAX_REQUESTS: usize = 100_000_000;

/// Most tokens of all prefixes that groups of requests share: their texts, which are there at once, take
/// 1.5 GB.
pub(super) const MAX_PREFIX_TOKENS: u64 = 1 << 28;

/// Refuses a length that a flag gives.
pub(super) fn check_tokens(flag: &'static str, tokens: i64) -> Result<(), WorkloadError> {
    if tokens > MAX_TOKENS as i64 {
        return Err(WorkloadError::setting(
            flag,
            format!("is {tokens}, but must be at most {MAX_TOKENS} tokens"),
        ));
    }
    Ok(())
}

/// A length in tokens from a row of a file. Fractions are cut off.
pub(super) fn row_tokens(
    path: &Path,
    line: usize,
    label: &str,
    number: f64,
) -> Result<usize, WorkloadError> {
    if (0.0..=MAX_TOKENS as f64).contains(&number) {
        return Ok(number as usize);
    }
    Err(WorkloadError::format(
        path,
        Some(line),
        format!("invalid `{label}` {number}: expected 0 to {MAX_TOKENS} tokens"),
    ))
}

/// Seconds from the start of a trace to its last row: at most a century, beyond which nanoseconds do
/// not count.
pub(super) fn check_span(path: &Path, line: usize, seconds: f64) -> Result<(), WorkloadError> {
    const CENTURY: f64 = 100.0 * 365.25 * 86_400.0;
    if seconds <= CENTURY {
        return Ok(());
    }
    Err(WorkloadError::format(
        path,
        Some(line),
        format!("the row is due {seconds} s after the first one: expected at most 100 years"),
    ))
}
