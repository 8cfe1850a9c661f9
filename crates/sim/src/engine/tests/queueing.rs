//! Queues against the formulas that are known for them.

use super::*;

#[test]
fn a_single_server_with_constant_service_waits_as_pollaczek_and_khinchin_say() {
    // M/D/1: mean wait = rho / (2 (1 - rho)) services.
    for (rho, seed) in [(0.3, 1), (0.6, 2), (0.8, 3)] {
        let config = EngineConfig {
            max_num_seqs: 1,
            ..constant()
        };
        let mut engine = Engine::new(config, 0).unwrap();
        let requests = poisson(60_000, rho * 1000.0, seed, |id, _| {
            EngineRequest::new(id, Content::Unshared(8), 1)
        });
        let lives = run(&mut engine, requests);
        let wait = mean(
            lives
                .iter()
                .map(|life| life.first.unwrap().since(life.arrival).0 as f64 / 1e6 - 1.0),
        );
        let expected = rho / (2.0 * (1.0 - rho));
        assert!(
            (wait / expected - 1.0).abs() < 0.06,
            "rho {rho}: {wait} for {expected}"
        );
    }
}

/// Erlang's C formula: the chance that an arrival finds all `c` servers busy at offered load `a`.
fn erlang_c(c: u32, a: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..c {
        term *= a / f64::from(k);
        sum += term;
    }
    let last = term * a / f64::from(c) * f64::from(c) / (f64::from(c) - a);
    last / (sum + last)
}

#[test]
fn several_slots_with_random_service_wait_as_erlang_says() {
    // Answers of geometric length on steps of 1 ms: nearly exponential service, nearly M/M/4.
    let (slots, mean_tokens, rho) = (4_u32, 60.0_f64, 0.75);
    let config = EngineConfig {
        max_num_seqs: slots as usize,
        ..constant()
    };
    let mut engine = Engine::new(config, 0).unwrap();
    let rate = rho * f64::from(slots) / mean_tokens * 1000.0;
    let requests = poisson(30_000, rate, 7, |id, rng| {
        let unit: f64 = rng.random();
        let tokens = ((1.0 - unit).ln() / (1.0 - 1.0 / mean_tokens).ln())
            .ceil()
            .max(1.0) as u32;
        EngineRequest::new(id, Content::Unshared(1), tokens.min(10_000))
    });
    let lives = run(&mut engine, requests);
    let sojourn = mean(
        lives
            .iter()
            .map(|life| life.end.unwrap().since(life.arrival).0 as f64 / 1e6),
    );
    let load = rho * f64::from(slots);
    let wait = erlang_c(slots, load) * mean_tokens / (f64::from(slots) - load);
    // A request waits half a step on average until a step begins while the engine is busy.
    let expected = mean_tokens + wait + 0.5;
    assert!(
        (sojourn / expected - 1.0).abs() < 0.04,
        "{sojourn} for {expected}"
    );
}

#[test]
fn little_s_law_holds_exactly() {
    let mut engine = Engine::new(
        EngineConfig {
            max_num_seqs: 8,
            ..EngineConfig::default()
        },
        3,
    )
    .unwrap();
    let requests = poisson(500, 20.0, 5, |id, rng| {
        EngineRequest::new(id, Content::Unshared(50), rng.random_range(1..100))
    });
    let lives = run(&mut engine, requests);
    let mut changes: Vec<(u64, i64)> = lives
        .iter()
        .flat_map(|life| [(life.arrival.0, 1), (life.end.unwrap().0, -1)])
        .collect();
    changes.sort_unstable();
    let (mut area, mut inside, mut last) = (0_u128, 0_i64, 0_u64);
    for (at, change) in changes {
        area += u128::from(at - last) * inside as u128;
        inside += change;
        last = at;
    }
    let total: u128 = lives
        .iter()
        .map(|life| u128::from(life.end.unwrap().since(life.arrival).0))
        .sum();
    assert_eq!(inside, 0);
    assert_eq!(area, total);
}

#[test]
fn time_to_first_token_grows_with_load() {
    let mean_ttft = |rate: f64| {
        let mut engine = Engine::new(
            EngineConfig {
                max_num_seqs: 32,
                ..EngineConfig::default()
            },
            0,
        )
        .unwrap();
        let requests = poisson(600, rate, 11, |id, _| {
            EngineRequest::new(id, Content::Unshared(512), 64)
        });
        mean(
            run(&mut engine, requests)
                .iter()
                .map(|life| life.first.unwrap().since(life.arrival).0 as f64),
        )
    };
    let ttfts: Vec<f64> = [1.0, 5.0, 10.0, 20.0, 40.0, 80.0]
        .into_iter()
        .map(mean_ttft)
        .collect();
    assert!(ttfts.windows(2).all(|pair| pair[0] < pair[1]), "{ttfts:?}");
}
