//! A thread beside the work: it shows or tells how things stand, until it is let go.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that is told to stop, and waited for, when this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread knows of its end.
#[derive(Debug)]
pub(crate) struct Stopped(Receiver<()>);

impl Background {
    /// Begins `work`, which returns soon after it was told to stop.
    pub(crate) fn spawn(work: impl FnOnce(Stopped) + Send + 'static) -> Self {
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::spawn(move || work(Stopped(stopped)));
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What it does is decoration: whatever became of it, the work beside it is done.
            drop(thread.join());
        }
    }
}

impl Stopped {
    /// Waits for the end, but not longer than `patience`. True when it has come.
    pub(crate) fn within(&self, patience: Duration) -> bool {
        self.0.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_thread_has_ended_when_it_is_dropped() {
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let background = Background::spawn(move |stopped| {
            loop {
                let end = stopped.within(Duration::from_millis(1));
                counted.fetch_add(1, Ordering::Relaxed);
                if end {
                    return;
                }
            }
        });
        drop(background);
        let then = rounds.load(Ordering::Relaxed);
        assert!(then > 0);
        assert_eq!(
            Arc::strong_count(&rounds),
            1,
            "the thread holds its count until it ends"
        );
    }
}
