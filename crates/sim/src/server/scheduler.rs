//! Who writes next: one heap of due instants and one precise alarm for all streams of a thread.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inferometer_core::Nanos;
use inferometer_os::clock::WallConverter;
use inferometer_os::{PreciseTimer, clock};
use tokio::sync::Notify;

use super::Shared;
use super::stream::{Ending, Scratch, Stream};
use crate::engine::{Cluster, Content, EngineRequest, TokenEvent};
use crate::truth::TruthOutcome;

/// Writes made before the connections' tasks get a turn.
const WRITES_PER_TURN: usize = 64;

/// At more than so many events in a [`WINDOW`], wake-ups are put together: setting an alarm and
/// waking up takes longer than writing an event, and at such rates each alarm would be for one or
/// two of them.
const MANY: u32 = 200;
/// Time over which events are counted.
const WINDOW: Nanos = Nanos::from_millis(10);
/// Least time between two wake-ups then; no event is later than that for its sake.
const TOGETHER: Nanos = Nanos::from_micros(100);

/// By which the wall clock's place on the monotonic axis may be off after drifting since it was
/// last looked at.
const UNCERTAIN: Nanos = Nanos::from_millis(1);

/// By which a connection's task follows its stream.
#[derive(Default)]
pub(crate) struct Ticket {
    ending: Cell<Option<Ending>>,
    ended: Notify,
    slot: Cell<Option<(u32, u32)>>,
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

/// The streams of one thread.
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    thread: usize,
    state: RefCell<State>,
    timer: PreciseTimer,
    /// Rings when a stream is due earlier than the alarm that is set.
    earlier: Notify,
    /// For the kernel's stamps of what arrives.
    wall: RefCell<WallConverter>,
}

#[derive(Default)]
struct State {
    engine: Option<EngineDriver>,
    heap: BinaryHeap<Reverse<(Nanos, u32, u32)>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    alarm: Nanos,
    load: Load,
}

/// How many events are written at present.
#[derive(Default)]
struct Load {
    window: Nanos,
    events: u32,
    is_high: bool,
}

impl Load {
    /// Takes note of an event.
    fn add(&mut self, now: Nanos) {
        self.events += 1;
        if now.since(self.window) >= WINDOW {
            self.is_high = self.events >= MANY && now.since(self.window) < WINDOW + WINDOW;
            self.window = now;
            self.events = 0;
        }
    }
}

#[derive(Default)]
struct Slot {
    /// Counts the streams that used the slot, so that stale heap entries are recognised.
    generation: u32,
    stream: Option<Box<Stream>>,
}

/// The engine model on the real clock.
struct EngineDriver {
    cluster: Cluster,
    next_id: u64,
    /// Slot and generation of the stream that an engine request belongs to.
    owners: HashMap<u64, (u32, u32)>,
    /// Tokens that the engine has made and that are not delivered yet.
    events: VecDeque<TokenEvent>,
    buffer: Vec<TokenEvent>,
}

impl EngineDriver {
    /// Ends the steps that are over.
    fn catch_up(&mut self, now: Nanos, shared: &Shared) {
        if self.cluster.next_step_at().is_none_or(|at| at > now) {
            return;
        }
        self.cluster.step(now, &mut self.buffer);
        self.events.extend(self.buffer.drain(..));
        shared.metrics.note_engine(&self.cluster.stats());
    }
}

enum Turn {
    Busy,
    Until(Nanos),
    Idle,
}

impl Scheduler {
    /// The scheduler of thread `thread`.
    pub(crate) fn new(shared: Arc<Shared>, thread: usize) -> io::Result<Self> {
        let engine = match &shared.settings.engine {
            None => None,
            Some(config) => Some(EngineDriver {
                cluster: Cluster::new(config.clone(), shared.settings.seed)
                    .map_err(io::Error::other)?,
                next_id: 0,
                owners: HashMap::new(),
                events: VecDeque::new(),
                buffer: Vec::new(),
            }),
        };
        let state = RefCell::new(State {
            engine,
            ..State::default()
        });
        let (timer, earlier, wall) = (PreciseTimer::new()?, Notify::new(), RefCell::default());
        Ok(Self {
            shared,
            thread,
            state,
            timer,
            earlier,
            wall,
        })
    }

