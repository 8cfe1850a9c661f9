//! A connection's socket with writes whose instant is known.

use std::cell::{Cell, RefCell};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use inferometer_core::Nanos;
use inferometer_os::send_stamps::{self, SendStamp};
use inferometer_os::stamps;
use rustls::ServerConnection;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::pause::pause;

/// A client connection. The connection's task reads; the scheduler's task writes events between.
///
/// A write goes straight to the kernel. What the kernel does not take is kept, and the connection's
/// task sends it once the socket is writable again.
pub(crate) struct Conn {
    stream: TcpStream,
    outgoing: RefCell<Outgoing>,
    /// Notified when there is something that the kernel did not take.
    blocked: Notify,
    failed: Cell<bool>,
    /// Bytes that the kernel has taken.
    taken: Cell<u64>,
    /// The kernel stamps what leaves.
    stamped: bool,
    /// The kernel's wall-clock stamp of the last segment that was read.
    arrived: Cell<Option<Nanos>>,
}

/// How long a blocked write waits before it is tried again where waiting for the socket does not
/// work.
const RETRY: Nanos = Nanos::from_millis(1);

enum Outgoing {
    /// Bytes that wait for the kernel.
    Plain(BytesMut),
    /// TLS keeps its own bytes that wait.
    Tls(Box<ServerConnection>),
}

impl Conn {
    /// A connection, over TLS if `tls` is given, with send stamps if they are wanted and available.
    pub(crate) fn new(
        stream: TcpStream,
        tls: Option<&Arc<rustls::ServerConfig>>,
        stamps: bool,
    ) -> io::Result<Self> {
        let stamped = stamps && send_stamps::enable(stream.as_fd());
        let outgoing = match tls {
            None => Outgoing::Plain(BytesMut::new()),
            Some(config) => {
                let mut tls =
                    ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                tls.set_buffer_limit(None);
                Outgoing::Tls(Box::new(tls))
            }
        };
        Ok(Self {
            stream,
            outgoing: RefCell::new(outgoing),
            blocked: Notify::new(),
            failed: Cell::new(false),
            taken: Cell::new(0),
            stamped,
            arrived: Cell::new(None),
        })
    }

    /// Hands bytes to the kernel, or keeps them if it takes no more. True if all went to the
    /// kernel.
    pub(crate) fn write(&self, bytes: &[u8]) -> bool {
        if self.failed.get() {
            return false;
        }
        let mut outgoing = self.outgoing.borrow_mut();
        let sent = match &mut *outgoing {
            Outgoing::Plain(kept) => self.write_plain(kept, bytes),
            Outgoing::Tls(tls) => tls
                .writer()
                .write_all(bytes)
                .and_then(|()| self.send_tls(tls)),
        };
        match sent {
            Ok(true) => true,
            Ok(false) => {
                self.blocked.notify_one();
                false
            }
            Err(_) => {
                self.failed.set(true);
                false
            }
        }
    }

    /// True while bytes wait for the client to read.
    pub(crate) fn has_backlog(&self) -> bool {
        match &*self.outgoing.borrow() {
            Outgoing::Plain(kept) => !kept.is_empty(),
            Outgoing::Tls(tls) => tls.wants_write(),
        }
    }

    /// True when the kernel stamps what leaves.
    pub(crate) fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// When the last segment that was read had reached the kernel, on the wall clock, if the kernel
    /// stamped it.
    pub(crate) fn arrived(&self) -> Option<Nanos> {
        self.arrived.get()
    }

    /// Bytes of the connection up to the end of the last write; `None` while only the TLS layer
    /// knows.
    pub(crate) fn written(&self) -> Option<u64> {
        match &*self.outgoing.borrow() {
            Outgoing::Plain(kept) => Some(self.taken.get() + kept.len() as u64),
            Outgoing::Tls(tls) => (!tls.wants_write()).then(|| self.taken.get()),
        }
    }

