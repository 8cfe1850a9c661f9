//! What messages of several APIs have in common: end markers, errors, usage numbers.

use inferometer_core::{Outcome, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{Count, Lenient, ServerMetrics, Text, actual_error, text};
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

/// Handles events without a message: an empty one, null, and the end marker `[DONE]`, which some
/// servers send as JSON. True for these.
pub(super) fn is_marker(event: SseEvent<'_>, sink: &mut Sink<'_>) -> bool {
    match event.data.trim_ascii() {
        b"" | b"null" => true,
        b"[DONE]" | b"\"[DONE]\"" => {
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

/// A message in OpenAI's form, of the stream or the whole body of an answer that is not streamed, with
/// choices of the kind `C`.
#[derive(Debug, serde::Deserialize)]
#[serde(bound(deserialize = "C: Deserialize<'de>"))]
pub(super) struct Message<'a, C> {
    #[serde(default)]
    pub(super) choices: Option<Vec<C>>,
    #[serde(default)]
    usage: Lenient<UsageObject>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Lenient<Text<'a>>,
    #[serde(default)]
    pub(super) metrics: Lenient<ServerMetrics>,
    /// Where Groq's API puts the usage.
    #[serde(default)]
    x_groq: Lenient<Groq>,
    /// What llama.cpp adds to its last message.
    #[serde(default)]
    timings: Lenient<Timings>,
    /// llama.cpp's progress with the prompt (`return_progress`), which comes before the first token.
    #[serde(default)]
    prompt_progress: Lenient<IgnoredAny>,
}

/// What the choices of either form have in common.
pub(super) trait InMessage {
    /// Its number, 0 where it has none.
    fn index(&self) -> usize;

    /// The usage numbers in it.
    fn usage(&self) -> Option<&UsageObject>;

    /// The error in it.
    fn error(&self) -> Option<&RawValue>;
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Groq {
    usage: Lenient<UsageObject>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Timings {
    /// Prompt tokens from the prefix cache.
    cache_n: Count,
}

impl<C: InMessage> Message<'_, C> {
    /// The usage numbers: its own, else those in a choice, else Groq's.
    pub(super) fn usage(&self) -> Option<&UsageObject> {
        let mut in_choices = self.choices.iter().flatten();
        self.usage
            .as_ref()
            .or_else(|| in_choices.find_map(InMessage::usage))
            .or_else(|| self.x_groq.as_ref()?.usage.as_ref())
    }

    /// True for a message about the prompt, whose empty text is not a token.
    pub(super) const fn is_progress(&self) -> bool {
        !self.prompt_progress.is_none()
    }

    /// An error of the whole message, or of a choice.
    fn error(&self) -> Option<&RawValue> {
        let in_choices = self.choices.iter().flatten().filter_map(InMessage::error);
        let mut errors = self.error.into_iter().chain(in_choices);
        errors.find(|error| actual_error(Some(error)).is_some())
    }

    /// Passes on usage numbers and server-side times; fails if the message, which `data` is, reports an
    /// error. The numbers are of the choice `own`, else of the answer.
    pub(super) fn note(
        &self,
        own: Option<usize>,
        data: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<(), Fault> {
        let is_error = text(self.object.as_ref()) == Some("error");
        check_error(self.error(), is_error, data)?;
        match (self.usage(), own) {
            (Some(usage), Some(choice)) => {
                sink.choice(choice);
                sink.usage_of_choice(usage.usage());
            }
            (Some(usage), None) => sink.usage(usage.usage()),
            (None, _) => {}
        }
        let cached = self.timings.0.and_then(|timings| timings.cache_n.0);
        if cached.is_some() && sink.record().usage.cached_tokens.is_none() {
            sink.usage(Usage {
                cached_tokens: cached,
                ..Usage::default()
            });
        }
        if let Some(metrics) = self.metrics.0 {
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
        Ok(())
    }
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
