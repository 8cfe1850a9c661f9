//! JSON in flags, whose numbers must be sent as they were written.

use crate::error::Error;

/// Refuses integers that would lose digits: Python's have no limit, but those in request bodies here
/// have 64 bits. A `text` that is not JSON is accepted, for its own parser to judge.
///
/// # Errors
///
/// A usage error with the number and `flag`.
pub fn check_integers(flag: &str, text: &str) -> Result<(), Error> {
    let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    match beyond_64_bits(text).filter(|_| is_json()) {
        None => Ok(()),
        Some(number) => Err(Error::usage(format!(
            "{flag}: the integer {number} has more than 64 bits and would be sent with other digits; give one from \
             {} to {}, a decimal number, or a string",
            i64::MIN,
            u64::MAX
        ))),
    }
}

/// The first integer outside of strings that fits neither `i64` nor `u64`.
fn beyond_64_bits(text: &str) -> Option<&str> {
    let of_number = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at + 1),
            byte if of_number(byte) => {
                while bytes.get(at).copied().is_some_and(of_number) {
                    at += 1;
                }
                let token = &text[start..at];
                let digits = token.strip_prefix('-').unwrap_or(token);
                let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                if whole && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
                    return Some(token);
                }
            }
            _ => at += 1,
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_json_may_have_any_digits() {
        assert!(check_integers("--x", "call 99999999999999999999 now").is_ok());
        assert!(check_integers("--x", "99999999999999999999").is_err());
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
            assert_eq!(beyond_64_bits(text), found, "{text}");
        }
    }
}
