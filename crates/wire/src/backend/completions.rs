//! `vllm`, `openai`, and the servers that the legacy script called by their own names (`sglang`,
//! `lmdeploy`, `scalellm`, `llama.cpp`): OpenAI's completions API.
//!
//! A message with a choice is a token event, as in vLLM's client, with one departure: a closing
//! message with empty text and a `finish_reason` is no token event when tokens came before.
//! llama.cpp and transformers send such a message at the same instant as the last token, where it
//! would count as a gap of zero. vLLM puts the reason on the last text itself.

use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Backend, BackendKind, Body, add_common, is_marker, json_body, model, stream_options};
use crate::error::WireError;
use crate::json::{
    Length, Reason, ServerMetrics, Side, Text, UsageObject, real_error, reason, text,
};
use crate::reply::{Fault, ReplyReader, Sink, error_message, not_json};
use crate::settings::BodySettings;
use crate::sse::SseEvent;
use crate::template::Template;

/// A server that speaks the completions API.
#[derive(Debug)]
pub(super) struct Completions {
    name: &'static str,
}

pub(super) static VLLM: Completions = Completions { name: "vllm" };
pub(super) static OPENAI: Completions = Completions { name: "openai" };
pub(super) static SGLANG: Completions = Completions { name: "sglang" };
pub(super) static LMDEPLOY: Completions = Completions { name: "lmdeploy" };
pub(super) static SCALELLM: Completions = Completions { name: "scalellm" };
pub(super) static LLAMA_CPP: Completions = Completions { name: "llama.cpp" };

impl Backend for Completions {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default_endpoint(&self) -> &'static str {
        "/v1/completions"
    }

    fn endpoint_suffixes(&self) -> &'static [&'static str] {
        // Chat completions are a different API, although their path has the same last word.
        &["completions"]
    }

    fn check_endpoint(&self, path: &str) -> Result<(), WireError> {
        let plain = path.split('?').next().unwrap_or(path);
        let fits = plain.ends_with("completions") && !plain.ends_with("chat/completions");
        if fits {
            return Ok(());
        }
        Err(WireError::Endpoint {
            endpoint: path.to_owned(),
            backend: self.name,
            wanted: "/completions (for chat completions use --backend openai-chat)".into(),
            default: self.default_endpoint(),
        })
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Generation
    }

    fn applies_chat_template(&self) -> bool {
        false
    }

    fn body(&self, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
        let mut body = Map::new();
        body.insert("model".into(), model(request, settings).into());
        body.insert("prompt".into(), self.prompt(request)?);
        body.insert("repetition_penalty".into(), 1.0.into());
        if let Some(tokens) = request.output_tokens {
            body.insert("max_tokens".into(), tokens.into());
        }
        body.insert(
            "logprobs".into(),
            settings.logprobs.map_or(Value::Null, Value::from),
        );
        body.insert("stream".into(), settings.stream.into());
        if settings.stream {
            body.insert("stream_options".into(), stream_options(settings));
        }
        add_common(&mut body, request, settings);
        Ok(json_body(body, settings))
    }

    fn reader(&self, _stream: bool) -> Box<dyn ReplyReader> {
        Box::new(Reader::default())
    }
}

impl Completions {
    fn prompt(&self, request: &Request) -> Result<Value, WireError> {
        let refuse = |what| WireError::Prompt {
            backend: self.name,
            what,
            remedy: "use --backend openai-chat with --endpoint /v1/chat/completions",
        };
        if !request.media.is_empty() || request.audio.is_some() {
            return Err(refuse("images, video or audio"));
        }
        match &request.prompt {
            Prompt::Text(text) => Ok(text.as_str().into()),
            Prompt::Tokens(ids) => Ok(ids.clone().into()),
            Prompt::Texts(texts) => Ok(texts.clone().into()),
            Prompt::Messages(_) => Err(refuse("chat messages")),
            Prompt::Parts(_) => Err(refuse("content parts")),
        }
    }
}

/// One message of the stream, or the whole body of an answer that is not streamed.
#[derive(Debug, serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Side<UsageObject>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Side<Text<'a>>,
    #[serde(default)]
    metrics: Side<ServerMetrics>,
}

#[derive(Debug, serde::Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    finish_reason: Side<Reason<'a>>,
    #[serde(default)]
    token_ids: Length,
    #[serde(default)]
    logprobs: Length,
}

#[derive(Debug, Default)]
struct Reader {
    template: Template<()>,
}

