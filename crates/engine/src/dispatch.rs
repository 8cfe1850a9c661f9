//! Which request is sent next, and when: a state machine that knows time and completions, and does
//! no I/O.
//!
//! The real driver (sockets, the OS clock) and the virtual driver (the engine model) run this same
//! machine, so that scheduling is tested with exact times and without waiting.
//!
//! A request may be sent when it is due *and* a slot is free. Requests leave in the order of the
//! schedule; one that waits for a slot keeps its due instant.
//!
//! In conversations the schedule holds the first turns only. A later turn becomes due by
//! [`Dispatcher::follow_up`] when the answer before it has ended; where slots are scarce,
//! active conversations go before new ones. A limit on conversations holds back new ones only,
//! whatever slots are free.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inferometer_core::{Nanos, Schedule};

/// Requests that [`Dispatcher::due_before`] counts at most. It bounds the cost of a call, which the
/// send loop makes before it sleeps, and the connections that are opened ahead of a burst.
pub(crate) const LOOKAHEAD_REQUESTS: usize = 256;

/// Which requests a worker may take.
#[derive(Clone, Debug)]
pub enum Source {
    /// Every `stride`-th request from `next` on: nothing is shared between workers.
    Strided {
        /// The next request to take.
        next: usize,
        /// Number of workers.
        stride: usize,
    },
    /// One counter for all workers, used when a concurrency cap makes slots global.
    Shared(Arc<AtomicUsize>),
}

impl Source {
    fn take(&mut self, len: usize) -> Option<usize> {
        let taken = match self {
            Self::Strided { next, stride } => {
                let taken = *next;
                *next = next.saturating_add(*stride);
                taken
            }
            Self::Shared(counter) => counter.fetch_add(1, Ordering::Relaxed),
        };
        (taken < len).then_some(taken)
    }
}

/// What the driver has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this request at once, and report its end with [`Dispatcher::completed`].
    Send(usize),
    /// Nothing is due before this instant.
    WaitUntil(Nanos),
    /// A request is due, or may become due, but all slots are taken: wait for a completion.
    WaitForSlot,
    /// Nothing more will be sent.
    Finished,
}

/// The state machine of one worker.
#[derive(Debug)]
pub struct Dispatcher<'a> {
    schedule: &'a Schedule,
    source: Source,
    /// The requests that open conversations; `None` when the schedule holds every request.
    starts: Option<&'a [usize]>,
    follow_ups: BinaryHeap<Reverse<(Nanos, usize)>>,
    slots: Option<usize>,
    in_flight: usize,
    /// Maximum number of active conversations, those in think time included.
    max_conversations: Option<usize>,
    conversations: usize,
    next: Option<usize>,
    sent_due: Nanos,
    exhausted: bool,
    stopped: bool,
}

impl<'a> Dispatcher<'a> {
    /// A machine over `schedule` that takes requests from `source`, with at most `slots` in flight.
    pub fn new(schedule: &'a Schedule, source: Source, slots: Option<usize>) -> Self {
        Self {
            schedule,
            source,
            starts: None,
            follow_ups: BinaryHeap::new(),
            slots,
            in_flight: 0,
            max_conversations: None,
            conversations: 0,
            next: None,
            sent_due: Nanos::ZERO,
            exhausted: false,
            stopped: false,
        }
    }

    /// Sends only `starts` by the schedule, in this order; all other requests become due by
    /// [`Dispatcher::follow_up`].
    #[must_use]
    pub fn with_starts(mut self, starts: &'a [usize]) -> Self {
        self.starts = Some(starts);
        self
    }

    /// Starts a conversation only while fewer than `most` are active. The end of each must be
    /// reported with [`Dispatcher::conversation_ended`].
    #[must_use]
    pub fn with_max_conversations(mut self, most: Option<usize>) -> Self {
        self.max_conversations = most;
        self
    }

    /// What to do at `now`, counted from the start of the run.
    pub fn step(&mut self, now: Nanos) -> Step {
        let follow_up = self.follow_ups.peek().map(|Reverse(first)| *first);
        if self.exhausted && follow_up.is_none() {
            return Step::Finished;
        }
        // A request is taken only with a slot in hand: a shared request held by a full worker would
        // wait while another worker is idle.
        if self.slots.is_some_and(|slots| self.in_flight >= slots) {
            return Step::WaitForSlot;
        }
        if let Some((due, index)) = follow_up.filter(|&(due, _)| due <= now) {
            self.follow_ups.pop();
            return self.send(index, due);
        }
        if !self.exhausted
            && self
                .max_conversations
                .is_some_and(|most| self.conversations >= most)
        {
            return follow_up.map_or(Step::WaitForSlot, |(due, _)| Step::WaitUntil(due));
        }
        let Some(index) = self.next.or_else(|| self.take()) else {
            self.exhausted = true;
            return follow_up.map_or(Step::Finished, |(due, _)| Step::WaitUntil(due));
        };
        let due = self.schedule.due(index);
        if due > now {
            self.next = Some(index);
            return Step::WaitUntil(follow_up.map_or(due, |(sooner, _)| sooner.min(due)));
        }
        self.next = None;
        self.conversations += 1;
        self.send(index, due)
    }

    /// How many requests that only this worker can send the schedule makes due until `instant`, at
    /// most 256. Zero where the workers share one counter.
    pub fn due_before(&self, instant: Nanos) -> usize {
        let Source::Strided { next, stride } = &self.source else {
            return 0;
        };
        if self.exhausted {
            return 0;
        }
        let due = |number: usize| {
            let index = self
                .starts
                .map_or(Some(number), |starts| starts.get(number).copied());
            index
                .filter(|&index| index < self.schedule.len())
                .map(|index| self.schedule.due(index))
        };
        let later = (*next..)
            .step_by(*stride)
            .take(LOOKAHEAD_REQUESTS)
            .map_while(due);
        let taken = self.next.map(|index| self.schedule.due(index));
        taken
            .into_iter()
            .chain(later)
            .take_while(|&due| due <= instant)
            .count()
    }

    fn send(&mut self, index: usize, due: Nanos) -> Step {
        self.sent_due = due;
        self.in_flight += 1;
        Step::Send(index)
    }

    fn take(&mut self) -> Option<usize> {
        if self.exhausted {
            return None;
        }
        match self.starts {
            None => self.source.take(self.schedule.len()),
            Some(starts) => self.source.take(starts.len()).map(|number| starts[number]),
        }
    }

    /// When the request of the last [`Step::Send`] was due.
    pub fn sent_due(&self) -> Nanos {
        self.sent_due
    }

    /// Makes a request due that is not in the schedule. Dropped after [`Dispatcher::stop`].
    pub fn follow_up(&mut self, index: usize, due: Nanos) {
        if !self.stopped {
            self.follow_ups.push(Reverse((due, index)));
        }
    }

    /// A request that was sent has ended, with any outcome.
    pub fn completed(&mut self) {
        debug_assert!(self.in_flight > 0, "a completion without a send");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A conversation is over: its last turn has ended, or one has failed.
    pub fn conversation_ended(&mut self) {
        self.conversations = self.conversations.saturating_sub(1);
    }

    /// Requests now in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends nothing more. Requests in flight continue.
    pub fn stop(&mut self) {
        self.exhausted = true;
        self.stopped = true;
        self.follow_ups.clear();
    }
}

#[cfg(test)]
mod tests;
