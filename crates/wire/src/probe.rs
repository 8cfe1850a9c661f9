//! What a socket records for the exchange that uses it: stamps, bytes, when it wrote.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use inferometer_core::Nanos;
use inferometer_os::clock;

/// A kernel stamp this far on the wrong side of an instant that must precede or follow it is
/// rejected: the wall clock was set in between.
const IMPLAUSIBLE: Nanos = Nanos::from_millis(1);
/// Turns of the event loop that the reader of a shared connection leaves to others after each read:
/// one for the task that hands a stream's headers on, one for the exchange that they belong to, and
/// one to spare.
const TURNS_FOR_STREAMS: u8 = 3;
/// Bytes that one connection reads before the other tasks of its worker and its own time limits get
/// a turn, however fast more of them come: one read of the largest size. A stream of tokens never
/// reaches it, because its socket is empty after each event.
const TURN_BYTES: usize = 64 << 10;

/// How much of a request has been sent.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// Bytes of the body taken so far.
    pub(crate) taken: Cell<u64>,
    /// When all of it had been handed to the kernel.
    pub(crate) end: Cell<Option<Nanos>>,
}

/// When a read's bytes arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The kernel's receive time, or else `user`.
    pub(crate) at: Nanos,
    /// When the process had the bytes.
    pub(crate) user: Nanos,
    /// True when `at` is the kernel's.
    pub(crate) kernel: bool,
    /// Number of the read on its connection, from 1.
    pub(crate) read: u64,
}

/// What a socket records for the exchange that uses it.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    pub(crate) last: Cell<Stamp>,
    /// The read that brought the first byte of an answer. Under TLS that is the first which held
    /// content: session tickets and the peer's closing message are not part of an answer.
    pub(crate) first: Cell<Option<Stamp>>,
    /// What is read is encrypted, so that only the TLS layer can tell whether it holds content.
    encrypted: Cell<bool>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    /// The gate: the first byte of this exchange leaves at this instant, not before it.
    pub(crate) not_before: Cell<Nanos>,
    pub(crate) write_start: Cell<Option<Nanos>>,
    pub(crate) write_end: Cell<Option<Nanos>>,
    /// Everything handed to the socket so far has reached the kernel.
    pub(crate) flushed: Cell<bool>,
    /// Requests of an HTTP/2 connection whose last byte goes out with the next flush.
    leaving: RefCell<Vec<Rc<Sending>>>,
    /// Streams share what is read.
    shared: Cell<bool>,
    /// Turns that their exchanges have left before the next read.
    turns_left: Cell<u8>,
    /// Bytes read since the connection last left a turn to others.
    turn_bytes: Cell<usize>,
    /// Informational answers (1xx) to the present request of an HTTP/1.1 connection.
    informational: Arc<AtomicU32>,
    /// The task that waits for the first content.
    waiting: RefCell<Option<Waker>>,
}

impl Probe {
    /// From here on a TLS layer reads, which calls [`Probe::note_content`].
    pub(crate) fn begin_encryption(&self) {
        self.encrypted.set(true);
        self.first.set(None);
    }

    /// Notes that the last read brought content.
    pub(crate) fn note_content(&self) {
        if self.first.get().is_none() {
            self.first.set(Some(self.last.get()));
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
        }
    }

    /// True when content has come; else the task is woken when it does.
    pub(crate) fn has_content(&self, context: &Context<'_>) -> bool {
        let come = self.first.get().is_some();
        if !come {
            self.waiting.replace(Some(context.waker().clone()));
        }
        come
    }

    /// From here on several streams share what is read. Between two reads their exchanges have a
    /// turn, so that [`Probe::last`] is the stamp of what each of them takes.
    pub(crate) fn share(&self) {
        self.shared.set(true);
    }

    /// Pending while the streams have not yet taken what the last read brought, and once after
    /// every [`TURN_BYTES`].
    pub(crate) fn poll_turn(&self, context: &mut Context<'_>) -> Poll<()> {
        let left = self.turns_left.get();
        if left > 0 {
            self.turns_left.set(left - 1);
        } else if self.turn_bytes.get() >= TURN_BYTES {
            self.end_turn();
            // Wakes the task after the event loop has asked for what else has come. Woken at once,
            // it would have some sixty turns before that.
            return pin!(tokio::task::yield_now()).poll(context);
        } else {
            return Poll::Ready(());
        }
        // Queued behind the tasks that the last read has woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notes that the connection leaves a turn to others, because it has nothing to read.
    pub(crate) fn end_turn(&self) {
        self.turn_bytes.set(0);
    }

    /// The count of informational answers, for whoever parses them.
    pub(crate) fn informational_counter(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.informational)
    }

