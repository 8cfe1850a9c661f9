//! Who writes next: one heap of due instants and one precise alarm for all streams of a thread.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inferometer_core::Nanos;
use inferometer_os::clock::WallConverter;
use inferometer_os::{PreciseTimer, clock};
use tokio::sync::Notify;

use super::engine_driver::EngineDriver;
use super::event_rate::EventRate;
use super::stream::Stream;
use super::ticket::{Ending, SlotId, Ticket};
use crate::engine::TokenEvent;
use crate::scratch::Scratch;
use crate::shared::Shared;
use crate::truth::TruthOutcome;

/// Writes before the connections' tasks get a turn: they read requests and notice clients that have
/// gone.
const WRITES_PER_TURN: usize = 64;

/// Least time between two wake-ups at a high [`EventRate`]; no event is later than that for its
/// sake.
const TOGETHER: Nanos = Nanos::from_micros(100);

/// Largest difference between the wall clock and the monotonic one that is taken for drift and
/// uncertainty of reading; beyond it, the wall clock was set.
const UNCERTAIN: Nanos = Nanos::from_millis(1);

/// The streams of one thread.
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    thread: usize,
    state: RefCell<State>,
    timer: PreciseTimer,
    /// Notified when a stream is due earlier than the alarm that is set.
    earlier: Notify,
    /// For the kernel's stamps of what arrives.
    wall: RefCell<WallConverter>,
}

#[derive(Default)]
struct State {
    engine: Option<EngineDriver>,
    /// When each stream is due.
    heap: BinaryHeap<Reverse<(Nanos, SlotId)>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// When the scheduler wakes up next.
    alarm: Nanos,
    rate: EventRate,
}

impl State {
    /// The stream in a slot, unless another one has taken its place.
    fn stream(&mut self, id: SlotId) -> Option<&mut Stream> {
        let slot = &mut self.slots[id.index as usize];
        slot.stream
            .as_deref_mut()
            .filter(|_| slot.generation == id.generation)
    }
}

#[derive(Default)]
struct Slot {
    /// Counts the streams that used the slot, so that stale heap entries are recognised.
    generation: u32,
    stream: Option<Box<Stream>>,
}

/// What the scheduler does after a turn.
enum Turn {
    /// Continues at once.
    Busy,
    /// Waits until something is due.
    Until(Nanos),
    /// Waits for a stream.
    Idle,
}

