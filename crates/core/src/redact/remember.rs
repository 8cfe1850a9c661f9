//! Remembering the secrets in URLs and JSON, so that they are left out of foreign text as well.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::names::{is_secret_in_query, looks_random};
use super::{
    header_line, is_pair, is_secret_member, looks_like_header, names_secret, register,
    register_credentials, user_part,
};

/// A part of a query without `=` is a key from this length on, and a switch such as `debug` below it.
const LONGER_THAN_SWITCHES: usize = 16;
/// Names whose values are words of a protocol also below a secret's name: `"type":
/// "service_account"`. They are hidden there, but texts contain them.
const NAMES_OF_WORDS: [&str; 3] = ["type", "kind", "scheme"];

/// Remembers the values that [`redact_json`](super::redact_json) leaves out of `value`, and what the URLs
/// in it hold, so that [`redact_text`](super::redact_text) leaves them out as well.
pub fn register_json(value: &Value) {
    match value {
        Value::String(text) => register_string(text),
        Value::Array(items) => match items.as_slice() {
            [Value::String(name), value] if is_pair(name, value) => register_leaves(value),
            items => items.iter().for_each(register_json),
        },
        Value::Object(members) => {
            let is_header = names_secret(members);
            for (name, member) in members {
                if is_secret_member(name, is_header) {
                    register_leaves(member);
                } else {
                    register_json(member);
                }
            }
        }
        _ => {}
    }
}

fn register_string(text: &str) {
    if text.trim_start().starts_with(['{', '[']) {
        if let Ok(inner) = serde_json::from_str::<Value>(text) {
            register_json(&inner);
        }
        return;
    }
    match header_line(text) {
        // A sentence after a colon is hidden, but a server that repeats it repeats no key.
        Some((_, value)) if looks_like_header(value) || !value.contains(char::is_whitespace) => {
            register(value);
        }
        Some(_) => {}
        None => register_url(text),
    }
}

/// Remembers the strings and whole numbers in `value`.
fn register_leaves(value: &Value) {
    match value {
        Value::String(text) => register(text),
        Value::Number(number) if !number.is_f64() => register(&number.to_string()),
        Value::Array(items) => items.iter().for_each(register_leaves),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !NAMES_OF_WORDS.contains(&name.as_str()))
            .for_each(|(_, member)| register_leaves(member)),
        _ => {}
    }
}

/// Remembers the secrets in `url`: the values in its query that are secrets by their names or look
/// random, a query without names, and its password or token. Each also as a server sees it after it has
/// decoded the URL.
pub fn register_url(url: &str) {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    for pair in query.split('&') {
        register_pair(pair);
        if pair.contains(';') {
            pair.split(';').for_each(register_pair);
        }
    }
    let Some(user) = user_part(url) else {
        return;
    };
    let (start, credentials) = (user.start, &url[user]);
    // Without a scheme it may be any text, such as an address of mail.
    let is_user = |text: &str| text.contains(':') && !text.contains(char::is_whitespace);
    if start > 0 || is_user(credentials) {
        register_credentials(credentials);
        if let Cow::Owned(plain) = decoded(credentials) {
            register_credentials(&plain);
        }
    }
}

/// Remembers the secret in `name=value` or in a part of a query without a name.
fn register_pair(pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let plain = decoded(value);
    let is_secret = if name.is_empty() {
        // A text that contains a question is not a URL.
        value.len() >= LONGER_THAN_SWITCHES && !value.contains(char::is_whitespace)
    } else {
        is_secret_in_query(&decoded(name))
    };
    if is_secret || looks_random(value) || looks_random(&plain) {
        register(value);
        register(&plain);
        // Forms send a space as a plus, and some servers read every plus as one.
        register(&decoded(&value.replace('+', " ")));
    }
}

/// `text` without percent-encoding.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}
