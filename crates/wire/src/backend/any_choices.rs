//! Choices in either of OpenAI's two forms, for APIs whose servers differ in it.

use inferometer_core::EventKind;
use serde_json::value::RawValue;

use super::message::object;
use super::{chat, completions};
use crate::json::{Lenient, Text, text};
use crate::reply::{Fault, ReplyReader, Sink};
use crate::sse::SseEvent;
use crate::usage::UsageObject;

/// Reads choices with either `text` or a chat `delta`, for APIs whose servers differ in it.
#[derive(Debug, Default)]
pub(super) struct AnyChoices {
    text: completions::Reader,
    chat: chat::Reader,
    /// A transcript came in deltas, which its segments repeat.
    by_delta: bool,
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
        if memchr::memmem::find(event.data, b"\"transcript.text.").is_some() {
            return self.transcript(event.data, sink);
        }
        self.reader(event.data).event(event, sink)
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        // Transcriptions, and old versions of DeepSpeed-MII, have their text outside of any choice.
        let bare: Bare<'_> = object(body)?;
        for text in bare.text.0.iter().flatten() {
            sink.fragment(EventKind::Text, &text.0);
        }
        // Everything else is in the same place in either form; other fields are ignored.
        self.reader(body).body(body, sink)?;
        if bare.text.0.is_some() {
            // Silence has an empty text, beside the language and the duration.
            sink.not_stray();
        }
        Ok(())
    }
}

/// An event of OpenAI's own streamed transcriptions, which have no choices.
#[derive(Debug, serde::Deserialize)]
struct Transcript<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    delta: Lenient<Text<'a>>,
    /// That of a segment, or the whole one.
    #[serde(borrow, default)]
    text: Lenient<Text<'a>>,
    #[serde(default)]
    usage: Lenient<UsageObject>,
}

impl AnyChoices {
    fn transcript(&mut self, data: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        let event: Transcript<'_> = object(data)?;
        if let Some(usage) = event.usage.as_ref() {
            sink.usage(usage.usage());
        }
        let whole = text(event.text.as_ref()).unwrap_or_default();
        match &*event.kind.0 {
            "transcript.text.delta" => {
                self.by_delta = true;
                match text(event.delta.as_ref()).unwrap_or_default() {
                    "" => sink.token(EventKind::Blank, ""),
                    text => sink.token(EventKind::Text, text),
                }
            }
            "transcript.text.segment" if !self.by_delta && !whole.is_empty() => {
                sink.token(EventKind::Text, whole);
            }
            "transcript.text.done" => {
                // Some servers send the text here only; after others it is a repetition.
                if !sink.has_content() && !whole.is_empty() {
                    sink.token(EventKind::Text, whole);
                }
                sink.finish("completed");
                sink.done();
            }
            _ => {}
        }
        Ok(())
    }
}

#[derive(Debug, serde::Deserialize)]
struct Bare<'a> {
    #[serde(borrow, default)]
    text: BareText<'a>,
}

/// A text, or several; `None` for anything else.
#[derive(Debug, Default)]
struct BareText<'a>(Option<Vec<Text<'a>>>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for BareText<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let texts = if raw.starts_with('[') {
            serde_json::from_str(raw)
        } else {
            serde_json::from_str(raw).map(|text| vec![text])
        };
        Ok(Self(texts.ok()))
    }
}