    /// Calls `found` with the place on the connection and the wall-clock stamp of each write that
    /// has left.
    pub(crate) fn drain_stamps(
        &self,
        buffer: &mut Vec<SendStamp>,
        mut found: impl FnMut(u64, Nanos),
    ) {
        buffer.clear();
        // An error here means that the connection is broken, which the next write says as well.
        let _ = send_stamps::drain(self.stream.as_fd(), buffer);
        let taken = self.taken.get();
        for stamp in buffer.iter() {
            // The kernel counts modulo 2^32, and no stamp is so old.
            let behind = (taken as u32).wrapping_sub(stamp.last_byte);
            found(taken.saturating_sub(u64::from(behind)), stamp.wall);
        }
    }

    /// True once a write has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Sends what is kept as the client reads; returns when nothing is left.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        loop {
            if self.failed.get() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !self.has_backlog() {
                return Ok(());
            }
            if self.stamped {
                // A stamp that waits is an error condition, which the event loop takes for a closed
                // socket: it would call it writable for ever.
                pause(RETRY).await;
            } else {
                self.stream.writable().await?;
            }
            if let Err(error) = self.send_kept() {
                self.failed.set(true);
                return Err(error);
            }
        }
    }

    /// Waits until there is something that the kernel did not take.
    pub(crate) async fn until_blocked(&self) {
        while !self.has_backlog() {
            self.blocked.notified().await;
        }
    }

    /// Appends what the client has sent to `buffer`; returns how many bytes, 0 at its end.
    pub(crate) async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Makes the coming close a reset (RST) instead of an orderly end.
    pub(crate) fn reset_on_close(&self) {
        self.failed.set(true);
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Closes the sending side only.
    pub(crate) fn close_sending(&self) {
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    /// Announces the end of the connection where the protocol can (TLS).
    pub(crate) fn send_close_notify(&self) {
        if let Outgoing::Tls(tls) = &mut *self.outgoing.borrow_mut()
            && !self.failed.get()
        {
            tls.send_close_notify();
            let _ = self.send_tls(tls);
        }
    }

    fn send_kept(&self) -> io::Result<bool> {
        match &mut *self.outgoing.borrow_mut() {
            Outgoing::Plain(kept) => self.write_plain(kept, &[]),
            Outgoing::Tls(tls) => self.send_tls(tls),
        }
    }

    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut outgoing = self.outgoing.borrow_mut();
        let Outgoing::Tls(tls) = &mut *outgoing else {
            return self.receive(|socket| stamps::recv_append(socket, buffer));
        };
        loop {
            let arrived = tls.read_tls(&mut Wire(self));
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            // The handshake answers, too.
            self.send_tls(tls)?;
            let plain = state.plaintext_bytes_to_read();
            if plain > 0 {
                let start = buffer.len();
                buffer.resize(start + plain, 0);
                tls.reader().read_exact(&mut buffer[start..])?;
                return Ok(plain);
            }
            if state.peer_has_closed() || arrived? == 0 {
                return Ok(0);
            }
        }
    }

    /// Reads with the kernel's stamp. An end of the stream brings none and is no segment of a
    /// request.
    fn receive(
        &self,
        read: impl FnOnce(BorrowedFd<'_>) -> io::Result<stamps::Read>,
    ) -> io::Result<usize> {
        let read = self
            .stream
            .try_io(Interest::READABLE, || read(self.stream.as_fd()))?;
        if read.len > 0 {
            self.arrived.set(read.kernel_wall);
        }
        Ok(read.len)
    }

    /// True when everything is with the kernel.
    fn write_plain(&self, kept: &mut BytesMut, mut bytes: &[u8]) -> io::Result<bool> {
        while !kept.is_empty() {
            match self.stream.try_write(kept) {
                Ok(taken) => {
                    self.count(taken);
                    kept.advance(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    kept.extend_from_slice(bytes);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(taken) => {
                    self.count(taken);
                    bytes = &bytes[taken..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    kept.extend_from_slice(bytes);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn send_tls(&self, tls: &mut ServerConnection) -> io::Result<bool> {
        while tls.wants_write() {
            match tls.write_tls(&mut Wire(self)) {
                Ok(taken) => self.count(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn count(&self, taken: usize) {
        self.taken.set(self.taken.get() + taken as u64);
    }
}

/// The socket as the blocking traits see it; it never blocks but says so.
struct Wire<'a>(&'a Conn);

impl io::Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.receive(|socket| stamps::recv_into(socket, buffer))
    }
}

impl io::Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.stream.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
