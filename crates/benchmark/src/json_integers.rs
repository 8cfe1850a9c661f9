//! JSON in flags, whose numbers must be sent as they were written.

use inferometer_core::wide_integers;

use crate::error::Error;

/// Refuses integers that would lose digits: Python's have no limit, but those in request bodies here
/// have 64 bits. A `text` that is not JSON is accepted, for its own parser to judge.
///
/// # Errors
///
/// A usage error with the number and `flag`.
pub fn check_integers(flag: &str, text: &str) -> Result<(), Error> {
    let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    match wide_integers(text).next().filter(|_| is_json()) {
        None => Ok(()),
        Some(number) => Err(Error::usage(format!(
            "{flag}: the integer {} has more than 64 bits and would be sent with other digits; give one from \
             {} to {}, a decimal number, or a string",
            &text[number],
            i64::MIN,
            u64::MAX
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_json_may_have_any_digits() {
        assert!(check_integers("--x", "call 99999999999999999999 now").is_ok());
        assert!(check_integers("--x", "99999999999999999999").is_err());
    }
}
