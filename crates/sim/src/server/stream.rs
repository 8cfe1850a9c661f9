//! One answer on its way: what its next event holds, and what a fault makes of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use inferometer_core::{EventKind, Nanos};
use inferometer_os::clock::{self, WallConverter};
use inferometer_os::send_stamps::SendStamp;

use super::Shared;
use super::bend::{self, Gzip};
use super::http::push_chunk;
use super::pace::Pace;
use super::scheduler::Ticket;
use super::socket::Conn;
use crate::api::format::{Counts, Events, Finish, TokenPart};
use crate::api::{Plan, UsageMode};
use crate::faults::FaultKind;
use crate::truth::{LatenessHistogram, TruthRecord};

/// Tokens after which even the endless fault ends.
const ENDLESS_TOKENS: u32 = 10_000_000;
/// Events that the burst fault puts into one write.
const BURST_EVENTS: usize = 4;
/// Writes that may wait for the kernel's stamp: the socket's error queue holds some hundred.
const LEAVING: usize = 32;
/// Stamps for which room is made beforehand.
const RESERVED: u32 = 4096;
/// Events a write once the endless fault has passed the limit asked for.
const ENDLESS_EVENTS: u32 = 16;

/// What the connection has to do after the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All is well: serve the next request, if the client wants to keep the connection.
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

/// What all streams of a thread share: buffers, and the lateness of their events.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    events: Events,
    part: Vec<u8>,
    out: Vec<u8>,
    text: String,
    so_far: String,
    stamps: Vec<SendStamp>,
    wall: Option<WallConverter>,
    pub(crate) lateness: LatenessHistogram,
}

/// An answer that is being written.
pub(crate) struct Stream {
    pub(crate) conn: Rc<Conn>,
    pub(crate) ticket: Rc<Ticket>,
    pub(crate) plan: Box<Plan>,
    pub(crate) fault: Option<FaultKind>,
    pub(crate) record: TruthRecord,
    pub(crate) pace: Pace,
    pub(crate) chunked: bool,
    pub(crate) keep_alive: bool,
    /// True while the client does not read and events pile up.
    pub(crate) waiting: bool,
    /// Engine id of the first sequence, where an engine model decides; the others follow.
    pub(crate) engine_id: Option<u64>,
    /// Tokens handed over, for each sequence.
    positions: Vec<u32>,
    /// Tokens that the engine has made and that are not handed over, for each sequence.
    pending: Vec<u32>,
    /// Tokens handed over, of all sequences.
    sent: u32,
    opened: bool,
    bent: bool,
    preface_due: Option<Nanos>,
    held: Vec<u8>,
    held_tokens: Vec<u32>,
    gzip: Option<Gzip>,
    previous: Nanos,
    /// Writes whose departure the kernel has not told yet: end on the connection, and events in the
    /// record.
    leaving: VecDeque<(u64, Range<usize>)>,
}

impl Stream {
    pub(crate) fn new(
        conn: Rc<Conn>,
        plan: Box<Plan>,
        fault: Option<FaultKind>,
        mut record: TruthRecord,
        pace: Pace,
    ) -> Self {
        if plan.stream {
            // Growing later would copy in the midst of thousands of other streams.
            record
                .events
                .reserve(plan.output_tokens.min(RESERVED) as usize);
        }
        let preface = fault == Some(FaultKind::RoleOnlyFirst) && plan.stream;
        let sequences = plan.prompts.len();
        Self {
            conn,
            ticket: Rc::default(),
            fault,
            chunked: true,
            keep_alive: true,
            waiting: false,
            engine_id: None,
            positions: vec![0; sequences],
            pending: vec![0; sequences],
            sent: 0,
            opened: false,
            bent: false,
            preface_due: preface.then(|| pace.due - Nanos::from_millis(5)),
            held: Vec::new(),
            held_tokens: Vec::new(),
            gzip: (fault == Some(FaultKind::Gzip)).then(Gzip::default),
            previous: Nanos::ZERO,
            leaving: VecDeque::new(),
            plan,
            record,
            pace,
        }
    }

    /// When the scheduler shall come back.
    pub(crate) fn due(&self) -> Nanos {
        self.preface_due.unwrap_or(self.pace.due)
    }

    /// True when a preface comes before the first token.
    pub(crate) fn has_preface(&self) -> bool {
        self.preface_due.is_some()
    }

