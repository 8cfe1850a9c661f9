//! Coefficients found again from simulated measurements.

use inferometer_core::{Record, Schedule};
use inferometer_sim::engine::{ClusterConfig, Content, EngineRequest, StepCost};

use super::*;
use crate::simulate::{VirtualRequest, VirtualRun, simulate};

fn truth() -> EngineConfig {
    EngineConfig {
        max_num_seqs: 16,
        request_overhead: Nanos::from_micros(2_000),
        cost: StepCost {
            base: 6e6,
            prefill: 50_000.0,
            decode: 400_000.0,
            kv: 300.0,
            jitter: 0.0,
        },
        ..EngineConfig::default()
    }
}

/// What a server with these coefficients would have measured at `gap_ms` between arrivals.
fn load(engine: &EngineConfig, gap_ms: u64) -> MeasuredLoad {
    let requests = (0..60_u64)
        .map(|i| MeasuredRequest {
            at: Nanos::from_millis(i * gap_ms),
            input: 50 + (i * 37 % 400) as u32,
            cached: 0,
            output: 20 + (i * 13 % 60) as u32,
            ttft: 0.0,
            e2el: 0.0,
            gaps: Vec::new(),
        })
        .collect();
    let mut load = MeasuredLoad {
        name: format!("{gap_ms} ms"),
        requests,
        max_concurrency: None,
    };
    let requests = load
        .requests
        .iter()
        .enumerate()
        .map(|(index, request)| VirtualRequest {
            engine: EngineRequest::new(
                index as u64,
                Content::Unshared(request.input),
                request.output,
            ),
            facts: Record::default(),
            cancel_after: None,
            think: None,
        });
    let input = VirtualRun {
        requests: requests.collect(),
        schedule: Schedule::new(load.requests.iter().map(|request| request.at).collect()).unwrap(),
        max_concurrency: None,
        max_conversations: None,
        cluster: ClusterConfig {
            engine: engine.clone(),
            ..ClusterConfig::default()
        },
        seed: 0,
    };
    for (request, record) in load
        .requests
        .iter_mut()
        .zip(simulate(input).unwrap().0.records)
    {
        let sent = record.send_start.unwrap();
        request.ttft = record.first_token().unwrap().since(sent).as_secs_f64();
        request.e2el = record.last_token().unwrap().since(sent).as_secs_f64();
        request.gaps = record
            .events
            .windows(2)
            .map(|pair| pair[1].at.since(pair[0].at).as_secs_f64())
            .collect();
    }
    load
}

#[test]
fn coefficients_are_recovered_from_their_own_predictions() {
    let truth = truth();
    let loads = [400, 100, 40].map(|gap| load(&truth, gap));
    let start = EngineConfig {
        max_num_seqs: 16,
        ..EngineConfig::default()
    };
    let fit = fit(&loads, &start).unwrap();
    assert!(fit.error < 0.03, "{fit:?}");
    let (found, made) = (fit.engine.cost, truth.cost);
    for (name, found, made, within) in [
        ("base", found.base, made.base, 0.1),
        ("prefill", found.prefill, made.prefill, 0.2),
        ("decode", found.decode, made.decode, 0.3),
    ] {
        assert!(
            (found / made - 1.0).abs() < within,
            "{name}: {found} for {made}; {fit:?}"
        );
    }
    // A load that was not fitted is predicted as well.
    for compared in compare(&load(&truth, 60), &fit.engine).unwrap() {
        assert!(
            (compared.predicted.mean / compared.measured.mean - 1.0).abs() < 0.03,
            "{compared:?}"
        );
    }
}

/// A load whose server was disturbed: every answer came later than it would have, and some far later.
fn disturbed(mut load: MeasuredLoad) -> MeasuredLoad {
    for (number, request) in load.requests.iter_mut().enumerate() {
        let factor = if number % 4 == 0 { 3.0 } else { 1.6 };
        request.ttft *= factor;
        request.e2el *= factor;
        request.gaps.iter_mut().for_each(|gap| *gap *= factor);
    }
    load.name = "disturbed".to_owned();
    load
}

#[test]
fn a_disturbed_load_counts_little_and_is_known() {
    let truth = truth();
    let loads = [
        load(&truth, 400),
        load(&truth, 100),
        disturbed(load(&truth, 70)),
        load(&truth, 40),
    ];
    let start = EngineConfig {
        max_num_seqs: 16,
        ..EngineConfig::default()
    };
    let fit = fit(&loads, &start).unwrap();
    assert!(fit.weights[2] < 0.3, "{fit:?}");
    for undisturbed in [0, 1, 3] {
        assert!(fit.weights[undisturbed] > 0.9, "{fit:?}");
    }
    for compared in compare(&load(&truth, 60), &fit.engine).unwrap() {
        assert!(
            (compared.predicted.mean / compared.measured.mean - 1.0).abs() < 0.05,
            "{compared:?} {fit:?}"
        );
    }
}
