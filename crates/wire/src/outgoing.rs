//! The body of a request on an HTTP/2 connection, which records when it has been sent.
//!
//! Streams share a socket, so that its marks belong to no single request. What is known of one
//! request is when the last part of its body was taken into the connection, and when the connection
//! next had nothing left to write.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::probe::{Probe, Sending};

/// Bytes per chunk: the frame size that every server accepts (RFC 9113, section 4.2).
const CHUNK: usize = 16 << 10;

/// A request body in chunks, so that flow control can hold back the rest and nothing counts as sent
/// too early.
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
            // Polled again only when the last chunk has been passed on: the next flush carries it.
            if !this.ended {
                this.ended = true;
                this.probe.await_flush(&this.sending);
            }
            return Poll::Ready(None);
        }
        let chunk = this.rest.split_to(this.rest.len().min(CHUNK));
        this.sending
            .taken
            .set(this.sending.taken.get() + chunk.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