    /// Moves the pace to the end of an answer that comes in one piece.
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
            for sequence in 0..self.positions.len() {
                let left = self.total() - self.positions[sequence];
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
        self.positions[sequence] == 0 && self.pending[sequence] == 0
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
        self.pending[sequence] += tokens;
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
        let made =
            |stream: &Self, sequence: usize| stream.positions[sequence] + stream.pending[sequence];
        if !self.plan.stream {
            let complete = (0..self.positions.len()).all(|sequence| made(self, sequence) >= output);
            return complete.then(|| self.emit_whole(shared, scratch));
        }
        if self.preface_due.take().is_some() {
            self.write_preface(scratch);
        }
        if let Some(ending) = self.begin(shared, scratch) {
            return Some(ending);
        }
        let interval = u32::from(shared.settings.tokens_per_event);
        for sequence in 0..self.positions.len() {
            let pending = self.pending[sequence];
            let first = self.positions[sequence] == 0;
            if pending == 0 || (pending < interval && !first && made(self, sequence) < output) {
                continue;
            }
            if let Some(ending) = self.break_off(scratch) {
                return Some(ending);
            }
            self.pending[sequence] = 0;
            self.advance(shared, scratch, sequence, pending, true);
        }
        if self.is_complete() {
            self.hand_over(shared, scratch, true);
            return Some(self.close(shared, scratch));
        }
        None
    }

    /// Events a write, without waiting between writes, once a fault rushes on after the last token
    /// asked for.
    pub(crate) fn rushes(&self) -> Option<u32> {
        let passed = self.sent
            >= self
                .plan
                .output_tokens
                .saturating_mul(self.plan.sequences());
        (self.fault == Some(FaultKind::Endless) && passed).then_some(ENDLESS_EVENTS)
    }

    fn total(&self) -> u32 {
        if self.fault == Some(FaultKind::Endless) {
            ENDLESS_TOKENS
        } else {
            self.plan.output_tokens
        }
    }

    fn is_complete(&self) -> bool {
        let total = self.total();
        self.positions.iter().all(|&position| position >= total)
    }

    /// True once half of the tokens asked for are handed over.
    fn is_half_way(&self) -> bool {
        self.sent
            >= self
                .plan
                .output_tokens
                .saturating_mul(self.plan.sequences())
                / 2
    }

    fn counts(&self) -> Counts {
        let mut output = if self.plan.generates { self.sent } else { 0 };
        if self.fault == Some(FaultKind::UsageInconsistent) {
            output += 3;
        }
        let reasoning = self
            .positions
            .iter()
            .map(|&position| position.min(self.plan.reasoning_tokens))
            .sum();
        Counts {
            prompt: self.plan.prompt_tokens,
            output,
            cached: self.record.cached_tokens,
            reasoning,
        }
    }

    fn write_preface(&mut self, scratch: &mut Scratch) {
        scratch.out.clear();
        for _ in 0..3 {
            scratch.events.clear();
            if self.plan.format.role_only(&mut scratch.events) {
                self.frame(scratch);
            }
        }
        self.conn.write(&scratch.out);
    }