impl ReplyReader for Reader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        if let Some(((), text)) = self.template.text(event.data) {
            sink.token(EventKind::Text, text);
            return Ok(());
        }
        if is_marker(event, sink) {
            return Ok(());
        }
        let message: Message<'_> =
            serde_json::from_slice(event.data).map_err(|error| not_json(event.data, &error))?;
        check_error(
            message.error,
            event.name == b"error" || text(message.object.as_ref()) == Some("error"),
            event.data,
        )?;
        note_extras(message.usage.as_ref(), message.metrics.0, sink);
        let choices = message.choices.as_deref().unwrap_or_default();
        let Some(first) = choices.first() else {
            return Ok(());
        };
        if let Some(tokens) = first.token_ids.0.or(first.logprobs.0) {
            sink.tokens_in_message(tokens);
        }
        for choice in choices {
            if let Some(reason) = reason(&choice.finish_reason) {
                sink.finish(reason);
            }
        }
        let empty = choices
            .iter()
            .all(|choice| text(choice.text.as_ref()).unwrap_or_default().is_empty());
        if empty {
            if first.finish_reason.is_none() || !sink.has_tokens() {
                sink.token(EventKind::Blank, "");
            }
            return Ok(());
        }
        sink.token(
            EventKind::Text,
            text(first.text.as_ref()).unwrap_or_default(),
        );
        for choice in &choices[1..] {
            sink.fragment(
                EventKind::Text,
                text(choice.text.as_ref()).unwrap_or_default(),
            );
        }
        let plain = choices.len() == 1
            && first.finish_reason.is_none()
            && first.token_ids.0.or(first.logprobs.0).is_none()
            && message.usage.is_none()
            && message.metrics.is_none();
        if let (true, Some(text)) = (plain, first.text.as_ref().and_then(Text::borrowed)) {
            self.template.learn(event.data, text, ());
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        let message: Message<'_> =
            serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
        check_error(
            message.error,
            text(message.object.as_ref()) == Some("error"),
            body,
        )?;
        note_extras(message.usage.as_ref(), message.metrics.0, sink);
        for choice in message.choices.iter().flatten() {
            sink.fragment(
                EventKind::Text,
                text(choice.text.as_ref()).unwrap_or_default(),
            );
            if let Some(reason) = reason(&choice.finish_reason) {
                sink.finish(reason);
            }
        }
        Ok(())
    }
}

/// Fails if a message says that something went wrong: an `error` member, or a message that is an
/// error as a whole.
pub(super) fn check_error(error: Option<&RawValue>, whole: bool, data: &[u8]) -> Result<(), Fault> {
    let raw = match real_error(error) {
        Some(error) => error.get().as_bytes(),
        None if whole => data,
        None => return Ok(()),
    };
    let message = serde_json::from_slice::<Value>(raw).map_or_else(
        |_| String::from_utf8_lossy(&raw[..raw.len().min(2 << 10)]).into_owned(),
        |value| error_message(&value),
    );
    Err(Fault::new(inferometer_core::Outcome::StreamError, message))
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

/// Reads choices with either `text` or a chat `delta`, for APIs whose servers differ in it.
#[derive(Debug, Default)]
pub(super) struct AnyChoices {
    text: Reader,
    chat: super::chat::Reader,
}

impl AnyChoices {
    fn reader(&mut self, data: &[u8]) -> &mut dyn ReplyReader {
        let has = |name: &[u8]| memchr::memmem::find(data, name).is_some();
        // What has neither, such as a lone usage message, means the same to both.
        let is_chat = has(b"\"delta\"") || has(b"\"message\":{") || has(b"\"message\": {");
        if is_chat {
            &mut self.chat
        } else {
            &mut self.text
        }
    }
}

impl ReplyReader for AnyChoices {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        self.reader(event.data).event(event, sink)
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        // Transcriptions, and old versions of DeepSpeed-MII, have their text outside of any choice.
        let bare: Bare<'_> =
            serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
        for text in &bare.text.0 {
            sink.fragment(EventKind::Text, &text.0);
        }
        // Everything else is in the same place in either shape; what is no choice is passed over.
        self.reader(body).body(body, sink)
    }
}

#[derive(Debug, serde::Deserialize)]
struct Bare<'a> {
    #[serde(borrow, default)]
    text: BareText<'a>,
}

/// A text, or several; anything else is none of ours.
#[derive(Debug, Default)]
struct BareText<'a>(Vec<Text<'a>>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for BareText<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let texts = if raw.starts_with('[') {
            serde_json::from_str(raw)
        } else {
            serde_json::from_str(raw).map(|text| vec![text])
        };
        Ok(Self(texts.unwrap_or_default()))
    }
}
