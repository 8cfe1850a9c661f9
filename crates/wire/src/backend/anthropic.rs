//! `anthropic`: the messages API, whose stream has named events and reports usage in two parts.

use http::{HeaderMap, HeaderValue};
use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{Backend, BackendKind, Streaming, all_sequences, no_results};
use super::body::{Body, BodySettings, LengthFields, add_common, model};
use super::message::{check_error, is_marker, object};
use crate::calls::Arguments;
use crate::error::WireError;
use crate::json::{Lenient, Reason, Text, reason, text};
use crate::progress::Counting;
use crate::reply::{Fault, ReplyReader, Sink};
use crate::sse::SseEvent;
use crate::template::Template;
use crate::usage::{CumulativeUsage, UsageObject};

/// The version of the API that is spoken.
const VERSION: &str = "2023-06-01";
/// The API requires a limit; this one is sent where the dataset has none.
const DEFAULT_TOKENS: u32 = 1_024;

/// The messages API.
pub(super) static ANTHROPIC: Backend = Backend {
    name: "anthropic",
    default_endpoint: "/v1/messages",
    suffixes: &["messages"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: true,
    streaming: Streaming::OnRequest,
    length: LengthFields::top(&["max_tokens"]),
    results: no_results,
    body,
    reader: || Box::new(Reader::default()),
    sequences: all_sequences,
    headers,
};

fn body(backend: &Backend, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
    let remedy = "use a dataset of plain text";
    backend.refuse_media(request, remedy)?;
    let refuse = |what| backend.refuse(what, remedy);
    let user = |content: Value| serde_json::json!([{"role": "user", "content": content}]);
    let messages = match &request.prompt {
        Prompt::Text(text) => user(text.as_str().into()),
        Prompt::Parts(parts) => user(parts.clone().into()),
        Prompt::Messages(messages) => messages.clone().into(),
        Prompt::Tokens(_) => return Err(refuse("token ids")),
        Prompt::Texts(_) => return Err(refuse("several prompts in one request")),
    };
    let mut body = Map::new();
    body.insert("model".into(), model(request, settings).into());
    body.insert("messages".into(), messages);
    body.insert(
        "max_tokens".into(),
        request.output_tokens.unwrap_or(DEFAULT_TOKENS).into(),
    );
    body.insert("stream".into(), settings.stream.into());
    add_common(&mut body, request, settings);
    Ok(backend.json_body(request, body, settings))
}

fn headers(headers: &mut HeaderMap, api_key: Option<&str>) {
    headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
    // Self-hosted servers read `authorization`, Anthropic's own API reads this.
    if let Some(Ok(mut key)) = api_key.map(HeaderValue::from_str) {
        key.set_sensitive(true);
        headers.insert("x-api-key", key);
    }
}

#[derive(Debug, serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    content_block: Lenient<Part<'a>>,
    #[serde(borrow, default)]
    message: Option<Whole<'a>>,
    #[serde(default)]
    usage: Lenient<UsageObject>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Lenient<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Arguments<'a>>,
    #[serde(borrow)]
    stop_reason: Lenient<Reason<'a>>,
}

/// A message object: at the start of a stream, or as a whole answer.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Whole<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    usage: Lenient<UsageObject>,
    #[serde(borrow)]
    content: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    stop_reason: Lenient<Reason<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Lenient<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

