//! What messages of several APIs have in common: end markers, errors, usage numbers.

use inferometer_core::{Outcome, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{Count, Lenient, ServerMetrics, actual_error};
use crate::reply::{Fault, Sink, failure_words, not_json};
use crate::sse::SseEvent;
use crate::usage::UsageObject;

/// The object in `data`, as a `T`.
///
/// serde would read a list as an object's members in order, which no server means.
pub(super) fn object<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Fault> {
    if is_list(data) {
        let start = String::from_utf8_lossy(&data[..data.len().min(200)]);
        return Err(Fault::malformed(format!(
            "a list where an object was expected: {start}"
        )));
    }
    serde_json::from_slice(data).map_err(|error| not_json(data, &error))
}

/// True for a JSON list.
pub(super) fn is_list(data: &[u8]) -> bool {
    data.trim_ascii_start().first() == Some(&b'[')
}

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
    let message = failure_words(raw);
    Err(Fault::new(Outcome::StreamError, message))
}

/// What Groq adds to OpenAI's messages.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Groq {
    pub(super) usage: Lenient<UsageObject>,
}

/// What llama.cpp adds to its last message.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Timings {
    /// Prompt tokens from the prefix cache.
    cache_n: Count,
}

/// llama.cpp's cached tokens, unless the usage has them.
pub(super) fn note_timings(timings: Option<Timings>, sink: &mut Sink<'_>) {
    let Some(cached) = timings.and_then(|timings| timings.cache_n.0) else {
        return;
    };
    if sink.record().usage.cached_tokens.is_none() {
        sink.usage(Usage {
            cached_tokens: Some(cached),
            ..Usage::default()
        });
    }
}

/// The usage numbers of a message in OpenAI's form: its own, else those in a choice, else Groq's.
pub(super) fn find_usage<'m>(
    own: &'m Lenient<UsageObject>,
    mut in_choices: impl Iterator<Item = &'m Lenient<UsageObject>>,
    groq: &'m Lenient<Groq>,
) -> Option<&'m UsageObject> {
    own.as_ref()
        .or_else(|| in_choices.find_map(Lenient::as_ref))
        .or_else(|| groq.as_ref()?.usage.as_ref())
}

/// The name of the first member of the choices' deltas or messages that holds something: for
/// messages in which no known member does.
pub(super) fn unknown_member(data: &[u8]) -> Option<String> {
    const NO_OUTPUT: [&str; 7] = [
        "role",
        "name",
        "id",
        "index",
        "finish_reason",
        "stop_reason",
        "logprobs",
    ];
    let message: Value = serde_json::from_slice(data).ok()?;
    let choices = message.get("choices")?.as_array()?;
    let members = choices.iter().flat_map(|choice| {
        let inner = choice.get("delta").or_else(|| choice.get("message"));
        inner.unwrap_or(choice).as_object().into_iter().flatten()
    });
    let filled = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => false,
    };
    members
        .filter(|(name, value)| !NO_OUTPUT.contains(&name.as_str()) && filled(value))
        .map(|(name, _)| name.clone())
        .next()
}

/// Usage numbers and server-side times, which any message may carry. `choice` is that of the message:
/// the numbers are then of this choice.
pub(super) fn note_extras(
    usage: Option<&UsageObject>,
    metrics: Option<ServerMetrics>,
    choice: Option<usize>,
    sink: &mut Sink<'_>,
) {
    match (usage, choice) {
        (Some(usage), Some(choice)) => {
            sink.choice(choice);
            sink.usage_of_choice(usage.usage());
        }
        (Some(usage), None) => sink.usage(usage.usage()),
        (None, _) => {}
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
