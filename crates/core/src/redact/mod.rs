//! What may be shown of texts, URLs, arguments and JSON that hold secrets.
//!
//! One place decides it for every way out: the terminal, files, and the arguments of child
//! processes. Two rules work together. By *form*: a value in the place of a secret (the user part of
//! a URL, a header's value, a JSON member named `api_key`) is left out whatever it is. By *value*:
//! every [`Secret`](crate::Secret) of the process is left out of foreign text, such as a server's error message
//! that repeats the key it was sent.

mod arguments;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;

pub use arguments::redact_arguments;

/// What is shown in place of a secret.
const MASK: &str = "***";
/// Shorter values are not searched for in foreign text: they occur in it by chance.
const SHORTEST: usize = 6;
/// Shorter values are not searched for in parts: four characters of them would be most of it.
const SHORTEST_IN_PARTS: usize = 12;
/// Characters that a server shows of a key before and after a mask: `sk-a***wxyz`.
const SHOWN_BY_SERVERS: usize = 4;
/// Characters of the start of a value that are left out without a mask after them, as in a text that was
/// cut off: more than public prefixes have (`sk-ant-`, `sk-proj-`).
const CUT_OFF: usize = 10;
/// Values that people give where a server wants a key and none is needed; found in innocent text as
/// well.
const PLACEHOLDERS: [&str; 10] = [
    "EMPTY",
    "dummy",
    "secret",
    "Bearer",
    "bearer",
    "api_key",
    "apikey",
    "not-needed",
    "no-key",
    "password",
];
/// Last words of a name whose value is a secret: `OPENAI_API_KEY`, `x-api-key`, `hfToken`.
const SECRET_WORDS: [&str; 17] = [
    "key",
    "apikey",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "authorization",
    "auth",
    "credential",
    "credentials",
    "cookie",
    "signature",
    "sig",
    "bearer",
    "jwt",
];

/// Values that must not be shown; see [`register`].
static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Remembers a value, so that [`redact_text`] leaves it out from now on. [`Secret::new`] does this
/// by itself.
///
/// [`Secret`]: crate::Secret
/// [`Secret::new`]: crate::Secret::new
pub fn register(value: &str) {
    // `Bearer sk-…` is often repeated without its first word.
    for part in [value, value.rsplit_once(' ').map_or("", |(_, last)| last)] {
        let part = part.trim();
        if part.len() < SHORTEST || PLACEHOLDERS.contains(&part) {
            continue;
        }
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        for form in [
            part.to_owned(),
            part.replace('/', "\\/"),
            percent_encoded(part),
        ] {
            if !known.contains(&form) {
                known.push(form);
            }
        }
        // The longest first: a secret may begin with another.
        known.sort_by_key(|value| std::cmp::Reverse(value.len()));
    }
}

/// `text` as the value of a query.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// True when a value under this name is a secret: `api_key`, `Authorization`, `hfToken`, but not
/// `max_tokens`.
pub fn is_secret_name(name: &str) -> bool {
    let camel = name.char_indices().rev().find(|&(at, c)| {
        at > 0 && c.is_ascii_uppercase() && name[..at].ends_with(|c: char| c.is_ascii_lowercase())
    });
    let separated = name
        .rfind(|c: char| !c.is_ascii_alphanumeric())
        .map_or(0, |at| {
            at + name[at..].chars().next().map_or(0, char::len_utf8)
        });
    let last = &name[separated.max(camel.map_or(0, |(at, _)| at))..];
    SECRET_WORDS
        .iter()
        .any(|word| last.eq_ignore_ascii_case(word))
}

/// `text` without the secrets of this process as a whole; `None` where it holds none. Faster than
/// [`redact_text`], for the texts of answers.
pub fn without_secrets(text: &str) -> Option<String> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut shown: Option<String> = None;
    for secret in known.iter() {
        let present = shown.as_deref().unwrap_or(text);
        if present.contains(secret.as_str()) {
            shown = Some(present.replace(secret.as_str(), MASK));
        }
    }
    shown
}

/// `text` without the secrets of this process and without the user part of any URL in it.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    for secret in KNOWN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if shown.contains(secret.as_str()) {
            shown = Cow::Owned(shown.replace(secret.as_str(), MASK));
        }
        if let Some(plain) = without_parts(&shown, secret) {
            shown = Cow::Owned(plain);
        }
    }
    match without_users(&shown) {
        Some(plain) => Cow::Owned(plain),
        None => shown,
    }
}

