//! What this host's client can do, as `inferometer selftest` measured it earlier.

use std::path::PathBuf;

use inferometer_core::{ClientHealth, Records, names};
use inferometer_metrics::numpy;
use inferometer_os::files::{self, SMALL_FILE};
use serde::{Deserialize, Serialize};

/// What this host's client can do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ceiling {
    /// Version of this layout.
    pub format_version: u32,
    /// Host name, because a ceiling means nothing elsewhere.
    pub host: String,
    /// Build that was measured: `debug` or `release`.
    pub build: String,
    /// Lateness of sends at 500 requests per second, in milliseconds.
    pub lateness_ms: Tail,
    /// Requests completed per second over 64 connections.
    pub requests_per_s: f64,
    /// Token events received per second over 64 streams.
    pub events_per_s: f64,
    /// Streams that were open at once, all of them answered.
    pub open_streams: usize,
    /// What limited `open_streams`.
    pub streams_limited_by: String,
    /// Difference between the client's stamp of an event and the server's hand-over to the kernel,
    /// in milliseconds, at 100 streams of 50 tokens per second.
    pub stamp_error_ms: Tail,
    /// True when the stamps were the kernel's.
    pub kernel_stamps: bool,
}

impl Ceiling {
    /// The largest fraction of this host's ceilings that a run has used, of events per second, requests
    /// per second or open streams; 1 is the ceiling. `None` where nothing can be compared.
    pub fn used(&self, records: &dyn Records, health: &ClientHealth) -> Option<f64> {
        let wall = health.wall.as_secs_f64();
        let (mut events, mut sent) = (0, 0);
        records.visit(&mut |record| {
            events += record.events.len();
            sent += usize::from(record.send_start.is_some());
        });
        let streams = (health.in_flight_peak as f64, self.open_streams as f64);
        let streams = Some(streams).filter(|_| !self.is_limited_by_flag());
        [
            (events as f64 / wall, self.events_per_s),
            (sent as f64 / wall, self.requests_per_s),
        ]
        .into_iter()
        .chain(streams)
        .map(|(used, ceiling)| used / ceiling)
        .filter(|fraction| fraction.is_finite())
        .reduce(f64::max)
    }

    /// True when a flag of the self-test (`--max-streams`) set the number of streams: then the host
    /// could have opened more.
    fn is_limited_by_flag(&self) -> bool {
        self.streams_limited_by.starts_with("--")
    }
}

/// Median and tail of a distribution.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Tail {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Maximum.
    pub max: f64,
}

impl Tail {
    /// The tail of values in any order; zeros without any.
    pub fn of(mut values: Vec<f64>) -> Self {
        numpy::sort(&mut values);
        let at = |p| numpy::percentile(&values, p);
        Self {
            p50: at(50.0),
            p99: at(99.0),
            max: values.last().copied().unwrap_or(0.0),
        }
    }
}

/// The file in the user's cache folder that keeps the ceiling of this host for later runs; `None`
/// without a home folder.
pub fn kept_at() -> Option<PathBuf> {
    cache_file(names::NAME)
}

fn cache_file(program: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join(program).join("selftest.json"))
}

/// The ceiling measured earlier on this host with this kind of build, if there is one.
pub fn kept() -> Option<Ceiling> {
    let read = |program| files::text(&cache_file(program)?, SMALL_FILE).ok();
    let text = read(names::NAME).or_else(|| read(names::OLD_NAME))?;
    let ceiling: Ceiling = serde_json::from_str(&text).ok()?;
    (host() == ceiling.host && ceiling.build == inferometer_results::Tool::this().build)
        .then_some(ceiling)
}

/// Name of this host; empty where the system reports none.
pub fn host() -> String {
    inferometer_telemetry::host_name().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use inferometer_core::Record;

    use super::*;

    #[test]
    fn a_number_of_streams_that_a_flag_set_is_no_ceiling() {
        let mut ceiling = Ceiling {
            events_per_s: 1e6,
            requests_per_s: 1e6,
            open_streams: 500,
            streams_limited_by: "--max-streams".to_owned(),
            ..Ceiling::default()
        };
        let health = ClientHealth {
            wall: inferometer_core::Nanos::from_millis(1_000),
            in_flight_peak: 3_000,
            ..ClientHealth::default()
        };
        let records = vec![Record::default()];
        assert_eq!(ceiling.used(&records, &health), Some(0.0));
        "open files (ulimit -n)".clone_into(&mut ceiling.streams_limited_by);
        assert_eq!(ceiling.used(&records, &health), Some(6.0));
    }
}
