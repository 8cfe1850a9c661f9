//! `openai-chat`: OpenAI's chat completions API.
//!
//! A token event is a message whose delta has content, reasoning (`reasoning` or
//! `reasoning_content`), a tool call or a function call, or whose content is empty without a role:
//! a token that decodes to nothing. The opening message with the role is not one.

use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers};
use super::body::{Body, BodySettings, add_common, json_body, model, stream_options};
use super::message::{check_error, is_marker, note_extras};
use crate::error::WireError;
use crate::json::{Length, Lenient, Reason, ServerMetrics, Text, UsageObject, reason, text};
use crate::reply::{Fault, ReplyReader, Sink, not_json};
use crate::sse::SseEvent;
use crate::template::Template;

/// The chat completions API.
pub(super) static OPENAI_CHAT: Backend = Backend {
    name: "openai-chat",
    default_endpoint: "/v1/chat/completions",
    suffixes: &["chat/completions"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: true,
    streaming: Streaming::OnRequest,
    body,
    reader: || Box::new(Reader::default()),
    sequences: all_sequences,
    headers: no_headers,
};

fn body(backend: &Backend, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
    let mut body = Map::new();
    body.insert("model".into(), model(request, settings).into());
    body.insert("messages".into(), messages(request, backend)?);
    if let Some(tokens) = request.output_tokens {
        body.insert("max_completion_tokens".into(), tokens.into());
    }
    body.insert("stream".into(), settings.stream.into());
    if settings.stream {
        body.insert("stream_options".into(), stream_options(settings));
    }
    add_common(&mut body, request, settings);
    Ok(json_body(body, settings))
}

/// The messages for `request`: ready ones as they are, anything else as one user message whose
/// content is a list of parts, the text first.
pub(super) fn messages(request: &Request, backend: &Backend) -> Result<Value, WireError> {
    let mut content = match &request.prompt {
        Prompt::Messages(messages) if request.media.is_empty() => {
            return Ok(messages.clone().into());
        }
        Prompt::Messages(_) => {
            return Err(backend.refuse(
                "messages with separate media",
                "put the images into the messages themselves",
            ));
        }
        Prompt::Text(text) => vec![json!({"type": "text", "text": text})],
        Prompt::Parts(parts) => parts.clone(),
        Prompt::Tokens(_) => {
            return Err(backend.refuse(
                "token ids",
                "token ids need a completions backend such as --backend vllm",
            ));
        }
        Prompt::Texts(_) => {
            return Err(backend.refuse(
                "several prompts in one request",
                "batches need a completions or embeddings backend",
            ));
        }
    };
    content.extend(request.media.iter().cloned());
    Ok(json!([{"role": "user", "content": content}]))
}

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
    delta: Option<Delta<'a>>,
    /// In place of `delta` in an answer that is not streamed.
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Lenient<Reason<'a>>,
    #[serde(default)]
    token_ids: Length,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    role: Lenient<Text<'a>>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct ToolCall<'a> {
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

impl<'a> Choice<'a> {
    fn delta(&self) -> Option<&Delta<'a>> {
        self.delta.as_ref().or(self.message.as_ref())
    }
}

impl Delta<'_> {
    fn reasoning(&self) -> Option<&Text<'_>> {
        let filled = |text: &&Text<'_>| !text.0.is_empty();
        self.reasoning
            .as_ref()
            .filter(filled)
            .or(self.reasoning_content.as_ref().filter(filled))
    }

    /// Everything in it that is output, in the order in which servers produce it.
    fn output(&self, mut each: impl FnMut(EventKind, &str)) {
        if let Some(reasoning) = self.reasoning() {
            each(EventKind::Reasoning, &reasoning.0);
        }
        if let Some(content) = text(self.content.as_ref()).filter(|text| !text.is_empty()) {
            each(EventKind::Text, content);
        }
        let calls = self
            .tool_calls
            .iter()
            .flatten()
            .map(|call| call.function.as_ref());
        for function in calls.chain(self.function_call.as_ref().map(Some)) {
            each(
                EventKind::ToolCall,
                function
                    .and_then(|f| text(f.name.as_ref()))
                    .unwrap_or_default(),
            );
            let arguments = function
                .and_then(|f| text(f.arguments.as_ref()))
                .unwrap_or_default();
            if !arguments.is_empty() {
                each(EventKind::ToolCall, arguments);
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    template: Template<EventKind>,
}

impl ReplyReader for Reader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        if let Some((kind, text)) = self.template.text(event.data) {
            sink.token(kind, text);
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
        if let Some(tokens) = choices.first().and_then(|choice| choice.token_ids.0) {
            sink.tokens_in_message(tokens);
        }
        let mut counted = false;
        for choice in choices {
            if let Some(reason) = reason(&choice.finish_reason) {
                sink.finish(reason);
            }
            let Some(delta) = choice.delta() else {
                continue;
            };
            delta.output(|kind, text| {
                if counted {
                    sink.fragment(kind, text);
                } else {
                    sink.token(kind, text);
                }
                counted = true;
            });
            let blank = delta.role.is_none() && text(delta.content.as_ref()) == Some("");
            if blank && !counted {
                sink.token(EventKind::Blank, "");
                counted = true;
            }
        }
        if let Some((kind, text)) = plain_text(&message) {
            self.template.learn(event.data, text, kind);
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
            if let Some(message) = choice.delta() {
                message.output(|kind, text| sink.fragment(kind, text));
            }
            if let Some(reason) = reason(&choice.finish_reason) {
                sink.finish(reason);
            }
        }
        Ok(())
    }
}

/// The text of a message that carries one fragment of text and nothing else.
fn plain_text<'a>(message: &'a Message<'_>) -> Option<(EventKind, &'a str)> {
    let [choice] = message.choices.as_deref()? else {
        return None;
    };
    let delta = choice.delta()?;
    let nothing_else = message.usage.is_none()
        && message.metrics.is_none()
        && choice.finish_reason.is_none()
        && choice.token_ids.0.is_none()
        && delta.tool_calls.as_ref().is_none_or(Vec::is_empty)
        && delta.function_call.is_none();
    if !nothing_else {
        return None;
    }
    let filled = |text: &&Text<'_>| !text.0.is_empty();
    match (delta.reasoning(), delta.content.as_ref().filter(filled)) {
        (Some(reasoning), None)
            if delta.reasoning.is_none() || delta.reasoning_content.is_none() =>
        {
            Some((EventKind::Reasoning, reasoning.borrowed()?))
        }
        (None, Some(content)) => Some((EventKind::Text, content.borrowed()?)),
        _ => None,
    }
}
