//! What may be shown of texts, URLs, arguments and JSON that hold secrets.
//!
//! One place decides it for every way out: the terminal, files, and the arguments of child
//! processes. Two rules work together. By *form*: a value in the place of a secret (the user part of
//! a URL, a header's value, a JSON member named `api_key`) is left out whatever it is. By *value*:
//! every [`Secret`](crate::Secret) of the process is left out of foreign text, such as a server's error message
//! that repeats the key it was sent.

mod arguments;
mod command_line;
mod known;
mod names;
mod remember;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use known::Known;
use names::{is_name_member, is_secret_in_query, is_value_member, looks_random};
use remember::decoded;

pub use arguments::{plain_value, redact_arguments, register_arguments};
pub use command_line::open_quote;
pub use names::is_secret_name;
pub use remember::{register_json, register_url};

/// What is shown in place of a secret.
pub const MASK: &str = "***";
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
const PLACEHOLDERS: [&str; 13] = [
    "EMPTY",
    "dummy",
    "secret",
    "Bearer",
    "bearer",
    "api_key",
    "apikey",
    "not-needed",
    "hidden",
    "no-key",
    "password",
    "ollama",
    "lm-studio",
];
/// Values that must not be shown; see [`register`].
static KNOWN: RwLock<Known> = RwLock::new(Known::new());

/// Remembers a value, so that [`redact_text`] leaves it out from now on. [`Secret::new`] does this
/// by itself.
///
/// [`Secret`]: crate::Secret
/// [`Secret::new`]: crate::Secret::new
pub fn register(value: &str) {
    // `Bearer sk-…` is often repeated without its first word.
    for part in [value, value.rsplit_once(' ').map_or("", |(_, last)| last)] {
        let part = part.trim();
        if part.len() >= SHORTEST && !PLACEHOLDERS.contains(&part) {
            let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
            known.add(part);
        }
    }
    if let Some((scheme, encoded)) = value.split_once(' ')
        && scheme.eq_ignore_ascii_case("basic")
        && let Ok(credentials) = STANDARD.decode(encoded.trim())
    {
        register_password(&String::from_utf8_lossy(&credentials));
    }
}

/// Remembers the password of `USER:PASSWORD`, or a user that is a token by itself, and both as they
/// are sent.
pub fn register_credentials(credentials: &str) {
    register_password(credentials);
    register(&STANDARD.encode(credentials));
}

fn register_password(credentials: &str) {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    register(password);
    // GitHub's and others' tokens are users without a password, or with a word in its place.
    if password.len() < SHORTEST && user.bytes().any(|byte| byte.is_ascii_digit()) {
        register(user);
    }
}

/// `text` without the secrets of this process; `None` where it holds none. Faster than [`redact_text`],
/// for the texts of answers: what is in base64 or in another case alone is not found.
pub fn without_secrets(text: &str) -> Option<String> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.may_be_in(text).then(|| known.without(text)).flatten()
}

/// `text` without the secrets of this process, and without the user part of any URL in it and the
/// values in its query that are secrets by their names.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(plain) = known.without(&shown) {
        shown = Cow::Owned(plain);
    }
    for secret in known.plain() {
        if let Some(plain) = without_parts(&shown, secret) {
            shown = Cow::Owned(plain);
        }
    }
    if let Some(plain) = without_users(&shown) {
        shown = Cow::Owned(plain);
    }
    if let Some(plain) = without_queries(&shown) {
        shown = Cow::Owned(plain);
    }
    shown
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
    matches!(c, '*' | '.' | '…' | '•' | 'x' | 'X' | '#' | '_') || is_bracket(c)
}

fn is_bracket(c: char) -> bool {
    matches!(c, '[' | '<' | '(' | '{')
}

/// Bytes of the mask at the start of `text`: one character several times, or one that is a mask by itself;
/// also in brackets, where a word such as `redacted` is one too.
fn mask_length(text: &str) -> usize {
    let Some(first) = text.chars().next().filter(|c| is_mask(*c)) else {
        return 0;
    };
    if is_bracket(first) {
        let inner = &text[1..];
        let word = ["redacted", "hidden", "masked", "truncated"]
            .iter()
            .find(|word| {
                let there = inner.as_bytes().get(..word.len());
                there.is_some_and(|there| there.eq_ignore_ascii_case(word.as_bytes()))
            })
            .map_or(0, |word| word.len());
        let length = if word > 0 { word } else { mask_length(inner) };
        let closed = inner[length..].starts_with([']', '>', ')', '}']);
        return if length > 0 && closed { length + 2 } else { 0 };
    }
    let end = text.find(|c| c != first).unwrap_or(text.len());
    let shortest = match first {
        '*' => 1,
        // Letters and the like occur in words.
        'x' | 'X' | '#' | '_' => 3,
        // One of the characters that are longer than a byte is enough.
        _ => 2,
    };
    if end >= shortest { end } else { 0 }
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

/// `text` with `***` for the values in the queries of URLs that are secrets by their names; `None`
/// where there is nothing to leave out.
fn without_queries(text: &str) -> Option<String> {
    let mut plain = String::new();
    let (mut from, mut copied) = (0, 0);
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\');
        let end = text[start..].find(ends).map_or(text.len(), |at| start + at);
        from = end;
        let Some(query) = text[start..end].find('?').map(|at| start + at + 1) else {
            continue;
        };
        let mut at = query;
        for pair in text[query..end].split(['&', ';', '#']) {
            if let Some((name, value)) = pair.split_once('=')
                && is_secret_in_query(&decoded(name))
                && !value.is_empty()
                && value != MASK
            {
                let value_at = at + name.len() + 1;
                plain.push_str(&text[copied..value_at]);
                plain.push_str(MASK);
                copied = value_at + value.len();
            }
            at += pair.len() + 1;
        }
    }
    (copied > 0).then(|| plain + &text[copied..])
}

