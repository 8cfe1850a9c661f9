//! Whatever the server does, each request ends in exactly one record with exactly the outcome that
//! its fault deserves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use inferometer_core::{Nanos, Outcome, OutcomeCounts, Prompt, Request, Schedule};
use inferometer_engine::{Finished, Progress, RunInput, StopHandle, StopLevel, run};
use inferometer_sim::{ALL_FAULTS, FaultFraction, Server, SimSettings, start};
use inferometer_wire::{ClientSettings, Limits, Timeouts, Wire, backend};

/// A server on which a `fraction` of all requests suffers a fault, each kind equally often.
fn server(fraction: f64) -> Server {
    let each = fraction / ALL_FAULTS.len() as f64;
    start(SimSettings {
        ttft: "1".parse().unwrap(),
        itl: "0.2".parse().unwrap(),
        faults: ALL_FAULTS
            .iter()
            .map(|fault| FaultFraction {
                kind: fault.kind,
                fraction: each,
            })
            .collect(),
        ..SimSettings::default()
    })
    .unwrap()
}

fn input(url: &str, requests: usize, cap: usize, workers: usize) -> RunInput {
    let wire = Wire::new(ClientSettings {
        timeouts: Timeouts {
            // Longer than a busy machine stops a healthy server.
            first_byte: Nanos::from_millis(2_000),
            idle: Nanos::from_millis(2_000),
            ..Timeouts::default()
        },
        limits: Limits {
            events: 2_000,
            ..Limits::default()
        },
        ..ClientSettings::new(backend::find("vllm").unwrap(), url, "sim")
    })
    .unwrap();
    let prepared: Vec<_> = (0..requests)
        .map(|index| Request {
            index,
            id: Some(format!("r-{index}")),
            prompt: Prompt::Text("one two three".into()),
            prompt_tokens: 3,
            output_tokens: Some(8),
            ..Request::default()
        })
        .map(|request| wire.prepare(&request).unwrap())
        .collect();
    RunInput {
        requests: prepared.into(),
        schedule: Arc::new(Schedule::at_once(requests)),
        conversations: None,
        max_concurrency: Some(cap),
        workers,
        pin: None,
        wire,
        events_in_memory: usize::MAX,
        drain: Nanos::from_millis(200),
    }
}

fn execute(input: &RunInput) -> Finished {
    run(input, None, &StopHandle::default(), &Progress::default()).unwrap()
}

#[test]
fn twenty_thousand_requests_with_a_tenth_of_faults_are_all_accounted_for() {
    account(0.1, 20_000, 200, 2);
}

#[test]
fn ninety_thousand_requests_under_other_mixes_are_all_accounted_for() {
    account(0.3, 10_000, 300, 1);
    account(0.02, 80_000, 100, 3);
}

/// Runs `requests` with a `fraction` of faults, and compares each record with the fault that it met.
fn account(fraction: f64, requests: usize, cap: usize, workers: usize) {
    let server = server(fraction);
    let finished = execute(&input(&server.url(), requests, cap, workers));
    let fault_of: BTreeMap<String, Option<String>> = server
        .truth()
        .into_iter()
        .filter_map(|truth| Some((truth.id?, truth.fault)))
        .collect();
    server.stop().unwrap();

    let mut counts = OutcomeCounts::default();
    let mut seen_faults = BTreeMap::new();
    for (index, record) in finished.records.iter().enumerate() {
        assert_eq!(record.index, index);
        counts.add(record.outcome);
        let fault = fault_of.get(record.id.as_ref().unwrap()).cloned().flatten();
        let expected = match &fault {
            None => Outcome::Ok,
            Some(name) => {
                ALL_FAULTS
                    .iter()
                    .find(|fault| fault.name == name)
                    .unwrap()
                    .outcome
            }
        };
        assert_eq!(
            record.outcome, expected,
            "request {index} with fault {fault:?}: {:?}",
            record.error
        );
        if let Some(name) = fault {
            *seen_faults.entry(name).or_insert(0) += 1;
        }
        assert!(record.end >= record.send_start, "request {index}");
        assert!(
            !record.is_ok() || !record.events.is_empty(),
            "request {index}"
        );
    }
    assert_eq!(counts.total(), requests);
    assert_eq!(seen_faults.len(), ALL_FAULTS.len(), "{seen_faults:?}");
}

#[test]
fn an_aborted_run_accounts_for_requests_that_were_never_sent() {
    let server = server(0.0);
    let input = input(&server.url(), 5_000, 20, 1);
    let stop = StopHandle::default();
    let progress = Progress::default();
    let finished = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&input, None, &stop, &progress));
        while progress.snapshot().ok < 100 {
            std::thread::yield_now();
        }
        stop.raise(StopLevel::Abort);
        running.join().unwrap().unwrap()
    });
    server.stop().unwrap();
    let mut counts = OutcomeCounts::default();
    finished
        .records
        .iter()
        .for_each(|record| counts.add(record.outcome));
    assert_eq!(counts.total(), 5_000);
    assert!(counts.get(Outcome::Ok) >= 100, "{counts:?}");
    assert_eq!(
        counts.get(Outcome::Ok) + counts.get(Outcome::Unfinished),
        5_000,
        "{counts:?}"
    );
    assert_eq!(finished.stopped, StopLevel::Abort);
}
