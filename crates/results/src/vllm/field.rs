//! The values of a result file and how they are written, long lists without a copy.

use std::io::{self, Write};

use inferometer_core::python::{float_repr, write_json};
use inferometer_core::{Nanos, Record, Records};
use serde_json::{Number, Value};

use crate::json_stream::write_list;

/// A value of the result; long lists are borrowed, because they may hold millions of numbers.
pub(super) enum Field<'a> {
    Value(Value),
    Counts(&'a [u64]),
    Floats(&'a [f64]),
    FloatLists(&'a [Vec<f64>]),
    Texts(&'a [String]),
    Gaps(&'a dyn Records),
    Answers(&'a dyn Records),
}

impl Field<'_> {
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Counts(counts) => counts.iter().copied().collect(),
            Self::Floats(floats) => float_list(floats),
            Self::FloatLists(lists) => lists.iter().map(|list| float_list(list)).collect(),
            Self::Texts(texts) => texts.iter().map(String::as_str).collect(),
            Self::Gaps(records) => collected(records, |record| float_list(&gaps(record))),
            Self::Answers(records) => collected(records, |record| record.text.as_str().into()),
        }
    }
}

/// One value per record.
fn collected(records: &dyn Records, of: fn(&Record) -> Value) -> Value {
    let mut values = Vec::with_capacity(records.count());
    records.visit(&mut |record| values.push(of(record)));
    values.into()
}

/// The gaps between token events in seconds.
fn gaps(record: &Record) -> Vec<f64> {
    record.gaps().map(Nanos::as_secs_f64).collect()
}

fn float_list(floats: &[f64]) -> Value {
    floats.iter().map(|&float| float_value(float)).collect()
}

/// A float in JSON: what JSON has no number for becomes `"inf"`, `"-inf"` or null.
pub(crate) fn float_value(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::Null,
        None => float_repr(number).into(),
    }
}

/// Writes a value in the layout of Python's `json.dumps`.
pub(super) fn write_field<W: Write + ?Sized>(out: &mut W, field: &Field<'_>) -> io::Result<()> {
    match field {
        Field::Value(value) => write_json(out, value),
        Field::Counts(counts) => write_list(out, counts, |out, count| write!(out, "{count}")),
        Field::Floats(floats) => write_floats(out, floats),
        Field::FloatLists(lists) => write_list(out, lists, |out, list| write_floats(out, list)),
        Field::Texts(texts) => write_list(out, texts, |out, text| write_json(out, text)),
        Field::Gaps(records) => write_visited(out, *records, |out, record| {
            write_floats(out, &gaps(record))
        }),
        Field::Answers(records) => {
            write_visited(out, *records, |out, record| write_json(out, &record.text))
        }
    }
}

/// A list with one element per record, written as the records are visited.
fn write_visited<W: Write + ?Sized>(
    out: &mut W,
    records: &dyn Records,
    write: fn(&mut W, &Record) -> io::Result<()>,
) -> io::Result<()> {
    let mut written = out.write_all(b"[");
    let mut first = true;
    records.visit(&mut |record| {
        if written.is_ok() {
            let separator: &[u8] = if first { b"" } else { b", " };
            first = false;
            written = out.write_all(separator).and_then(|()| write(out, record));
        }
    });
    written.and_then(|()| out.write_all(b"]"))
}

fn write_floats<W: Write + ?Sized>(out: &mut W, floats: &[f64]) -> io::Result<()> {
    write_list(out, floats, |out, &number| {
        if number.is_finite() {
            out.write_all(float_repr(number).as_bytes())
        } else {
            write_json(out, &float_value(number))
        }
    })
}