    /// The monotonic instant of the kernel's stamp `wall` on bytes that had been read at `read`.
    /// `None` when it is later than that by more than the clocks are uncertain: the wall clock was
    /// set in between.
    pub(crate) fn arrival(&self, wall: Nanos, read: Nanos) -> Option<Nanos> {
        let mut converter = self.wall.borrow_mut();
        converter.refresh(clock::now());
        let at = converter.to_monotonic(wall);
        (at <= read + UNCERTAIN).then(|| at.min(read))
    }

    /// Takes a stream in; its ticket tells when it has ended.
    pub(crate) fn insert(&self, stream: Stream) -> Rc<Ticket> {
        let mut state = self.state.borrow_mut();
        let slot = state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot::default());
            (state.slots.len() - 1) as u32
        });
        let generation = state.slots[slot as usize].generation;
        let ticket = Rc::clone(&stream.ticket);
        ticket.slot.set(Some((slot, generation)));
        let due = stream.due();
        state.slots[slot as usize].stream = Some(Box::new(stream));
        self.shared
            .metrics
            .in_flight
            .fetch_add(1, Ordering::Relaxed);
        if state.engine.is_some() {
            self.submit(&mut state, slot, generation);
        } else {
            self.schedule(&mut state, due, slot, generation);
        }
        ticket
    }

    /// Gives up a stream whose client has gone.
    pub(crate) fn cancel(&self, ticket: &Ticket) {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        let Some((slot, generation)) = ticket.slot.get() else {
            return;
        };
        if state.slots[slot as usize].generation == generation {
            self.retire(
                &mut state,
                &mut scratch,
                slot,
                TruthOutcome::ClientGone,
                Ending::Close,
            );
        }
    }

    /// Goes on with a stream that waited for its client to read.
    pub(crate) fn resume(&self, ticket: &Ticket) {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        let Some((slot, generation)) = ticket.slot.get() else {
            return;
        };
        let place = &mut state.slots[slot as usize];
        if place.generation != generation {
            return;
        }
        if let Some(stream) = &mut place.stream
            && std::mem::take(&mut stream.waiting)
        {
            if stream.engine_id.is_none() || stream.rushes().is_some() {
                let due = stream.due();
                self.schedule(&mut state, due, slot, generation);
                return;
            }
            let Some(stream) = &mut state.slots[slot as usize].stream else {
                return;
            };
            let ending = stream.emit_pending(&self.shared, &mut scratch);
            self.settle(&mut state, &mut scratch, slot, generation, ending);
        }
    }

    /// Empties the prefix caches of the engine model. True without one.
    pub(crate) fn reset_prefix_cache(&self) -> bool {
        self.state
            .borrow_mut()
            .engine
            .as_mut()
            .is_none_or(|engine| engine.cluster.reset_prefix_cache())
    }

    /// Ends all streams because the server stops.
    pub(crate) fn stop(&self) {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        for slot in 0..state.slots.len() as u32 {
            self.retire(
                &mut state,
                &mut scratch,
                slot,
                TruthOutcome::Stopped,
                Ending::Close,
            );
        }
    }

    /// Writes events when they are due, for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            match self.turn() {
                Turn::Busy => tokio::task::yield_now().await,
                Turn::Until(due) => {
                    tokio::select! {
                        _ = self.timer.sleep_until(due) => {}
                        () = self.earlier.notified() => {}
                    }
                }
                Turn::Idle => self.earlier.notified().await,
            }
        }
    }

    /// Hands a stream's sequences to the engine model.
    fn submit(&self, state: &mut State, slot: u32, generation: u32) {
        let State {
            engine,
            slots,
            alarm,
            ..
        } = state;
        let (Some(engine), Some(stream)) = (engine, &mut slots[slot as usize].stream) else {
            return;
        };
        let now = clock::now();
        engine.catch_up(now, &self.shared);
        stream.engine_id = Some(engine.next_id);
        let plan = &stream.plan;
        for (sequence, prompt) in plan.prompts.iter().enumerate() {
            let id = engine.next_id;
            engine.next_id += 1;
            engine.owners.insert(id, (slot, generation));
            let reusable = plan.generates && self.shared.settings.tokenizer.is_none();
            let request = EngineRequest {
                // A prompt of nothing still has its beginning-of-text token.
                prompt: if prompt.is_empty() {
                    Content::Unshared(1)
                } else {
                    prompt.clone()
                },
                answer: if reusable {
                    plan.answer_pieces(sequence as u32)
                } else {
                    Vec::new()
                },
                priority: plan.priority,
                lora: plan.lora,
                session: plan.session,
                ..EngineRequest::new(id, Content::Unshared(1), plan.output_tokens)
            };
            let taken = engine.cluster.submit(request, now);
            debug_assert!(
                taken.is_ok(),
                "the plan was checked against the engine's limits: {taken:?}"
            );
            stream.record.replica = taken.unwrap_or_default();
        }
        self.shared.metrics.note_engine(&engine.cluster.stats());
        let next = engine.cluster.next_step_at().unwrap_or(Nanos::MAX);
        if next < *alarm || !engine.events.is_empty() {
            self.earlier.notify_one();
        }
    }

    /// Gives tokens of the engine to their stream.
    fn deliver(&self, state: &mut State, scratch: &mut Scratch, event: &TokenEvent) {
        let State { engine, slots, .. } = state;
        let Some(engine) = engine else { return };
        let Some(&(slot, generation)) = engine.owners.get(&event.request) else {
            return;
        };
        if event.finished {
            engine.owners.remove(&event.request);
        }
        let place = &mut slots[slot as usize];
        let Some(stream) = place
            .stream
            .as_mut()
            .filter(|_| place.generation == generation)
        else {
            return;
        };
        let Some(base) = stream.engine_id else { return };
        let sequence = (event.request - base) as usize;
        let is_first = stream.is_first(sequence);
        let record = &mut stream.record;
        record.preemptions = record.preemptions.max(event.preemptions);
        if is_first {
            let first = record
                .first_schedule
                .unwrap_or(event.first_scheduled)
                .min(event.first_scheduled);
            if record.events.is_empty() {
                self.shared
                    .metrics
                    .queue
                    .add(event.first_scheduled.since(record.body));
            }
            record.first_schedule = Some(first);
            record.cached_tokens += event.cached_tokens;
        }
        let ending = stream.receive(&self.shared, scratch, sequence, event.tokens, event.at);
        self.settle(state, scratch, slot, generation, ending);
    }

    /// Retires an engine's stream that has ended, or lets a fault rush on.
    fn settle(
        &self,
        state: &mut State,
        scratch: &mut Scratch,
        slot: u32,
        generation: u32,
        ending: Option<Ending>,
    ) {
        if let Some(ending) = ending {
            self.retire(state, scratch, slot, TruthOutcome::Done, ending);
        } else if let Some(stream) = &state.slots[slot as usize].stream
            && stream.rushes().is_some()
        {
            self.schedule(state, clock::now(), slot, generation);
        }
    }

    fn schedule(&self, state: &mut State, due: Nanos, slot: u32, generation: u32) {
        state.heap.push(Reverse((due, slot, generation)));
        if due < state.alarm {
            self.earlier.notify_one();
        }
    }

    fn turn(&self) -> Turn {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        for _ in 0..WRITES_PER_TURN {
            let now = clock::now();
            let mut engine_next = Nanos::MAX;
            if let Some(engine) = &mut state.engine {
                if engine.events.is_empty() {
                    engine.catch_up(now, &self.shared);
                }
                engine_next = engine.cluster.next_step_at().unwrap_or(Nanos::MAX);
                if let Some(event) = engine.events.pop_front() {
                    self.deliver(&mut state, &mut scratch, &event);
                    continue;
                }
            }
            let next = state.heap.peek().map(|&Reverse(entry)| entry);
            match next {
                Some((due, slot, generation)) if due <= now => {
                    state.heap.pop();
                    state.load.add(now);
                    self.emit(&mut state, &mut scratch, slot, generation);
                }
                _ => {
                    let mut due = next.map_or(Nanos::MAX, |(due, ..)| due);
                    if state.load.is_high && due < now + TOGETHER {
                        due = now + TOGETHER;
                    }
                    let due = due.min(engine_next);
                    state.alarm = due;
                    return if due == Nanos::MAX {
                        Turn::Idle
                    } else {
                        Turn::Until(due)
                    };
                }
            }
        }
        // Whatever comes in before the next turn is looked at there.
        state.alarm = Nanos::ZERO;
        Turn::Busy
    }

    fn emit(&self, state: &mut State, scratch: &mut Scratch, slot: u32, generation: u32) {
        let place = &mut state.slots[slot as usize];
        let Some(stream) = place
            .stream
            .as_mut()
            .filter(|_| place.generation == generation)
        else {
            return;
        };
        if stream.conn.has_backlog() {
            stream.waiting = true;
            return;
        }
        let settings = &self.shared.settings;
        let rush = stream.rushes();
        let joined = settings.flood.or(rush).unwrap_or(1);
        let preface = stream.has_preface();
        let ending = stream.emit(
            &self.shared,
            scratch,
            u32::from(settings.tokens_per_event),
            joined,
        );
        if let Some(ending) = ending {
            self.retire(state, scratch, slot, TruthOutcome::Done, ending);
            return;
        }
        if settings.flood.is_some() || rush.is_some() {
            stream.pace.due = clock::now();
        } else if !preface {
            stream.pace.advance();
        }
        let due = stream.due();
        state.heap.push(Reverse((due, slot, generation)));
    }

    fn retire(
        &self,
        state: &mut State,
        scratch: &mut Scratch,
        slot: u32,
        outcome: TruthOutcome,
        ending: Ending,
    ) {
        let place = &mut state.slots[slot as usize];
        let Some(mut stream) = place.stream.take() else {
            return;
        };
        place.generation = place.generation.wrapping_add(1);
        state.free.push(slot);
        stream.collect_departures(scratch);
        stream.record.outcome = outcome;
        let metrics = &self.shared.metrics;
        metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        match stream.record.end {
            Some(end) if outcome == TruthOutcome::Done => {
                metrics.e2e.add(end.since(stream.record.body));
            }
            _ => {
                metrics.aborted.fetch_add(1, Ordering::Relaxed);
            }
        }
        stream.record.end.get_or_insert_with(clock::now);
        if let (Some(base), Some(engine)) = (stream.engine_id, &mut state.engine) {
            for id in base..base + u64::from(stream.plan.sequences()) {
                if engine.owners.remove(&id).is_some() {
                    engine.cluster.cancel(id);
                }
            }
            metrics.note_engine(&engine.cluster.stats());
        }
        let Stream { ticket, record, .. } = *stream;
        self.shared.truth.push(record);
        ticket.slot.set(None);
        ticket.ending.set(Some(ending));
        ticket.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_high_rate_puts_wake_ups_together() {
        let mut load = Load::default();
        let at = |load: &mut Load, events: u64, gap_us: u64, from_ms: u64| {
            for event in 0..events {
                load.add(Nanos::from_millis(from_ms) + Nanos::from_micros(event * gap_us));
            }
            load.is_high
        };
        // 2,500 a second, then 100,000, then a pause and few again.
        assert!(!at(&mut load, 100, 400, 0));
        assert!(at(&mut load, 4_000, 10, 40));
        assert!(!at(&mut load, 30, 1_000, 500));
    }
}
