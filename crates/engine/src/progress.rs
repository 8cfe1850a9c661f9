//! A look at a run from outside: numbers that may be a little old, and never slow a worker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use inferometer_core::{Nanos, Record};
use inferometer_wire::Live;

/// Finished requests that are remembered for the live percentiles.
const RECENT: usize = 2_000;

/// Shared between a run and whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    // Locked once per run by the engine and ten times a second by a watcher; never by a worker.
    workers: Mutex<(usize, Vec<Arc<Live>>)>,
    // Written by the collector, a few times a second.
    recent: Mutex<VecDeque<Recent>>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests of the run.
    pub total: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that ended well.
    pub ok: u64,
    /// Requests that ended in any other way.
    pub failed: u64,
    /// Token events received.
    pub events: u64,
    /// Connections opened.
    pub connections_opened: u64,
}

/// A request that ended a short while ago, for live displays. The final numbers are made from the
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
    /// It ended well.
    pub ok: bool,
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
    pub(crate) fn attach(&self, total: usize, workers: &[Arc<Live>]) {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) = (total, workers.to_vec());
    }

    /// Remembers finished requests, rebased to the start of the run.
    pub(crate) fn finished<'a>(&self, records: impl Iterator<Item = &'a Record>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.extend(records.map(Recent::of));
        let excess = recent.len().saturating_sub(RECENT);
        recent.drain(..excess);
    }

    /// Requests that ended last, the oldest first.
    pub fn recent(&self) -> Vec<Recent> {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }

    /// How the run stands now.
    pub fn snapshot(&self) -> Snapshot {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Snapshot {
            total: workers.0 as u64,
            ..Snapshot::default()
        };
        for live in &workers.1 {
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
    fn only_the_last_requests_are_remembered() {
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
