//! Values that must never be shown.

use std::fmt;

/// An API key or header value: usable on the wire, invisible everywhere else.
///
/// There is deliberately no `Serialize`, and both `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value so that it can no longer be printed by accident, and so that [`redact_text`]
    /// leaves it out of texts from elsewhere that repeat it.
    ///
    /// [`redact_text`]: crate::redact::redact_text
    pub fn new(value: impl Into<String>) -> Self {
        let value = value.into();
        crate::redact::register(&value);
        Self(value)
    }

    /// Wraps a URL that may hold a password. The rest of it may be shown.
    pub fn url(url: impl Into<String>) -> Self {
        let url = url.into();
        crate::redact::register_url(&url);
        Self(url)
    }

    /// The value itself, for writing it to a socket and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_cannot_be_printed() {
        let key = Secret::new("sk-1234");
        assert_eq!(format!("{key} {key:?}"), "*** ***");
        assert_eq!(key.expose(), "sk-1234");
    }
}
