//! The load leaves as the schedule wants it: never early, in order, with its connections made
//! beforehand.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inferometer_core::{Nanos, Prompt, Request, Schedule};
use inferometer_engine::{Progress, RunInput, StopHandle, run};
use inferometer_sim::{SimSettings, start};
use inferometer_wire::{ClientSettings, Wire, backend};

/// Held by each test: what one of them keeps the processors busy with would make the load of
/// another late.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A input that sends a request at each of these instants.
fn input(url: &str, due: Vec<Nanos>, workers: usize) -> RunInput {
    let wire = Wire::new(ClientSettings::new(
        backend::find("vllm").unwrap(),
        url,
        "sim",
    ))
    .unwrap();
    let requests: Vec<_> = (0..due.len())
        .map(|index| Request {
            index,
            prompt: Prompt::Text("one two three".into()),
            prompt_tokens: 3,
            output_tokens: Some(2),
            ..Request::default()
        })
        .map(|request| wire.prepare(&request).unwrap())
        .collect();
    RunInput {
        requests: requests.into(),
        schedule: Arc::new(Schedule::new(due).unwrap()),
        conversations: None,
        max_concurrency: None,
        workers,
        pin: None,
        wire,
        events_in_memory: usize::MAX,
        drain: Nanos::from_millis(200),
    }
}

#[test]
fn requests_that_are_due_together_leave_in_order_and_never_early() {
    let _alone = alone();
    let server = start(SimSettings {
        ttft: "1".parse().unwrap(),
        ..SimSettings::default()
    })
    .unwrap();
    // Groups of one to twenty at one instant, and some that follow each other by less than it takes
    // to send one.
    let due: Vec<Nanos> = (0..20_u64)
        .flat_map(|group| {
            (0..=group).map(move |place| Nanos(group * 4_000_000 + place / 10 * 3_000 + place % 3))
        })
        .collect();
    let mut due = due;
    due.sort_unstable();
    for workers in [1, 2] {
        let input = input(&server.url(), due.clone(), workers);
        let finished = run(&input, None, &StopHandle::default(), &Progress::default()).unwrap();
        assert_eq!(finished.records.len(), due.len());
        let mut last = vec![Nanos::ZERO; workers];
        for (record, &due) in finished.records.iter().zip(&due) {
            assert!(record.is_ok(), "{:?}", record.error);
            assert_eq!(record.due, due);
            let sent = record.send_start.unwrap();
            assert!(
                sent >= due && record.dequeued.unwrap() >= due,
                "{sent:?} {due:?}"
            );
            // One that finds no connection, because this host stood still when it was to be opened,
            // delays no other.
            if record.connection.connect.is_none() {
                let previous = std::mem::replace(&mut last[usize::from(record.worker)], sent);
                assert!(
                    previous <= sent,
                    "request {} left before the one ahead of it",
                    record.index
                );
            }
        }
    }
    server.stop().unwrap();
}

#[test]
fn a_burst_finds_its_connections_open() {
    let _alone = alone();
    let server = start(SimSettings {
        ttft: "400".parse().unwrap(),
        ..SimSettings::default()
    })
    .unwrap();
    let due = [5, 105, 205]
        .iter()
        .flat_map(|&ms| vec![Nanos::from_millis(ms); 20])
        .collect();
    let finished = run(
        &input(&server.url(), due, 1),
        None,
        &StopHandle::default(),
        &Progress::default(),
    )
    .unwrap();
    server.stop().unwrap();
    assert!(finished.records.iter().all(inferometer_core::Record::is_ok));
    let waited = finished
        .records
        .iter()
        .filter(|record| record.connection.connect.is_some())
        .count();
    // All of the first burst and none of the others should wait; a busy machine may be late with
    // some.
    assert!(
        waited < 20,
        "{waited} of 60 requests had to open their connection themselves"
    );
    // Counted although there was no observer.
    assert!(
        (41..=60).contains(&finished.health.in_flight_peak),
        "{}",
        finished.health.in_flight_peak
    );
}

#[test]
fn a_burst_that_takes_long_to_make_ready_does_not_hold_its_first_request_back() {
    let _alone = alone();
    let server = start(SimSettings {
        ttft: "1".parse().unwrap(),
        ..SimSettings::default()
    })
    .unwrap();
    let due = vec![Nanos::from_millis(5); 2_000];
    let finished = run(
        &input(&server.url(), due, 1),
        None,
        &StopHandle::default(),
        &Progress::default(),
    )
    .unwrap();
    server.stop().unwrap();
    let late = |record: &inferometer_core::Record| record.send_start.unwrap().since(record.due).0;
    let (first, last) = (late(&finished.records[0]), late(&finished.records[1_999]));
    assert!(
        first * 4 < last,
        "the first left {first} ns late, the last {last} ns"
    );
}
