//! Who sends next: a state machine that knows time and completions, and no I/O.
//!
//! The real driver (sockets, the OS clock) and a virtual driver (the simulator's model) run this
//! same machine, so that scheduling is tested with exact times and without waiting.
//!
//! A request may be sent when it is due *and* a slot is free. Requests leave in the order of the
//! schedule; one that waits for a slot keeps its due instant.
//!
//! In conversations the schedule holds the first turns alone. A later turn becomes due by
//! [`Dispatcher::follow_up`] when the answer before it has ended; where slots are scarce,
//! conversations that are on their way go before new ones. A limit on conversations holds back new
//! ones alone, whatever slots are free.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inferometer_core::{Nanos, Schedule};

/// How many requests [`Dispatcher::due_before`] looks at.
pub(crate) const FORESIGHT: usize = 256;

/// Which requests a worker may take.
#[derive(Clone, Debug)]
pub enum Source {
    /// Every `stride`-th request from `next` on: nothing is shared between workers.
    Shard {
        /// The next request to take.
        next: usize,
        /// Number of workers (times processes).
        stride: usize,
    },
    /// One counter for all workers, used when a concurrency cap makes slots global.
    Shared(Arc<AtomicUsize>),
}

impl Source {
    fn take(&mut self, len: usize) -> Option<usize> {
        let taken = match self {
            Self::Shard { next, stride } => {
                let taken = *next;
                *next = next.saturating_add(*stride);
                taken
            }
            Self::Shared(counter) => counter.fetch_add(1, Ordering::Relaxed),
        };
        (taken < len).then_some(taken)
    }
}

