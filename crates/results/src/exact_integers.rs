//! Whole numbers beyond 64 bits in JSON.

use std::borrow::Cow;

/// A JSON document with quotes around whole numbers that a reader would round, so that they are passed
/// on as they are written.
pub fn with_exact_integers(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| {
                    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
                };
                let length = bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let number = &text[at..at + length];
                let is_whole = number.ends_with(|last: char| last.is_ascii_digit())
                    && number
                        .bytes()
                        .skip(usize::from(number.starts_with('-')))
                        .all(|byte| byte.is_ascii_digit());
                if is_whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    out.push_str(&text[copied..at]);
                    out.extend(["\"", number, "\""]);
                    copied = at + length;
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_not_rounded() {
        for (written, expected) in [
            (
                r#"{"a": 123456789012345678901234567890, "b": [-99999999999999999999]}"#,
                r#"{"a": "123456789012345678901234567890", "b": ["-99999999999999999999"]}"#,
            ),
            (
                r#"{"s": "1 \" 123456789012345678901234567890", "n": 18446744073709551615}"#,
                r#"{"s": "1 \" 123456789012345678901234567890", "n": 18446744073709551615}"#,
            ),
            ("1e400 1.5 -3 -", "1e400 1.5 -3 -"),
        ] {
            assert_eq!(with_exact_integers(written), expected);
        }
    }
}
