//! Text of result files, made into what JSON allows.

use std::borrow::Cow;

/// Bytes as text; a byte order mark is dropped, and bytes that are not UTF-8 are replaced, since a
/// broken answer of a model in a list of texts must not hide the numbers.
pub(super) fn decode(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// Replaces Python's bare `NaN` by `null`, and `Infinity` by `"inf"`, outside of strings.
pub(super) fn without_python_numbers(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let replaced = [
            ("NaN", "null"),
            ("-Infinity", "\"-inf\""),
            ("Infinity", "\"inf\""),
        ]
        .into_iter()
        .find_map(|(word, by)| Some((rest.strip_prefix(word)?, by)));
        if let Some((after, by)) = replaced {
            out.push_str(by);
            rest = after;
            continue;
        }
        let len = if rest.starts_with('"') {
            string_len(rest)
        } else {
            1
        };
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Length of the string literal that `text` begins with, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_words_are_replaced() {
        let text =
            r#"{"a": NaN, "b": -Infinity, "c": "NaN \" Infinity", "Infinity": Infinity, "d": -1}"#;
        let expected =
            r#"{"a": null, "b": "-inf", "c": "NaN \" Infinity", "Infinity": "inf", "d": -1}"#;
        assert_eq!(without_python_numbers(text), expected);
        assert!(matches!(without_python_numbers("{}"), Cow::Borrowed(_)));
        assert_eq!(without_python_numbers("\"NaN"), "\"NaN");
    }

    #[test]
    fn odd_bytes_do_not_hide_the_rest() {
        assert_eq!(decode(b"\xef\xbb\xbf{}".to_vec()), "{}");
        assert_eq!(decode(b"{\xff}".to_vec()), "{\u{fffd}}");
    }
}
