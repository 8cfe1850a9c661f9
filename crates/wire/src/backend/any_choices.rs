//! Choices in either of OpenAI's two forms, for APIs whose servers differ in it.

use inferometer_core::EventKind;
use serde_json::value::RawValue;

use super::{chat, completions};
use crate::json::Text;
use crate::reply::{Fault, ReplyReader, Sink, not_json};
use crate::sse::SseEvent;

/// Reads choices with either `text` or a chat `delta`, for APIs whose servers differ in it.
#[derive(Debug, Default)]
pub(super) struct AnyChoices {
    text: completions::Reader,
    chat: chat::Reader,
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
        // Everything else is in the same place in either form; other fields are ignored.
        self.reader(body).body(body, sink)
    }
}

#[derive(Debug, serde::Deserialize)]
struct Bare<'a> {
    #[serde(borrow, default)]
    text: BareText<'a>,
}

/// A text, or several; anything else is ignored.
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
