//! Values that must never be shown.

use std::fmt;

/// An API key or header value: usable on the wire, invisible everywhere else.
///
/// There is deliberately no `Serialize`, and both `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value so that it can no longer be printed by accident.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
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

/// A URL without the parts that may hold secrets: user name, password and the values of the query.
///
/// Works on any text, since what is to be shown may be malformed; everything else stays as it is.
pub fn redact_url(url: &str) -> String {
    let (before_query, query) = match url.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (url, None),
    };
    let (scheme, rest) = match before_query.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), before_query),
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}"));
    let mut shown = format!("{scheme}{host}{path}");
    if let Some(query) = query {
        let names = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) => format!("{name}=***"),
            None => "***".to_owned(),
        });
        shown.push('?');
        shown.push_str(&names.collect::<Vec<_>>().join("&"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{Secret, redact_url};

    #[test]
    fn urls_are_shown_without_their_secrets() {
        for (url, shown) in [
            ("http://host:8000/v1", "http://host:8000/v1"),
            ("https://user:p@ss@host/v1/x@y", "https://***@host/v1/x@y"),
            ("user:secret@proxy:3128", "***@proxy:3128"),
            ("http://h/v1?api_key=sk-1&debug", "http://h/v1?api_key=***&***"),
            ("", ""),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    #[test]
    fn a_secret_cannot_be_printed() {
        let key = Secret::new("sk-1234");
        assert_eq!(format!("{key} {key:?}"), "*** ***");
        assert_eq!(key.expose(), "sk-1234");
    }
}
