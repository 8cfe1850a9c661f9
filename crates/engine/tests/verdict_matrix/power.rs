//! Runs in which something is wrong: how often each rule finds it.
//!
//! The table of the powers is part of `docs/verdict.md`. With `INFEROMETER_BLESS` set, it is written
//! instead of compared.

use std::fmt::Write as _;

use inferometer_core::random::{StreamRng, indexed_stream};
use inferometer_core::{Event, Nanos, Outcome, Record, Throttling, WorkerHealth};
use inferometer_metrics::RULES;

use crate::shapes::{ENGINES, PLAIN, Scene, Shape, capacity, uniform};

/// Runs for each rule.
const RUNS: u64 = 100;

/// The runs that most rules are tried on: 20 seconds of 50 requests per second.
const BASE: Shape = Shape {
    requests: 1_000,
    rate: 50.0,
    output: (16, 16),
    ..PLAIN
};

/// Something that is wrong with a run, of a size somewhat above the limit of its rule.
struct Fault {
    /// The code of the rule that must find it.
    code: &'static str,
    /// What is wrong, in the words of the documentation.
    words: &'static str,
    /// The runs, where they are not those of [`BASE`].
    shape: Option<Shape>,
    spoil: fn(&mut Scene, &mut StreamRng),
}

impl Fault {
    const fn new(
        code: &'static str,
        words: &'static str,
        spoil: fn(&mut Scene, &mut StreamRng),
    ) -> Self {
        Self {
            code,
            words,
            shape: None,
            spoil,
        }
    }

    /// How many of these runs, which have a seed each, get the finding.
    fn hits(&self, clean: &[Scene]) -> u64 {
        let found = |(seed, scene): &(usize, &Scene)| {
            let mut scene = Scene::clone(scene);
            let mut random = indexed_stream(*seed as u64, "matrix faults", 0);
            (self.spoil)(&mut scene, &mut random);
            scene.codes().iter().any(|code| code == self.code)
        };
        clean.iter().enumerate().filter(found).count() as u64
    }
}

/// True with this probability.
fn chance(random: &mut StreamRng, probability: f64) -> bool {
    uniform(random) < probability
}

/// Applies a change to each request with this probability.
fn some(scene: &mut Scene, random: &mut StreamRng, probability: f64, change: impl Fn(&mut Record)) {
    for record in &mut scene.records {
        if chance(random, probability) {
            change(record);
        }
    }
}

/// A count that is larger by a fraction between 0 and twice `mean`.
fn larger(count: u32, mean: f64, random: &mut StreamRng) -> u32 {
    (f64::from(count) * (1.0 + 2.0 * mean * uniform(random))).round() as u32
}

fn worker(scene: &mut Scene) -> &mut WorkerHealth {
    if scene.health.workers.is_empty() {
        scene.health.workers.push(WorkerHealth::default());
    }
    &mut scene.health.workers[0]
}

fn part_of_wall(scene: &Scene, fraction: f64) -> Nanos {
    Nanos((scene.health.wall.0 as f64 * fraction) as u64)
}

