//! A background thread that shows or publishes a state until it is dropped.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that is stopped and joined when this is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's side of the stop signal.
#[derive(Debug)]
pub(crate) struct Stopped(Receiver<()>);

impl Background {
    /// Starts `work`, which must return soon after it is stopped.
    pub(crate) fn spawn(work: impl FnOnce(Stopped) + Send + 'static) -> Self {
        let (stop, stopped) = sync_channel(1);
        // Without a thread nothing is shown, which does not justify ending a run.
        let thread = std::thread::Builder::new().spawn(move || work(Stopped(stopped)));
        Self {
            stop: Some(stop),
            thread: thread.ok(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only displays or publishes: if it panicked, the run itself is not affected.
            drop(thread.join());
        }
    }
}

impl Stopped {
    /// Waits for the stop signal for at most `timeout`. True if it has come.
    pub(crate) fn within(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
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