impl Part<'_> {
    /// True for reasoning that is encrypted as a whole.
    fn is_redacted(&self) -> bool {
        text(self.kind.as_ref()) == Some("redacted_thinking")
    }

    fn is_thinking(&self) -> bool {
        text(self.kind.as_ref()) == Some("thinking")
    }

    /// What it holds itself, in the order in which servers produce it.
    fn output(&self, mut each: impl FnMut(EventKind, &str)) {
        // A call without arguments so far.
        let input = self.input.map(RawValue::get).filter(|&input| input != "{}");
        for (kind, found) in [
            (EventKind::Reasoning, text(self.thinking.as_ref())),
            (EventKind::Text, text(self.text.as_ref())),
            (EventKind::ToolCall, input),
        ] {
            if let Some(found) = found.filter(|found| !found.is_empty()) {
                each(kind, found);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Reader {
    template: Template<EventKind>,
    known: CumulativeUsage,
    /// The number of token events before the block of reasoning that is open.
    thinking_from: Option<usize>,
}

impl Reader {
    /// The start of a block. Most are empty; what one holds is output.
    fn start(&mut self, block: &Part<'_>, sink: &mut Sink<'_>) {
        self.thinking_from = block.is_thinking().then(|| sink.record().events.len());
        if block.is_redacted() {
            sink.withhold();
        }
        if sink.counting() == Counting::Output {
            let mut counted = false;
            block.output(|kind, text| {
                if counted {
                    sink.fragment(kind, text);
                } else {
                    sink.token(kind, text);
                }
                counted = true;
            });
        }
    }

    /// The end of a block. Reasoning without any text is kept back: only its signature came.
    fn stop(&mut self, sink: &mut Sink<'_>) {
        let from = self.thinking_from.take();
        if from.is_some_and(|from| sink.record().events.len() == from) {
            sink.withhold();
        }
    }

    fn delta(&mut self, data: &[u8], delta: &Delta<'_>, sink: &mut Sink<'_>) {
        let input = delta.partial_json.as_ref().map(|input| &input.0);
        let found = [
            (EventKind::Text, delta.text.as_ref()),
            (EventKind::Reasoning, delta.thinking.as_ref()),
            (EventKind::ToolCall, input),
        ];
        let Some((kind, Some(fragment))) = found.into_iter().find(|(_, text)| text.is_some())
        else {
            // Signatures and citations carry no tokens of the answer.
            if let Some(kind) = text(delta.kind.as_ref()) {
                sink.unknown_output(kind);
            }
            return;
        };
        sink.token(
            if fragment.0.is_empty() {
                EventKind::Blank
            } else {
                kind
            },
            &fragment.0,
        );
        if let Some(text) = fragment.borrowed().filter(|text| !text.is_empty()) {
            self.template.learn(data, text, kind);
        }
    }
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
        let data = event.data;
        let message: Message<'_> = object(data)?;
        let kind = text(message.kind.as_ref()).unwrap_or_default();
        check_error(message.error, kind == "error", data)?;
        match kind {
            "message_start" => {
                if let Some(usage) = message.message.as_ref().and_then(|whole| whole.usage.0) {
                    sink.usage(usage.opening_usage(&mut self.known));
                }
            }
            "content_block_start" => {
                if let Some(block) = message.content_block.as_ref() {
                    self.start(block, sink);
                }
            }
            "content_block_stop" => self.stop(sink),
            "content_block_delta" => {
                if let Some(delta) = &message.delta {
                    self.delta(data, delta, sink);
                }
            }
            "message_delta" => {
                if let Some(usage) = message.usage.as_ref() {
                    sink.usage(usage.cumulative_usage(&mut self.known));
                }
                if let Some(reason) = message
                    .delta
                    .as_ref()
                    .and_then(|delta| reason(&delta.stop_reason))
                {
                    if reason.kind == "end_turn" && sink.counting() == Counting::Output {
                        // The only sign of an end-of-text token.
                        sink.closing(true);
                    }
                    sink.finish_because(reason);
                }
            }
            "message_stop" => sink.done(),
            "" => sink.stray(data),
            _ => {}
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        let whole: Whole<'_> = object(body)?;
        let is_error = text(whole.kind.as_ref()) == Some("error");
        check_error(whole.error, is_error, body)?;
        if let Some(usage) = whole.usage.as_ref() {
            sink.usage(usage.cumulative_usage(&mut self.known));
        }
        for part in whole.content.iter().flatten() {
            let thinks =
                part.is_thinking() && text(part.thinking.as_ref()).is_none_or(str::is_empty);
            if part.is_redacted() || thinks {
                sink.withhold();
            }
            sink.fragment(
                EventKind::Reasoning,
                text(part.thinking.as_ref()).unwrap_or_default(),
            );
            sink.fragment(
                EventKind::Text,
                text(part.text.as_ref()).unwrap_or_default(),
            );
            if let Some(input) = part.input {
                sink.fragment(EventKind::ToolCall, input.get());
            }
        }
        if let Some(reason) = reason(&whole.stop_reason) {
            sink.finish_because(reason);
        }
        if whole.content.is_none() {
            sink.stray(body);
        }
        Ok(())
    }
}