/// Faults of the client and its host.
const CLIENT: &[Fault] = &[
    Fault::new(
        "late_sends",
        "2 % of the sends are 20 ms late",
        |scene, random| {
            some(scene, random, 0.02, |record| {
                for at in [&mut record.send_start, &mut record.send_end] {
                    *at = at.map(|at| Nanos(at.0 + 20_000_000));
                }
            });
        },
    ),
    Fault::new("client_cpu", "a worker uses 75 % of its CPU", |scene, _| {
        worker(scene).cpu = part_of_wall(scene, 0.75);
    }),
    Fault::new(
        "near_ceiling",
        "the load is 55 % of the ceiling",
        |scene, _| {
            scene.verdict.ceiling_used = Some(0.55);
        },
    ),
    Fault::new("worker_stall", "a worker stalls for 25 ms", |scene, _| {
        worker(scene).largest_stall = Nanos::from_millis(25);
    }),
    Fault::new(
        "stall_in_stamps",
        "a worker stalls for 25 ms and takes the stamps itself",
        |scene, _| {
            worker(scene).largest_stall = Nanos::from_millis(25);
            scene.health.kernel_stamps = false;
        },
    ),
    Fault::new(
        "receive_lag",
        "1.5 % of the events are read 5 ms late",
        |scene, random| {
            for event in scene.records.iter_mut().flat_map(|r| &mut r.events) {
                if chance(random, 0.015) {
                    event.lag_ns = 5_000_000;
                }
            }
        },
    ),
    Fault::new(
        "coalesced",
        "12 % of the events share a read with a later one",
        |scene, random| {
            for event in scene.records.iter_mut().flat_map(|r| &mut r.events) {
                if chance(random, 0.12) {
                    event.coalesce();
                }
            }
        },
    ),
    Fault {
        // 50 requests per second that take 0.15 s each need 8 slots on average.
        shape: Some(Shape {
            cap: Some(8),
            ..BASE
        }),
        ..Fault::new(
            "cap_binding",
            "8 slots for a load that needs as many on average",
            |_, _| {},
        )
    },
    Fault::new(
        "offered_rate",
        "the client sends 2 % slower than scheduled",
        |scene, _| {
            for record in &mut scene.records {
                record.send_start = Some(Nanos(record.due.0 + record.due.0 / 50));
                record.send_end = record.send_start;
            }
        },
    ),
    Fault {
        shape: Some(Shape {
            requests: 600,
            ..BASE
        }),
        ..Fault::new(
            "too_few_samples",
            "a p99 that was asked for, of 600 requests",
            |scene, _| {
                scene.verdict.explicit_percentiles = true;
            },
        )
    },
    Fault::new(
        "clock_step",
        "the wall clock steps once, by 1 ms",
        |scene, _| {
            scene.health.clock_steps = 1;
            scene.health.largest_clock_step = Nanos::from_millis(1);
        },
    ),
    Fault::new(
        "throttled",
        "the control group's quota takes 1 % of the time",
        |scene, _| {
            scene.health.cgroup_throttled = Some(Throttling {
                periods: 1,
                time: part_of_wall(scene, 0.01),
            });
        },
    ),
    Fault::new(
        "partial_run",
        "the run is cut after 99 % of the requests",
        |scene, _| {
            scene.verdict.interrupted = true;
            let from = scene.records.len() * 99 / 100;
            for record in &mut scene.records[from..] {
                record.outcome = Outcome::Unfinished;
            }
        },
    ),
];

/// Faults of the server and of the workload.
const SERVER: &[Fault] = &[
    Fault::new(
        "one_piece_answers",
        "8 % of the answers come in one event",
        |scene, random| {
            some(scene, random, 0.08, |record| {
                let last = record.events.len() - 1;
                record.events.drain(..last);
                record.events[0].tokens = record.output_tokens as u16;
            });
        },
    ),
    Fault::new("failures", "0.5 % of the requests fail", |scene, random| {
        some(scene, random, 0.005, |r| r.outcome = Outcome::HttpError);
    }),
    Fault::new(
        "truncated",
        "0.5 % of the answers end early",
        |scene, random| {
            some(scene, random, 0.005, |r| r.outcome = Outcome::Truncated);
        },
    ),
    Fault::new(
        "unknown_ending",
        "0.5 % of the answers end for an unknown reason",
        |scene, random| {
            some(scene, random, 0.005, |r| {
                r.finish_reason = Some("evicted".to_owned());
            });
        },
    ),
    Fault::new(
        "input_length",
        "prompts are 20 % longer on average, each by 0 to 40 %",
        |scene, random| {
            for record in &mut scene.records {
                record.usage.prompt_tokens = Some(larger(record.prompt_tokens, 0.2, random));
            }
        },
    ),
    Fault::new(
        "output_length",
        "answers are 12 % longer on average, each by 0 to 24 %",
        |scene, random| {
            for record in &mut scene.records {
                record.output_tokens = larger(record.output_tokens, 0.12, random);
            }
        },
    ),
    Fault::new(
        "natural_end",
        "answers have 45 % of the tokens that were asked for",
        |scene, _| {
            scene.verdict.ignore_eos = false;
            for record in &mut scene.records {
                record.asked_output_tokens = Some(record.output_tokens * 20 / 9);
            }
        },
    ),
    Fault::new(
        "usage_impossible",
        "the usage of 0.5 % of the answers has more cached than prompt tokens",
        |scene, random| {
            some(scene, random, 0.005, |record| {
                record.usage.cached_tokens = Some(record.input_tokens() + 1);
            });
        },
    ),
    Fault::new(
        "usage_disagreement",
        "the server counts 8 % more output tokens than tokenizer and events",
        |scene, random| {
            for record in &mut scene.records {
                let count = larger(record.output_tokens, 0.08, random);
                record.usage.completion_tokens = Some(count);
            }
        },
    ),
    Fault {
        shape: Some(Shape {
            replicas: 2,
            requests: 100,
            rate: 10.0,
            ..BASE
        }),
        ..Fault::new(
            "unequal_targets",
            "one of two servers is three times as slow, 100 requests",
            |scene, _| slow_down(scene, 1, 3),
        )
    },
    Fault::new(
        "identical_prompts",
        "12 % of the prompts repeat an earlier one",
        |scene, _| {
            scene.verdict.duplicate_prompts = Some(0.12);
        },
    ),
    Fault::new(
        "cache_hits",
        "8 % of the prompts are in the cache",
        |scene, random| {
            some(scene, random, 0.08, |record| {
                record.usage.cached_tokens = Some(record.prompt_tokens);
            });
        },
    ),
];

