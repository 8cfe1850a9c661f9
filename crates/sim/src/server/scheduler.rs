//! Who writes next: one heap of due instants and one precise alarm for all streams of a thread.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use servebench_core::Nanos;
use servebench_os::{PreciseTimer, clock};
use tokio::sync::Notify;

use super::Shared;
use super::stream::{Ending, Scratch, Stream};
use crate::truth::TruthOutcome;

/// Writes made before the connections' tasks get a turn.
const WRITES_PER_TURN: usize = 64;

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
    state: RefCell<State>,
    timer: PreciseTimer,
    /// Rings when a stream is due earlier than the alarm that is set.
    earlier: Notify,
}

#[derive(Default)]
struct State {
    heap: BinaryHeap<Reverse<(Nanos, u32, u32)>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    alarm: Nanos,
    scratch: Scratch,
}

#[derive(Default)]
struct Slot {
    /// Counts the streams that used the slot, so that stale heap entries are recognised.
    generation: u32,
    stream: Option<Box<Stream>>,
}

enum Turn {
    Busy,
    Until(Nanos),
    Idle,
}

impl Scheduler {
    pub(crate) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        Ok(Self { shared, state: RefCell::default(), timer: PreciseTimer::new()?, earlier: Notify::new() })
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
        self.shared.metrics.running.fetch_add(1, Ordering::Relaxed);
        self.schedule(&mut state, due, slot, generation);
        ticket
    }

    /// Gives up a stream whose client has gone.
    pub(crate) fn cancel(&self, ticket: &Ticket) {
        let mut state = self.state.borrow_mut();
        let Some((slot, generation)) = ticket.slot.get() else { return };
        if state.slots[slot as usize].generation == generation {
            self.retire(&mut state, slot, TruthOutcome::ClientGone, Ending::Close);
        }
    }

    /// Goes on with a stream that waited for its client to read.
    pub(crate) fn resume(&self, ticket: &Ticket) {
        let mut state = self.state.borrow_mut();
        let Some((slot, generation)) = ticket.slot.get() else { return };
        let place = &mut state.slots[slot as usize];
        if place.generation != generation {
            return;
        }
        if let Some(stream) = &mut place.stream
            && std::mem::take(&mut stream.waiting)
        {
            let due = stream.due();
            self.schedule(&mut state, due, slot, generation);
        }
    }

    /// Ends all streams because the server stops.
    pub(crate) fn stop(&self) {
        let mut state = self.state.borrow_mut();
        for slot in 0..state.slots.len() as u32 {
            self.retire(&mut state, slot, TruthOutcome::Stopped, Ending::Close);
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

    fn schedule(&self, state: &mut State, due: Nanos, slot: u32, generation: u32) {
        state.heap.push(Reverse((due, slot, generation)));
        if due < state.alarm {
            self.earlier.notify_one();
        }
    }

    fn turn(&self) -> Turn {
        let mut state = self.state.borrow_mut();
        for _ in 0..WRITES_PER_TURN {
            let Some(&Reverse((due, slot, generation))) = state.heap.peek() else {
                state.alarm = Nanos::MAX;
                return Turn::Idle;
            };
            if due > clock::now() {
                state.alarm = due;
                return Turn::Until(due);
            }
            state.heap.pop();
            self.emit(&mut state, slot, generation);
        }
        // Whatever comes in before the next turn is looked at there.
        state.alarm = Nanos::ZERO;
        Turn::Busy
    }

    fn emit(&self, state: &mut State, slot: u32, generation: u32) {
        let State { slots, scratch, .. } = state;
        let place = &mut slots[slot as usize];
        let Some(stream) = place.stream.as_mut().filter(|_| place.generation == generation) else { return };
        if stream.conn.has_backlog() {
            stream.waiting = true;
            return;
        }
        let settings = &self.shared.settings;
        let rush = stream.rushes();
        let joined = settings.flood.or(rush).unwrap_or(1);
        let preface = stream.has_preface();
        let ending = stream.emit(&self.shared, scratch, u32::from(settings.tokens_per_event), joined);
        if let Some(ending) = ending {
            self.retire(state, slot, TruthOutcome::Done, ending);
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

    fn retire(&self, state: &mut State, slot: u32, outcome: TruthOutcome, ending: Ending) {
        let place = &mut state.slots[slot as usize];
        let Some(mut stream) = place.stream.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        state.free.push(slot);
        stream.record.outcome = outcome;
        let metrics = &self.shared.metrics;
        metrics.running.fetch_sub(1, Ordering::Relaxed);
        match stream.record.end {
            Some(end) if outcome == TruthOutcome::Done => metrics.e2e.add(end.since(stream.record.body)),
            _ => {
                metrics.aborted.fetch_add(1, Ordering::Relaxed);
            }
        }
        stream.record.end.get_or_insert_with(clock::now);
        let Stream { ticket, record, .. } = *stream;
        self.shared.truth.push(record, &mut state.scratch.lateness);
        ticket.slot.set(None);
        ticket.ending.set(Some(ending));
        ticket.ended.notify_one();
    }
}
