//! One answer on its way: what its next event holds, and what a fault makes of it.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use servebench_core::random::StreamRng;
use servebench_core::{EventKind, Nanos};
use servebench_os::clock;

use super::Shared;
use super::bend::{self, Gzip};
use super::http::{plain_response, push_chunk};
use super::scheduler::Ticket;
use super::socket::Conn;
use crate::api::format::{Answer, Counts, Events, Finish, TokenPart};
use crate::api::{Plan, UsageMode};
use crate::delay::Delay;
use crate::faults::FaultKind;
use crate::text;
use crate::truth::{LatenessHistogram, TruthRecord};

/// Tokens after which even the endless fault ends.
const ENDLESS_TOKENS: u32 = 10_000_000;
/// Events that the burst fault puts into one write.
const BURST_EVENTS: usize = 4;
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

/// Buffers shared by all streams of a thread.
#[derive(Default)]
pub(crate) struct Scratch {
    events: Events,
    part: Vec<u8>,
    out: Vec<u8>,
    text: String,
    pub(crate) lateness: LatenessHistogram,
}

/// When the events of an answer are due.
pub(crate) struct Pace {
    pub(crate) due: Nanos,
    pub(crate) itl: Delay,
    /// Only where the delays are drawn.
    pub(crate) rng: Option<Box<StreamRng>>,
}

impl Pace {
    pub(crate) fn advance(&mut self) {
        let gap = self.draw();
        self.due += gap;
    }

    fn draw(&mut self) -> Nanos {
        match &mut self.rng {
            Some(rng) => self.itl.sample(rng),
            None => Nanos::from_secs_f64(self.itl.0.mean() / 1e3),
        }
    }
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
    position: u32,
    opened: bool,
    bent: bool,
    preface_due: Option<Nanos>,
    held: Vec<u8>,
    held_tokens: Vec<u16>,
    gzip: Option<Gzip>,
    previous: Nanos,
}

impl Stream {
    pub(crate) fn new(
        conn: Rc<Conn>,
        plan: Box<Plan>,
        fault: Option<FaultKind>,
        record: TruthRecord,
        pace: Pace,
    ) -> Self {
        let preface = fault == Some(FaultKind::RoleOnlyFirst);
        Self {
            conn,
            ticket: Rc::default(),
            fault,
            chunked: true,
            keep_alive: true,
            waiting: false,
            position: 0,
            opened: false,
            bent: false,
            preface_due: preface.then(|| pace.due - Nanos::from_millis(5)),
            held: Vec::new(),
            held_tokens: Vec::new(),
            gzip: (fault == Some(FaultKind::Gzip)).then(Gzip::default),
            previous: Nanos::ZERO,
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
        let events = self.plan.output_tokens.div_ceil(u32::from(tokens_per_event)).max(1);
        for _ in 1..events {
            self.pace.advance();
        }
    }

    /// Writes what is due: `tokens` tokens of each answer, `joined` events in one write.
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
        scratch.out.clear();
        if !self.opened {
            self.open(scratch);
        }
        if self.fault == Some(FaultKind::EmptyAnswer) {
            return Some(self.close(shared, scratch));
        }
        for event in 0..joined.max(1) {
            if let Some(ending) = self.break_off(scratch) {
                return Some(ending);
            }
            let left = self.total() - self.position;
            let now = tokens.min(left);
            let last = now == left;
            for sequence in 0..self.plan.sequences {
                self.append_event(scratch, sequence, now, last);
                if joined <= 1 {
                    self.hand_over(shared, scratch, last);
                }
            }
            self.position += now;
            if last {
                self.hand_over(shared, scratch, true);
                return Some(self.close(shared, scratch));
            }
            if event + 1 == joined {
                self.hand_over(shared, scratch, false);
            }
        }
        None
    }

    fn total(&self) -> u32 {
        if self.fault == Some(FaultKind::Endless) { ENDLESS_TOKENS } else { self.plan.output_tokens }
    }

    /// Events a write and whether to wait between writes, if a fault changes that.
    pub(crate) fn rushes(&self) -> Option<u32> {
        (self.fault == Some(FaultKind::Endless) && self.position >= self.plan.output_tokens)
            .then_some(ENDLESS_EVENTS)
    }

