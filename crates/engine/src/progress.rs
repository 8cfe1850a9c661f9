//! Snapshots of a run for observers: numbers that may be a little old, and never slow a worker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use inferometer_core::{Nanos, Record};
use inferometer_wire::Live;

/// Finished requests that are kept for the live percentiles: enough for a p99 with 20 requests
/// above it, and little to copy for each of an observer's ten snapshots per second.
const RECENT: usize = 2_000;

/// Shared between a run and its observers.
#[derive(Debug, Default)]
pub struct Progress {
    // Locked once per run by the engine and ten times per second by an observer; never by a worker.
    counters: Mutex<Counters>,
    // Written by the collector, a few times per second.
    recent: Mutex<VecDeque<Recent>>,
    // Written by the collector once.
    first_failure: Mutex<Option<Failure>>,
}

/// Where the counts of a run come from.
#[derive(Debug, Default)]
struct Counters {
    /// Requests of the run.
    total: usize,
    /// The counters of each worker.
    workers: Vec<Arc<Live>>,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests of the run.
    pub total: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests with outcome ok.
    pub ok: u64,
    /// Requests with any other outcome.
    pub failed: u64,
    /// Token events received.
    pub events: u64,
    /// Connections opened.
    pub connections_opened: u64,
}

/// A request that ended a short while ago, for live displays. The final numbers come from the
/// records.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recent {
    /// When it ended, from run start.
    pub end: Nanos,
    /// Time to first token in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Mean gap between its token events in milliseconds.
    pub itl_ms: Option<f64>,
    /// How late it was sent, in milliseconds.
    pub lateness_ms: Option<f64>,
    /// Its outcome was ok.
    pub ok: bool,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Outcome and message, in one line.
    pub reason: String,
    /// HTTP status of the answer, where there was one.
    pub status: Option<u16>,
}

impl Failure {
    fn of(record: &Record) -> Self {
        let outcome = record.outcome;
        Self {
            reason: match &record.error {
                Some(error) => format!("{outcome}: {error}"),
                None => outcome.to_string(),
            },
            status: record.status,
        }
    }
}

impl Recent {
    fn of(record: &Record) -> Self {
        let (first, last) = (record.first_token(), record.last_token());
        let gaps = record.events.len().saturating_sub(1);
        let itl = first.zip(last).filter(|_| gaps > 0);
        Self {
            end: record.end.unwrap_or_default(),
            ttft_ms: first
                .zip(record.send_start)
                .map(|(first, sent)| first.since(sent).as_millis_f64()),
            itl_ms: itl.map(|(first, last)| last.since(first).as_millis_f64() / gaps as f64),
            lateness_ms: record.lateness().map(Nanos::as_millis_f64),
            ok: record.is_ok(),
        }
    }
}

impl Progress {
    /// Takes over the counters of a run of `total` requests.
    pub(crate) fn attach(&self, total: usize, workers: &[Arc<Live>]) {
        let workers = workers.to_vec();
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = Counters { total, workers };
    }

    /// Takes in finished requests, rebased to the start of the run.
    pub(crate) fn finished<'a>(&self, records: impl Iterator<Item = &'a Record> + Clone) {
        let failed = records.clone().find(|record| !record.is_ok());
        if let Some(failed) = failed {
            self.first_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| Failure::of(failed));
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.extend(records.map(Recent::of));
        let excess = recent.len().saturating_sub(RECENT);
        recent.drain(..excess);
    }

    /// The first request that failed.
    pub fn first_failure(&self) -> Option<Failure> {
        self.first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The requests that ended last, the oldest first.
    pub fn recent(&self) -> Vec<Recent> {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }

    /// The present state of the run.
    pub fn snapshot(&self) -> Snapshot {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Snapshot {
            total: counters.total as u64,
            ..Snapshot::default()
        };
        for live in &counters.workers {
            let counts = live.read();
            sum.in_flight += counts.in_flight;
            sum.ok += counts.ok;
            sum.failed += counts.failed;
            sum.events += counts.events;
            sum.connections_opened += counts.opened;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use inferometer_core::{Event, EventKind};

    use super::*;

    #[test]
    fn only_the_last_requests_are_kept() {
        let progress = Progress::default();
        let event = |at| {
            Event::new(
                Nanos::from_millis(at),
                Nanos::ZERO,
                EventKind::Text,
                false,
                true,
            )
        };
        let record = |end: u64| Record {
            end: Some(Nanos(end)),
            send_start: Some(Nanos::from_millis(1)),
            events: vec![event(11), event(16), event(21)],
            ..Record::default()
        };
        let many: Vec<_> = (0..RECENT as u64 + 5).map(record).collect();
        progress.finished(many.iter());
        let recent = progress.recent();
        assert_eq!((recent.len(), recent[0].end), (RECENT, Nanos(5)));
        assert_eq!(
            (recent[0].ttft_ms, recent[0].itl_ms),
            (Some(10.0), Some(5.0))
        );
    }
}
