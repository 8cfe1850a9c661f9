//! A look at a run from outside: numbers that may be a little old, and never slow a worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use servebench_wire::Live;

/// Shared between a run and whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    // Locked once per run by the engine and ten times a second by a watcher; never by a worker.
    workers: Mutex<(usize, Vec<Arc<Live>>)>,
    in_flight_peak: AtomicU64,
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

impl Progress {
    pub(crate) fn attach(&self, total: usize, workers: &[Arc<Live>]) {
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) = (total, workers.to_vec());
    }

    /// How the run stands now.
    pub fn snapshot(&self) -> Snapshot {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Snapshot { total: workers.0 as u64, ..Snapshot::default() };
        for live in &workers.1 {
            let counts = live.read();
            sum.in_flight += counts.in_flight;
            sum.ok += counts.ok;
            sum.failed += counts.failed;
            sum.events += counts.events;
            sum.connections_opened += counts.opened;
        }
        self.in_flight_peak.fetch_max(sum.in_flight, Ordering::Relaxed);
        sum
    }

    /// The most requests in flight that any snapshot saw.
    pub fn in_flight_peak(&self) -> u64 {
        self.in_flight_peak.load(Ordering::Relaxed)
    }
}
