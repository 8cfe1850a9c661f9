//! How a connection's task learns that its stream has ended.

use std::cell::Cell;

use tokio::sync::Notify;

/// What the connection has to do after the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Serve the next request, if the client keeps the connection.
    Done,
    /// Close once everything is sent.
    Close,
    /// Close with a reset.
    Reset,
    /// Close the sending side and wait for the client to go.
    HalfClose,
    /// Send nothing more and wait for the client to go.
    Silence,
}

/// Where the scheduler keeps a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotId {
    /// Position of the slot.
    pub(super) index: u32,
    /// Which of the streams that used the slot: one that has ended is recognised by it.
    pub(super) generation: u32,
}

/// The link between a connection's task and its stream.
#[derive(Default)]
pub(crate) struct Ticket {
    pub(super) ending: Cell<Option<Ending>>,
    pub(super) ended: Notify,
    /// Where the scheduler keeps the stream.
    pub(super) slot: Cell<Option<SlotId>>,
}

impl Ticket {
    /// Waits for the stream's last write.
    pub(crate) async fn ended(&self) -> Ending {
        loop {
            if let Some(ending) = self.ending.get() {
                return ending;
            }
            self.ended.notified().await;
        }
    }
}