impl Scheduler {
    /// The scheduler of thread `thread`.
    pub(crate) fn new(shared: Arc<Shared>, thread: usize) -> io::Result<Self> {
        let settings = &shared.settings;
        let engine = settings
            .engine
            .clone()
            .map(|config| EngineDriver::new(config, settings.seed))
            .transpose()
            .map_err(io::Error::other)?;
        let state = RefCell::new(State {
            engine,
            ..State::default()
        });
        Ok(Self {
            shared,
            thread,
            state,
            timer: PreciseTimer::new()?,
            earlier: Notify::new(),
            wall: RefCell::default(),
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

    /// Takes a stream in; its ticket says when it has ended.
    pub(crate) fn insert(&self, stream: Stream) -> Rc<Ticket> {
        let mut state = self.state.borrow_mut();
        let index = state.free.pop().unwrap_or_else(|| {
            state.slots.push(Slot::default());
            (state.slots.len() - 1) as u32
        });
        let slot = &mut state.slots[index as usize];
        let id = SlotId {
            index,
            generation: slot.generation,
        };
        let ticket = Rc::clone(&stream.ticket);
        ticket.slot.set(Some(id));
        let due = stream.due();
        slot.stream = Some(Box::new(stream));
        self.shared
            .metrics
            .in_flight
            .fetch_add(1, Ordering::Relaxed);
        if state.engine.is_some() {
            self.submit(&mut state, id);
        } else {
            self.schedule(&mut state, due, id);
        }
        ticket
    }

    /// Cancels a stream whose client has gone.
    pub(crate) fn cancel(&self, ticket: &Ticket) {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        let Some(id) = ticket.slot.get() else {
            return;
        };
        if state.stream(id).is_some() {
            self.retire(
                &mut state,
                &mut scratch,
                id.index,
                TruthOutcome::ClientGone,
                Ending::Close,
            );
        }
    }

    /// Continues a stream that waited for its client to read.
    pub(crate) fn resume(&self, ticket: &Ticket) {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        let Some(id) = ticket.slot.get() else {
            return;
        };
        let Some(stream) = state.stream(id) else {
            return;
        };
        if !std::mem::take(&mut stream.waiting) {
            return;
        }
        if stream.engine_id.is_none() || stream.rush_events().is_some() {
            let due = stream.due();
            self.schedule(&mut state, due, id);
        } else {
            let ending = stream.emit_pending(&self.shared, &mut scratch);
            self.settle(&mut state, &mut scratch, id, ending);
        }
    }

    /// Empties the prefix caches of the engine model. True without one.
    pub(crate) fn reset_prefix_cache(&self) -> bool {
        self.state
            .borrow_mut()
            .engine
            .as_mut()
            .is_none_or(EngineDriver::reset_prefix_cache)
    }

    /// Ends all streams, because the server stops.
    pub(crate) fn stop(&self) {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        for index in 0..state.slots.len() as u32 {
            self.retire(
                &mut state,
                &mut scratch,
                index,
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
    fn submit(&self, state: &mut State, id: SlotId) {
        let State {
            engine,
            slots,
            alarm,
            ..
        } = state;
        let (Some(engine), Some(stream)) = (engine, &mut slots[id.index as usize].stream) else {
            return;
        };
        engine.submit(stream, id, clock::now(), &self.shared);
        if engine.next_step_at() < *alarm || engine.has_tokens() {
            self.earlier.notify_one();
        }
    }

    /// Gives tokens of the engine to their stream.
    fn deliver(&self, state: &mut State, scratch: &mut Scratch, id: SlotId, event: &TokenEvent) {
        let Some(stream) = state.stream(id) else {
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
        self.settle(state, scratch, id, ending);
    }

    /// Retires an engine's stream that has ended, or lets a fault continue without waiting.
    fn settle(&self, state: &mut State, scratch: &mut Scratch, id: SlotId, ending: Option<Ending>) {
        if let Some(ending) = ending {
            self.retire(state, scratch, id.index, TruthOutcome::Done, ending);
        } else if let Some(stream) = state.stream(id)
            && stream.rush_events().is_some()
        {
            self.schedule(state, clock::now(), id);
        }
    }

    fn schedule(&self, state: &mut State, due: Nanos, id: SlotId) {
        state.heap.push(Reverse((due, id)));
        if due < state.alarm {
            self.earlier.notify_one();
        }
    }

    /// Writes what is due.
    fn turn(&self) -> Turn {
        let mut scratch = self.shared.begin_turn(self.thread);
        let mut state = self.state.borrow_mut();
        for _ in 0..WRITES_PER_TURN {
            let now = clock::now();
            let mut engine_next = Nanos::MAX;
            if let Some(engine) = &mut state.engine {
                if !engine.has_tokens() {
                    engine.catch_up(now, &self.shared);
                }
                engine_next = engine.next_step_at();
                if let Some((event, owner)) = engine.next_tokens() {
                    if let Some(id) = owner {
                        self.deliver(&mut state, &mut scratch, id, &event);
                    }
                    continue;
                }
            }
            let next = state.heap.peek().map(|&Reverse(entry)| entry);
            match next {
                Some((due, id)) if due <= now => {
                    state.heap.pop();
                    state.rate.add(now);
                    self.emit(&mut state, &mut scratch, id);
                }
                _ => {
                    let mut due = next.map_or(Nanos::MAX, |(due, _)| due);
                    if state.rate.is_high() && due < now + TOGETHER {
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
        // Whatever comes in before the next turn is seen there.
        state.alarm = Nanos::ZERO;
        Turn::Busy
    }

    /// Writes the next events of a stream that is due.
    fn emit(&self, state: &mut State, scratch: &mut Scratch, id: SlotId) {
        let Some(stream) = state.stream(id) else {
            return;
        };
        if stream.conn.has_backlog() {
            stream.waiting = true;
            return;
        }
        let settings = &self.shared.settings;
        let rush = stream.rush_events();
        let joined = settings.flood.or(rush).unwrap_or(1);
        let preface = stream.has_preface();
        let ending = stream.emit(
            &self.shared,
            scratch,
            u32::from(settings.tokens_per_event),
            joined,
        );
        if let Some(ending) = ending {
            self.retire(state, scratch, id.index, TruthOutcome::Done, ending);
            return;
        }
        if settings.flood.is_some() || rush.is_some() {
            stream.pace.due = clock::now();
        } else if !preface {
            stream.pace.advance();
        }
        let due = stream.due();
        state.heap.push(Reverse((due, id)));
    }

    /// Takes a stream out of its slot, logs it, and notifies its connection.
    fn retire(
        &self,
        state: &mut State,
        scratch: &mut Scratch,
        index: u32,
        outcome: TruthOutcome,
        ending: Ending,
    ) {
        let slot = &mut state.slots[index as usize];
        let Some(mut stream) = slot.stream.take() else {
            return;
        };
        slot.generation = slot.generation.wrapping_add(1);
        state.free.push(index);
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
            engine.cancel(base, stream.plan.sequences(), &self.shared);
        }
        let Stream { ticket, record, .. } = *stream;
        self.shared.truth.push(record);
        ticket.slot.set(None);
        ticket.ending.set(Some(ending));
        ticket.ended.notify_one();
    }
}
