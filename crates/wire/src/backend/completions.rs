//! `vllm`, `openai`, and the servers that the legacy script lists under their own names (`sglang`,
//! `lmdeploy`, `scalellm`, `llama.cpp`): OpenAI's completions API.
//!
//! A message with a choice is a token event, as in vLLM's client, with one departure: a closing
//! message with empty text and a `finish_reason` is not a token event if tokens came before.
//! llama.cpp and transformers send such a message at the same instant as the last token, where it
//! would count as a gap of zero. vLLM puts the reason on the last text itself.

use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{Backend, BackendKind, Foreign, Streaming, all_sequences, no_headers};
use super::body::{Body, BodySettings, add_common, json_body, model, stream_options};
use super::message::{check_error, is_marker, note_extras};
use crate::error::WireError;
use crate::json::{Length, Lenient, Reason, ServerMetrics, Text, UsageObject, reason, text};
use crate::reply::{Fault, ReplyReader, Sink, not_json};
use crate::sse::SseEvent;
use crate::template::Template;

/// OpenAI's completions API, which all these servers have.
const COMPLETIONS: Backend = Backend {
    name: "vllm",
    default_endpoint: "/v1/completions",
    suffixes: &["completions"],
    foreign: Some(Foreign {
        suffix: "chat/completions",
        remedy: " (for chat completions use --backend openai-chat)",
    }),
    kind: BackendKind::Generation,
    applies_chat_template: false,
    streaming: Streaming::OnRequest,
    body,
    reader: || Box::new(Reader::default()),
    sequences: all_sequences,
    headers: no_headers,
};

pub(super) static VLLM: Backend = COMPLETIONS;
pub(super) static OPENAI: Backend = Backend {
    name: "openai",
    ..COMPLETIONS
};
pub(super) static SGLANG: Backend = Backend {
    name: "sglang",
    ..COMPLETIONS
};
pub(super) static LMDEPLOY: Backend = Backend {
    name: "lmdeploy",
    ..COMPLETIONS
};
pub(super) static SCALELLM: Backend = Backend {
    name: "scalellm",
    ..COMPLETIONS
};
pub(super) static LLAMA_CPP: Backend = Backend {
    name: "llama.cpp",
    ..COMPLETIONS
};

fn body(backend: &Backend, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
    let mut body = Map::new();
    body.insert("model".into(), model(request, settings).into());
    body.insert("prompt".into(), prompt(backend, request)?);
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

fn prompt(backend: &Backend, request: &Request) -> Result<Value, WireError> {
    let remedy = "use --backend openai-chat with --endpoint /v1/chat/completions";
    backend.refuse_media(request, remedy)?;
    let refuse = |what| backend.refuse(what, remedy);
    match &request.prompt {
        Prompt::Text(text) => Ok(text.as_str().into()),
        Prompt::Tokens(ids) => Ok(ids.clone().into()),
        Prompt::Texts(texts) => Ok(texts.clone().into()),
        Prompt::Messages(_) => Err(refuse("chat messages")),
        Prompt::Parts(_) => Err(refuse("content parts")),
    }
}

/// One message of the stream, or the whole body of an answer that is not streamed.
#[derive(Debug, serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Lenient<UsageObject>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    object: Lenient<Text<'a>>,
    #[serde(default)]
    metrics: Lenient<ServerMetrics>,
}

#[derive(Debug, serde::Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    finish_reason: Lenient<Reason<'a>>,
    #[serde(default)]
    token_ids: Length,
    #[serde(default)]
    logprobs: Length,
}

#[derive(Debug, Default)]
pub(super) struct Reader {
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
