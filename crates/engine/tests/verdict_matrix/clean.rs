//! Runs without a fault.

use std::collections::BTreeMap;

use crate::shapes::{ENGINES, PLAIN, Scene, Shape, capacity, latency};

/// Reasons that depend on chance: queues fluctuate. No other may ever appear in a clean run.
const STATISTICAL: [&str; 2] = ["backlog_growing", "unequal_targets"];

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
            runs += 1;
            for code in Scene::of(&shape, seed).codes() {
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
