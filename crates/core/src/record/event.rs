//! Token events of streamed answers.

use serde::{Deserialize, Serialize};

use crate::Nanos;

/// What an event carried first of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EventKind {
    /// Answer text.
    #[default]
    Text = 0,
    /// Reasoning text (`reasoning`, `reasoning_content`).
    Reasoning = 1,
    /// A tool-call or function-call delta.
    ToolCall = 2,
    /// A token event without visible text (a special token, or a closing event with
    /// `finish_reason`).
    Blank = 3,
}

impl EventKind {
    /// The kind with this number in files.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Text),
            1 => Some(Self::Reasoning),
            2 => Some(Self::ToolCall),
            3 => Some(Self::Blank),
            _ => None,
        }
    }
}

/// One token event of a streamed answer: 16 bytes, because a run may hold a hundred million of
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// When the kernel received it (or the process, if [`Event::kernel_stamped`] is false), from
    /// run start.
    pub at: Nanos,
    /// How much later the process read it, in nanoseconds; the largest value means "or more".
    pub lag_ns: u32,
    /// Output tokens in this event; 0 when not (yet) known.
    pub tokens: u16,
    /// What it carried.
    pub kind: EventKind,
    flags: u8,
}

const COALESCED: u8 = 1;
const KERNEL: u8 = 2;

impl Event {
    /// An event at `at` with the stamps' properties: see [`Event::coalesced`] and
    /// [`Event::kernel_stamped`].
    pub fn new(
        at: Nanos,
        lag: Nanos,
        kind: EventKind,
        coalesced: bool,
        kernel_stamped: bool,
    ) -> Self {
        let flags = if coalesced { COALESCED } else { 0 } | if kernel_stamped { KERNEL } else { 0 };
        Self {
            at,
            lag_ns: u32::try_from(lag.0).unwrap_or(u32::MAX),
            tokens: 0,
            kind,
            flags,
        }
    }

    /// True when it came in one read with a later event of the same stream (or in two reads of what
    /// the kernel had joined under one stamp), so that `at` is only an upper bound: it arrived
    /// between the previous event and `at`.
    pub const fn coalesced(self) -> bool {
        self.flags & COALESCED != 0
    }

    /// Marks it as [`Event::coalesced`].
    pub const fn coalesce(&mut self) {
        self.flags |= COALESCED;
    }

    /// Takes [`Event::coalesce`] back, for a later event that turned out to be none.
    pub const fn uncoalesce(&mut self) {
        self.flags &= !COALESCED;
    }

    /// True when `at` is the kernel's receive stamp.
    pub const fn kernel_stamped(self) -> bool {
        self.flags & KERNEL != 0
    }

    /// The flag byte as files keep it.
    pub const fn flags(self) -> u8 {
        self.flags
    }

    /// The event that a file describes.
    pub const fn from_parts(
        at: Nanos,
        lag_ns: u32,
        tokens: u16,
        kind: EventKind,
        flags: u8,
    ) -> Self {
        Self {
            at,
            lag_ns,
            tokens,
            kind,
            flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_sixteen_bytes() {
        assert_eq!(size_of::<Event>(), 16);
    }
}
