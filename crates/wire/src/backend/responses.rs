//! `openai-responses`: OpenAI's responses API, whose events have names of their own.

use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers, no_results};
use super::body::{Body, BodySettings, LengthFields, add_common, model};
use super::message::{check_error, is_marker, object};
use crate::calls::Arguments;
use crate::error::WireError;
use crate::json::{Lenient, Reason, Text, reason, text};
use crate::progress::Counting;
use crate::reply::{Fault, ReplyReader, Sink, not_json};
use crate::sse::SseEvent;
use crate::template::Template;
use crate::usage::UsageObject;

/// The responses API.
pub(super) static OPENAI_RESPONSES: Backend = Backend {
    name: "openai-responses",
    default_endpoint: "/v1/responses",
    suffixes: &["responses"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: true,
    streaming: Streaming::OnRequest,
    length: LengthFields::top(&["max_output_tokens"]),
    results: no_results,
    body,
    reader: || {
        Box::new(Reader {
            template: Template::new(),
            streamed: [false; 4],
            whole: false,
        })
    },
    sequences: all_sequences,
    headers: no_headers,
};

fn body(backend: &Backend, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
    let remedy = "use --backend openai-chat or a dataset of plain text";
    backend.refuse_media(request, remedy)?;
    let refuse = |what| backend.refuse(what, remedy);
    let input: Value = match &request.prompt {
        Prompt::Text(text) => text.as_str().into(),
        Prompt::Messages(messages) => messages.clone().into(),
        Prompt::Tokens(_) => return Err(refuse("token ids")),
        Prompt::Texts(_) => return Err(refuse("several prompts in one request")),
        Prompt::Parts(_) => return Err(refuse("content parts")),
    };
    let mut body = Map::new();
    body.insert("model".into(), model(request, settings).into());
    body.insert("input".into(), input);
    if let Some(tokens) = request.output_tokens {
        body.insert("max_output_tokens".into(), tokens.into());
    }
    body.insert("stream".into(), settings.stream.into());
    body.insert("store".into(), false.into());
    add_common(&mut body, request, settings);
    Ok(backend.json_body(request, body, settings))
}

#[derive(Debug, serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// The whole text of an output, in the event that ends it; and so are those that follow, each for
    /// another kind of output.
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    transcript: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// The whole text of an output.
    fn whole(&self) -> Option<&'a RawValue> {
        let all = [
            self.text,
            self.refusal,
            self.arguments,
            self.input,
            self.code,
            self.transcript,
        ];
        all.into_iter().flatten().next()
    }
}

/// A response object, at the end of a stream or as a whole answer.
#[derive(Debug, serde::Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    status: Lenient<Text<'a>>,
    #[serde(default)]
    usage: Lenient<UsageObject>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    incomplete_details: Lenient<Incomplete<'a>>,
    #[serde(borrow, default)]
    output: Option<Vec<Item<'a>>>,
}

/// An item of output: a message, reasoning, or a call.
#[derive(Debug, serde::Deserialize)]
struct Item<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Lenient<Text<'a>>,
    #[serde(borrow, default)]
    content: Option<Vec<Part<'a>>>,
    #[serde(borrow, default)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Debug, serde::Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Lenient<Text<'a>>,
    #[serde(borrow, default)]
    transcript: Lenient<Text<'a>>,
}

#[derive(Debug, serde::Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow, default)]
    reason: Lenient<Reason<'a>>,
}

#[derive(Debug)]
struct Reader {
    template: Template<EventKind>,
    /// The kinds of output, by their numbers, that came in deltas: what ends them repeats it.
    streamed: [bool; 4],
    /// Some output came as a whole: what the usage has beyond the events is its tokens.
    whole: bool,
}

impl Reader {
    /// An event that ends an output. Some servers send the text here only.
    fn ended(&mut self, message: &Message<'_>, part: EventKind, sink: &mut Sink<'_>) {
        let Some(raw) = message.whole().filter(|_| !self.streamed[part as usize]) else {
            return;
        };
        let text = Arguments::of_raw(raw.get()).map_or(Text::default(), |text| text.0);
        if !text.0.is_empty() {
            self.whole = true;
            sink.token(part, &text.0);
        }
    }

