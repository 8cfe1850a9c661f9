//! Buffers of one thread of the server.

use inferometer_os::clock::WallConverter;
use inferometer_os::send_stamps::SendStamp;

use crate::format::Events;
use crate::truth::LatenessHistogram;

/// Buffers for all streams of a thread, and the lateness of their events.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Events that are not framed yet.
    pub(crate) events: Events,
    /// One event with what a fault makes of it.
    pub(crate) part: Vec<u8>,
    /// Bytes for the next write.
    pub(crate) out: Vec<u8>,
    /// Text of the next event.
    pub(crate) text: String,
    /// Text of the answer up to the next event, for formats that repeat it.
    pub(crate) so_far: String,
    /// The kernel's send stamps.
    pub(crate) stamps: Vec<SendStamp>,
    /// Converts them; made when it is first needed.
    pub(crate) wall: Option<WallConverter>,
    /// How late events were.
    pub(crate) lateness: LatenessHistogram,
}
