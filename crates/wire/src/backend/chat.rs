//! `openai-chat`: OpenAI's chat completions API.
//!
//! A token event is a message whose delta has content (text, or a list of parts), a refusal,
//! reasoning (`reasoning`, `reasoning_content` and other names), a tool call, a function call, audio
//! or images. The opening message with the role is not one. A message with empty content and no role (a
//! token that decodes to nothing), or a closing one without output, is one only if the usage holds more
//! tokens than the other events carry.

use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers, no_results};
use super::body::{Body, BodySettings, LengthFields, add_common, model, stream_options};
use super::completions::index;
use super::message::{InMessage, is_marker, object, unknown_member};
use crate::calls::{Calls, Function};
use crate::content::Content;
use crate::error::WireError;
use crate::json::{Count, Length, Lenient, Reason, Text, reason, text};
use crate::progress::Counting;
use crate::reply::{Fault, ReplyReader, Sink};
use crate::sse::SseEvent;
use crate::template::Template;
use crate::usage::UsageObject;

/// The chat completions API.
pub(super) static OPENAI_CHAT: Backend = Backend {
    name: "openai-chat",
    default_endpoint: "/v1/chat/completions",
    suffixes: &["chat/completions"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: true,
    streaming: Streaming::OnRequest,
    length: LengthFields::top(&["max_tokens", "max_completion_tokens"]),
    results: no_results,
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
    Ok(backend.json_body(request, body, settings))
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

type Message<'a> = super::message::Message<'a, Choice<'a>>;

#[derive(Debug, serde::Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    /// In place of `delta` in an answer that is not streamed.
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Lenient<Reason<'a>>,
    #[serde(default)]
    token_ids: Length,
    /// OpenRouter's: the provider failed while it generated this choice.
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// Where Moonshot's API puts the usage.
    #[serde(default)]
    usage: Lenient<UsageObject>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    role: Lenient<Text<'a>>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    reasoning: Option<Content<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Content<'a>>,
    /// GitHub Copilot's.
    #[serde(borrow)]
    reasoning_text: Lenient<Content<'a>>,
    #[serde(borrow)]
    thinking: Lenient<Content<'a>>,
    /// OpenRouter's, beside `reasoning` or (where it is encrypted) instead of it.
    #[serde(borrow)]
    reasoning_details: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Lenient<Text<'a>>,
    #[serde(borrow)]
    audio: Lenient<Audio<'a>>,
    images: Length,
    #[serde(borrow)]
    tool_calls: Option<Calls<'a>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    transcript: Lenient<Text<'a>>,
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

impl<'a> Choice<'a> {
    /// What the choice brings. `by_delta`: earlier messages had deltas. A `message` then repeats the
    /// whole answer, as at the end of MiniMax's streams.
    fn delta(&self, by_delta: bool) -> Option<&Delta<'a>> {
        let whole = self.message.as_ref().filter(|_| !by_delta);
        self.delta.as_ref().or(whole)
    }
}

impl<'a> Delta<'a> {
    /// The text of the reasoning, where its member holds it as a text.
    fn reasoning(&self) -> Option<&Text<'a>> {
        self.reasoning_members()
            .map(|content| &content.text)
            .find(|text| !text.0.is_empty())
    }

    fn reasoning_members(&self) -> impl Iterator<Item = &Content<'a>> {
        [
            self.reasoning.as_ref(),
            self.reasoning_content.as_ref(),
            self.reasoning_text.as_ref(),
            self.thinking.as_ref(),
        ]
        .into_iter()
        .flatten()
    }

    /// The answer's text, where it has any.
    fn text(&self) -> Option<&Text<'a>> {
        let text = self.content.as_ref().map(|content| &content.text);
        text.filter(|text| !text.0.is_empty())
    }

    /// True for content that is there and empty.
    fn is_blank(&self) -> bool {
        self.content.as_ref().is_some_and(|content| {
            content.text.0.is_empty() && content.reasoning.is_empty() && !content.media
        })
    }

    /// Everything in it that is output, in the order in which servers produce it; audio and images
    /// are [`EventKind::Blank`].
    fn output(&self, mut each: impl FnMut(EventKind, &str)) {
        let mut filled = |kind, text: &str| {
            if !text.is_empty() {
                each(kind, text);
            }
        };
        if let Some(reasoning) = self.reasoning() {
            filled(EventKind::Reasoning, &reasoning.0);
        } else if let Some(parts) = self.reasoning_members().find(|x| !x.reasoning.is_empty()) {
            filled(EventKind::Reasoning, &parts.reasoning);
        } else if let Some(details) = self.reasoning_details {
            let details = serde_json::from_str::<Content<'_>>(details.get()).unwrap_or_default();
            filled(EventKind::Reasoning, &details.text.0);
            filled(EventKind::Reasoning, &details.reasoning);
        }
        if let Some(content) = &self.content {
            filled(EventKind::Reasoning, &content.reasoning);
            filled(EventKind::Text, &content.text.0);
        }
        filled(
            EventKind::Text,
            text(self.refusal.as_ref()).unwrap_or_default(),
        );
        if let Some(audio) = self.audio.as_ref() {
            filled(
                EventKind::Text,
                text(audio.transcript.as_ref()).unwrap_or_default(),
            );
        }
        self.calls(&mut each);
        let sound = self.audio.as_ref().and_then(|audio| audio.data);
        if sound.is_some_and(|data| !matches!(data.get(), "null" | "\"\""))
            || self.images.0.is_some_and(|images| images > 0)
            || self.content.as_ref().is_some_and(|content| content.media)
        {
            each(EventKind::Blank, "");
        }
    }

    fn calls(&self, each: &mut impl FnMut(EventKind, &str)) {
        let calls = self
            .tool_calls
            .iter()
            .flat_map(|calls| &calls.0)
            .map(|call| call.function.as_ref());
        for function in calls.chain(self.function_call.as_ref().map(Some)) {
            each(
                EventKind::ToolCall,
                function
                    .and_then(|f| text(f.name.as_ref()))
                    .unwrap_or_default(),
            );
            let arguments = function
                .and_then(|f| f.arguments.as_ref())
                .map_or("", |arguments| &*arguments.0.0);
            if !arguments.is_empty() {
                each(EventKind::ToolCall, arguments);
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Its kind is that of the text, and the number of the choice.
    template: Template<(EventKind, usize)>,
    /// A message had a delta.
    by_delta: bool,
}

impl ReplyReader for Reader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        if let Some(((kind, choice), text)) = self.template.text(event.data) {
            sink.choice(choice);
            sink.token(kind, text);
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
        if choices.is_empty() && message.usage().is_none() && message.metrics.is_none() {
            sink.stray(event.data);
        }
        if let Some(tokens) = choices.first().and_then(|choice| choice.token_ids.0) {
            sink.tokens_in_message(tokens);
        }
        take_choices(choices, self.by_delta, event.data, sink);
        self.by_delta |= choices.iter().any(|choice| choice.delta.is_some());
        if let Some((kind, text)) = plain_text(&message) {
            self.template.learn(event.data, text, kind);
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        let message: Message<'_> = object(body)?;
        message.note(None, body, sink)?;
        let mut any = false;
        for choice in message.choices.iter().flatten() {
            sink.choice(index(choice.index));
            if let Some(message) = choice.delta(false) {
                message.output(|kind, text| {
                    any = true;
                    if kind == EventKind::Blank {
                        sink.media(true);
                    } else {
                        sink.fragment(kind, text);
                    }
                });
            }
            if let Some(reason) = reason(&choice.finish_reason) {
                sink.finish_because(reason);
            }
        }
        if message.choices.is_none_or(|choices| choices.is_empty()) {
            sink.stray(body);
        } else if !any && let Some(name) = unknown_member(body) {
            sink.unknown_output(&name);
        }
        Ok(())
    }
}

/// The choices of one message: at most one token event.
fn take_choices(choices: &[Choice<'_>], by_delta: bool, data: &[u8], sink: &mut Sink<'_>) {
    let mut counted = false;
    for choice in choices {
        sink.choice(index(choice.index));
        if let Some(delta) = choice.delta(by_delta) {
            delta.output(|kind, text| {
                match (kind, counted) {
                    (EventKind::Blank, counted) => sink.media(counted),
                    (kind, true) => sink.fragment(kind, text),
                    (kind, false) => sink.token(kind, text),
                }
                counted = true;
            });
        }
    }
    if !counted && let Some(choice) = choices.first() {
        counted = take_empty(choice, by_delta, sink);
    }
    // Every answer has an opening message, which is not worth a second look.
    let opens = |choice: &Choice<'_>| {
        choice
            .delta(by_delta)
            .is_some_and(|delta| !delta.role.is_none())
    };
    if !counted
        && !sink.has_unknown_output()
        && !choices.is_empty()
        && !choices.iter().any(opens)
        && let Some(name) = unknown_member(data)
        // The end of an audio stream has its expiry only.
        && name != "audio"
    {
        sink.unknown_output(&name);
    }
    for choice in choices {
        if let Some(reason) = reason(&choice.finish_reason) {
            sink.choice(index(choice.index));
            sink.finish_because(reason);
        }
    }
}

/// A choice without output. True if it is, or may be, a token event.
fn take_empty(choice: &Choice<'_>, by_delta: bool, sink: &mut Sink<'_>) -> bool {
    sink.choice(index(choice.index));
    let delta = choice.delta(by_delta);
    let opens = delta.is_some_and(|delta| !delta.role.is_none());
    let blank = !opens && delta.is_some_and(Delta::is_blank);
    let reason = reason(&choice.finish_reason);
    // With this reason, the model has generated an end-of-text token.
    let is_stop = reason.is_some_and(|reason| reason.kind.eq_ignore_ascii_case("stop"));
    match sink.counting() {
        Counting::VllmEveryChoice => sink.token(EventKind::Blank, ""),
        Counting::Vllm if blank => sink.token(EventKind::Blank, ""),
        Counting::Output if blank && reason.is_none() => sink.token(EventKind::Blank, ""),
        Counting::Output if blank || is_stop => sink.closing(!blank),
        Counting::Vllm | Counting::Output => return false,
    }
    true
}

/// The text of a message that carries one fragment of text and nothing else.
fn plain_text<'a>(message: &'a Message<'_>) -> Option<((EventKind, usize), &'a str)> {
    let [choice] = message.choices.as_deref()? else {
        return None;
    };
    let delta = choice.delta.as_ref()?;
    let nothing_else = message.usage().is_none()
        && message.metrics.is_none()
        && choice.finish_reason.is_none()
        && choice.token_ids.0.is_none()
        && delta
            .tool_calls
            .as_ref()
            .is_none_or(|calls| calls.0.is_empty())
        && delta.function_call.is_none()
        && delta.refusal.is_none()
        && delta.audio.is_none()
        && delta.images.0.is_none();
    if !nothing_else {
        return None;
    }
    let choice = index(choice.index);
    match (delta.reasoning(), delta.text()) {
        (Some(reasoning), None) if delta.reasoning_members().count() == 1 => {
            Some(((EventKind::Reasoning, choice), reasoning.borrowed()?))
        }
        (None, Some(content)) => Some(((EventKind::Text, choice), content.borrowed()?)),
        _ => None,
    }
}
