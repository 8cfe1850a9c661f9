//! The content of a chat message.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::Text;

/// The content of a message: a text, or (as Mistral's API sends it) parts, of which some are
/// reasoning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content<'a> {
    /// The text; that of all parts.
    pub(crate) text: Text<'a>,
    /// The reasoning of all parts.
    pub(crate) reasoning: String,
    /// There are parts of another kind, such as images or audio.
    pub(crate) media: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        if !raw.starts_with(['[', '{']) {
            let text = Text::of_raw(raw).map_err(D::Error::custom)?;
            return Ok(Self {
                text,
                ..Self::default()
            });
        }
        let value: Value = serde_json::from_str(raw).map_err(D::Error::custom)?;
        let mut parts = Parts::default();
        parts.add(&value, false);
        Ok(Self {
            text: Text(Cow::Owned(parts.text)),
            reasoning: parts.reasoning,
            media: parts.media,
        })
    }
}

/// What is in a list of content parts.
#[derive(Default)]
struct Parts {
    text: String,
    reasoning: String,
    media: bool,
}

impl Parts {
    /// Adds a part, or several: a part has its text under `text`, or under the name of its type
    /// (`thinking`), as a text or as parts again.
    fn add(&mut self, value: &Value, is_reasoning: bool) {
        match value {
            Value::String(text) if is_reasoning => self.reasoning.push_str(text),
            Value::String(text) => self.text.push_str(text),
            Value::Array(items) => items.iter().for_each(|item| self.add(item, is_reasoning)),
            Value::Object(members) => {
                let kind = members
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or("text");
                let thinks = kind.contains("thinking") || kind.contains("reasoning");
                let inner = [
                    "text",
                    "thinking",
                    "reasoning",
                    "refusal",
                    "summary",
                    "transcript",
                ]
                .iter()
                .find_map(|&name| members.get(name).filter(|inner| !inner.is_null()));
                match inner {
                    Some(inner) => self.add(inner, is_reasoning || thinks),
                    None => self.media |= members.len() > 1 && !thinks,
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
        serde_json::from_str(json)
    }

    #[test]
    fn content_is_a_text_or_parts() {
        let parts = |json: &str| {
            let content = read::<Content<'_>>(json).unwrap();
            (
                content.text.0.into_owned(),
                content.reasoning,
                content.media,
            )
        };
        let found =
            |text: &str, reasoning: &str, media| (text.to_owned(), reasoning.to_owned(), media);
        assert_eq!(parts(r#""ab""#), found("ab", "", false));
        assert_eq!(
            parts(
                r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"},"b"]"#
            ),
            found("ab", "hm", false)
        );
        assert_eq!(
            parts(r#"[{"type":"image_url","image_url":{"url":"data:x"}}]"#),
            found("", "", true)
        );
        assert_eq!(parts("[]"), found("", "", false));
        assert!(read::<Content<'_>>("7").is_err());
    }
}
