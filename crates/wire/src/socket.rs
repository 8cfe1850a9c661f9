//! The socket: reads with the kernel's receive stamp, and records when it wrote.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use inferometer_core::Nanos;
use inferometer_os::clock::{self, WallConverter};
use inferometer_os::{PreciseTimer, stamps};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::probe::Probe;

/// Largest single read, in bytes: a loopback segment at its largest.
const READ_SIZE: usize = 64 << 10;

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
    /// Pending while the gates are shut, in which case whoever shut them polls again. Otherwise it
    /// spins until the instant, and nothing else of the worker runs meanwhile.
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
            // Without stamps from the kernel, the process's own are used, and the events are marked
            // so.
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

    /// A second view of the socket that can check whether the peer has closed it.
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
            let Poll::Ready(ready) = self.descriptor.poll_read_ready(context) else {
                self.probe.end_turn();
                return Poll::Pending;
            };
            let mut ready = ready?;
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
                        // Everything available has been read; the next call would only block.
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
                // Everything that a request needs has been done by now, up to these bytes.
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

/// The state of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Open, with nothing to read.
    Open,
    /// Unsolicited bytes. Under TLS these may be session tickets, or the peer's closing message.
    Unsolicited,
    /// Closed by the peer.
    Closed,
}

/// Checks whether an idle connection is still usable, without reading from it.
#[derive(Debug)]
pub(crate) struct Watcher(Rc<AsyncFd<OwnedFd>>);

impl Watcher {
    /// The state of the connection.
    pub(crate) fn check(&self) -> Idle {
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        match SockRef::from(self.0.get_ref()).peek(&mut byte) {
            Ok(1..) => Idle::Unsolicited,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Open,
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
        // hyper flushes when its own buffer is empty: head and body of the request are then sent.
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
