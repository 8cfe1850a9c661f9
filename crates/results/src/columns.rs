//! The columns of a record in Arrow and Parquet: one table for writing and reading.
//!
//! A new field of [`Record`] is one new row in [`columns`]. Readers skip columns that they do not
//! know and leave fields without a column at their default, so adding one keeps old files readable.

use inferometer_core::{Event, EventKind, Nanos, Outcome, Record, TokenSource};

/// One scalar column.
pub(crate) struct Column {
    /// Name in files.
    pub(crate) name: &'static str,
    /// Whether a row may have no value.
    pub(crate) nullable: bool,
    /// Type, and the way from and to the record.
    pub(crate) kind: Kind,
}

/// Reads one value out of a record.
type Get<T> = fn(&Record) -> Option<T>;
/// Puts one value into a record.
type Set<T> = fn(&mut Record, T);

/// Type of a column with its accessors.
pub(crate) enum Kind {
    I64(Get<i64>, Set<i64>),
    U32(Get<u32>, Set<u32>),
    U16(Get<u16>, Set<u16>),
    F64(Get<f64>, Set<f64>),
    Bool(Get<bool>, Set<bool>),
    /// The setter says whether it knows the value.
    Text(fn(&Record) -> Option<&str>, fn(&mut Record, &str) -> bool),
}

/// Names of the list columns with one element per event.
pub(crate) const EVENT_NS: &str = "event_ns";
pub(crate) const EVENT_LAG_NS: &str = "event_lag_ns";
pub(crate) const EVENT_TOKENS: &str = "event_tokens";
pub(crate) const EVENT_KIND: &str = "event_kind";
pub(crate) const EVENT_FLAGS: &str = "event_flags";

/// An instant or span as a signed number: unsigned subtraction wraps around silently in polars, and
/// instants end long before the sign bit (292 years).
fn to_i64(nanos: Nanos) -> i64 {
    i64::try_from(nanos.0).unwrap_or(i64::MAX)
}

fn to_nanos(number: i64) -> Nanos {
    Nanos(u64::try_from(number).unwrap_or(0))
}

/// The event in columns, in the order of the five list columns.
pub(crate) fn event_parts(event: &Event) -> (i64, u32, u16, u8, u8) {
    (
        to_i64(event.at),
        event.lag_ns,
        event.tokens,
        event.kind as u8,
        event.flags(),
    )
}

/// The event that the columns describe; `None` for a kind that this version does not know.
pub(crate) fn event_from(at: i64, lag_ns: u32, tokens: u16, kind: u8, flags: u8) -> Option<Event> {
    Some(Event::from_parts(
        to_nanos(at),
        lag_ns,
        tokens,
        EventKind::from_u8(kind)?,
        flags,
    ))
}

macro_rules! column {
    ($name:literal, $nullable:literal, $kind:ident, $get:expr, $set:expr) => {
        Column {
            name: $name,
            nullable: $nullable,
            kind: Kind::$kind($get, $set),
        }
    };
}

/// An optional instant or span.
macro_rules! nanos {
    ($name:literal, $($field:ident).+) => {
        column!($name, true, I64, |r| r.$($field).+.map(to_i64), |r, v| r.$($field).+ = Some(to_nanos(v)))
    };
}

/// An optional number.
macro_rules! optional {
    ($name:literal, $kind:ident, $($field:ident).+) => {
        column!($name, true, $kind, |r| r.$($field).+, |r, v| r.$($field).+ = Some(v))
    };
}

/// A number that is always there.
macro_rules! plain {
    ($name:literal, $kind:ident, $($field:ident).+) => {
        column!($name, false, $kind, |r| Some(r.$($field).+), |r, v| r.$($field).+ = v)
    };
}

/// An optional text.
macro_rules! text {
    ($name:literal, $field:ident) => {
        column!($name, true, Text, |r| r.$field.as_deref(), |r, v| {
            r.$field = Some(v.to_owned());
            true
        })
    };
}

/// A whole number that is always there and kept as a signed 64-bit number.
macro_rules! whole {
    ($name:literal, $($field:ident).+) => {
        column!(
            $name,
            false,
            I64,
            |r| Some(i64::try_from(r.$($field).+).unwrap_or(i64::MAX)),
            |r, v| r.$($field).+ = v.try_into().unwrap_or_default()
        )
    };
}

