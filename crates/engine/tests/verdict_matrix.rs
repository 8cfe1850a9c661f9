//! How often the verdict is wrong, measured on virtual time: clean runs of many shapes, and servers
//! that fall behind.
//!
//! Everything is seeded. The seeds were never chosen: they are the numbers from 0 on.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::collections::BTreeMap;

use inferometer_core::random::{StreamRng, indexed_stream};
use inferometer_core::{Nanos, Record, Schedule, TokenSource};
use inferometer_engine::{Finished, VirtualRequest, VirtualRun, simulate};
use inferometer_metrics::{MetricSettings, VerdictSettings, analyse, judge};
use inferometer_sim::engine::{ClusterConfig, Content, EngineConfig, EngineRequest};
use rand::RngExt;

/// Reasons that depend on chance: queues fluctuate. No other may ever appear in a clean run.
const STATISTICAL: [&str; 2] = ["backlog_growing", "unequal_targets"];

/// What is sent and to what.
#[derive(Clone, Copy, Debug)]
struct Shape {
    requests: usize,
    /// Requests per second; 0 for all at once.
    rate: f64,
    prompt: u32,
    /// Least and most output tokens.
    output: (u32, u32),
    /// Sequences that the engine runs at once.
    slots: usize,
    /// Requests in flight at once.
    cap: Option<usize>,
    /// All prompts begin with this many equal tokens.
    shared: u32,
    replicas: usize,
}

const PLAIN: Shape = Shape {
    requests: 100,
    rate: 0.0,
    prompt: 100,
    output: (16, 16),
    slots: 256,
    cap: None,
    shared: 0,
    replicas: 1,
};

