//! Conversations as files record them: `from` and `value` as in ShareGPT, or `role` and `content` as
//! in OpenAI's messages, in lists of several names.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A row: a conversation, whatever its list is called, and the image or video of its first turn.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Row {
    #[serde(default)]
    conversations: Option<Vec<Turn>>,
    #[serde(default)]
    conversation: Option<Vec<Turn>>,
    #[serde(default)]
    messages: Option<Vec<Turn>>,
    #[serde(default)]
    pub(super) image: Option<Value>,
    #[serde(default)]
    pub(super) video: Option<Value>,
}

/// The names of the lists, for messages.
pub(super) const LISTS: &str = "`conversations`, `conversation` or `messages`";

impl Row {
    /// The turns: the first list that is not empty.
    pub(super) fn take_turns(&mut self) -> Vec<Turn> {
        [
            self.conversations.take(),
            self.conversation.take(),
            self.messages.take(),
        ]
        .into_iter()
        .flatten()
        .find(|list| !list.is_empty())
        .unwrap_or_default()
    }
}

/// One turn.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Turn {
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    value: Option<Text>,
    #[serde(default)]
    content: Option<Text>,
}

impl Turn {
    /// Who speaks; empty if the turn does not say.
    pub(super) fn speaker(&self) -> &str {
        self.from
            .as_deref()
            .or(self.role.as_deref())
            .unwrap_or_default()
    }

    /// True for instructions in the form of OpenAI's messages. In ShareGPT's own form vLLM's
    /// benchmark takes them for a prompt.
    pub(super) fn is_instruction(&self) -> bool {
        self.value.is_none() && matches!(self.speaker(), "system" | "developer")
    }

    /// What is said; `None` where the turn has no text.
    pub(super) fn into_text(self) -> Option<String> {
        self.value
            .and_then(|text| text.0)
            .or_else(|| self.content.and_then(|text| text.0))
    }
}

/// A text, or a list of content parts whose texts are joined by line ends, as servers join them.
#[derive(Debug, Default)]
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of content parts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text(Some(text)))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text, A::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Part {
            Plain(String),
            Object {
                #[serde(default)]
                text: Option<String>,
            },
            Other(IgnoredAny),
        }
        let mut texts = Vec::new();
        while let Some(part) = parts.next_element::<Part>()? {
            match part {
                Part::Plain(text) => texts.push(text),
                Part::Object { text } => texts.extend(text),
                Part::Other(IgnoredAny) => {}
            }
        }
        Ok(Text((!texts.is_empty()).then(|| texts.join("\n"))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Text, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_gives_the_same_turns() {
        let expected = [
            ("user", Some("a".to_owned())),
            ("assistant", Some("b".to_owned())),
        ];
        for text in [
            r#"{"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]}"#,
            r#"{"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
            r#"{"conversations": [{"role": "user", "value": "a"}, {"role": "assistant", "value": "b"}]}"#,
            r#"{"conversation": [{"from": "user", "content": "a"}, {"from": "assistant", "content": "b"}]}"#,
            r#"{"conversations": null, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "x"}}]}, {"role": "assistant", "content": ["b"]}]}"#,
        ] {
            let mut row: Row = serde_json::from_str(text).unwrap();
            let turns: Vec<_> = row
                .take_turns()
                .into_iter()
                .map(|turn| (turn.speaker().to_owned(), turn.into_text()))
                .collect();
            let turns: Vec<_> = turns
                .iter()
                .map(|(speaker, text)| (speaker.as_str(), text.clone()))
                .collect();
            assert_eq!(turns, expected, "{text}");
        }
    }

    #[test]
    fn turns_without_text_have_none() {
        for content in [
            "null",
            "[]",
            r#"{"x": {"y": 1}}"#,
            r#"[{"image_url": {"url": "x"}}, 3]"#,
        ] {
            let row = format!(r#"{{"messages": [{{"role": "user", "content": {content}}}]}}"#);
            let mut row: Row = serde_json::from_str(&row).unwrap();
            let first = row.take_turns().remove(0);
            assert_eq!(first.into_text(), None, "{content}");
        }
    }
}
