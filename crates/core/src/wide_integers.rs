//! Whole numbers in JSON that have more than 64 bits, which readers round.

use std::borrow::Cow;
use std::ops::Range;

/// Where the whole numbers of a JSON document are that fit neither `i64` nor `u64`, in their order.
pub fn wide_integers(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let of_number = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let start = at;
            match bytes[at] {
                b'"' => at = end_of_string(bytes, at + 1),
                byte if of_number(byte) => {
                    while bytes.get(at).copied().is_some_and(of_number) {
                        at += 1;
                    }
                    if is_wide(&text[start..at]) {
                        return Some(start..at);
                    }
                }
                _ => at += 1,
            }
        }
        None
    })
}

fn is_wide(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole && token.parse::<i64>().is_err() && token.parse::<u64>().is_err()
}

/// Where the string ends whose first character is at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A JSON document with quotes around its [`wide_integers`], so that they are passed on as they are
/// written.
pub fn with_exact_integers(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    for Range { start, end } in wide_integers(text) {
        out.push_str(&text[copied..start]);
        out.extend(["\"", &text[start..end], "\""]);
        copied = end;
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

    #[test]
    fn integers_of_more_than_64_bits_are_found_and_nothing_else_is() {
        for (text, found) in [
            (
                r#"{"seed": 18446744073709551616}"#,
                Some("18446744073709551616"),
            ),
            (
                r#"{"a":[1,{"b":-9223372036854775809}]}"#,
                Some("-9223372036854775809"),
            ),
            (
                "123456789012345678901234567890",
                Some("123456789012345678901234567890"),
            ),
            (
                r#"{"seed": 18446744073709551615, "b": -9223372036854775808}"#,
                None,
            ),
            (
                r#"{"a": 18446744073709551616.0, "b": 18446744073709551616e0, "c": 1e300}"#,
                None,
            ),
            (
                r#"{"a": "18446744073709551616", "b\"18446744073709551616": "\\"}"#,
                None,
            ),
            (
                r#"{"é": "x\\", "b": 99999999999999999999}"#,
                Some("99999999999999999999"),
            ),
            (r#"{"a": "\"#, None),
            ("\u{e9}-", None),
        ] {
            let first = wide_integers(text).next().map(|range| &text[range]);
            assert_eq!(first, found, "{text}");
        }
    }
}