/// What the driver has to do now.
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
    /// Most conversations under way, thinking users included.
    most_conversations: Option<usize>,
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
            most_conversations: None,
            conversations: 0,
            next: None,
            sent_due: Nanos::ZERO,
            exhausted: false,
            stopped: false,
        }
    }

    /// Sends only `starts` by the schedule, in this order; all other requests come by
    /// [`Dispatcher::follow_up`].
    #[must_use]
    pub fn with_starts(mut self, starts: &'a [usize]) -> Self {
        self.starts = Some(starts);
        self
    }

    /// Begins a conversation only while fewer than `most` are under way. Each must be reported over
    /// by [`Dispatcher::conversation_ended`].
    #[must_use]
    pub fn with_conversations(mut self, most: Option<usize>) -> Self {
        self.most_conversations = most;
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
                .most_conversations
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

    /// How many requests the schedule makes due for this worker alone until `instant`, counted up
    /// to
    /// 256. Zero where it is not settled which worker sends what.
    pub fn due_before(&self, instant: Nanos) -> usize {
        let Source::Shard { next, stride } = &self.source else {
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
        let later = (*next..).step_by(*stride).take(FORESIGHT).map_while(due);
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

    /// Makes a request due that the schedule does not hold. After [`Dispatcher::stop`] it is
    /// dropped.
    pub fn follow_up(&mut self, index: usize, due: Nanos) {
        if !self.stopped {
            self.follow_ups.push(Reverse((due, index)));
        }
    }

    /// A request that was sent has ended, in whatever way.
    pub fn completed(&mut self) {
        debug_assert!(self.in_flight > 0, "a completion without a send");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A conversation is over: its last turn has ended, or one that failed.
    pub fn conversation_ended(&mut self) {
        self.conversations = self.conversations.saturating_sub(1);
    }

    /// Requests now in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends nothing more. Requests in flight go on.
    pub fn stop(&mut self) {
        self.exhausted = true;
        self.stopped = true;
        self.follow_ups.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs the machine on a virtual clock; returns (request, sent at) in order of sending.
    fn run(
        due: &[u64],
        workers: usize,
        cap: Option<usize>,
        service: impl Fn(usize) -> u64,
    ) -> Vec<(usize, u64)> {
        let schedule = Schedule::new(due.iter().copied().map(Nanos).collect()).unwrap();
        let counter = Arc::new(AtomicUsize::new(0));
        let mut machines: Vec<_> = (0..workers)
            .map(|worker| match cap {
                Some(cap) => {
                    let slots = cap / workers + usize::from(worker < cap % workers);
                    Dispatcher::new(&schedule, Source::Shared(Arc::clone(&counter)), Some(slots))
                }
                None => Dispatcher::new(
                    &schedule,
                    Source::Shard {
                        next: worker,
                        stride: workers,
                    },
                    None,
                ),
            })
            .collect();
        let mut sent = Vec::new();
        // (instant, is a wake-up, worker)
        let mut agenda: BinaryHeap<Reverse<(u64, bool, usize)>> = (0..workers)
            .map(|worker| Reverse((0, true, worker)))
            .collect();
        while let Some(Reverse((now, wake, worker))) = agenda.pop() {
            if !wake {
                machines[worker].completed();
            }
            loop {
                match machines[worker].step(Nanos(now)) {
                    Step::Send(index) => {
                        sent.push((index, now));
                        agenda.push(Reverse((now + service(index), false, worker)));
                    }
                    Step::WaitUntil(at) => {
                        agenda.push(Reverse((at.0, true, worker)));
                        break;
                    }
                    Step::WaitForSlot | Step::Finished => break,
                }
            }
        }
        sent
    }

    #[test]
    fn an_open_loop_sends_each_request_exactly_when_it_is_due() {
        let due = [0, 5, 5, 9, 100];
        for workers in 1..4 {
            let mut sent = run(&due, workers, None, |_| 1_000);
            sent.sort_unstable();
            assert_eq!(
                sent,
                vec![(0, 0), (1, 5), (2, 5), (3, 9), (4, 100)],
                "{workers} workers"
            );
        }
    }

    #[test]
    fn a_cap_of_one_makes_a_queue_with_the_schedules_own_arithmetic() {
        // Service takes 500, arrivals every 100: request i starts at 500 i.
        let due: Vec<u64> = (0..10).map(|i| i * 100).collect();
        let sent = run(&due, 1, Some(1), |_| 500);
        assert_eq!(
            sent,
            (0..10).map(|i| (i, i as u64 * 500)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn without_a_rate_a_cap_keeps_its_slots_full() {
        let sent = run(&[0; 9], 1, Some(3), |_| 10);
        let starts: Vec<_> = sent.iter().map(|&(_, at)| at).collect();
        assert_eq!(starts, [0, 0, 0, 10, 10, 10, 20, 20, 20]);
    }

    #[test]
    fn a_new_conversation_waits_for_one_that_is_over_although_slots_are_free() {
        let schedule = Schedule::at_once(4);
        let starts = [0, 2];
        let mut machine = Dispatcher::new(&schedule, Source::Shard { next: 0, stride: 1 }, None)
            .with_starts(&starts)
            .with_conversations(Some(1));
        assert_eq!(machine.step(Nanos(0)), Step::Send(0));
        assert_eq!(machine.step(Nanos(0)), Step::WaitForSlot);
        machine.completed();
        machine.follow_up(1, Nanos(50));
        // The user thinks; the conversation is still under way.
        assert_eq!(machine.step(Nanos(10)), Step::WaitUntil(Nanos(50)));
        assert_eq!(machine.step(Nanos(50)), Step::Send(1));
        assert_eq!(machine.step(Nanos(50)), Step::WaitForSlot);
        machine.completed();
        machine.conversation_ended();
        assert_eq!(machine.step(Nanos(60)), Step::Send(2));
        machine.completed();
        machine.conversation_ended();
        assert_eq!(machine.step(Nanos(61)), Step::Finished);
    }

    #[test]
    fn what_is_due_soon_is_counted_for_the_worker_that_will_send_it() {
        let schedule = Schedule::new([0, 5, 5, 5, 9, 100].map(Nanos).to_vec()).unwrap();
        let mut first = Dispatcher::new(&schedule, Source::Shard { next: 0, stride: 2 }, None);
        assert_eq!(
            [0, 5, 9, 500].map(|at| first.due_before(Nanos(at))),
            [1, 2, 3, 3]
        );
        assert_eq!(first.step(Nanos(0)), Step::Send(0));
        // The next one is in hand, which changes nothing.
        assert_eq!(first.step(Nanos(0)), Step::WaitUntil(Nanos(5)));
        assert_eq!([4, 5, 9].map(|at| first.due_before(Nanos(at))), [0, 1, 2]);
        let second = Dispatcher::new(&schedule, Source::Shard { next: 1, stride: 2 }, None);
        assert_eq!(
            [4, 5, 500].map(|at| second.due_before(Nanos(at))),
            [0, 2, 3]
        );
        let starts = [0, 4];
        let talks = Dispatcher::new(&schedule, Source::Shard { next: 0, stride: 1 }, None)
            .with_starts(&starts);
        assert_eq!(talks.due_before(Nanos(99)), 2);
        first.stop();
        assert_eq!(first.due_before(Nanos(500)), 0);
        let shared = Dispatcher::new(&schedule, Source::Shared(Arc::default()), Some(2));
        assert_eq!(shared.due_before(Nanos(500)), 0);
    }

    #[test]
    fn a_stopped_machine_sends_nothing_more() {
        let schedule = Schedule::at_once(5);
        let mut machine = Dispatcher::new(&schedule, Source::Shard { next: 0, stride: 1 }, None);
        assert_eq!(machine.step(Nanos(0)), Step::Send(0));
        machine.stop();
        assert_eq!(
            (machine.step(Nanos(1)), machine.in_flight()),
            (Step::Finished, 1)
        );
        machine.completed();
        assert_eq!(machine.in_flight(), 0);
    }

    /// A turn as it was sent: request, due, sent at, ended at.
    type Sent = (usize, u64, u64, u64);

    /// Runs conversations on a virtual clock. `turns[c]` is the number of turns of conversation
    /// `c`, whose first is due at `due[c]`; a later one is due `think` after the end of the answer
    /// before it.
    fn converse(
        due: &[u64],
        turns: &[usize],
        workers: usize,
        cap: Option<usize>,
        think: u64,
        service: impl Fn(usize) -> u64,
    ) -> Vec<Sent> {
        let starts: Vec<usize> = turns
            .iter()
            .scan(0, |at, n| Some(std::mem::replace(at, *at + n)))
            .collect();
        let last = |index: usize| {
            starts.iter().any(|&start| start == index + 1)
                || index + 1 == turns.iter().sum::<usize>()
        };
        let whole: Vec<Nanos> = due
            .iter()
            .zip(turns)
            .flat_map(|(&due, &n)| std::iter::repeat_n(Nanos(due), n))
            .collect();
        let schedule = Schedule::new(whole).unwrap();
        let counter = Arc::new(AtomicUsize::new(0));
        let mut machines: Vec<_> = (0..workers)
            .map(|worker| {
                let machine = match cap {
                    Some(cap) => {
                        let slots = cap / workers + usize::from(worker < cap % workers);
                        Dispatcher::new(
                            &schedule,
                            Source::Shared(Arc::clone(&counter)),
                            Some(slots),
                        )
                    }
                    None => Dispatcher::new(
                        &schedule,
                        Source::Shard {
                            next: worker,
                            stride: workers,
                        },
                        None,
                    ),
                };
                machine.with_starts(&starts)
            })
            .collect();
        let mut sent = Vec::new();
        // (instant, the request that ends then or nothing for a wake-up, worker)
        let mut agenda: BinaryHeap<Reverse<(u64, Option<usize>, usize)>> = (0..workers)
            .map(|worker| Reverse((0, None, worker)))
            .collect();
        while let Some(Reverse((now, ended, worker))) = agenda.pop() {
            let machine = &mut machines[worker];
            if let Some(index) = ended {
                machine.completed();
                if !last(index) {
                    machine.follow_up(index + 1, Nanos(now + think));
                }
            }
            loop {
                match machine.step(Nanos(now)) {
                    Step::Send(index) => {
                        let end = now + service(index);
                        sent.push((index, machine.sent_due().0, now, end));
                        agenda.push(Reverse((end, Some(index), worker)));
                    }
                    Step::WaitUntil(at) => {
                        assert!(at.0 > now, "a wake-up in the past");
                        agenda.push(Reverse((at.0, None, worker)));
                        break;
                    }
                    Step::WaitForSlot | Step::Finished => break,
                }
            }
        }
        sent
    }

    #[test]
    fn a_turn_is_due_when_the_answer_before_it_has_ended_and_the_user_has_thought() {
        let sent = converse(&[0, 3], &[3, 1], 1, None, 5, |_| 10);
        assert_eq!(
            sent,
            [
                (0, 0, 0, 10),
                (3, 3, 3, 13),
                (1, 15, 15, 25),
                (2, 30, 30, 40)
            ]
        );
    }

    #[test]
    fn conversations_on_their_way_go_before_new_ones() {
        let sent = converse(&[0, 0], &[2, 1], 1, Some(1), 0, |_| 10);
        assert_eq!(
            sent.iter().map(|turn| turn.0).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        // While the user thinks, the slot serves another conversation.
        let sent = converse(&[0, 0], &[2, 1], 1, Some(1), 4, |_| 10);
        assert_eq!(
            sent.iter().map(|turn| turn.0).collect::<Vec<_>>(),
            [0, 2, 1]
        );
        assert_eq!(sent[2], (1, 14, 20, 30));
    }

    #[test]
    fn a_stopped_machine_forgets_later_turns() {
        let schedule = Schedule::at_once(2);
        let mut machine = Dispatcher::new(&schedule, Source::Shard { next: 0, stride: 1 }, None)
            .with_starts(&[0]);
        assert_eq!(machine.step(Nanos(0)), Step::Send(0));
        machine.follow_up(1, Nanos(9));
        machine.stop();
        machine.completed();
        machine.follow_up(1, Nanos(9));
        assert_eq!(machine.step(Nanos(10)), Step::Finished);
    }

    proptest! {
        #[test]
        fn every_turn_is_sent_once_after_its_predecessor_and_never_above_the_cap(
            mut talks in prop::collection::vec((0_u64..5_000, 1_usize..6), 1..60),
            workers in 1_usize..5,
            cap in prop::option::of(1_usize..12),
            think in 0_u64..300,
            seed in 0_u64..1_000,
        ) {
            talks.sort_unstable();
            let (due, turns): (Vec<u64>, Vec<usize>) = talks.into_iter().unzip();
            let workers = cap.map_or(workers, |cap| workers.min(cap));
            let service = |i: usize| 1 + (seed + 7 * i as u64) % 500;
            let sent = converse(&due, &turns, workers, cap, think, service);
            let mut by_index = sent.clone();
            by_index.sort_unstable();
            let total: usize = turns.iter().sum();
            prop_assert_eq!(by_index.iter().map(|turn| turn.0).collect::<Vec<_>>(), (0..total).collect::<Vec<_>>());
            let mut at = 0;
            for (&first_due, &n) in due.iter().zip(&turns) {
                prop_assert_eq!(by_index[at].1, first_due);
                for pair in by_index[at..at + n].windows(2) {
                    prop_assert_eq!(pair[1].1, pair[0].3 + think);
                }
                at += n;
            }
            for &(_, due, start, _) in &sent {
                prop_assert!(start >= due);
                prop_assert!(cap.is_some() || start == due);
                let together = sent.iter().filter(|turn| turn.2 <= start && start < turn.3).count();
                prop_assert!(cap.is_none_or(|cap| together <= cap));
            }
        }

        #[test]
        fn every_request_is_sent_once_never_early_and_never_above_the_cap(
            mut due in prop::collection::vec(0_u64..10_000, 0..200),
            workers in 1_usize..5,
            cap in prop::option::of(1_usize..20),
            seed in 0_u64..1_000,
        ) {
            due.sort_unstable();
            let workers = cap.map_or(workers, |cap| workers.min(cap));
            let service = |i: usize| 1 + (seed + 7 * i as u64) % 500;
            let sent = run(&due, workers, cap, service);
            let mut indices: Vec<_> = sent.iter().map(|&(index, _)| index).collect();
            indices.sort_unstable();
            prop_assert_eq!(indices, (0..due.len()).collect::<Vec<_>>());
            for &(index, at) in &sent {
                prop_assert!(at >= due[index]);
                if cap.is_none() {
                    prop_assert_eq!(at, due[index]);
                }
                let together = sent.iter().filter(|&&(i, t)| t <= at && at < t + service(i)).count();
                prop_assert!(cap.is_none_or(|cap| together <= cap));
            }
        }
    }
}
