//! The virtual driver: the same dispatcher as in a real run, against the engine model instead of
//! sockets, on a clock that jumps from event to event.
//!
//! There is no network and no client here, so every record is exact: a request is sent when the
//! dispatcher says so, and a token arrives when the step that computed it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use inferometer_core::{ClientHealth, Event, EventKind, Nanos, Outcome, Record, Schedule, Usage};
use inferometer_os::clock::Anchor;
use inferometer_sim::engine::{Cluster, ClusterConfig, EngineRequest, EngineStats, TokenEvent};

use crate::conversations::EARLIER_TURN_FAILED;
use crate::dispatch::{Dispatcher, Source, Step};
use crate::error::EngineError;
use crate::run::{Finished, last_end};
use crate::stop::StopLevel;

/// Events for which room is made beforehand; longer answers are rare, and grow.
const MAX_RESERVED: usize = 1 << 14;

/// A run that needs no server.
#[derive(Clone, Debug)]
pub struct VirtualRun {
    /// The requests in order: what the engine gets, and the record as far as it is known.
    pub requests: Vec<VirtualRequest>,
    /// Their due instants.
    pub schedule: Schedule,
    /// Slots, or `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Maximum number of active conversations, or `None` for no limit.
    pub max_conversations: Option<usize>,
    /// The engines.
    pub cluster: ClusterConfig,
    /// Seed of the engines' jitter and draws.
    pub seed: u64,
}

/// One request of a [`VirtualRun`].
#[derive(Clone, Debug)]
pub struct VirtualRequest {
    /// What the engine gets. Its id must be its position in the input.
    pub engine: EngineRequest,
    /// Facts known beforehand: id, token counts, conversation. A `finish_reason` given here is
    /// kept; else it is `length`.
    pub facts: Record,
    /// Hang up this long after the request was sent.
    pub cancel_after: Option<Nanos>,
    /// For a later turn of a conversation, which must come right after the turn before it: the
    /// pause between that turn's answer and this request. The schedule then only holds the
    /// conversation's start.
    pub think: Option<Nanos>,
}

/// Runs `input` on a virtual clock that begins at zero. The same input gives the same records, always.
///
/// Also returns the engines' own counters at the end.
///
/// # Errors
///
/// A request that the engines can never run, and settings that no virtual run can follow.
pub fn simulate(input: VirtualRun) -> Result<(Finished, EngineStats), EngineError> {
    let cluster = Cluster::new(input.cluster, input.seed)?;
    let starts: Vec<usize> = (0..input.requests.len())
        .filter(|&index| input.requests[index].think.is_none())
        .collect();
    let only = Source::Strided { next: 0, stride: 1 };
    let dispatcher = Dispatcher::new(&input.schedule, only, input.max_concurrency)
        .with_starts(&starts)
        .with_max_conversations(input.max_conversations);
    let turns = input
        .requests
        .into_iter()
        .enumerate()
        .map(|(index, request)| Turn::new(index, request, input.schedule.due(index)))
        .collect();
    let mut run = VirtualRunState {
        cluster,
        dispatcher,
        turns,
        hang_ups: BinaryHeap::new(),
        now: Nanos::ZERO,
        peak: 0,
        occupied: 0,
    };
    run.drive();
    run.finish()
}

/// One request on its way through the simulation.
struct Turn {
    record: Record,
    /// What the engine gets, until it is sent.
    unsent: Option<EngineRequest>,
    cancel_after: Option<Nanos>,
    /// For a later turn of a conversation, the pause before it.
    think: Option<Nanos>,
}

impl Turn {
    fn new(index: usize, request: VirtualRequest, due: Nanos) -> Self {
        // Room for all events, unless the request may be cancelled before they come.
        let expected = match request.cancel_after {
            None => (request.engine.output_tokens as usize).min(MAX_RESERVED),
            Some(_) => 0,
        };
        Self {
            record: Record {
                index,
                due,
                events: Vec::with_capacity(expected),
                ..request.facts
            },
            unsent: Some(request.engine),
            cancel_after: request.cancel_after,
            think: request.think,
        }
    }
}

/// A simulation in progress.
struct VirtualRunState<'a> {
    cluster: Cluster,
    dispatcher: Dispatcher<'a>,
    turns: Vec<Turn>,
    /// When clients hang up, and on which request.
    hang_ups: BinaryHeap<Reverse<(Nanos, usize)>>,
    now: Nanos,
    /// Most requests in flight at once.
    peak: u64,
    /// Requests in flight, summed up over the time in nanoseconds.
    occupied: u128,
}