    fn counts(&self) -> Counts {
        let mut output = self.position * self.plan.sequences;
        if self.fault == Some(FaultKind::UsageInconsistent) {
            output += 3;
        }
        Counts { prompt: self.plan.prompt_tokens, output, cached: self.record.cached_tokens, reasoning: 0 }
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

    fn open(&mut self, scratch: &mut Scratch) {
        self.opened = true;
        scratch.events.clear();
        let counts = self.counts();
        self.plan.format.open(&mut scratch.events, counts);
        self.frame(scratch);
        if !scratch.out.is_empty() && self.fault != Some(FaultKind::Burst) {
            // The opening events are a write of their own, as a real server makes it.
            self.put_on_wire(&scratch.out);
            scratch.out.clear();
        }
    }

    /// Appends the next token event of one answer to the outgoing bytes.
    fn append_event(&mut self, scratch: &mut Scratch, sequence: u32, tokens: u32, last: bool) {
        scratch.text.clear();
        let empty = self.fault == Some(FaultKind::EmptyFirst) && self.position == 0;
        if !empty {
            let key = self.plan.text_key ^ text::mix(u64::from(sequence));
            for position in self.position..self.position + tokens {
                scratch.text.push_str(text::word(key, position));
            }
        }
        let after = Counts { output: (self.position + tokens) * self.plan.sequences, ..self.counts() };
        let attached = match (self.fault, self.plan.usage) {
            (Some(FaultKind::UsageMissing), _) | (_, UsageMode::Never) => None,
            (_, UsageMode::Continuous) => Some(after),
            (Some(FaultKind::UsageOnLastChoice), UsageMode::AtEnd) => last.then_some(after),
            (_, UsageMode::AtEnd) => None,
        };
        let part = TokenPart {
            sequence,
            text: &scratch.text,
            kind: if empty { EventKind::Blank } else { EventKind::Text },
            first_of_kind: self.position == 0,
            finish: last.then_some(self.plan.finish),
            usage: attached,
            tokens,
        };
        scratch.events.clear();
        self.plan.format.token(&mut scratch.events, &part);
        self.frame(scratch);
        self.held_tokens.push(u16::try_from(tokens).unwrap_or(u16::MAX));
    }

    /// Frames the events for the wire, with what a fault makes of their bytes.
    fn frame(&mut self, scratch: &mut Scratch) {
        let middle = !self.bent && self.opened && self.position >= self.plan.output_tokens / 2;
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
            self.record.output_tokens += u32::from(tokens);
            metrics.generation_tokens.fetch_add(u64::from(tokens), Ordering::Relaxed);
            if tokens != 1 && self.record.tokens.is_none() {
                self.record.tokens = Some(vec![1; self.record.events.len() - 1]);
            }
            if let Some(list) = &mut self.record.tokens {
                list.push(tokens);
            }
        }
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
        if self.position < self.plan.output_tokens / 2 {
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
                scratch.events.push(|bytes| bytes.extend_from_slice(bend::ERROR_EVENT));
                self.plan.format.done(&mut scratch.events);
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
            && !matches!(self.fault, Some(FaultKind::UsageMissing | FaultKind::UsageOnLastChoice));
        let usage = told.then(|| self.counts());
        self.plan.format.close(&mut scratch.events, self.plan.finish, usage);
        if self.fault != Some(FaultKind::MissingDone) {
            self.plan.format.done(&mut scratch.events);
        }
        if self.fault == Some(FaultKind::DuplicateDone) {
            self.plan.format.done(&mut scratch.events);
        }
        self.frame(scratch);
        self.end_body(scratch);
        self.count_finished(shared);
        if self.fault == Some(FaultKind::CloseAfterStream) { Ending::Close } else { Ending::Done }
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
        let answers: Vec<Answer> = (0..self.plan.sequences)
            .map(|sequence| {
                let key = self.plan.text_key ^ text::mix(u64::from(sequence));
                let text = (0..self.plan.output_tokens).map(|position| text::word(key, position)).collect();
                Answer { text, ..Answer::default() }
            })
            .collect();
        self.position = self.plan.output_tokens;
        let body = self.plan.format.whole(&answers, self.plan.finish, self.counts());
        let (bytes, ending) = bend::whole(self.fault, &body, self.keep_alive);
        let stamp = clock::now();
        self.put_on_wire(&bytes);
        self.record.end = Some(clock::now());
        let tokens = self.plan.output_tokens * self.plan.sequences;
        self.held_tokens.push(u16::try_from(tokens).unwrap_or(u16::MAX));
        self.note_events(shared, scratch, stamp);
        self.record.output_tokens = tokens;
        self.count_finished(shared);
        ending
    }
}

/// A body in one piece without any fault.
pub(crate) fn whole_response(body: &[u8], keep_alive: bool) -> Vec<u8> {
    plain_response(200, "application/json", "", body, keep_alive)
}
