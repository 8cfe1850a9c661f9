//! One answer that is being written: which tokens come next, and when.

mod ending;
mod events;
mod hand_over;

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use inferometer_core::Nanos;

use super::fault_bytes::Gzip;
use super::pace::Pace;
use super::socket::Conn;
use super::ticket::{Ending, Ticket};
use crate::api::AnswerPlan;
use crate::faults::FaultKind;
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::truth::TruthRecord;

/// Tokens after which even the endless fault ends: far beyond any client's limit on events.
const ENDLESS_TOKENS: u32 = 10_000_000;
/// Event stamps for which room is made beforehand at most, 32 KiB per stream.
const RESERVED_STAMPS: u32 = 4096;
/// Events per write once the endless fault has passed the requested number of tokens.
const ENDLESS_EVENTS: u32 = 16;

/// An answer that is being written.
pub(crate) struct Stream {
    pub(crate) conn: Rc<Conn>,
    pub(crate) ticket: Rc<Ticket>,
    pub(crate) plan: Box<AnswerPlan>,
    pub(crate) fault: Option<FaultKind>,
    pub(crate) record: TruthRecord,
    pub(crate) pace: Pace,
    pub(crate) chunked: bool,
    pub(crate) keep_alive: bool,
    /// True while the client does not read and events pile up.
    pub(crate) waiting: bool,
    /// Engine id of the first sequence, where an engine model decides; the others follow.
    pub(crate) engine_id: Option<u64>,
    sequences: Vec<Sequence>,
    /// Tokens handed over, of all sequences.
    sent: u32,
    opened: bool,
    /// True once the fault of a single event has been made.
    corrupted: bool,
    preface_due: Option<Nanos>,
    /// Bytes that the burst fault holds back.
    held: Vec<u8>,
    /// Tokens of each event that is framed and not handed over.
    held_tokens: Vec<u32>,
    gzip: Option<Gzip>,
    /// When the previous event was handed over.
    previous: Nanos,
    /// Writes whose departure the kernel has not reported yet.
    leaving: VecDeque<Departure>,
}

/// How far one sequence is.
#[derive(Clone, Copy, Default)]
struct Sequence {
    /// Tokens handed over.
    position: u32,
    /// Tokens that the engine has made and that are not handed over.
    pending: u32,
}

/// A write that the kernel has taken.
struct Departure {
    /// Where it ends on the connection.
    end: u64,
    /// Its events in the record.
    events: Range<usize>,
}

impl Stream {
    pub(crate) fn new(
        conn: Rc<Conn>,
        plan: Box<AnswerPlan>,
        fault: Option<FaultKind>,
        mut record: TruthRecord,
        pace: Pace,
    ) -> Self {
        if plan.stream {
            // Growing later would copy in the midst of thousands of other streams.
            record
                .events
                .reserve(plan.output_tokens.min(RESERVED_STAMPS) as usize);
        }
        let preface = fault == Some(FaultKind::RoleOnlyFirst) && plan.stream;
        let sequences = vec![Sequence::default(); plan.prompts.len()];
        Self {
            conn,
            ticket: Rc::default(),
            fault,
            chunked: true,
            keep_alive: true,
            waiting: false,
            engine_id: None,
            sequences,
            sent: 0,
            opened: false,
            corrupted: false,
            preface_due: preface.then(|| pace.due - Nanos::from_millis(5)),
            held: Vec::new(),
            held_tokens: Vec::new(),
            gzip: (fault == Some(FaultKind::Gzip)).then(Gzip::new),
            previous: Nanos::ZERO,
            leaving: VecDeque::new(),
            plan,
            record,
            pace,
        }
    }

    /// When the scheduler has to come back.
    pub(crate) fn due(&self) -> Nanos {
        self.preface_due.unwrap_or(self.pace.due)
    }

    /// True when a preface comes before the first token.
    pub(crate) fn has_preface(&self) -> bool {
        self.preface_due.is_some()
    }

    /// Moves the pace to the end of an answer that is one body.
    pub(crate) fn skip_to_end(&mut self, tokens_per_event: u16) {
        let events = self
            .plan
            .output_tokens
            .div_ceil(u32::from(tokens_per_event))
            .max(1);
        for _ in 1..events {
            self.pace.advance();
        }
    }