    /// Informational answers (1xx) to the present request.
    pub(crate) fn informational(&self) -> u32 {
        self.informational.load(Ordering::Relaxed)
    }

    /// Marks `sending` as sent when the connection has next written all it has.
    pub(crate) fn await_flush(&self, sending: &Rc<Sending>) {
        self.leaving.borrow_mut().push(Rc::clone(sending));
    }

    pub(crate) fn note_flush(&self) {
        if self.bytes_out.get() > 0 {
            self.flushed.set(true);
        }
        let mut leaving = self.leaving.borrow_mut();
        if !leaving.is_empty() {
            let end = self.write_end.get().unwrap_or_else(clock::now);
            for sending in leaving.drain(..) {
                sending.end.set(Some(end));
            }
        }
    }

    /// Forgets the previous exchange; the next one's first byte leaves at `not_before` at the
    /// earliest.
    pub(crate) fn begin(&self, not_before: Nanos) {
        self.not_before.set(not_before);
        self.first.set(None);
        self.informational.store(0, Ordering::Relaxed);
        self.bytes_in.set(0);
        self.bytes_out.set(0);
        self.write_start.set(None);
        self.write_end.set(None);
        self.flushed.set(false);
    }

    pub(crate) fn note_read(&self, len: usize, kernel: Option<Nanos>, user: Nanos) {
        let previous = self.last.get();
        // Bytes arrive in order, not before the request was sent, and not after they were read.
        let earliest = match (self.first.get(), self.write_start.get()) {
            (None, Some(sent)) => previous.at.max(sent),
            _ => previous.at,
        };
        let kernel = kernel.filter(|&at| at <= user + IMPLAUSIBLE && at + IMPLAUSIBLE >= earliest);
        let at = kernel.map_or(user, |at| at.min(user).max(earliest));
        let stamp = Stamp {
            at,
            user,
            kernel: kernel.is_some(),
            read: previous.read + 1,
        };
        self.last.set(stamp);
        if self.shared.get() {
            self.turns_left.set(TURNS_FOR_STREAMS);
        }
        self.turn_bytes.set(self.turn_bytes.get() + len);
        if !self.encrypted.get() && len > 0 {
            self.note_content();
        }
        self.bytes_in.set(self.bytes_in.get() + len as u64);
    }

    pub(crate) fn note_write(&self, written: usize) {
        self.bytes_out.set(self.bytes_out.get() + written as u64);
        self.write_end.set(Some(clock::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_kernel_stamp_is_replaced_by_the_instant_of_the_read() {
        const MS: u64 = 1_000_000;
        let probe = Probe::default();
        probe.write_start.set(Some(Nanos(100 * MS)));
        let read = |kernel: u64, user: u64| {
            probe.note_read(10, Some(Nanos(kernel)), Nanos(user));
            let stamp = probe.last.get();
            (stamp.at.0, stamp.kernel)
        };
        // Before the request was sent: the wall clock was set back.
        assert_eq!(read(50 * MS, 110 * MS), (110 * MS, false));
        // Read long after it came, which is what kernel stamps are for.
        assert_eq!(read(120 * MS, 170 * MS), (120 * MS, true));
        // Came between the last read and its user stamp.
        assert_eq!(read(130 * MS, 180 * MS), (130 * MS, true));
        // A little early is the conversion's error, and order is kept.
        assert_eq!(read(130 * MS - 500, 190 * MS), (130 * MS, true));
        // From the future: the wall clock was set forward.
        assert_eq!(read(300 * MS, 200 * MS), (200 * MS, false));
        probe.note_read(10, None, Nanos(210 * MS));
        assert_eq!(
            probe.last.get(),
            Stamp {
                at: Nanos(210 * MS),
                user: Nanos(210 * MS),
                kernel: false,
                read: 6
            }
        );
    }
}
