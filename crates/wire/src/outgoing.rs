//! The body of a request on an HTTP/2 connection, which tells when it has gone out.
//!
//! Streams share a socket, so that its marks belong to no single request. What can be told of one
//! is when the last part of its body was taken into the connection, and when the connection next
//! had nothing left to write.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::probe::{Probe, Sending};

/// Bytes given at a time: the frame size that every server takes.
const PIECE: usize = 16 << 10;

/// A request body in pieces, so that flow control holds back what it must and nothing counts as
/// sent too early.
#[derive(Debug)]
pub(crate) struct Outgoing {
    rest: Bytes,
    sending: Rc<Sending>,
    probe: Rc<Probe>,
    ended: bool,
}

impl Outgoing {
    pub(crate) fn new(body: Bytes, probe: Rc<Probe>) -> (Self, Rc<Sending>) {
        let sending = Rc::<Sending>::default();
        (
            Self {
                rest: body,
                sending: Rc::clone(&sending),
                probe,
                ended: false,
            },
            sending,
        )
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            // Only asked for when the last piece has been passed on: the next flush carries it.
            if !this.ended {
                this.ended = true;
                this.probe.await_flush(&this.sending);
            }
            return Poll::Ready(None);
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.sending
            .taken
            .set(this.sending.taken.get() + piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