static COLUMNS: [Column; 54] = [
    whole!("index", index),
    text!("id", id),
    column!("due_ns", false, I64, |r| Some(to_i64(r.due)), |r, v| r
        .due =
        to_nanos(v)),
    nanos!("dequeued_ns", dequeued),
    nanos!("send_start_ns", send_start),
    nanos!("send_end_ns", send_end),
    nanos!("first_byte_ns", marks.first_byte),
    nanos!("headers_ns", marks.headers),
    nanos!("first_event_ns", marks.first_event),
    nanos!("first_content_ns", marks.first_content),
    nanos!("first_reasoning_ns", marks.first_reasoning),
    nanos!("first_tool_call_ns", marks.first_tool_call),
    nanos!("first_answer_ns", marks.first_answer),
    nanos!("last_content_ns", marks.last_content),
    nanos!("usage_ns", marks.usage),
    nanos!("done_ns", marks.done),
    nanos!("end_ns", end),
    column!(
        "outcome",
        false,
        Text,
        |r| Some(r.outcome.name()),
        set_outcome
    ),
    optional!("status", U16, status),
    text!("error", error),
    plain!("prompt_tokens", U32, prompt_tokens),
    optional!("asked_output_tokens", U32, asked_output_tokens),
    optional!("usage_prompt_tokens", U32, usage.prompt_tokens),
    optional!("usage_completion_tokens", U32, usage.completion_tokens),
    optional!("usage_cached_tokens", U32, usage.cached_tokens),
    optional!("usage_reasoning_tokens", U32, usage.reasoning_tokens),
    plain!("output_tokens", U32, output_tokens),
    column!(
        "token_source",
        false,
        Text,
        |r| Some(source_name(r.token_source)),
        set_source
    ),
    optional!("tokenizer_output_tokens", U32, tokenizer_output_tokens),
    text!("finish_reason", finish_reason),
    column!(
        "choices",
        true,
        U32,
        |r| r.choices.map(|choices| choices.count),
        |r, v| r.choices.get_or_insert_default().count = v
    ),
    column!(
        "choices_span_ns",
        true,
        I64,
        |r| r.choices.map(|choices| to_i64(choices.span)),
        |r, v| r.choices.get_or_insert_default().span = to_nanos(v)
    ),
    plain!("unseparated_events", U32, unseparated_events),
    plain!("withheld_reasoning", Bool, withheld_reasoning),
    text!("unknown_output", unknown_output),
    column!("text", false, Text, |r| Some(&r.text), |r, v| {
        v.clone_into(&mut r.text);
        true
    }),
    column!(
        "other_text",
        false,
        Text,
        |r| Some(&r.other_text),
        |r, v| {
            v.clone_into(&mut r.other_text);
            true
        }
    ),
    plain!("connection_id", U32, connection.id),
    plain!("connection_reused", Bool, connection.reused),
    nanos!("dns_ns", connection.dns),
    nanos!("connect_ns", connection.connect),
    nanos!("tls_ns", connection.tls),
    plain!("reconnects", U16, reconnects),
    plain!("worker", U16, worker),
    plain!("target", U16, target),
    whole!("bytes_sent", bytes_sent),
    whole!("bytes_received", bytes_received),
    plain!("sequences", U32, sequences),
    plain!("audio_seconds", F64, audio_seconds),
    column!(
        "session",
        true,
        I64,
        |r| r.session.map(|s| s.0 as i64),
        |r, v| {
            r.session.get_or_insert_default().0 = v.try_into().unwrap_or_default();
        }
    ),
    column!(
        "turn",
        true,
        I64,
        |r| r.session.map(|s| s.1 as i64),
        |r, v| {
            r.session.get_or_insert_default().1 = v.try_into().unwrap_or_default();
        }
    ),
    text!("category", category),
    optional!("server_queue_s", F64, server_queue_s),
    optional!("server_ttft_s", F64, server_ttft_s),
];

/// All scalar columns in the order of the files; the event lists follow them.
pub(crate) fn columns() -> &'static [Column] {
    &COLUMNS
}

fn set_outcome(record: &mut Record, name: &str) -> bool {
    Outcome::from_name(name)
        .map(|outcome| record.outcome = outcome)
        .is_some()
}

const SOURCES: [TokenSource; 4] = [
    TokenSource::Usage,
    TokenSource::Tokenizer,
    TokenSource::Events,
    TokenSource::None,
];

const fn source_name(source: TokenSource) -> &'static str {
    match source {
        TokenSource::Usage => "usage",
        TokenSource::Tokenizer => "tokenizer",
        TokenSource::Events => "events",
        TokenSource::None => "none",
    }
}

fn set_source(record: &mut Record, name: &str) -> bool {
    let found = SOURCES
        .into_iter()
        .find(|&source| source_name(source) == name);
    found.map(|source| record.token_source = source).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_as_serde_names_them() {
        for source in SOURCES {
            assert_eq!(serde_json::to_value(source).unwrap(), source_name(source));
        }
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> =
            columns().iter().map(|column| column.name).collect();
        assert_eq!(names.len(), columns().len());
    }
}
