//! What a run has to do, all decided before the clock starts.

use std::sync::Arc;

use inferometer_core::{Nanos, Schedule};
use inferometer_wire::{Prepared, Wire};

use crate::conversations::Conversations;

/// The input of one run: serialised workload × schedule × target.
#[derive(Clone, Debug)]
pub struct RunInput {
    /// The requests in order, serialised, with their records begun.
    pub requests: Arc<[Prepared]>,
    /// Their due instants; all turns of a conversation have that of its first turn.
    pub schedule: Arc<Schedule>,
    /// Which requests are later turns of conversations, if any are. The wire must keep the answers'
    /// text.
    pub conversations: Option<Arc<Conversations>>,
    /// Slots, or `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Worker threads; never more than slots.
    pub workers: usize,
    /// CPU of the first worker; the others follow. `None` leaves them to the system's scheduler.
    pub pin: Option<usize>,
    /// Where and how to send.
    pub wire: Arc<Wire>,
    /// Events to keep in memory, with the texts that came in them; further ones stay in the record
    /// log. `usize::MAX` keeps all.
    pub events_in_memory: usize,
    /// How long to wait for requests in flight after a stop was requested.
    pub drain: Nanos,
}

impl RunInput {
    /// Maximum number of active conversations, or `None` for no limit.
    pub(crate) fn max_conversations(&self) -> Option<usize> {
        self.conversations.as_ref()?.max_active
    }
}
