//! Stopping a run early without losing anything.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a run has been asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopLevel {
    /// Continue.
    #[default]
    Run,
    /// Send nothing more, and wait a while for what is in flight.
    Drain,
    /// Cancel what is in flight, and keep what is known of it.
    Abort,
}

/// Asks a run to stop; may be cloned and used from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    level: Arc<watch::Sender<StopLevel>>,
}

impl Default for StopHandle {
    fn default() -> Self {
        Self {
            level: Arc::new(watch::Sender::new(StopLevel::Run)),
        }
    }
}

impl StopHandle {
    /// Raises the level; it never falls again.
    pub fn raise(&self, level: StopLevel) {
        self.level.send_if_modified(|present| {
            let raised = level > *present;
            *present = level.max(*present);
            raised
        });
    }

    /// Raises the level by one, as each Ctrl-C does, and returns it.
    pub fn escalate(&self) -> StopLevel {
        let next = match self.level() {
            StopLevel::Run => StopLevel::Drain,
            StopLevel::Drain | StopLevel::Abort => StopLevel::Abort,
        };
        self.raise(next);
        next
    }

    /// The present level.
    pub fn level(&self) -> StopLevel {
        *self.level.borrow()
    }

    /// Ready when the run has been asked to stop.
    pub async fn raised(&self) {
        let mut level = self.watch();
        // The sender is this handle, so that waiting cannot fail.
        drop(level.wait_for(|level| *level > StopLevel::Run).await);
    }

    /// Follows the level.
    pub(crate) fn watch(&self) -> watch::Receiver<StopLevel> {
        self.level.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_only_rises() {
        let stop = StopHandle::default();
        assert_eq!(stop.escalate(), StopLevel::Drain);
        stop.raise(StopLevel::Run);
        assert_eq!(stop.level(), StopLevel::Drain);
        assert_eq!(stop.escalate(), StopLevel::Abort);
        assert_eq!(stop.escalate(), StopLevel::Abort);
    }
}