/// A URL without the parts that may hold secrets: user name, password and the values of the query.
///
/// Works on any text, since what is to be shown may be malformed; everything else stays as it is.
pub fn redact_url(url: &str) -> String {
    let (mut shown, rest) = match user_part(url) {
        Some(user) => (format!("{}{MASK}", &url[..user.start]), &url[user.end..]),
        None => (String::new(), url),
    };
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    shown.push_str(before);
    if let Some(query) = query {
        let names = query.split('&').map(|pair| match pair.split_once('=') {
            // Azure's `api-version` is not a secret, and part of what was measured.
            Some(("api-version", _)) => pair.to_owned(),
            Some((name, _)) => format!("{name}={MASK}"),
            None => MASK.to_owned(),
        });
        shown.push('?');
        shown.push_str(&names.collect::<Vec<_>>().join("&"));
    }
    shown
}

/// Where user and password are in a URL, without the `@` after them. Of a text that is not a sound URL, such
/// as one without a scheme or with a slash in its password, all before the last `@`.
fn user_part(url: &str) -> Option<Range<usize>> {
    if url.starts_with("unix:") {
        return None;
    }
    // The scheme may have a name before it: `url=https://…`.
    let scheme = url
        .find("://")
        .filter(|&at| !url[..at].contains(['/', '?', '#', '@']));
    let start = scheme.map_or(0, |at| at + 3);
    let rest = &url[start..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if let Some(at) = authority.rfind('@') {
        return Some(start..start + at);
    }
    let is_path = scheme.is_none() && rest.starts_with(['/', '?']);
    if is_path || (scheme.is_some() && is_host_and_port(authority)) {
        return None;
    }
    rest.rfind('@').map(|at| start..start + at)
}

/// True for `HOST`, `HOST:PORT` and `[V6]:PORT`, after which an `@` is one of the path.
fn is_host_and_port(authority: &str) -> bool {
    let port = match authority.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':').unwrap_or(after),
        None => authority.split_once(':').map_or("", |(_, port)| port),
    };
    !authority.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Replaces every value under a secret's name, at any depth, and every secret of this process in
/// the others. Strings that contain JSON are searched as well, and so are lists of headers: objects
/// with a name and a value, pairs, and lines.
pub fn redact_json(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(inner) = nested_json(text) {
                *text = inner;
            } else if let Some((name, _)) = header_line(text) {
                *text = format!("{name}: {MASK}");
            } else if let Cow::Owned(plain) = redact_text(text) {
                *text = plain;
            }
        }
        Value::Array(items) => match items.as_mut_slice() {
            [Value::String(name), value] if is_pair(name, value) => mask(value),
            items => items.iter_mut().for_each(redact_json),
        },
        Value::Object(members) => {
            let is_header = names_secret(members);
            for (name, member) in members {
                if is_secret_member(name, is_header) {
                    mask(member);
                } else {
                    redact_json(member);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// True for `{"name": "Authorization", "value": …}`.
fn names_secret(members: &serde_json::Map<String, Value>) -> bool {
    members
        .iter()
        .any(|(member, name)| is_name_member(member) && name.as_str().is_some_and(is_secret_name))
}

/// True for a member that holds a secret, in an object that is one of a header or not.
fn is_secret_member(name: &str, is_header: bool) -> bool {
    if is_header && is_name_member(name) {
        return false;
    }
    is_secret_name(name) || (is_header && is_value_member(name))
}

/// True for `["Authorization", "Bearer …"]`, not for a list of two words.
fn is_pair(name: &str, value: &Value) -> bool {
    is_secret_name(name) && value.as_str().is_some_and(looks_like_header)
}

fn looks_like_header(value: &str) -> bool {
    looks_random(value) || value.starts_with("Bearer ") || value.starts_with("Basic ")
}

/// The name and the value of `Authorization: Bearer …`.
fn header_line(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let is_name = !name.contains(|c: char| c.is_whitespace()) && is_secret_name(name);
    (is_name && !value.trim().is_empty() && value.trim() != MASK).then_some((name, value.trim()))
}

/// Replaces all that may be a secret in `value`: each string, and each whole number that is as long as
/// one. Shorter numbers are counts and ids.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => MASK.clone_into(text),
        Value::Number(number) if number.to_string().len() >= SHORTEST && !number.is_f64() => {
            *value = MASK.into();
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(members) => members.values_mut().for_each(mask),
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

#[cfg(test)]
mod tests;
