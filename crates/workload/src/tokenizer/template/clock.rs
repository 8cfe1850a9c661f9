//! The time that templates see.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Error, ErrorKind};

/// 2024-07-26 00:00:00 in seconds since 1970: the date that the templates of Llama 3 fall back to. A
/// fixed one keeps prompts the same from day to day.
pub(in crate::tokenizer) const FIXED_TIME: i64 = 1_721_952_000;

/// Python's `strftime` of a local time without a zone, given in seconds since 1970.
pub(super) fn format(time: i64, format: &str) -> Result<String, Error> {
    let failed = |error: jiff::Error| {
        let message = format!("strftime_now({format:?}): {error}");
        Error::new(ErrorKind::InvalidOperation, message)
    };
    let time = Timestamp::from_second(time)
        .map_err(failed)?
        .to_zoned_datetime(TimeZone::UTC)
        .datetime();
    jiff::fmt::strtime::format(without_zone(format), time).map_err(failed)
}

/// A format without the name and the offset of the zone, which are empty in Python for a time that
/// has none.
fn without_zone(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut symbols = format.chars();
    while let Some(symbol) = symbols.next() {
        match (symbol, symbols.clone().next()) {
            ('%', Some('Z' | 'z')) => drop(symbols.next()),
            ('%', Some(next)) => {
                out.extend(['%', next]);
                symbols.next();
            }
            _ => out.push(symbol),
        }
    }
    out
}
