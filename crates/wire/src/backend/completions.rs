//! `vllm`, `openai`, and the servers that the legacy script lists under their own names (`sglang`,
//! `lmdeploy`, `scalellm`, `llama.cpp`): OpenAI's completions API.
//!
//! A message with a choice is a token event, as in vLLM's client, with one departure: a message with
//! empty text is one only if the usage holds more tokens than the events with text carry. vLLM sends such a message for an end-of-text token, one step after
//! the last text. llama.cpp and transformers send it at the same instant as the last token, where
//! it would count as a gap of zero.

use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{Backend, BackendKind, Foreign, Streaming, all_sequences, no_headers, no_results};
use super::body::{Body, BodySettings, LengthFields, add_common, model, stream_options};
use super::message::{InMessage, is_marker, object, unknown_member};
use crate::error::WireError;
use crate::json::{Count, Length, Lenient, Reason, Text, reason, text};
use crate::progress::Counting;
use crate::reply::{Fault, ReplyReader, Sink};
use crate::sse::SseEvent;
use crate::template::Template;
use crate::usage::UsageObject;

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
    length: LengthFields::top(&["n_predict", "max_tokens"]),
    results: no_results,
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
    Ok(backend.json_body(request, body, settings))
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

type Message<'a> = super::message::Message<'a, Choice<'a>>;

#[derive(Debug, serde::Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    finish_reason: Lenient<Reason<'a>>,
    #[serde(default)]
    token_ids: Length,
    #[serde(default)]
    logprobs: Length,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// Where some servers put the usage.
    #[serde(default)]
    usage: Lenient<UsageObject>,
}

impl InMessage for Choice<'_> {
    fn index(&self) -> usize {
        index(self.index)
    }

    fn usage(&self) -> Option<&UsageObject> {
        self.usage.as_ref()
    }

    fn error(&self) -> Option<&RawValue> {
        self.error
    }
}

impl Choice<'_> {
    fn text(&self) -> &str {
        text(self.text.as_ref()).unwrap_or_default()
    }
}

/// The number of a choice, 0 where it has none.
pub(super) fn index(index: Count) -> usize {
    index
        .0
        .filter(|&index| index != u32::MAX)
        .unwrap_or_default() as usize
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Its kind is the number of the choice.
    template: Template<usize>,
}

impl ReplyReader for Reader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        if let Some((choice, text)) = self.template.text(event.data) {
            sink.choice(choice);
            sink.token(EventKind::Text, text);
            return Ok(());
        }
        if is_marker(event, sink) {
            return Ok(());
        }
        let message: Message<'_> = object(event.data)?;
        let choices = message.choices.as_deref().unwrap_or_default();
        // With several choices in a message, the numbers are those of the answer.
        let own = choices.first().filter(|_| choices.len() == 1);
        message.note(own.map(InMessage::index), event.data, sink)?;
        let Some(first) = choices.first() else {
            if message.usage().is_none() && message.metrics.is_none() {
                sink.stray(event.data);
            }
            return Ok(());
        };
        if message.is_progress() && first.text().is_empty() && sink.counting() == Counting::Output {
            return Ok(());
        }
        if let Some(tokens) = first.token_ids.0.or(first.logprobs.0) {
            sink.tokens_in_message(tokens);
        }
        take_choices(choices, event.data, sink);
        let plain = choices.len() == 1
            && first.finish_reason.is_none()
            && first.token_ids.0.or(first.logprobs.0).is_none()
            && message.usage().is_none()
            && message.metrics.is_none();
        if let (true, Some(text)) = (plain, first.text.as_ref().and_then(Text::borrowed)) {
            self.template.learn(event.data, text, index(first.index));
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        let message: Message<'_> = object(body)?;
        message.note(None, body, sink)?;
        for choice in message.choices.iter().flatten() {
            sink.choice(index(choice.index));
            sink.fragment(EventKind::Text, choice.text());
            if let Some(reason) = reason(&choice.finish_reason) {
                sink.finish_because(reason);
            }
        }
        if message.choices.is_none_or(|choices| choices.is_empty()) {
            sink.stray(body);
        }
        Ok(())
    }
}

/// The choices of one message, of which there is at least one: a token event, if any.
fn take_choices(choices: &[Choice<'_>], data: &[u8], sink: &mut Sink<'_>) {
    let mut counted = false;
    for choice in choices.iter().filter(|choice| !choice.text().is_empty()) {
        sink.choice(index(choice.index));
        if counted {
            sink.fragment(EventKind::Text, choice.text());
        } else {
            sink.token(EventKind::Text, choice.text());
        }
        counted = true;
    }
    if !counted {
        let open = choices.iter().find(|choice| choice.finish_reason.is_none());
        sink.choice(index(open.unwrap_or(&choices[0]).index));
        if open.is_some() {
            sink.token(EventKind::Blank, "");
        } else {
            sink.closing(false);
        }
        if let Some(name) = choices[0]
            .text
            .is_none()
            .then(|| unknown_member(data))
            .flatten()
        {
            sink.unknown_output(&name);
        }
    }
    for choice in choices {
        if let Some(reason) = reason(&choice.finish_reason) {
            sink.choice(index(choice.index));
            sink.finish_because(reason);
        }
    }
}
