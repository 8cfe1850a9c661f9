//! What a run is to do, all decided before the clock starts.

use std::sync::Arc;

use inferometer_core::{Nanos, Schedule};
use inferometer_wire::{Prepared, Wire};

use crate::Conversations;

/// One run: workload × schedule × target.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The requests in order, serialised and with their records begun.
    pub requests: Arc<[Prepared]>,
    /// Their due instants; of a conversation, all turns have that of the first.
    pub schedule: Arc<Schedule>,
    /// Which requests are later turns of conversations, if any are. The wire must keep the answers'
    /// text.
    pub conversations: Option<Arc<Conversations>>,
    /// Slots, or `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Worker threads; never more than slots.
    pub workers: usize,
    /// First processor to tie workers to.
    pub pin: Option<usize>,
    /// Where and how to send.
    pub wire: Arc<Wire>,
    /// Events to keep in memory, with the texts that came in them; further ones stay in the record
    /// log. `usize::MAX` keeps all.
    pub events_in_memory: usize,
    /// How long to wait for requests in flight when asked to stop.
    pub drain: Nanos,
}

impl Plan {
    /// Most conversations under way at once, or `None` for no limit.
    pub(crate) fn most_conversations(&self) -> Option<usize> {
        self.conversations.as_ref()?.most_active
    }
}
