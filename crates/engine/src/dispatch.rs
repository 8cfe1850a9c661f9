//! Who sends next: a state machine that knows time and completions, and no I/O.
//!
//! The real driver (sockets, the OS clock) and a virtual driver (the simulator's model) run this same
//! machine, so that scheduling is tested with exact times and without waiting.
//!
//! A request may be sent when it is due *and* a slot is free. Requests leave in the order of the
//! schedule; one that waits for a slot keeps its due instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use servebench_core::{Nanos, Schedule};

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
    slots: Option<usize>,
    in_flight: usize,
    next: Option<usize>,
    exhausted: bool,
}

impl<'a> Dispatcher<'a> {
    /// A machine over `schedule` that takes requests from `source`, with at most `slots` in flight.
    pub fn new(schedule: &'a Schedule, source: Source, slots: Option<usize>) -> Self {
        Self { schedule, source, slots, in_flight: 0, next: None, exhausted: false }
    }

    /// What to do at `now`, counted from the start of the run.
    pub fn step(&mut self, now: Nanos) -> Step {
        if self.exhausted {
            return Step::Finished;
        }
        // A request is taken only with a slot in hand: a shared request held by a full worker would wait
        // while another worker is idle.
        if self.slots.is_some_and(|slots| self.in_flight >= slots) {
            return Step::WaitForSlot;
        }
        let Some(index) = self.next.or_else(|| self.source.take(self.schedule.len())) else {
            self.exhausted = true;
            return Step::Finished;
        };
        let due = self.schedule.due(index);
        if due > now {
            self.next = Some(index);
            return Step::WaitUntil(due);
        }
        self.next = None;
        self.in_flight += 1;
        Step::Send(index)
    }

    /// A request that was sent has ended, in whatever way.
    pub fn completed(&mut self) {
        debug_assert!(self.in_flight > 0, "a completion without a send");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Requests now in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends nothing more. Requests in flight go on.
    pub fn stop(&mut self) {
        self.exhausted = true;
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

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
                None => Dispatcher::new(&schedule, Source::Shard { next: worker, stride: workers }, None),
            })
            .collect();
        let mut sent = Vec::new();
        // (instant, is a wake-up, worker)
        let mut agenda: BinaryHeap<Reverse<(u64, bool, usize)>> =
            (0..workers).map(|worker| Reverse((0, true, worker))).collect();
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
            assert_eq!(sent, vec![(0, 0), (1, 5), (2, 5), (3, 9), (4, 100)], "{workers} workers");
        }
    }

    #[test]
    fn a_cap_of_one_makes_a_queue_with_the_schedules_own_arithmetic() {
        // Service takes 500, arrivals every 100: request i starts at 500 i.
        let due: Vec<u64> = (0..10).map(|i| i * 100).collect();
        let sent = run(&due, 1, Some(1), |_| 500);
        assert_eq!(sent, (0..10).map(|i| (i, i as u64 * 500)).collect::<Vec<_>>());
    }

    #[test]
    fn without_a_rate_a_cap_keeps_its_slots_full() {
        let sent = run(&[0; 9], 1, Some(3), |_| 10);
        let starts: Vec<_> = sent.iter().map(|&(_, at)| at).collect();
        assert_eq!(starts, [0, 0, 0, 10, 10, 10, 20, 20, 20]);
    }

    #[test]
    fn a_stopped_machine_sends_nothing_more() {
        let schedule = Schedule::at_once(5);
        let mut machine = Dispatcher::new(&schedule, Source::Shard { next: 0, stride: 1 }, None);
        assert_eq!(machine.step(Nanos(0)), Step::Send(0));
        machine.stop();
        assert_eq!((machine.step(Nanos(1)), machine.in_flight()), (Step::Finished, 1));
        machine.completed();
        assert_eq!(machine.in_flight(), 0);
    }

    proptest! {
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
