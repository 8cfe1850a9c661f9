//! The engine against what is known of queues, caches and counts.

mod cache;
mod cluster;
mod properties;
mod queueing;
mod steps;

use rand_distr::Exp1;

use super::*;

const MS: u64 = 1_000_000;

/// An engine whose steps take exactly 1 ms, whatever they compute.
fn constant() -> EngineConfig {
    EngineConfig {
        cost: StepCost {
            base: 1e6,
            prefill: 0.0,
            decode: 0.0,
            kv: 0.0,
            jitter: 0.0,
        },
        num_blocks: 100_000,
        ..EngineConfig::default()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    arrival: Nanos,
    first: Option<Nanos>,
    end: Option<Nanos>,
    tokens: u32,
}

/// Runs requests through an engine on a virtual clock; arrivals must be in order.
fn run(engine: &mut Engine, requests: Vec<(Nanos, EngineRequest)>) -> Vec<Life> {
    let mut lives = vec![Life::default(); requests.len()];
    let mut events = Vec::new();
    let mut record = |engine: &mut Engine, until: Nanos, lives: &mut Vec<Life>| {
        while let Some(end) = engine.next_step_at().filter(|&end| end <= until) {
            engine.step(end, &mut events);
            for event in events.drain(..) {
                let life = &mut lives[event.request as usize];
                life.first.get_or_insert(event.at);
                life.tokens += event.tokens;
                if event.finished {
                    life.end = Some(event.at);
                }
            }
        }
    };
    for (at, request) in requests {
        record(engine, at, &mut lives);
        lives[request.id as usize].arrival = at;
        engine.submit(request, at).unwrap();
    }
    record(engine, Nanos::MAX, &mut lives);
    lives
}

/// Poisson arrivals at `rate` per second; `make` builds request `i`.
fn poisson(
    n: u64,
    rate: f64,
    seed: u64,
    mut make: impl FnMut(u64, &mut StreamRng) -> EngineRequest,
) -> Vec<(Nanos, EngineRequest)> {
    let mut rng = stream(seed, "test arrivals");
    let mut at = 0.0;
    (0..n)
        .map(|id| {
            let gap: f64 = Exp1.sample(&mut rng);
            at += gap / rate;
            (Nanos::from_secs_f64(at), make(id, &mut rng))
        })
        .collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    sum / n
}