/// `text` without the parts of `secret` that servers show: its start, a mask (`***`, `...`, `…`), its end,
/// or two or one of them; and without its start where a text was cut off. `None` where there is nothing
/// to leave out.
fn without_parts(text: &str, secret: &str) -> Option<String> {
    if secret.len() < SHORTEST_IN_PARTS || !secret.is_ascii() {
        return None;
    }
    let (start, mut plain, mut copied) = (&secret[..SHOWN_BY_SERVERS], String::new(), 0);
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let first = rest.chars().next()?;
        let begins = rest.starts_with(start);
        if !begins && !is_mask(first) {
            at += first.len_utf8();
            continue;
        }
        let same = rest.bytes().zip(secret.bytes());
        let head = same.take_while(|(a, b)| a == b).count();
        let mask = mask_length(&rest[head..]);
        let tail = if mask > 0 {
            suffix_length(&rest[head + mask..], secret)
        } else {
            0
        };
        let is_part = match mask {
            0 => head >= CUT_OFF.max(secret.len() / 3),
            _ => begins || tail > 0,
        };
        if is_part {
            plain.push_str(&text[copied..at]);
            plain.push_str(MASK);
            at += head + mask + tail;
            copied = at;
        } else {
            at += (head + mask).max(first.len_utf8());
        }
    }
    let changed = plain + &text[copied..];
    (changed != text).then_some(changed)
}

fn is_mask(c: char) -> bool {
    matches!(c, '*' | '.' | '…' | '•')
}

/// Bytes of the mask at the start of `text`: one character several times, or one that is a mask by itself.
fn mask_length(text: &str) -> usize {
    let Some(first) = text.chars().next().filter(|c| is_mask(*c)) else {
        return 0;
    };
    let end = text.find(|c| c != first).unwrap_or(text.len());
    if end > 1 || text.starts_with('*') {
        end
    } else {
        0
    }
}

/// Bytes at the start of `text` that are the end of `secret`; 0 if they are few.
fn suffix_length(text: &str, secret: &str) -> usize {
    let word = text
        .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ')'))
        .unwrap_or(text.len());
    let longest = word.min(secret.len() - SHOWN_BY_SERVERS);
    (SHOWN_BY_SERVERS..=longest)
        .rev()
        .find(|&length| text.is_char_boundary(length) && secret.ends_with(&text[..length]))
        .unwrap_or(0)
}

/// `text` with `***` for `user:password` in each URL; `None` where there is nothing to leave out.
fn without_users(text: &str) -> Option<String> {
    let mut plain = String::new();
    let (mut from, mut copied) = (0, 0);
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let ends = |c: char| {
            c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '\\')
        };
        let end = text[start..].find(ends).map_or(text.len(), |at| start + at);
        if let Some(user) = text[start..end]
            .rfind('@')
            .filter(|&user| &text[start..start + user] != MASK)
        {
            plain.push_str(&text[copied..start]);
            plain.push_str(MASK);
            copied = start + user;
        }
        from = end.max(start);
    }
    (copied > 0).then(|| plain + &text[copied..])
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
    let host = authority
        .rsplit_once('@')
        .map_or(authority.to_owned(), |(_, host)| format!("{MASK}@{host}"));
    let mut shown = format!("{scheme}{host}{path}");
    if let Some(query) = query {
        let names = query.split('&').map(|pair| match pair.split_once('=') {
            // Azure's `api-version` says what was measured, and nobody's secret.
            Some(("api-version", _)) => pair.to_owned(),
            Some((name, _)) => format!("{name}={MASK}"),
            None => MASK.to_owned(),
        });
        shown.push('?');
        shown.push_str(&names.collect::<Vec<_>>().join("&"));
    }
    shown
}

/// Replaces every string under a secret's name, at any depth, and every secret of this process in
/// the others. Strings that contain JSON are searched as well.
pub fn redact_json(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(inner) = nested_json(text) {
                *text = inner;
            } else if let Cow::Owned(plain) = redact_text(text) {
                *text = plain;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact_json),
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| match member {
            Value::String(text) if is_secret_name(name) && !text.is_empty() => {
                MASK.clone_into(text);
            }
            other => redact_json(other),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `text` redacted, if it is a JSON object or list with something to leave out.
fn nested_json(text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let original: Value = serde_json::from_str(text).ok()?;
    let mut shown = original.clone();
    redact_json(&mut shown);
    (shown != original).then(|| shown.to_string())
}

/// Remembers the values under secrets' names in `value`, so that [`redact_text`] leaves them out.
pub fn register_json(value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(register_json),
        Value::Object(members) => members.iter().for_each(|(name, member)| match member {
            Value::String(text) if is_secret_name(name) => register(text),
            other => register_json(other),
        }),
        _ => {}
    }
}

/// Remembers the values under secrets' names in the query of `url`, and its password.
pub fn register_url(url: &str) {
    for pair in url
        .split_once('?')
        .map_or("", |(_, query)| query)
        .split('&')
    {
        if let Some((name, value)) = pair.split_once('=')
            && is_secret_name(name)
        {
            register(value);
        }
    }
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = &authority[..authority.find(['/', '?', '#']).unwrap_or(authority.len())];
    if let Some((_, password)) = authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
    {
        register(password);
    }
}

#[cfg(test)]
mod tests;
