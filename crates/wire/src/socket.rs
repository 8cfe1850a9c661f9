//! The socket under everything: reads with the kernel's receive stamp, and remembers when it wrote.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use inferometer_core::Nanos;
use inferometer_os::clock::{self, WallConverter};
use inferometer_os::{PreciseTimer, stamps};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::outgoing::Sending;

/// Largest single read.
const READ_SIZE: usize = 64 << 10;
/// A kernel stamp this far on the wrong side of an instant that must be before or after it is no
/// stamp of ours: the wall clock was set in between.
const IMPLAUSIBLE: Nanos = Nanos::from_millis(1);
/// Turns of the event loop that the reader of a shared connection leaves to others after each read:
/// one for the task that hands a stream's headers on, one for the exchange that they belong to, and
/// one to spare.
const TURNS_FOR_STREAMS: u8 = 3;

/// What the sockets of one worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    converter: RefCell<WallConverter>,
    buffer: RefCell<Box<[u8]>>,
    kernel_stamps: bool,
    /// Requests that are ready wait at their gates until this is false.
    shut: Cell<bool>,
    /// Time spent at the gate by requests that were ready before they were due.
    spun: Cell<Nanos>,
}

impl Shared {
    pub(crate) fn new(kernel_stamps: bool) -> Rc<Self> {
        Rc::new(Self {
            converter: RefCell::new(WallConverter::new()),
            buffer: RefCell::new(vec![0; READ_SIZE].into_boxed_slice()),
            kernel_stamps,
            shut: Cell::default(),
            spun: Cell::default(),
        })
    }

    /// The gate before the first byte of a request that is due at `instant` (zero for what has no
    /// gate).
    ///
    /// Pending while the gates are shut, in which case whoever shut them polls again. Else it spins
    /// until the instant: nothing else of the worker runs meanwhile.
    pub(crate) fn poll_gate(&self, instant: Nanos) -> Poll<()> {
        if instant == Nanos::ZERO {
            return Poll::Ready(());
        }
        if self.shut.get() {
            return Poll::Pending;
        }
        let before = clock::now();
        if before < instant {
            let after = PreciseTimer::spin_until(instant);
            self.spun.set(self.spun.get() + after.since(before));
        }
        Poll::Ready(())
    }

    /// Shuts all gates, or opens them.
    pub(crate) fn shut_gates(&self, shut: bool) {
        self.shut.set(shut);
    }

    /// Time spent spinning so far.
    pub(crate) fn spun(&self) -> Nanos {
        self.spun.get()
    }

    /// Steps of the wall clock seen so far, and the largest.
    pub(crate) fn clock_steps(&self) -> (u32, Nanos) {
        self.converter.borrow().steps()
    }
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

/// What a socket has seen, for the exchange that uses it.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    pub(crate) last: Cell<Stamp>,
    /// The read that brought the first byte of an answer. Under TLS that is the first which held
    /// content: session tickets and a goodbye come by themselves and answer nothing.
    pub(crate) first: Cell<Option<Stamp>>,
    /// What is read is encrypted, so that only the TLS layer can tell whether it holds content.
    encrypted: Cell<bool>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    /// The gate: the first byte of this exchange leaves at this instant, not before it.
    not_before: Cell<Nanos>,
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
    /// Who waits for the first content.
    waiting: RefCell<Option<Waker>>,
}

impl Probe {
    /// Says that from here on a TLS layer reads, which calls [`Probe::note_content`].
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

    /// Says that from here on several streams share what is read. Between two reads their exchanges
    /// then have a turn, so that [`Probe::last`] is the stamp of what each of them takes.
    pub(crate) fn share(&self) {
        self.shared.set(true);
    }

    /// Pending while the streams have not yet taken what the last read brought.
    fn poll_turn(&self, context: &Context<'_>) -> Poll<()> {
        let left = self.turns_left.get();
        if left == 0 {
            return Poll::Ready(());
        }
        self.turns_left.set(left - 1);
        // Queued behind the tasks that the last read has woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Marks `sending` as sent when the connection has next written all it has.
    pub(crate) fn await_flush(&self, sending: &Rc<Sending>) {
        self.leaving.borrow_mut().push(Rc::clone(sending));
    }

    fn note_flush(&self) {
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
        self.bytes_in.set(0);
        self.bytes_out.set(0);
        self.write_start.set(None);
        self.write_end.set(None);
        self.flushed.set(false);
    }

    fn note_read(&self, len: usize, kernel: Option<Nanos>, user: Nanos) {
        let previous = self.last.get();
        // Bytes arrive in order, not before the request went out, and not later than we have them.
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
        if !self.encrypted.get() && len > 0 {
            self.note_content();
        }
        self.bytes_in.set(self.bytes_in.get() + len as u64);
    }

    fn note_write(&self, written: usize) {
        self.bytes_out.set(self.bytes_out.get() + written as u64);
        self.write_end.set(Some(clock::now()));
    }
}

/// A connected stream socket in the event loop.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: Rc<AsyncFd<OwnedFd>>,
    probe: Rc<Probe>,
    shared: Rc<Shared>,
}

