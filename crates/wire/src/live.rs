//! Counters that one worker publishes while it runs, for a progress display that must not slow it
//! down.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One worker's counters. Only that worker writes them; any thread may read them at any time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Live {
    in_flight: AtomicU64,
    events: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    opened: AtomicU64,
}

/// A reading of [`Live`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Requests that are being exchanged.
    pub in_flight: u64,
    /// Token events received.
    pub events: u64,
    /// Requests that succeeded.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Connections opened.
    pub opened: u64,
}

impl Live {
    /// The current counts.
    pub fn read(&self) -> LiveCounts {
        LiveCounts {
            in_flight: self.in_flight.load(Relaxed),
            events: self.events.load(Relaxed),
            ok: self.ok.load(Relaxed),
            failed: self.failed.load(Relaxed),
            opened: self.opened.load(Relaxed),
        }
    }

    pub(crate) fn enter(&self) -> InFlight<'_> {
        add(&self.in_flight, 1);
        InFlight(self)
    }

    pub(crate) fn count_events(&self, more: u64) {
        add(&self.events, more);
    }

    pub(crate) fn count_end(&self, ok: bool) {
        add(if ok { &self.ok } else { &self.failed }, 1);
    }

    pub(crate) fn count_opened(&self) {
        add(&self.opened, 1);
    }
}

/// With a single writer, a load and a store do what a locked addition would, at a fraction of its
/// cost.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// One request in flight; counts down when dropped, also when the exchange is abandoned.
pub(crate) struct InFlight<'a>(&'a Live);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        add(&self.0.in_flight, u64::MAX);
    }
}