    /// Writes what is due by the delays: `tokens` tokens of each answer, `joined` events in one
    /// write.
    pub(crate) fn emit(
        &mut self,
        shared: &Shared,
        scratch: &mut Scratch,
        tokens: u32,
        joined: u32,
    ) -> Option<Ending> {
        if !self.plan.stream {
            return Some(self.emit_whole(shared, scratch));
        }
        if self.preface_due.take().is_some() {
            self.write_preface(scratch);
            return None;
        }
        if let Some(ending) = self.begin(shared, scratch) {
            return Some(ending);
        }
        for _ in 0..joined.max(1) {
            if let Some(ending) = self.break_off(scratch) {
                return Some(ending);
            }
            for sequence in 0..self.sequences.len() {
                let left = self.total() - self.sequences[sequence].position;
                self.advance(shared, scratch, sequence, tokens.min(left), joined <= 1);
            }
            if self.is_complete() {
                self.hand_over(shared, scratch, true);
                return Some(self.close(shared, scratch));
            }
        }
        self.hand_over(shared, scratch, false);
        None
    }

    /// True while no token of this sequence has come.
    pub(crate) fn is_first(&self, sequence: usize) -> bool {
        self.sequences[sequence].position == 0 && self.sequences[sequence].pending == 0
    }

    /// Takes in tokens of one sequence that the engine has made at `at`.
    pub(crate) fn receive(
        &mut self,
        shared: &Shared,
        scratch: &mut Scratch,
        sequence: usize,
        tokens: u32,
        at: Nanos,
    ) -> Option<Ending> {
        self.sequences[sequence].pending += tokens;
        self.pace.due = at;
        if self.conn.has_backlog() {
            self.waiting = true;
            return None;
        }
        self.emit_pending(shared, scratch)
    }

    /// Writes the tokens that the engine has made, where they are enough for an event.
    pub(crate) fn emit_pending(
        &mut self,
        shared: &Shared,
        scratch: &mut Scratch,
    ) -> Option<Ending> {
        let output = self.plan.output_tokens;
        let made = |stream: &Self, sequence: usize| {
            stream.sequences[sequence].position + stream.sequences[sequence].pending
        };
        if !self.plan.stream {
            let complete = (0..self.sequences.len()).all(|sequence| made(self, sequence) >= output);
            return complete.then(|| self.emit_whole(shared, scratch));
        }
        if self.preface_due.take().is_some() {
            self.write_preface(scratch);
        }
        if let Some(ending) = self.begin(shared, scratch) {
            return Some(ending);
        }
        let interval = u32::from(shared.settings.tokens_per_event);
        for sequence in 0..self.sequences.len() {
            let pending = self.sequences[sequence].pending;
            let first = self.sequences[sequence].position == 0;
            if pending == 0 || (pending < interval && !first && made(self, sequence) < output) {
                continue;
            }
            if let Some(ending) = self.break_off(scratch) {
                return Some(ending);
            }
            self.sequences[sequence].pending = 0;
            self.advance(shared, scratch, sequence, pending, true);
        }
        if self.is_complete() {
            self.hand_over(shared, scratch, true);
            return Some(self.close(shared, scratch));
        }
        None
    }

    /// Events per write, without waiting between writes, once a fault continues after the last
    /// requested token.
    pub(crate) fn rush_events(&self) -> Option<u32> {
        let passed = self.sent
            >= self
                .plan
                .output_tokens
                .saturating_mul(self.plan.sequences());
        (self.fault == Some(FaultKind::Endless) && passed).then_some(ENDLESS_EVENTS)
    }

    /// Tokens of each sequence.
    fn total(&self) -> u32 {
        if self.fault == Some(FaultKind::Endless) {
            ENDLESS_TOKENS
        } else {
            self.plan.output_tokens
        }
    }

    fn is_complete(&self) -> bool {
        let total = self.total();
        self.sequences
            .iter()
            .all(|sequence| sequence.position >= total)
    }

    /// True once half of the requested tokens are handed over.
    fn is_half_way(&self) -> bool {
        self.sent
            >= self
                .plan
                .output_tokens
                .saturating_mul(self.plan.sequences())
                / 2
    }

    /// Appends the next tokens of one sequence, as one event or, where reasoning ends among them,
    /// two.
    fn advance(
        &mut self,
        shared: &Shared,
        scratch: &mut Scratch,
        sequence: usize,
        tokens: u32,
        alone: bool,
    ) {
        let mut left = tokens;
        while left > 0 {
            let position = self.sequences[sequence].position;
            let reasoning = self.plan.reasoning_tokens.saturating_sub(position);
            let now = if reasoning > 0 {
                left.min(reasoning)
            } else {
                left
            };
            self.append_event(scratch, sequence, now);
            if alone {
                self.hand_over(shared, scratch, false);
            }
            left -= now;
        }
    }
}
