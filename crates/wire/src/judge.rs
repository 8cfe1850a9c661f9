//! The meaning of the end of an answer.

use std::error::Error as _;
use std::io;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use inferometer_core::{Event, EventKind, Outcome, Record};

use crate::progress::{Counting, Progress};
use crate::reply::{Fault, ReplyReader, failure_words};

/// The server's own words, if it broke the answer off with a reason to stop.
fn broken_off(progress: &Progress) -> Option<Fault> {
    let words = progress.broken.as_ref()?;
    Some(Fault::new(Outcome::StreamError, words))
}

/// A last message that is none of the API's, as the server's own words about a failure.
fn stray(progress: &Progress) -> Option<Fault> {
    let stray = progress.stray.as_ref()?;
    Some(Fault::new(Outcome::StreamError, failure_words(stray)))
}

/// The fault for a complete answer without output.
fn empty(record: &Record, progress: &Progress) -> Fault {
    let mut message = "the answer is complete but has no output".to_owned();
    if let Some(name) = &progress.unknown_output {
        message = format!("{message} of a known kind; it has {name:?}");
    } else if let Some(tokens) = record.usage.completion_tokens {
        message = format!("{message}, and the server reports {tokens} output tokens");
    }
    if let Some(reason) = &record.finish_reason {
        message = format!("{message} (finish_reason {reason:?})");
    }
    Fault::new(Outcome::Empty, message)
}

/// The verdict on an answer that was not streamed.
pub(crate) fn whole_conclusion(record: &mut Record, progress: &mut Progress) -> Result<(), Fault> {
    progress.settle(record);
    if let Some(fault) = broken_off(progress) {
        return Err(fault);
    }
    let tokens = record.usage.completion_tokens.unwrap_or_default();
    if progress.complete || record.marks.first_content.is_some() || tokens > 0 {
        return Ok(());
    }
    Err(stray(progress).unwrap_or_else(|| empty(record, progress)))
}

/// The verdict on a stream that ended cleanly, after what could not be decided while it arrived.
pub(crate) fn conclusion(
    record: &mut Record,
    progress: &mut Progress,
    reader: &dyn ReplyReader,
) -> Result<(), Fault> {
    let open = progress.open_choice();
    progress.settle(record);
    if reader.ends_by_closing() && progress.counting == Counting::Output {
        drop_last_blank(record);
    }
    if let Some(fault) = broken_off(progress).or_else(|| stray(progress)) {
        return Err(fault);
    }
    if let Some(open) = open {
        let message = format!("the stream ended without a finish_reason of choice {open}");
        return Err(Fault::new(Outcome::Truncated, message));
    }
    if !(progress.done || progress.finished || reader.ends_by_closing()) {
        let message = format!(
            "the stream ended after {} events without [DONE] or finish_reason",
            progress.messages
        );
        return Err(Fault::new(Outcome::Truncated, message));
    }
    let nothing = record.events.is_empty() && !is_all_hidden(record) || !has_output(record);
    if nothing && !progress.complete {
        return Err(empty(record, progress));
    }
    Ok(())
}

/// True for an answer with text, a call or media, or with tokens by the server's count.
fn has_output(record: &Record) -> bool {
    let counted = match record.usage.completion_tokens {
        Some(tokens) => tokens > 0,
        None => record.events.iter().any(|event| event.tokens > 0),
    };
    counted || record.marks.first_content.is_some()
}

/// True for an answer whose tokens were all spent on reasoning that the server keeps to itself.
fn is_all_hidden(record: &Record) -> bool {
    let tokens = record.usage.completion_tokens.unwrap_or_default();
    tokens > 0 && record.hidden_output_tokens() == tokens
}

/// Drops a last event without text, where no usage can say whether it carries a token: the tokens
/// are counted by the text, and its time must not be divided among them.
fn drop_last_blank(record: &mut Record) {
    let is_blank = |event: &Event| event.kind == EventKind::Blank && event.tokens == 0;
    if record.events.len() > 1 && record.events.last().is_some_and(is_blank) {
        record.events.pop();
    }
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

/// What a server says of one stream of an HTTP/2 connection instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// It was not processed (RFC 9113, section 8.7: `REFUSED_STREAM`).
    RefusedStream,
    /// It was not processed, since its number is above the last one of a `GOAWAY` (section 6.8), or
    /// it was not sent because of one.
    GoingAway,
    /// It may have been processed.
    Reset,
}

/// What the server said of this very stream; `None` where the whole connection was lost, so that
/// nobody knows how far the server had come.
pub(crate) fn stream_end(error: &hyper::Error) -> Option<StreamEnd> {
    if error.is_canceled() {
        // The connection ended before it took the request: as after a GOAWAY, nothing was sent.
        return Some(StreamEnd::GoingAway);
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<h2::Error>() {
            // A GOAWAY of the server is the error of the streams above its last number only. The
            // others end with the connection, which is an error of input and output.
            return match (inner.is_go_away(), inner.is_reset(), inner.is_remote()) {
                (true, _, true) => Some(StreamEnd::GoingAway),
                (_, true, true) if inner.reason() == Some(h2::Reason::REFUSED_STREAM) => {
                    Some(StreamEnd::RefusedStream)
                }
                (_, true, true) => Some(StreamEnd::Reset),
                _ => None,
            };
        }
        source = inner.source();
    }
    None
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
