//! How servers say that they failed: names of events, shapes of error objects.

use std::fmt::Write as _;

use serde_json::Value;

use crate::json::is_error_value;
use crate::texts::ERROR_LENGTH;

/// True for the names of events that keep a connection open, whatever their data are.
pub(crate) fn is_heartbeat(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] = [
        b"ping",
        b"keepalive",
        b"keep-alive",
        b"keep_alive",
        b"heartbeat",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// True for the names that servers give to events that report a failure of the answer.
///
/// `response.failed` is left to the reader of its API, which knows where the message is. A name of three
/// parts or more (`response.mcp_call.failed`) is about a part of the answer, such as a tool, after which
/// the answer continues. `fail` counts as a word or as part of one that means it, not in `failover`.
pub(crate) fn is_failure_name(name: &[u8]) -> bool {
    // Some APIs name every event, so nothing is allocated here.
    let has = |part: &[u8]| {
        name.windows(part.len())
            .any(|window| window.eq_ignore_ascii_case(part))
    };
    let has_word = |word: &[u8]| {
        name.split(|byte| !byte.is_ascii_alphabetic())
            .any(|part| part.eq_ignore_ascii_case(word))
    };
    let is_part = memchr::memchr_iter(b'.', name).count() > 1;
    !is_part
        && !name.eq_ignore_ascii_case(b"response.failed")
        && (has(b"error")
            || has(b"exception")
            || has(b"fail") && (has(b"failure") || has_word(b"fail") || has_word(b"failed")))
}

/// What a server says about a failure: the message of a JSON object, or the text itself.
pub(crate) fn failure_words(data: &[u8]) -> String {
    match serde_json::from_slice::<Value>(data) {
        Ok(value) => error_message(&value),
        Err(_) => String::from_utf8_lossy(&data[..data.len().min(ERROR_LENGTH)]).into_owned(),
    }
}

/// Members of a message that say nothing about the answer.
const ENVELOPE: [&str; 10] = [
    "id",
    "object",
    "created",
    "model",
    "system_fingerprint",
    "service_tier",
    "provider",
    "choices",
    "usage",
    "error",
];

/// True for a JSON value that says something beyond the frame that every message of a stream has.
pub(crate) fn has_content(data: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(data) {
        Ok(Value::Object(members)) => members
            .iter()
            .any(|(name, value)| !ENVELOPE.contains(&name.as_str()) && is_error_value(value)),
        Ok(value) => is_error_value(&value),
        Err(_) => false,
    }
}

/// The message inside an error object, whatever its shape.
pub(crate) fn error_message(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let inner = map.get("error").filter(|inner| is_error_value(inner));
            if let Some(inner) = inner {
                return error_message(inner);
            }
            let message = [
                "message",
                "detail",
                "error_message",
                "error_msg",
                "msg",
                "reason",
            ]
            .iter()
            .find_map(|&key| map.get(key).filter(|message| !message.is_null()));
            let Some(message) = message else {
                return value.to_string();
            };
            let mut text = message
                .as_str()
                .map_or_else(|| message.to_string(), str::to_owned);
            if let Some(kind) = map
                .get("type")
                .or_else(|| map.get("code"))
                .filter(|kind| !kind.is_null())
            {
                let kind = kind
                    .as_str()
                    .map_or_else(|| kind.to_string(), str::to_owned);
                // Writing to a String cannot fail.
                let _ = write!(text, " ({kind})");
            }
            text
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_of_the_answer_is_one() {
        for name in [
            "error",
            "Error",
            "stream_error",
            "response.error",
            "failed",
            "stream-failed",
            "FAIL",
            "internalStreamFailure",
            "modelStreamErrorException",
        ] {
            assert!(is_failure_name(name.as_bytes()), "{name}");
        }
        for name in [
            // Tools fail, and the answer continues (OpenAI's reference of streaming events).
            "response.mcp_call.failed",
            "response.mcp_list_tools.failed",
            "response.image_generation_call.failed",
            "response.failed",
            "failover",
            "message",
            "content_block_delta",
        ] {
            assert!(!is_failure_name(name.as_bytes()), "{name}");
        }
    }
}