    /// The event that ends the answer.
    fn last(
        &mut self,
        kind: &str,
        message: &Message<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Fault> {
        let before = sink.has_content();
        if let Some(raw) = message.response {
            let streamed = sink.counting() == Counting::Output;
            take_response(raw.get().as_bytes(), streamed, sink)?;
        }
        self.whole |= !before && sink.has_content();
        if kind == "response.completed" && sink.counting() == Counting::Output && !self.whole {
            // The only sign of an end-of-text token.
            sink.closing(true);
        }
        sink.done();
        Ok(())
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
        let data = event.data.trim_ascii();
        let message: Message<'_> = object(data)?;
        let kind = text(message.kind.as_ref()).unwrap_or_default();
        let whole = message.response.map_or(data, |raw| raw.get().as_bytes());
        check_error(
            message.error,
            matches!(kind, "error" | "response.failed"),
            whole,
        )?;
        if matches!(
            kind,
            "response.completed" | "response.incomplete" | "response.cancelled"
        ) {
            return self.last(kind, &message, sink);
        }
        if kind.is_empty() {
            sink.stray(data);
            return Ok(());
        }
        let Some(part) = Delta::of(kind, sink.counting()) else {
            if let (Some(name), Counting::Output) = (kind.strip_suffix(".done"), sink.counting())
                && let Delta::Text(part) = Delta::named(name)
            {
                self.ended(&message, part, sink);
            }
            return Ok(());
        };
        let delta = message.delta.map_or("\"\"", RawValue::get);
        let Delta::Text(part) = part else {
            sink.media(false);
            return Ok(());
        };
        let fragment = if part == EventKind::ToolCall && kind.contains("call") {
            Arguments::of_raw(delta).map(|arguments| arguments.0)
        } else {
            Text::of_raw(delta)
        };
        let fragment = match fragment {
            Ok(fragment) => fragment,
            Err(error) => return unreadable(kind, delta, &error, sink),
        };
        self.streamed[part as usize] = true;
        sink.token(
            if fragment.0.is_empty() {
                EventKind::Blank
            } else {
                part
            },
            &fragment.0,
        );
        if let Some(text) = fragment.borrowed().filter(|text| !text.is_empty()) {
            self.template.learn(event.data, text, part);
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        take_response(body, false, sink)
    }
}

/// What an event's `delta` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delta {
    Text(EventKind),
    /// Audio or part of an image.
    Media,
}

impl Delta {
    /// That of the events of this type; `None` for events that are no output.
    fn of(kind: &str, counting: Counting) -> Option<Self> {
        let (name, is_delta) = match kind.strip_suffix(".delta") {
            Some(name) => (name, true),
            None => (kind, false),
        };
        // vLLM's client counts these two only.
        let counted = matches!(name, "response.output_text" | "response.reasoning_text");
        if counting != Counting::Output && !(counted && is_delta) {
            return None;
        }
        let has = |part: &str| name.contains(part);
        if has("image") && has("partial") {
            return Some(Self::Media);
        }
        if !is_delta {
            return None;
        }
        Some(Self::named(name))
    }

    /// That of an output of this name, in events that bring it or end it.
    fn named(name: &str) -> Self {
        let has = |part: &str| name.contains(part);
        if has("reasoning") {
            Self::Text(EventKind::Reasoning)
        } else if has("text") || has("refusal") || has("transcript") {
            Self::Text(EventKind::Text)
        } else if has("audio") {
            Self::Media
        } else {
            // Arguments of calls, code, input of tools.
            Self::Text(EventKind::ToolCall)
        }
    }
}

/// A delta that is no text: malformed where a text is due, else named if the answer stays empty.
fn unreadable(
    kind: &str,
    delta: &str,
    error: &serde_json::Error,
    sink: &mut Sink<'_>,
) -> Result<(), Fault> {
    if matches!(
        kind,
        "response.output_text.delta" | "response.reasoning_text.delta"
    ) {
        return Err(not_json(delta.as_bytes(), error));
    }
    sink.unknown_output(kind);
    Ok(())
}

/// Usage, status and, where none came before, output of a response object. At the end of a stream it is
/// a token event.
fn take_response(raw: &[u8], streamed: bool, sink: &mut Sink<'_>) -> Result<(), Fault> {
    let response: Response<'_> = object(raw)?;
    let has_failed = text(response.status.as_ref()) == Some("failed");
    check_error(response.error, has_failed, raw)?;
    if let Some(usage) = response.usage.as_ref() {
        sink.usage(usage.usage());
    }
    let why = response
        .incomplete_details
        .as_ref()
        .and_then(|details| reason(&details.reason));
    match why {
        Some(why) => sink.finish_because(why),
        None => sink.finish(text(response.status.as_ref()).unwrap_or("completed")),
    }
    if sink.has_content() {
        // The output repeats what came.
        return Ok(());
    }
    let mut put = |kind, text: &str| {
        if streamed {
            sink.piece(kind, text);
        } else {
            sink.fragment(kind, text);
        }
    };
    for item in response.output.iter().flatten() {
        let is_reasoning = text(item.kind.as_ref()) == Some("reasoning");
        let kind = if is_reasoning {
            EventKind::Reasoning
        } else {
            EventKind::Text
        };
        for part in item.content.iter().flatten() {
            for text in [
                part.text.as_ref(),
                part.refusal.as_ref(),
                part.transcript.as_ref(),
            ] {
                put(kind, text.map_or("", |text| &text.0));
            }
        }
        if let Some(arguments) = &item.arguments {
            put(EventKind::ToolCall, &arguments.0.0);
        }
    }
    Ok(())
}
