//! Reads the text of an event without parsing it if the event has the same shape as an earlier one.
//!
//! Successive events of one stream are the same bytes except for the new text. Once an event has
//! been parsed, the bytes before and after its text are kept; a later event with the same bytes
//! before and after must mean the same with another text, because JSON's grammar allows no other
//! reading: the bytes before put the parser inside a string, and the string ends at the first quote
//! that is not escaped. Anything else (escapes, empty text, other bytes around it) is parsed in
//! full.

/// The bytes around the text of an event, and what that text is.
#[derive(Debug)]
pub(crate) struct Template<K> {
    before: Vec<u8>,
    after: Vec<u8>,
    kind: Option<K>,
}

impl<K> Default for Template<K> {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            after: Vec::new(),
            kind: None,
        }
    }
}

impl<K: Copy> Template<K> {
    /// A template that matches nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Remembers the bytes around `text`, which must be part of `data` itself, not a copy.
    pub(crate) fn learn(&mut self, data: &[u8], text: &str, kind: K) {
        let Some(from) = (text.as_ptr() as usize).checked_sub(data.as_ptr() as usize) else {
            return;
        };
        let to = from + text.len();
        if from == 0 || to >= data.len() || data[from - 1] != b'"' || data[to] != b'"' {
            return;
        }
        self.before.clear();
        self.before.extend_from_slice(&data[..from]);
        self.after.clear();
        self.after.extend_from_slice(&data[to..]);
        self.kind = Some(kind);
    }

    /// The text of `data` if it has the remembered shape.
    #[inline]
    pub(crate) fn text<'a>(&self, data: &'a [u8]) -> Option<(K, &'a str)> {
        let kind = self.kind?;
        let rest = data
            .strip_prefix(self.before.as_slice())?
            .strip_suffix(self.after.as_slice())?;
        let plain = rest
            .iter()
            .all(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
        if rest.is_empty() || !plain {
            return None;
        }
        Some((kind, std::str::from_utf8(rest).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::Template;

    #[test]
    fn only_the_same_shape_with_plain_text_matches() {
        let first = br#"{"id":"x","choices":[{"index":0,"text":"Hello","finish_reason":null}]}"#;
        let mut template = Template::new();
        let text = std::str::from_utf8(first)
            .unwrap()
            .split('"')
            .nth(11)
            .unwrap();
        assert_eq!(text, "Hello");
        assert_eq!(template.text(first), None);
        template.learn(first, text, 7);
        assert_eq!(template.text(first), Some((7, "Hello")));
        let other = |text: &str| {
            let event = String::from_utf8(first.to_vec())
                .unwrap()
                .replace("Hello", text);
            template
                .text(event.as_bytes())
                .map(|(_, text)| text.to_owned())
        };
        assert_eq!(other(" wörld 😀").as_deref(), Some(" wörld 😀"));
        for refused in ["", "a\\n", "\",\"x\":\"y", "tab\t"] {
            assert_eq!(other(refused), None);
        }
        assert_eq!(
            template.text(br#"{"id":"x","choices":[{"index":0,"text":"Hello"}]}"#),
            None
        );
    }

    proptest! {
        #[test]
        fn a_match_reads_what_the_parser_reads(parts in proptest::collection::vec("[a-c\"\\\\{}:,é\u{1}]{0,6}", 3)) {
            let first = format!("{{\"a\":\"{}\",\"t\":\"seed\",\"b\":1}}", parts[0].replace(['"', '\\', '\u{1}'], ""));
            let from = first.find("seed").unwrap();
            let mut template = Template::new();
            template.learn(first.as_bytes(), &first[from..from + 4], ());
            let event = first.replace("seed", &parts[1]);
            if let Some(((), text)) = template.text(event.as_bytes()) {
                let parsed: Value = serde_json::from_str(&event).unwrap();
                prop_assert_eq!(parsed["t"].as_str(), Some(text));
            }
        }
    }
}
