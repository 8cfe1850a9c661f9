//! A connection as a request uses it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use inferometer_core::Connection;

use crate::connect::{Spans, Stream};
use crate::multiplexed::Share;
use crate::outgoing::Outgoing;
use crate::probe::Probe;
use crate::socket::{Idle, Watcher};

/// An HTTP/1.1 connection, which its user must poll.
pub(crate) type OwnConnection = Box<http1::Connection<Stream, Full<Bytes>>>;

/// A connection that serves one request at a time, or a share of one that serves many.
pub(crate) struct Conn {
    pub(crate) kind: ConnKind,
    pub(crate) probe: Rc<Probe>,
    pub(crate) id: u32,
    /// How long opening took, until a request has recorded it.
    pub(crate) spans: Option<Spans>,
    /// Opened ahead or used before.
    pub(crate) reused: bool,
}

pub(crate) enum ConnKind {
    Http1 {
        sender: http1::SendRequest<Full<Bytes>>,
        /// `None` when it has ended; a request that still waits in it then fails.
        connection: Option<OwnConnection>,
        watcher: Watcher,
        tls: bool,
    },
    Http2 {
        sender: http2::SendRequest<Outgoing>,
        share: Share,
    },
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("id", &self.id)
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

impl Conn {
    /// Its description for a record, with what opening took if this is its first request.
    pub(crate) fn describe(&mut self) -> Connection {
        let spans = self.spans.take();
        Connection {
            id: self.id,
            reused: self.reused,
            // Names are resolved once, before the run.
            dns: None,
            connect: spans.map(|spans| spans.connect),
            tls: spans.and_then(|spans| spans.tls),
        }
    }

    /// Notes that the server takes no further requests on it. Those that it has are answered.
    pub(crate) fn leaves(&self) {
        if let ConnKind::Http2 { share, .. } = &self.kind {
            share.0.leaves.set(true);
        }
    }

    /// True for an idle connection on which a request may still be tried.
    pub(crate) fn is_usable(&mut self) -> bool {
        match &mut self.kind {
            ConnKind::Http1 {
                sender,
                connection,
                watcher,
                tls,
            } => {
                let open = match watcher.check() {
                    Idle::Open => true,
                    Idle::Closed => false,
                    // Plain HTTP has no unsolicited bytes. Under TLS they must be read to know what
                    // they are.
                    Idle::Unsolicited => {
                        if *tls {
                            turn(connection, &mut Context::from_waker(Waker::noop()));
                        }
                        *tls
                    }
                };
                open && connection.is_some() && sender.is_ready()
            }
            ConnKind::Http2 { sender, .. } => !sender.is_closed(),
        }
    }
}

/// Polls a connection, and drops it when it has ended: its error, if any, is reported through the
/// answer, and a request that it has not accepted would wait in it for ever.
pub(crate) fn turn(connection: &mut Option<OwnConnection>, context: &mut Context<'_>) {
    if connection
        .as_mut()
        .is_some_and(|alive| Pin::new(&mut **alive).poll(context).is_ready())
    {
        *connection = None;
    }
}