/// Every answer of a server takes this many times as long.
fn slow_down(scene: &mut Scene, target: u16, times: u64) {
    let records = scene.records.iter_mut();
    for record in records.filter(|record| record.target == target) {
        let start = record.send_start.unwrap();
        let later = |at: Nanos| Nanos(start.0 + times * at.since(start).0);
        let shift = |event: &mut Event| event.at = later(event.at);
        record.events.iter_mut().for_each(shift);
        record.end = record.end.map(later);
    }
}

/// Runs that are flagged for a backlog, of `runs` at this multiple of what the engine completes.
fn behind(engine: Shape, overload: f64, runs: u64) -> u64 {
    let shape = Shape {
        requests: 1_000,
        rate: overload * capacity(&engine),
        ..engine
    };
    let found = |seed: &u64| {
        let codes = Scene::of(&shape, *seed).codes();
        codes.iter().any(|code| code == "backlog_growing")
    };
    (0..runs).filter(found).count() as u64
}

/// The powers as a table in Markdown.
fn table() -> String {
    let base: Vec<Scene> = (0..RUNS).map(|seed| Scene::of(&BASE, seed)).collect();
    let mut text = String::from("| code | what is wrong | found |\n| --- | --- | --- |\n");
    let percent = |hits: u64, of: u64| 100.0 * hits as f64 / of as f64;
    for rule in RULES {
        if rule.code == "backlog_growing" {
            for overload in [1.2, 2.0, 3.0] {
                let hits = ENGINES.map(|engine| behind(engine, overload, 20));
                let least = hits.into_iter().min().unwrap();
                // 95 % of the runs, and at most one of 20 missing is what the fewest need to show.
                assert!(least >= 19, "{hits:?} of 20 each at {overload}");
                let all = percent(hits.iter().sum(), 100);
                let words = format!("{overload} times what the server completes");
                let _ = writeln!(text, "| `{}` | {words} | {all} % |", rule.code);
            }
            continue;
        }
        let fault = CLIENT.iter().chain(SERVER);
        let fault = fault
            .filter(|fault| fault.code == rule.code)
            .collect::<Vec<_>>();
        let [fault] = fault[..] else {
            panic!("{} needs exactly one fault", rule.code);
        };
        let hits = match fault.shape {
            None => fault.hits(&base),
            Some(shape) => {
                let own: Vec<Scene> = (0..RUNS).map(|seed| Scene::of(&shape, seed)).collect();
                fault.hits(&own)
            }
        };
        assert!(hits * 20 >= RUNS * 19, "{}: {hits} of {RUNS}", rule.code);
        let found = percent(hits, RUNS);
        let _ = writeln!(text, "| `{}` | {} | {found} % |", rule.code, fault.words);
    }
    text
}

#[test]
fn every_rule_finds_its_fault_with_the_documented_power() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verdict.md");
    let text = std::fs::read_to_string(path).unwrap();
    let start = text
        .find("| code | what is wrong |")
        .expect("a table of the powers");
    let end = text[start..]
        .find("\n\n")
        .map_or(text.len(), |length| start + length + 1);
    let table = table();
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        std::fs::write(path, [&text[..start], &table, &text[end..]].concat()).unwrap();
    } else {
        assert_eq!(
            &text[start..end],
            table,
            "set INFEROMETER_BLESS=1 and run this test to renew the table"
        );
    }
}
