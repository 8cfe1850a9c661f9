//! Wall-clock instants as text. Nothing here reads a clock: instants come in as nanoseconds since
//! 1970.

use std::sync::OnceLock;

use inferometer_core::Nanos;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// `%Y%m%d-%H%M%S` in local time, as vLLM writes it into results and file names.
pub fn vllm_date(wall: Nanos) -> String {
    local(wall).strftime("%Y%m%d-%H%M%S").to_string()
}

/// RFC 3339 with the local offset and milliseconds, such as `2026-11-24T04:00:16.123+01:00`.
pub fn rfc3339(wall: Nanos) -> String {
    local(wall).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// Local time as Python's `datetime.now().isoformat()` prints it: without offset, with microseconds
/// unless they are zero.
pub fn python_isoformat(wall: Nanos) -> String {
    let local = local(wall);
    let micros = local.subsec_nanosecond() / 1_000;
    let format = if micros == 0 {
        "%Y-%m-%dT%H:%M:%S"
    } else {
        "%Y-%m-%dT%H:%M:%S%.6f"
    };
    local.strftime(format).to_string()
}

/// The seconds since 1970 that a clock on the wall shows: those of UTC and the local offset.
pub fn local_seconds(wall: Nanos) -> i64 {
    let local = local(wall);
    local.timestamp().as_second() + i64::from(local.offset().seconds())
}

fn local(wall: Nanos) -> ZonedDateTime {
    let timestamp = Timestamp::from_nanosecond(i128::from(wall.0)).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.to_zoned_datetime(local_zone())
}

/// The local time zone, looked up once.
///
/// Its rules are read from `/etc/localtime` where nothing else is asked for: for its *name*,
/// which none of our formats shows, the library would walk the whole time zone database, some
/// milliseconds before every run.
fn local_zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let rules = || {
        let asked = std::env::var_os("TZ").is_some();
        let file = (!asked)
            .then(|| std::fs::read("/etc/localtime").ok())
            .flatten()?;
        TimeZone::tzif("local", &file).ok()
    };
    ZONE.get_or_init(|| rules().unwrap_or_else(TimeZone::system))
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_instant_in_each_form() {
        let wall = Nanos(1_795_492_816_123_456_789);
        let date = vllm_date(wall);
        let iso = python_isoformat(wall);
        let digits: String = iso.chars().filter(char::is_ascii_digit).take(14).collect();
        assert_eq!(date.replace('-', ""), digits);
        assert!(iso.ends_with(".123456"), "{iso}");
        let back: Timestamp = rfc3339(wall).parse().unwrap();
        assert_eq!(back.as_millisecond(), 1_795_492_816_123);
        let shown = Timestamp::from_second(local_seconds(wall)).unwrap();
        assert!(shown.to_string().starts_with(&iso[..19]), "{shown} {iso}");
        assert!(!python_isoformat(Nanos(1_795_492_816_000_000_999)).contains('.'));
    }
}