impl Socket {
    /// Starts to connect without blocking, and waits until it is done.
    pub(crate) async fn connect(
        socket: socket2::Socket,
        address: &socket2::SockAddr,
        shared: Rc<Shared>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        if shared.kernel_stamps && !address.is_unix() {
            // Without stamps from the kernel, the process's own are used and the events say so.
            stamps::enable(socket.as_fd());
        }
        let pending = match socket.connect(address) {
            Ok(()) => false,
            Err(error) if is_in_progress(&error) => true,
            Err(error) => return Err(error),
        };
        let descriptor = inferometer_os::watch(
            OwnedFd::from(socket),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        if pending {
            drop(descriptor.writable().await?);
            if let Some(error) = SockRef::from(descriptor.get_ref()).take_error()? {
                return Err(error);
            }
        }
        Ok(Self {
            descriptor: Rc::new(descriptor),
            probe: Rc::default(),
            shared,
        })
    }

    /// What the socket has seen.
    pub(crate) fn probe(&self) -> Rc<Probe> {
        Rc::clone(&self.probe)
    }

    /// A second view of the socket that can tell whether the peer has closed.
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher(Rc::clone(&self.descriptor))
    }

    /// Reads into the worker's buffer and lets `take` have the bytes.
    fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
        room: usize,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<()>> {
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.probe.poll_turn(context));
        loop {
            let mut ready = ready!(self.descriptor.poll_read_ready(context))?;
            let mut buffer = self.shared.buffer.borrow_mut();
            let asked = room.min(buffer.len());
            match stamps::recv_into(self.descriptor.as_fd(), &mut buffer[..asked]) {
                Ok(read) => {
                    let user = clock::now();
                    let mut converter = self.shared.converter.borrow_mut();
                    let at = read.kernel_wall.map(|wall| converter.to_monotonic(wall));
                    let short = read.len < asked;
                    self.probe.note_read(read.len, at, user);
                    converter.refresh(user);
                    if short && read.len > 0 {
                        // All that was there has been read; the next call would only be told to
                        // wait.
                        ready.clear_ready();
                    }
                    take(&buffer[..read.len]);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        send: impl Fn(&SockRef<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.descriptor.poll_write_ready(context))?;
            if self.probe.write_start.get().is_none() {
                // All that a request needs has been done by now, up to the bytes in hand.
                ready!(self.shared.poll_gate(self.probe.not_before.get()));
                self.probe.write_start.set(Some(clock::now()));
            }
            match send(&SockRef::from(self.descriptor.get_ref())) {
                Ok(written) => {
                    self.probe.note_write(written);
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// What an idle connection has for its next user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing: it is open.
    Quiet,
    /// Bytes that nobody asked for. Under TLS these may be session tickets, or the peer's goodbye.
    BytesWait,
    /// The peer's end.
    Closed,
}

/// Tells whether an idle connection is still usable, without taking anything from it.
#[derive(Debug)]
pub(crate) struct Watcher(Rc<AsyncFd<OwnedFd>>);

impl Watcher {
    /// What an idle connection has for us.
    pub(crate) fn look(&self) -> Idle {
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        match SockRef::from(self.0.get_ref()).peek(&mut byte) {
            Ok(1..) => Idle::BytesWait,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Quiet,
            Ok(0) | Err(_) => Idle::Closed,
        }
    }
}

impl hyper::rt::Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        self.get_mut()
            .poll_recv(context, room, |bytes| buffer.put_slice(bytes))
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_send(context, |socket| socket.send(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when its own buffer is empty: head and body of the request are then on
        // their way.
        self.probe.note_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = SockRef::from(self.descriptor.get_ref()).shutdown(std::net::Shutdown::Write);
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_send(context, |socket| socket.send_vectored(parts))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        self.get_mut()
            .poll_recv(context, room, |bytes| buffer.put_slice(bytes))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_send(context, |socket| socket.send(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(self, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(self, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_send(context, |socket| socket.send_vectored(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_that_cannot_be_right_is_replaced_by_our_own() {
        const MS: u64 = 1_000_000;
        let probe = Probe::default();
        probe.write_start.set(Some(Nanos(100 * MS)));
        let read = |kernel: u64, user: u64| {
            probe.note_read(10, Some(Nanos(kernel)), Nanos(user));
            let stamp = probe.last.get();
            (stamp.at.0, stamp.kernel)
        };
        // Before the request went out: the wall clock was set back.
        assert_eq!(read(50 * MS, 110 * MS), (110 * MS, false));
        // Read long after it came, which is what kernel stamps are for.
        assert_eq!(read(120 * MS, 170 * MS), (120 * MS, true));
        // Came while we were between the last read and its user stamp.
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