    /// Writes what comes before the first token; ends an answer that has none.
    fn begin(&mut self, shared: &Shared, scratch: &mut Scratch) -> Option<Ending> {
        scratch.out.clear();
        if self.opened {
            return None;
        }
        self.opened = true;
        scratch.events.clear();
        let counts = self.counts();
        self.plan.format.open(&mut scratch.events, counts);
        self.frame(scratch);
        if self.fault == Some(FaultKind::EmptyAnswer) {
            return Some(self.close(shared, scratch));
        }
        if !scratch.out.is_empty() && self.fault != Some(FaultKind::Burst) {
            // The opening events are a write of their own, as a real server makes it.
            self.put_on_wire(&scratch.out);
            scratch.out.clear();
        }
        None
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
            let position = self.positions[sequence];
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

    fn append_event(&mut self, scratch: &mut Scratch, sequence: usize, tokens: u32) {
        let position = self.positions[sequence];
        let last = position + tokens >= self.total();
        let number = sequence as u32;
        let reasoning = self.plan.reasoning_tokens;
        let empty = self.fault == Some(FaultKind::EmptyFirst) && position == 0;
        scratch.text.clear();
        if !empty {
            for position in position..position + tokens {
                self.plan.write_token(number, position, &mut scratch.text);
            }
        }
        if self.plan.format.wants_whole() {
            scratch.so_far.clear();
            for position in 0..position + tokens {
                self.plan.write_token(number, position, &mut scratch.so_far);
            }
        }
        self.positions[sequence] += tokens;
        self.sent += tokens;
        let after = self.counts();
        let attached = match (self.fault, self.plan.usage) {
            (Some(FaultKind::UsageMissing), _) | (_, UsageMode::Never) => None,
            (_, UsageMode::Continuous) => Some(after),
            (Some(FaultKind::UsageOnLastChoice), UsageMode::AtEnd) => last.then_some(after),
            (_, UsageMode::AtEnd) => None,
        };
        let kind = match () {
            () if empty => EventKind::Blank,
            () if position < reasoning => EventKind::Reasoning,
            () if self.plan.tool_call => EventKind::ToolCall,
            () => EventKind::Text,
        };
        let part = TokenPart {
            sequence: number,
            text: &scratch.text,
            kind,
            first_of_kind: position == 0 || position == reasoning,
            finish: last.then_some(self.plan.finish),
            usage: attached,
            position,
            after_reasoning: reasoning > 0 && position >= reasoning,
            so_far: &scratch.so_far,
            counts: after,
        };
        scratch.events.clear();
        self.plan.format.token(&mut scratch.events, &part);
        self.frame(scratch);
        self.held_tokens.push(tokens);
    }

    /// Frames the events for the wire, with what a fault makes of their bytes.
    fn frame(&mut self, scratch: &mut Scratch) {
        let middle = !self.bent && self.sent > 0 && self.is_half_way();
        for event in scratch.events.iter() {
            let Some(fault) = self.fault else {
                push_chunk(&mut scratch.out, event, self.chunked);
                continue;
            };
            scratch.part.clear();
            self.bent |= bend::event(fault, event, middle, &mut scratch.part);
            if let Some(gzip) = &mut self.gzip {
                gzip.push(&mut scratch.part);
            }
            push_chunk(&mut scratch.out, &scratch.part, self.chunked);
        }
    }

    /// Hands the outgoing bytes to the kernel and stamps the events in them.
    fn hand_over(&mut self, shared: &Shared, scratch: &mut Scratch, flush: bool) {
        if self.fault == Some(FaultKind::Burst) {
            self.held.append(&mut scratch.out);
            if self.held_tokens.len() < BURST_EVENTS && !flush {
                return;
            }
            std::mem::swap(&mut self.held, &mut scratch.out);
            self.held.clear();
        }
        if scratch.out.is_empty() {
            return;
        }
        let stamp = clock::now();
        self.put_on_wire(&scratch.out);
        scratch.out.clear();
        self.note_events(shared, scratch, stamp);
    }

    fn note_events(&mut self, shared: &Shared, scratch: &mut Scratch, stamp: Nanos) {
        if shared.settings.flood.is_none() && self.fault.is_none() {
            let late = stamp.since(self.pace.due);
            self.record.max_late = self.record.max_late.max(late);
            scratch.lateness.add(late);
        }
        for tokens in self.held_tokens.drain(..) {
            let metrics = &shared.metrics;
            if self.record.events.is_empty() {
                metrics.ttft.add(stamp.since(self.record.body));
            } else {
                metrics.itl.add(stamp.since(self.previous));
            }
            self.previous = stamp;
            self.record.events.push(stamp);
            self.record.output_tokens += tokens;
            metrics
                .generation_tokens
                .fetch_add(u64::from(tokens), Ordering::Relaxed);
            if tokens != 1 && self.record.tokens.is_none() {
                self.record.tokens = Some(vec![1; self.record.events.len() - 1]);
            }
            if let Some(list) = &mut self.record.tokens {
                list.push(tokens);
            }
        }
        if self.conn.is_stamped() {
            self.note_departures(scratch);
        }
    }

    /// Takes note of the events that were just written, and now and then of those that have left.
    fn note_departures(&mut self, scratch: &mut Scratch) {
        let places = self.record.kernel_sent.get_or_insert_default();
        let first = places.len();
        places.resize(self.record.events.len(), None);
        if let Some(end) = self.conn.written() {
            self.leaving.push_back((end, first..places.len()));
        }
        if self.leaving.len() >= LEAVING {
            self.collect_departures(scratch);
        }
    }

    /// Takes in the kernel's stamps of what has left.
    pub(crate) fn collect_departures(&mut self, scratch: &mut Scratch) {
        let Some(places) = self
            .record
            .kernel_sent
            .as_mut()
            .filter(|_| !self.leaving.is_empty())
        else {
            return;
        };
        let wall = scratch.wall.get_or_insert_default();
        wall.refresh(clock::now());
        let leaving = &mut self.leaving;
        self.conn
            .drain_stamps(&mut scratch.stamps, |last_byte, stamp| {
                while leaving
                    .front()
                    .is_some_and(|(end, _)| *end <= last_byte + 1)
                {
                    let Some((_, events)) = leaving.pop_front() else {
                        break;
                    };
                    places[events].fill(Some(wall.to_monotonic(stamp)));
                }
            });
    }

    fn put_on_wire(&mut self, bytes: &[u8]) {
        let taken = if self.fault == Some(FaultKind::SplitBytes) {
            bytes
                .iter()
                .map(|byte| self.conn.write(std::slice::from_ref(byte)))
                .fold(true, |all, one| all & one)
        } else {
            self.conn.write(bytes)
        };
        if !taken {
            self.record.blocked_writes += 1;
        }
    }

    /// What ends the answer before its end, if the fault is one of those and its moment has come.
    fn break_off(&mut self, scratch: &mut Scratch) -> Option<Ending> {
        let fault = self.fault?;
        if !self.is_half_way() {
            return None;
        }
        let ending = match fault {
            FaultKind::ResetMidStream => Ending::Reset,
            FaultKind::HalfClose => Ending::HalfClose,
            FaultKind::Stall => Ending::Silence,
            FaultKind::EarlyEnd => {
                self.end_body(scratch);
                Ending::Done
            }
            FaultKind::ErrorInStream => {
                scratch.events.clear();
                scratch
                    .events
                    .push(|bytes| bytes.extend_from_slice(bend::ERROR_EVENT));
                self.plan
                    .format
                    .done(&mut scratch.events, self.plan.finish, None);
                self.frame(scratch);
                self.end_body(scratch);
                Ending::Done
            }
            _ => return None,
        };
        Some(ending)
    }

    /// Usage, end marker and closing chunk.
    fn close(&mut self, shared: &Shared, scratch: &mut Scratch) -> Ending {
        scratch.events.clear();
        let told = self.plan.usage != UsageMode::Never
            && !matches!(
                self.fault,
                Some(FaultKind::UsageMissing | FaultKind::UsageOnLastChoice)
            );
        let usage = told.then(|| self.counts());
        self.plan
            .format
            .close(&mut scratch.events, self.plan.finish, usage);
        if self.fault != Some(FaultKind::MissingDone) {
            self.plan
                .format
                .done(&mut scratch.events, self.plan.finish, usage);
        }
        if self.fault == Some(FaultKind::DuplicateDone) {
            self.plan
                .format
                .done(&mut scratch.events, self.plan.finish, usage);
        }
        self.frame(scratch);
        self.end_body(scratch);
        self.count_finished(shared);
        if self.fault == Some(FaultKind::CloseAfterStream) {
            Ending::Close
        } else {
            Ending::Done
        }
    }

    fn count_finished(&self, shared: &Shared) {
        let counter = match self.plan.finish {
            Finish::Length => &shared.metrics.finished_length,
            Finish::Stop | Finish::ToolCalls => &shared.metrics.finished_stop,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends what is outgoing, and the closing chunk.
    fn end_body(&mut self, scratch: &mut Scratch) {
        if let Some(gzip) = self.gzip.take() {
            push_chunk(&mut scratch.out, &gzip.finish(), self.chunked);
        }
        if self.chunked {
            scratch.out.extend_from_slice(b"0\r\n\r\n");
        }
        if !scratch.out.is_empty() {
            self.put_on_wire(&scratch.out);
            scratch.out.clear();
        }
        self.record.end = Some(clock::now());
    }

    /// Writes an answer that comes in one piece.
    fn emit_whole(&mut self, shared: &Shared, scratch: &mut Scratch) -> Ending {
        let answers = self.plan.answers();
        self.positions.fill(self.plan.output_tokens);
        self.sent = self.plan.output_tokens * self.plan.sequences();
        let body = self
            .plan
            .format
            .whole(&answers, self.plan.finish, self.counts());
        let (bytes, ending) = bend::whole(self.fault, &body, self.keep_alive);
        let stamp = clock::now();
        self.put_on_wire(&bytes);
        self.record.end = Some(clock::now());
        let tokens = if self.plan.generates { self.sent } else { 0 };
        self.held_tokens.push(tokens);
        self.note_events(shared, scratch, stamp);
        self.count_finished(shared);
        ending
    }
}