/// A number in `0..1` above 0.
fn uniform(random: &mut StreamRng) -> f64 {
    (random.random_range(0..1_u64 << 53) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Poisson arrivals, in every second run scaled so that the last one comes at `n / rate`, as vLLM
/// does.
fn schedule(shape: &Shape, seed: u64) -> Schedule {
    let mut random = indexed_stream(seed, "matrix arrivals", 0);
    let mut at = 0.0;
    let mut due: Vec<f64> = (0..shape.requests)
        .map(|_| {
            if shape.rate > 0.0 {
                at += -uniform(&mut random).ln() / shape.rate;
            }
            at
        })
        .collect();
    if shape.rate > 0.0 && seed.is_multiple_of(2) {
        let scale = shape.requests as f64 / shape.rate / at;
        for due in &mut due {
            *due *= scale;
        }
    }
    let due = due.into_iter().map(|due| Nanos((due * 1e9) as u64));
    Schedule::new(due.collect()).unwrap()
}

fn run(shape: &Shape, schedule: Schedule, seed: u64) -> Finished {
    let mut random = indexed_stream(seed, "matrix lengths", 0);
    let requests = (0..shape.requests)
        .map(|index| {
            let (least, most) = shape.output;
            let output = random.random_range(least..=most);
            let content = if shape.shared > 0 {
                let own = (shape.shared..shape.prompt).map(|token| token + 1_000 * index as u32);
                Content::Tokens((0..shape.shared).chain(own).collect())
            } else {
                Content::Unshared(shape.prompt)
            };
            VirtualRequest {
                engine: EngineRequest::new(index as u64, content, output),
                facts: Record {
                    index,
                    prompt_tokens: shape.prompt,
                    output_tokens: output,
                    asked_output_tokens: Some(output),
                    token_source: TokenSource::Usage,
                    tokenizer_output_tokens: Some(output),
                    sequences: 1,
                    ..Record::default()
                },
                cancel_after: None,
                think: None,
            }
        })
        .collect();
    let engine = EngineConfig {
        max_num_seqs: shape.slots,
        ..EngineConfig::default()
    };
    let input = VirtualRun {
        requests,
        schedule,
        max_concurrency: shape.cap,
        max_conversations: None,
        cluster: ClusterConfig {
            engine,
            replicas: shape.replicas,
            ..ClusterConfig::default()
        },
        seed,
    };
    simulate(input).unwrap().0
}

/// The codes of the reasons.
fn found(shape: &Shape, finished: &Finished) -> Vec<String> {
    let settings = MetricSettings {
        cap: shape.cap,
        finite_rate: shape.rate > 0.0,
        prompt_tolerance: Some(8),
        ..MetricSettings::default()
    };
    let (summary, extras) = analyse(&finished.records, &settings);
    let verdict = VerdictSettings {
        finite_rate: shape.rate > 0.0,
        ignore_eos: true,
        duplicate_prompts: Some(0.0),
        predicted_cached: f64::from(shape.shared) / f64::from(shape.prompt),
        ..VerdictSettings::default()
    };
    let verdict = judge(&summary, &extras, &finished.health, &verdict);
    verdict
        .reasons
        .into_iter()
        .map(|reason| reason.code)
        .collect()
}

/// Requests per second that the engine completes when it never lacks work: those of the middle half of
/// many that come at once.
fn capacity(shape: &Shape) -> f64 {
    let flood = Shape {
        requests: shape.slots * 8,
        rate: 0.0,
        cap: None,
        ..*shape
    };
    let finished = run(&flood, Schedule::at_once(flood.requests), 1);
    let mut ends: Vec<Nanos> = finished
        .records
        .iter()
        .filter_map(|record| record.end)
        .collect();
    ends.sort_unstable();
    let (from, to) = (ends.len() / 4, ends.len() * 3 / 4);
    (to - from) as f64 / ends[to].since(ends[from]).as_secs_f64()
}

/// Engines that differ in what limits them: prompts, long answers, answers of every length, few slots
/// and one.
const ENGINES: [Shape; 5] = [
    Shape {
        prompt: 512,
        output: (128, 128),
        ..PLAIN
    },
    Shape {
        output: (512, 512),
        ..PLAIN
    },
    Shape {
        output: (1, 255),
        slots: 64,
        ..PLAIN
    },
    Shape {
        prompt: 256,
        output: (64, 64),
        slots: 8,
        ..PLAIN
    },
    Shape {
        prompt: 256,
        output: (16, 16),
        slots: 1,
        ..PLAIN
    },
];

/// Mean latency of a stable run of an engine, in seconds.
fn latency(shape: &Shape) -> f64 {
    let long = Shape {
        requests: 2_000,
        ..*shape
    };
    let records = run(&long, schedule(&long, 77), 77).records;
    let spans = records[500..1_500]
        .iter()
        .filter_map(|record| Some(record.end?.since(record.due).as_secs_f64()));
    spans.sum::<f64>() / 1_000.0
}

/// Clean loads of 50 to 90 % on every engine, each with the number of its seeds.
fn rated_shapes() -> Vec<(Shape, usize)> {
    let mut shapes = Vec::new();
    for engine in ENGINES {
        let capacity = capacity(&engine);
        for load in [0.5, 0.7, 0.9] {
            let rated = Shape {
                rate: load * capacity,
                ..engine
            };
            // Answers as long as the run, half as long, and short against it.
            let requests = latency(&rated) * rated.rate;
            for ratio in [1.17, 0.78, 0.45] {
                let requests = (requests / ratio) as usize;
                shapes.push((Shape { requests, ..rated }, 20));
            }
            shapes.push((
                Shape {
                    requests: 100,
                    ..rated
                },
                20,
            ));
            shapes.push((
                Shape {
                    requests: 300,
                    ..rated
                },
                10,
            ));
        }
        shapes.push((
            Shape {
                requests: 1_000,
                rate: 0.8 * capacity,
                ..engine
            },
            4,
        ));
    }
    shapes
}

/// Clean runs of 1 to 5,000 requests: closed loops, prompts that share a prefix, bursts and schedules
/// that begin at 0.
fn small_shapes() -> Vec<(Shape, usize)> {
    let mut shapes = Vec::new();
    for requests in [1, 2, 3, 5, 10, 30, 100, 300] {
        shapes.push((
            Shape {
                requests,
                cap: Some(4),
                ..PLAIN
            },
            20,
        ));
        shapes.push((
            Shape {
                requests,
                rate: 5.0,
                ..PLAIN
            },
            20,
        ));
        // A burst is clean while it is too short to be an overload.
        let rate = if requests < 40 { 5_000.0 } else { 50.0 };
        shapes.push((
            Shape {
                requests,
                rate,
                output: (1, 4),
                ..PLAIN
            },
            20,
        ));
        shapes.push((
            Shape {
                requests,
                rate: 4.0,
                shared: 64,
                ..PLAIN
            },
            10,
        ));
        shapes.push((
            Shape {
                requests,
                rate: 8.0,
                replicas: 2,
                ..PLAIN
            },
            10,
        ));
    }
    shapes.push((
        Shape {
            requests: 5_000,
            rate: 100.0,
            output: (4, 4),
            ..PLAIN
        },
        2,
    ));
    shapes.push((
        Shape {
            requests: 5_000,
            cap: Some(64),
            output: (4, 4),
            ..PLAIN
        },
        2,
    ));
    shapes
}

#[test]
fn clean_runs_have_no_reason() {
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut runs = 0;
    for (shape, seeds) in rated_shapes().into_iter().chain(small_shapes()) {
        for seed in 0..seeds as u64 {
            let finished = run(&shape, schedule(&shape, seed), seed);
            runs += 1;
            for code in found(&shape, &finished) {
                wrong
                    .entry(code)
                    .or_default()
                    .push(format!("{shape:?} seed {seed}"));
            }
        }
    }
    assert!(runs >= 2_000, "{runs} runs");
    for (code, places) in &wrong {
        assert!(STATISTICAL.contains(&code.as_str()), "{code}: {places:#?}");
        assert!(
            places.len() * 500 <= runs,
            "{code} in {} of {runs}: {places:#?}",
            places.len()
        );
    }
    let all: usize = wrong.values().map(Vec::len).sum();
    assert!(all * 200 <= runs, "{all} of {runs}");
}

#[test]
fn a_server_that_falls_behind_is_found() {
    for engine in ENGINES {
        let capacity = capacity(&engine);
        for overload in [1.2, 2.0, 3.0] {
            let shape = Shape {
                requests: 1_000,
                rate: overload * capacity,
                ..engine
            };
            let flagged = |seed: &u64| {
                let finished = run(&shape, schedule(&shape, *seed), *seed);
                found(&shape, &finished).contains(&"backlog_growing".to_owned())
            };
            // 95 % of the runs, and none of 20 missing is what the fewest need to show: see
            // `docs/verdict.md` for the rates of larger simulations.
            let hits = (0..20_u64).filter(flagged).count();
            assert!(hits >= 19, "{hits} of 20 at {overload}: {shape:?}");
        }
    }
}

#[test]
fn of_two_servers_the_slow_one_is_found() {
    let shape = Shape {
        requests: 100,
        rate: 10.0,
        replicas: 2,
        ..PLAIN
    };
    for seed in 0..50 {
        let mut finished = run(&shape, schedule(&shape, seed), seed);
        for record in finished
            .records
            .iter_mut()
            .filter(|record| record.target == 1)
        {
            // Every token takes three times as long.
            let start = record.send_start.unwrap();
            let later = |at: Nanos| Nanos(start.0 + 3 * at.since(start).0);
            record
                .events
                .iter_mut()
                .for_each(|event| event.at = later(event.at));
            record.end = record.end.map(later);
        }
        assert!(
            found(&shape, &finished).contains(&"unequal_targets".to_owned()),
            "seed {seed}"
        );
    }
}
