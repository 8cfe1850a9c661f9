//! A connection's socket with writes whose instant is known.

use std::cell::{Cell, RefCell};
use std::io;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A client connection. The connection's task reads; the scheduler's task writes events between.
///
/// A write goes straight to the kernel. What the kernel does not take is kept, and the connection's task
/// sends it once the socket is writable again.
pub(crate) struct Conn {
    stream: TcpStream,
    backlog: RefCell<BytesMut>,
    /// Rings when there is something in the backlog.
    blocked: Notify,
    failed: Cell<bool>,
}

impl Conn {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, backlog: RefCell::default(), blocked: Notify::new(), failed: Cell::new(false) }
    }

    /// Hands bytes to the kernel, or to the backlog if it takes no more. True if all went to the kernel.
    pub(crate) fn write(&self, mut bytes: &[u8]) -> bool {
        if self.failed.get() {
            return false;
        }
        let mut backlog = self.backlog.borrow_mut();
        if backlog.is_empty() {
            while !bytes.is_empty() {
                match self.stream.try_write(bytes) {
                    Ok(taken) => bytes = &bytes[taken..],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.failed.set(true);
                        return false;
                    }
                }
            }
        }
        if bytes.is_empty() {
            return true;
        }
        backlog.extend_from_slice(bytes);
        self.blocked.notify_one();
        false
    }

    /// True while bytes wait for the client to read.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.borrow().is_empty()
    }

    /// True once a write has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Sends the backlog as the client reads; returns when none is left.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        loop {
            if self.failed.get() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if !self.has_backlog() {
                return Ok(());
            }
            self.stream.writable().await?;
            let mut backlog = self.backlog.borrow_mut();
            match self.stream.try_write(&backlog) {
                Ok(taken) => backlog.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.failed.set(true);
                    return Err(error);
                }
            }
        }
    }

    /// Waits until a backlog has come up.
    pub(crate) async fn until_blocked(&self) {
        loop {
            if self.has_backlog() {
                return;
            }
            self.blocked.notified().await;
        }
    }

    /// Appends what the client has sent to `buffer`; returns how many bytes, 0 at its end.
    pub(crate) async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Makes the coming close a reset (RST) instead of an orderly end.
    pub(crate) fn reset_on_close(&self) {
        self.failed.set(true);
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Closes the sending side only.
    pub(crate) fn close_sending(&self) {
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }
}
