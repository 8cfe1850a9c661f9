//! What messages of several APIs have in common: end markers, errors, usage numbers.

use inferometer_core::Outcome;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{ServerMetrics, UsageObject, actual_error};
use crate::reply::{Fault, Sink, error_message};
use crate::sse::SseEvent;

/// Handles events without a message: an empty one, and the end marker `[DONE]`. True for these.
pub(super) fn is_marker(event: SseEvent<'_>, sink: &mut Sink<'_>) -> bool {
    match event.data.trim_ascii() {
        b"" => true,
        b"[DONE]" => {
            sink.done();
            true
        }
        _ => false,
    }
}

/// Fails if a message reports an error: in an `error` member, or as a whole.
pub(super) fn check_error(error: Option<&RawValue>, whole: bool, data: &[u8]) -> Result<(), Fault> {
    let raw = match actual_error(error) {
        Some(error) => error.get().as_bytes(),
        None if whole => data,
        None => return Ok(()),
    };
    let message = serde_json::from_slice::<Value>(raw).map_or_else(
        |_| String::from_utf8_lossy(&raw[..raw.len().min(2 << 10)]).into_owned(),
        |value| error_message(&value),
    );
    Err(Fault::new(Outcome::StreamError, message))
}

/// Usage numbers and server-side times, which any message may carry.
pub(super) fn note_extras(
    usage: Option<&UsageObject>,
    metrics: Option<ServerMetrics>,
    sink: &mut Sink<'_>,
) {
    if let Some(usage) = usage {
        sink.usage(usage.usage());
    }
    if let Some(metrics) = metrics {
        let record = sink.record();
        record.server_queue_s = metrics
            .queue_time_ms
            .0
            .map(|ms| ms / 1e3)
            .or(record.server_queue_s);
        record.server_ttft_s = metrics
            .time_to_first_token_ms
            .0
            .map(|ms| ms / 1e3)
            .or(record.server_ttft_s);
    }
}