impl VirtualRunState<'_> {
    /// Jumps from event to event until nothing is left.
    fn drive(&mut self) {
        let mut tokens = Vec::new();
        loop {
            let next_send = self.send_due();
            let hang_up = self.hang_ups.peek().map(|&Reverse((at, _))| at);
            let Some(next) = [next_send, hang_up, self.cluster.next_step_at()]
                .into_iter()
                .flatten()
                .min()
            else {
                return;
            };
            let in_flight = self.dispatcher.in_flight() as u128;
            self.occupied += in_flight * u128::from(next.since(self.now).0);
            self.now = next;
            self.cluster.step(next, &mut tokens);
            for token in tokens.drain(..) {
                self.receive(&token);
            }
            self.hang_up_due();
        }
    }

    /// Sends what may be sent now; returns when the next request is due, if the dispatcher knows.
    fn send_due(&mut self) -> Option<Nanos> {
        loop {
            match self.dispatcher.step(self.now) {
                Step::Send(index) => self.send(index),
                Step::WaitUntil(due) => return Some(due),
                Step::WaitForSlot | Step::Finished => return None,
            }
        }
    }

    fn send(&mut self, index: usize) {
        let turn = &mut self.turns[index];
        let Some(request) = turn.unsent.take() else {
            return;
        };
        turn.record.due = self.dispatcher.sent_due();
        if submit(&mut self.cluster, request, &mut turn.record, self.now) {
            let now = self.now;
            self.hang_ups
                .extend(turn.cancel_after.map(|after| Reverse((now + after, index))));
        } else {
            self.fail_conversation(index);
        }
        self.peak = self.peak.max(self.dispatcher.in_flight() as u64);
    }

    /// Notes a token event, and what follows from a request's last.
    fn receive(&mut self, token: &TokenEvent) {
        let index = token.request as usize;
        receive_event(&mut self.turns[index].record, token);
        if !token.finished {
            return;
        }
        self.dispatcher.completed();
        match self.turns.get(index + 1).and_then(|next| next.think) {
            Some(think) => self.dispatcher.follow_up(index + 1, token.at + think),
            None => self.dispatcher.conversation_ended(),
        }
    }

    /// Cancels the requests whose clients hang up now.
    fn hang_up_due(&mut self) {
        while let Some(&Reverse((at, index))) = self.hang_ups.peek()
            && at <= self.now
        {
            self.hang_ups.pop();
            if self.cluster.cancel(index as u64) {
                let record = &mut self.turns[index].record;
                record.outcome = Outcome::Cancelled;
                record.end = Some(at);
                self.fail_conversation(index);
            }
        }
    }

    /// Ends a conversation whose turn `failed` has no answer: no user can continue from it, so that
    /// the turns after it are not sent.
    fn fail_conversation(&mut self, failed: usize) {
        self.dispatcher.completed();
        self.dispatcher.conversation_ended();
        let rest = self.turns[failed + 1..].iter_mut();
        for turn in rest.take_while(|turn| turn.think.is_some()) {
            turn.record.error = Some(EARLIER_TURN_FAILED.to_owned());
        }
    }

    /// The records, after a check that none was lost.
    fn finish(self) -> Result<(Finished, EngineStats), EngineError> {
        let records: Vec<Record> = self.turns.into_iter().map(|turn| turn.record).collect();
        check_littles_law(&records, self.occupied)?;
        let health = ClientHealth {
            wall: last_end(&records),
            kernel_stamps: true,
            in_flight_peak: self.peak,
            ..ClientHealth::default()
        };
        // No clock of this host has a part in it: the same input gives the same bytes in files.
        let start = Anchor {
            monotonic: Nanos::ZERO,
            wall: Nanos::ZERO,
            uncertainty: Nanos::ZERO,
        };
        let finished = Finished {
            records,
            spilled: false,
            health,
            start,
            stopped: StopLevel::Run,
            log_error: None,
        };
        Ok((finished, self.cluster.stats()))
    }
}

/// Little's law, on every run: the time that all requests spent is the number in flight over time.
fn check_littles_law(records: &[Record], occupied: u128) -> Result<(), EngineError> {
    let spans = records
        .iter()
        .filter_map(|record| Some(record.end?.since(record.send_start?)));
    let spent: u128 = spans.map(|span| u128::from(span.0)).sum();
    if occupied == spent {
        Ok(())
    } else {
        Err(EngineError::LostRequests { occupied, spent })
    }
}

/// Hands a request to the engines. False when they refuse it, as a server would with status 400.
fn submit(cluster: &mut Cluster, request: EngineRequest, record: &mut Record, now: Nanos) -> bool {
    record.dequeued = Some(now);
    record.send_start = Some(now);
    record.send_end = Some(now);
    let prompt_tokens = request.prompt.len();
    match cluster.submit(request, now) {
        Ok(replica) => {
            record.target = replica as u16;
            record.status = Some(200);
            record.usage = Usage {
                prompt_tokens: Some(prompt_tokens),
                ..Usage::default()
            };
            true
        }
        Err(error) => {
            record.status = Some(400);
            record.outcome = Outcome::HttpError;
            record.error = Some(error.to_string());
            record.end = Some(now);
            false
        }
    }
}

/// Notes a token event in its request's record.
fn receive_event(record: &mut Record, token: &TokenEvent) {
    let mut event = Event::new(token.at, Nanos::ZERO, EventKind::Text, false, true);
    event.tokens = u16::try_from(token.tokens).unwrap_or(u16::MAX);
    record.events.push(event);
    let marks = &mut record.marks;
    for first in [
        &mut marks.first_byte,
        &mut marks.headers,
        &mut marks.first_event,
        &mut marks.first_content,
        &mut marks.first_answer,
    ] {
        first.get_or_insert(token.at);
    }
    marks.last_content = Some(token.at);
    let reported = record.usage.completion_tokens.get_or_insert(0);
    *reported += token.tokens;
    if token.finished {
        record.usage.cached_tokens = Some(token.cached_tokens);
        record.marks.usage = Some(token.at);
        record.marks.done = Some(token.at);
        record
            .finish_reason
            .get_or_insert_with(|| "length".to_owned());
        record.outcome = Outcome::Ok;
        record.end = Some(token.at);
    }
}

#[cfg(test)]
mod tests;
