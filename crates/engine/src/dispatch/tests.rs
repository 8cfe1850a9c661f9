//! The dispatcher on a virtual clock.

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
                Source::Strided {
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
fn a_cap_of_one_makes_a_single_server_queue() {
    // Service takes 500, arrivals every 100: request i starts at 500 i.
    let due: Vec<u64> = (0..10).map(|i| i * 100).collect();
    let sent = run(&due, 1, Some(1), |_| 500);
    assert_eq!(
        sent,
        (0..10).map(|i| (i, i as u64 * 500)).collect::<Vec<_>>()
    );
}

#[test]
fn without_a_rate_a_cap_keeps_all_slots_busy() {
    let sent = run(&[0; 9], 1, Some(3), |_| 10);
    let starts: Vec<_> = sent.iter().map(|&(_, at)| at).collect();
    assert_eq!(starts, [0, 0, 0, 10, 10, 10, 20, 20, 20]);
}

#[test]
fn a_new_conversation_waits_for_another_to_end_although_slots_are_free() {
    let schedule = Schedule::at_once(4);
    let starts = [0, 2];
    let mut machine = Dispatcher::new(&schedule, Source::Strided { next: 0, stride: 1 }, None)
        .with_starts(&starts)
        .with_max_conversations(Some(1));
    assert_eq!(machine.step(Nanos(0)), Step::Send(0));
    assert_eq!(machine.step(Nanos(0)), Step::WaitForSlot);
    machine.completed();
    machine.follow_up(1, Nanos(50));
    // In think time the conversation is still active.
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
fn due_soon_counts_the_requests_of_one_worker() {
    let schedule = Schedule::new([0, 5, 5, 5, 9, 100].map(Nanos).to_vec()).unwrap();
    let mut first = Dispatcher::new(&schedule, Source::Strided { next: 0, stride: 2 }, None);
    assert_eq!(
        [0, 5, 9, 500].map(|at| first.due_before(Nanos(at))),
        [1, 2, 3, 3]
    );
    assert_eq!(first.step(Nanos(0)), Step::Send(0));
    // The next one is taken already, which changes nothing.
    assert_eq!(first.step(Nanos(0)), Step::WaitUntil(Nanos(5)));
    assert_eq!([4, 5, 9].map(|at| first.due_before(Nanos(at))), [0, 1, 2]);
    let second = Dispatcher::new(&schedule, Source::Strided { next: 1, stride: 2 }, None);
    assert_eq!(
        [4, 5, 500].map(|at| second.due_before(Nanos(at))),
        [0, 2, 3]
    );
    let starts = [0, 4];
    let conversations = Dispatcher::new(&schedule, Source::Strided { next: 0, stride: 1 }, None)
        .with_starts(&starts);
    assert_eq!(conversations.due_before(Nanos(99)), 2);
    first.stop();
    assert_eq!(first.due_before(Nanos(500)), 0);
    let shared = Dispatcher::new(&schedule, Source::Shared(Arc::default()), Some(2));
    assert_eq!(shared.due_before(Nanos(500)), 0);
}

#[test]
fn a_stopped_machine_sends_nothing_more() {
    let schedule = Schedule::at_once(5);
    let mut machine = Dispatcher::new(&schedule, Source::Strided { next: 0, stride: 1 }, None);
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
        starts.iter().any(|&start| start == index + 1) || index + 1 == turns.iter().sum::<usize>()
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
                    Dispatcher::new(&schedule, Source::Shared(Arc::clone(&counter)), Some(slots))
                }
                None => Dispatcher::new(
                    &schedule,
                    Source::Strided {
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
fn a_turn_is_due_after_the_answer_before_it_and_the_think_time() {
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
fn conversations_under_way_go_before_new_ones() {
    let sent = converse(&[0, 0], &[2, 1], 1, Some(1), 0, |_| 10);
    assert_eq!(
        sent.iter().map(|turn| turn.0).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    // During the think time the slot serves another conversation.
    let sent = converse(&[0, 0], &[2, 1], 1, Some(1), 4, |_| 10);
    assert_eq!(
        sent.iter().map(|turn| turn.0).collect::<Vec<_>>(),
        [0, 2, 1]
    );
    assert_eq!(sent[2], (1, 14, 20, 30));
}

#[test]
fn a_stopped_machine_drops_later_turns() {
    let schedule = Schedule::at_once(2);
    let mut machine =
        Dispatcher::new(&schedule, Source::Strided { next: 0, stride: 1 }, None).with_starts(&[0]);
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
        mut conversations in prop::collection::vec((0_u64..5_000, 1_usize..6), 1..60),
        workers in 1_usize..5,
        cap in prop::option::of(1_usize..12),
        think in 0_u64..300,
        seed in 0_u64..1_000,
    ) {
        conversations.sort_unstable();
        let (due, turns): (Vec<u64>, Vec<usize>) = conversations.into_iter().unzip();
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
