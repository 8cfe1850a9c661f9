//! The meaning of the end of an answer.

use std::error::Error as _;
use std::io;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use inferometer_core::{Outcome, Record};

use crate::reply::{Fault, Progress, ReplyReader};

/// The verdict on a stream that ended cleanly.
pub(crate) fn conclusion(
    record: &Record,
    progress: &Progress,
    reader: &dyn ReplyReader,
) -> Result<(), Fault> {
    if !(progress.done || progress.finished || reader.ends_by_closing()) {
        let message = format!(
            "the stream ended after {} events without [DONE] or finish_reason",
            progress.messages
        );
        return Err(Fault::new(Outcome::Truncated, message));
    }
    if record.events.is_empty() && !progress.complete {
        return Err(Fault::new(
            Outcome::Empty,
            "the stream was complete but had no output",
        ));
    }
    Ok(())
}

pub(crate) fn broken_body(error: &hyper::Error) -> Fault {
    let mut source = error.source();
    let mut kind = None;
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            kind = Some(inner.kind());
        }
        source = inner.source();
    }
    let text = chain(error);
    if matches!(
        kind,
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
    ) || error.is_parse()
    {
        return Fault::malformed(format!("invalid HTTP body framing: {text}"));
    }
    Fault::new(
        Outcome::Truncated,
        format!("the connection was lost before the body was complete: {text}"),
    )
}

/// True when the server reset a stream of an HTTP/2 connection for another reason than that it
/// never processed it.
pub(crate) fn is_reset_of_stream(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<h2::Error>() {
            return inner.is_reset()
                && inner.is_remote()
                && inner.reason() != Some(h2::Reason::REFUSED_STREAM);
        }
        source = inner.source();
    }
    false
}

/// The error with its causes, each once.
pub(crate) fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    value.unwrap_or_default()
}

/// True for the event stream type, and for the generic types that some servers send instead.
pub(crate) fn may_be_event_stream(kind: &str) -> bool {
    let plain = kind.split(';').next().unwrap_or_default().trim();
    matches!(
        plain,
        "text/event-stream" | "" | "text/plain" | "application/octet-stream"
    )
}
