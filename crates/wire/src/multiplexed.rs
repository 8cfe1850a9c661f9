//! HTTP/2 connections and the requests that share them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use hyper::client::conn::http2;
use tokio::sync::Notify;

use crate::outgoing::Outgoing;
use crate::probe::Probe;
use crate::reply::Fault;

/// Streams per HTTP/2 connection where the server sets no lower limit.
const STREAMS: usize = 1_000;

/// An HTTP/2 connection.
pub(crate) struct Multiplexed {
    pub(crate) sender: http2::SendRequest<Outgoing>,
    pub(crate) probe: Rc<Probe>,
    pub(crate) id: u32,
    pub(crate) active: Cell<usize>,
    /// The server takes no further requests on it.
    pub(crate) leaves: Cell<bool>,
    /// Streams that the server allows at once.
    pub(crate) allowed: Rc<Cell<usize>>,
}

impl Multiplexed {
    /// Streams at once.
    pub(crate) fn room(&self) -> usize {
        self.allowed.get().clamp(1, STREAMS)
    }
}

impl std::fmt::Debug for Multiplexed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Multiplexed")
            .field("id", &self.id)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// One stream's share of an HTTP/2 connection.
pub(crate) struct Share(pub(crate) Rc<Multiplexed>);

impl Share {
    pub(crate) fn new(connection: Rc<Multiplexed>) -> Self {
        connection.active.set(connection.active.get() + 1);
        Self(connection)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// An HTTP/2 connection being opened: one request opens it, the others wait.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) over: Notify,
    pub(crate) fault: RefCell<Option<Fault>>,
}

/// Notifies the waiting requests that the opening is over, also if the request that did it was
/// dropped.
pub(crate) struct Opener<'a> {
    place: &'a RefCell<Option<Rc<Opening>>>,
    pub(crate) opening: Rc<Opening>,
}

impl<'a> Opener<'a> {
    pub(crate) fn new(place: &'a RefCell<Option<Rc<Opening>>>) -> Self {
        let opening = Rc::<Opening>::default();
        place.replace(Some(Rc::clone(&opening)));
        Self { place, opening }
    }
}

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        self.place.replace(None);
        self.opening.over.notify_waiters();
    }
}
