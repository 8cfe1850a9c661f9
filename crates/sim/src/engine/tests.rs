//! The engine against what is known of queues, caches and counts.

use proptest::prelude::*;
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

/// Poisson arrivals at `rate` a second; `make` builds request `i`.
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

#[test]
fn one_request_takes_one_step_a_token() {
    let mut engine = Engine::new(constant(), 0).unwrap();
    let lives = run(
        &mut engine,
        vec![(
            Nanos(5 * MS),
            EngineRequest::new(0, Content::Unshared(10), 4),
        )],
    );
    assert_eq!(lives[0].first, Some(Nanos(6 * MS)));
    assert_eq!(lives[0].end, Some(Nanos(9 * MS)));
    assert_eq!(engine.stats().computed_tokens, 13);
}

#[test]
fn a_long_prompt_is_cut_into_chunks_that_share_steps_with_decoding() {
    let config = EngineConfig {
        max_num_batched_tokens: 100,
        ..constant()
    };
    let mut engine = Engine::new(config, 0).unwrap();
    let requests = vec![
        (Nanos(0), EngineRequest::new(0, Content::Unshared(100), 10)),
        (Nanos(1), EngineRequest::new(1, Content::Unshared(250), 1)),
    ];
    let lives = run(&mut engine, requests);
    // Request 0 decodes in every step, so that 99 tokens a step are left for request 1: three
    // steps.
    assert_eq!(lives[0].end, Some(Nanos(10 * MS)));
    assert_eq!(lives[1].first, Some(Nanos(4 * MS)));
}

#[test]
fn without_chunks_a_prompt_waits_for_a_step_of_its_own() {
    let config = EngineConfig {
        max_num_batched_tokens: 300,
        max_model_len: 300,
        chunked_prefill: false,
        ..constant()
    };
    let mut engine = Engine::new(config, 0).unwrap();
    let requests = vec![
        (Nanos(0), EngineRequest::new(0, Content::Unshared(280), 1)),
        (Nanos(0), EngineRequest::new(1, Content::Unshared(280), 1)),
    ];
    let lives = run(&mut engine, requests);
    assert_eq!(
        (lives[0].end, lives[1].end),
        (Some(Nanos(MS)), Some(Nanos(2 * MS)))
    );
    assert!(matches!(
        engine.check(290, 20),
        Err(ModelError::TooLong {
            needed: 310,
            limit: 300
        })
    ));
}

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

#[test]
fn prefix_hits_are_those_that_the_trace_predicts() {
    let mut engine = Engine::new(constant(), 0).unwrap();
    let shared: Vec<u32> = (0..100).collect();
    let prompt = |tail: u32, tokens: u32| {
        Content::Tokens(
            shared
                .iter()
                .copied()
                .chain((0..tokens).map(|t| 1000 * tail + t))
                .collect(),
        )
    };
    // Blocks hold 16 tokens: of the 100 shared ones, six blocks (96 tokens) are found again. A
    // repeated prompt of 128 tokens finds seven blocks, since its last token is always computed.
    let requests = vec![
        (Nanos(0), EngineRequest::new(0, prompt(1, 28), 1)),
        (Nanos(10 * MS), EngineRequest::new(1, prompt(2, 28), 1)),
        (Nanos(20 * MS), EngineRequest::new(2, prompt(1, 28), 1)),
        (
            Nanos(30 * MS),
            EngineRequest::new(3, Content::Unshared(128), 1),
        ),
    ];
    run(&mut engine, requests);
    let stats = engine.stats();
    assert_eq!(stats.prefix_queries, 4 * 128);
    assert_eq!(stats.prefix_hits, 96 + 112);
    assert_eq!(stats.computed_tokens, 4 * 128 - 96 - 112);
    assert!(engine.reset_prefix_cache());
    run(
        &mut engine,
        vec![(Nanos(50 * MS), EngineRequest::new(0, prompt(1, 28), 1))],
    );
    assert_eq!(engine.stats().prefix_hits, 96 + 112);
}

#[test]
fn the_next_turn_of_a_conversation_finds_the_answer_in_the_cache() {
    let mut engine = Engine::new(constant(), 0).unwrap();
    let prompt: Vec<u32> = (0..32).collect();
    let answer: Vec<u32> = (100..164).collect();
    let first = EngineRequest {
        answer: answer.clone(),
        ..EngineRequest::new(0, Content::Tokens(prompt.clone()), 64)
    };
    let second: Vec<u32> = prompt.into_iter().chain(answer).chain(500..516).collect();
    let requests = vec![
        (Nanos(0), first),
        (
            Nanos(1000 * MS),
            EngineRequest::new(1, Content::Tokens(second), 1),
        ),
    ];
    run(&mut engine, requests);
    // 32 + 64 tokens, but the last one of the answer was never computed: five full blocks.
    assert_eq!(engine.stats().prefix_hits, 80);
}

#[test]
fn adapters_do_not_share_blocks_and_wait_for_a_slot() {
    let config = EngineConfig {
        max_loras: 1,
        lora_load: Nanos(10 * MS),
        ..constant()
    };
    let mut engine = Engine::new(config, 0).unwrap();
    let request = |id, lora| EngineRequest {
        lora: Some(lora),
        ..EngineRequest::new(id, Content::Tokens((0..64).collect()), 5)
    };
    let requests = vec![
        (Nanos(0), request(0, 1)),
        (Nanos(1), request(1, 2)),
        (Nanos(2), request(2, 1)),
    ];
    let lives = run(&mut engine, requests);
    assert_eq!(lives[0].first, Some(Nanos(11 * MS)));
    // Request 2 overtakes request 1, whose adapter has to wait until the other is idle.
    assert_eq!(lives[2].first, Some(Nanos(12 * MS)));
    assert_eq!(lives[1].first, Some(Nanos(16 * MS + 11 * MS)));
    assert_eq!(engine.stats().prefix_hits, 48);
}

#[test]
fn what_is_swapped_out_comes_back_without_being_computed_again() {
    // Two requests of 32 + 32 tokens in room for 6 blocks of 16: one has to give way.
    let run_with = |swap: Option<Swap>| {
        let cost = StepCost {
            prefill: 1_000.0,
            ..constant().cost
        };
        let config = EngineConfig {
            num_blocks: 6,
            prefix_caching: false,
            swap,
            cost,
            ..constant()
        };
        let mut engine = Engine::new(config, 0).unwrap();
        let request = |id| (Nanos(0), EngineRequest::new(id, Content::Unshared(32), 32));
        let lives = run(&mut engine, vec![request(0), request(1)]);
        (lives[1].end.unwrap(), engine.stats())
    };
    let (computed_again, recompute) = run_with(None);
    assert!(recompute.preemptions > 0 && recompute.lost_tokens > 0);
    let (swapped, stats) = run_with(Some(Swap {
        blocks: 100,
        per_token: 10_000.0,
    }));
    assert_eq!(stats.preemptions, recompute.preemptions);
    assert_eq!(
        (stats.lost_tokens, stats.swapped_out_tokens),
        (0, recompute.lost_tokens)
    );
    assert_eq!(
        (stats.swapped_in_tokens, stats.swapped),
        (stats.swapped_out_tokens, 0)
    );
    assert_eq!(stats.computed_tokens, 2 * (32 + 31));
    // 10 us a token each way instead of 1 us a token computed (with the newest one) in a step of
    // its own length.
    let moved = stats.swapped_out_tokens;
    assert_eq!(
        swapped.0 + 1_000 * (moved + 1),
        computed_again.0 + 2 * 10_000 * moved
    );
    // Without room in the host's memory all is as without it.
    let (full, none) = run_with(Some(Swap {
        blocks: 1,
        per_token: 10_000.0,
    }));
    assert_eq!((full, none.swapped_out_tokens), (computed_again, 0));
}

#[test]
fn priorities_overtake() {
    let config = EngineConfig {
        max_num_seqs: 1,
        ..constant()
    };
    let mut engine = Engine::new(config, 0).unwrap();
    let request = |id, priority| EngineRequest {
        priority,
        ..EngineRequest::new(id, Content::Unshared(4), 3)
    };
    let requests = vec![
        (Nanos(0), request(0, 0)),
        (Nanos(1), request(1, 5)),
        (Nanos(2), request(2, -5)),
    ];
    let lives = run(&mut engine, requests);
    assert!(lives[2].end < lives[1].end);
}

#[test]
fn who_comes_last_gives_way_when_the_cache_is_full() {
    let config = EngineConfig {
        num_blocks: 5,
        max_model_len: 80,
        ..constant()
    };
    let mut engine = Engine::new(config, 0).unwrap();
    // Both prompts fit (two blocks each), but not both answers: request 1 is thrown out when
    // request 0 needs its fourth block, and computes its 32 + n tokens again when request 0 is
    // done.
    let requests = (0..2)
        .map(|id| (Nanos(id), EngineRequest::new(id, Content::Unshared(30), 40)))
        .collect();
    let lives = run(&mut engine, requests);
    let stats = engine.stats();
    assert_eq!(stats.preemptions, 1);
    assert!(lives[0].end < lives[1].end);
    assert_eq!(lives[0].end, Some(Nanos(40 * MS)));
    assert!(stats.lost_tokens > 30);
    assert_eq!(stats.computed_tokens, 2 * 69 + stats.lost_tokens);
}

#[test]
fn drafts_are_accepted_as_often_as_asked() {
    let speculation = Speculation {
        acceptance: vec![0.8, 0.5],
        draft_time: Nanos(1000),
    };
    let config = EngineConfig {
        speculation: Some(speculation),
        ..constant()
    };
    let mut engine = Engine::new(config, 1).unwrap();
    let requests = (0..20)
        .map(|id| {
            (
                Nanos(id),
                EngineRequest::new(id, Content::Unshared(10), 1000),
            )
        })
        .collect();
    let lives = run(&mut engine, requests);
    assert!(lives.iter().all(|life| life.tokens == 1000));
    let stats = engine.stats();
    // Both drafts: 0.8 + 0.8 · 0.5 = 1.2 of 2.
    let rate = stats.accepted_tokens as f64 / stats.draft_tokens as f64;
    assert!((rate - 0.6).abs() < 0.02, "{rate}");
    let by_position = stats
        .accepted_by_position
        .map(|count| count as f64 / stats.drafts as f64);
    assert!(
        (by_position[0] - 0.8).abs() < 0.02 && (by_position[1] - 0.4).abs() < 0.02,
        "{by_position:?}"
    );
    assert_eq!(by_position[2..].iter().sum::<f64>(), 0.0);
    assert_eq!(stats.computed_tokens, 20 * 1009);
}

#[test]
fn a_split_replica_sends_tokens_after_the_transfer() {
    let transfer = Transfer {
        prefill: constant(),
        base: Nanos(5 * MS),
        per_token: Nanos(1000),
    };
    let config = ClusterConfig {
        engine: constant(),
        transfer: Some(transfer),
        ..ClusterConfig::default()
    };
    let mut cluster = Cluster::new(config, 0).unwrap();
    cluster
        .submit(EngineRequest::new(9, Content::Unshared(1000), 3), Nanos(0))
        .unwrap();
    let mut events = Vec::new();
    while let Some(at) = cluster.next_step_at() {
        cluster.step(at, &mut events);
    }
    let ats: Vec<u64> = events.iter().map(|event| event.at.0 / MS).collect();
    // One step for the prompt, 5 + 1 ms on the way, one step a token.
    assert_eq!(ats, [8, 9, 10]);
    assert_eq!(events[0].first_scheduled, Nanos(0));
    let stats = cluster.stats();
    assert_eq!(
        stats.computed_tokens + stats.transferred_tokens,
        1000 + 999 + 3
    );
    assert_eq!((stats.running, stats.waiting), (0, 0));
}

#[test]
fn routers_send_where_they_promise() {
    let replicas = |router: Router, request: &dyn Fn(u64) -> EngineRequest| {
        let config = ClusterConfig {
            engine: constant(),
            replicas: 4,
            router,
            transfer: None,
        };
        let mut cluster = Cluster::new(config, 1).unwrap();
        (0..200)
            .map(|id| cluster.submit(request(id), Nanos(id)).unwrap())
            .collect::<Vec<u32>>()
    };
    let plain = |id| EngineRequest::new(id, Content::Unshared(4), 50);
    assert_eq!(
        replicas(Router::RoundRobin, &plain)[..6],
        [0, 1, 2, 3, 0, 1]
    );
    let counts = |homes: &[u32]| {
        (0..4)
            .map(|replica| homes.iter().filter(|&&home| home == replica).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&replicas(Router::LeastInFlight, &plain)), [50; 4]);
    assert!(
        counts(&replicas(Router::PowerOfTwo, &plain))
            .iter()
            .all(|n| (45..=55).contains(n))
    );
    let in_conversation = |id: u64| EngineRequest {
        conversation: Some(id % 10),
        ..plain(id)
    };
    let homes = replicas(Router::Sticky, &in_conversation);
    assert!((10..200).all(|i| homes[i] == homes[i - 10]));
    let prefix = |id: u64| {
        let tokens = (0..300)
            .map(|t| if t < 256 { id as u32 % 10 } else { id as u32 })
            .collect();
        EngineRequest::new(id, Content::Tokens(tokens), 50)
    };
    let homes = replicas(Router::PrefixAffinity, &prefix);
    assert!((10..40).all(|i| homes[i] == homes[i - 10]));
    // Affinity gives way before one replica is swamped.
    let counts = counts(&homes);
    assert!(
        counts.iter().max().unwrap() - counts.iter().min().unwrap() <= IMBALANCE_SLACK,
        "{counts:?}"
    );
}

const IMBALANCE_SLACK: usize = cluster::IMBALANCE + 1;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Tokens in = tokens out + cached + work thrown away, whatever the engine and the load.
    #[test]
    fn nothing_is_lost(
        seed in 0_u64..1000,
        blocks in 12_usize..60,
        seqs in 1_usize..20,
        batched in 8_u32..200,
        chunked: bool,
        caching: bool,
        drafts in 0_usize..3,
        host in 0_usize..40,
        priorities in 1_i32..3,
        rate in 50.0_f64..2000.0,
    ) {
        let config = EngineConfig {
            max_num_seqs: seqs,
            max_num_batched_tokens: if chunked { batched } else { 128 },
            max_model_len: 128,
            chunked_prefill: chunked,
            block_size: 8,
            num_blocks: blocks,
            prefix_caching: caching,
            swap: (host > 0).then_some(Swap { blocks: host, per_token: 100.0 }),
            speculation: (drafts > 0).then(|| Speculation {
                acceptance: vec![0.7; drafts],
                draft_time: Nanos(1000),
            }),
            ..constant()
        };
        let mut engine = Engine::new(config.clone(), seed).unwrap();
        let longest = (blocks as u32 * 8).min(128) - 2;
        let requests = poisson(150, rate, seed, |id, rng| {
            let total = rng.random_range(2..=longest);
            let prompt = rng.random_range(1..total);
            // Few different starts, so that many prompts share blocks.
            let start = rng.random_range(0..4_u32) * 1000;
            let tokens = (0..prompt).map(|t| start + t).collect();
            EngineRequest {
                priority: rng.random_range(0..priorities),
                ..EngineRequest::new(id, Content::Tokens(tokens), total - prompt)
            }
        });
        let expected: u64 = requests
            .iter()
            .map(|(_, request)| u64::from(request.prompt.len() + request.output_tokens - 1))
            .sum();
        let outputs: Vec<u32> = requests.iter().map(|(_, request)| request.output_tokens).collect();
        let again = requests.clone();
        let lives = run(&mut engine, requests);
        let stats = engine.stats();
        prop_assert_eq!(stats.finished, 150);
        for (life, output) in lives.iter().zip(outputs) {
            prop_assert_eq!(life.tokens, output);
            prop_assert!(life.end.is_some());
        }
        prop_assert_eq!(stats.computed_tokens + stats.prefix_hits, expected + stats.lost_tokens);
        prop_assert_eq!((stats.running, stats.waiting, stats.blocks_used, stats.swapped), (0, 0, 0, 0));
        prop_assert_eq!(stats.swapped_in_tokens, stats.swapped_out_tokens);

        let mut twin = Engine::new(config, seed).unwrap();
        run(&mut twin, again);
        prop_assert_eq!(twin.stats(), stats);
    }

    /// Requests that are given up at any moment leave nothing behind.
    #[test]
    fn cancelling_frees_everything(seed in 0_u64..1000, blocks in 12_usize..40) {
        let swap = Some(Swap { blocks: 10, per_token: 0.0 });
        let config = EngineConfig { block_size: 8, num_blocks: blocks, max_model_len: 96, swap, ..constant() };
        let mut engine = Engine::new(config, seed).unwrap();
        let mut rng = stream(seed, "test cancel");
        let mut events = Vec::new();
        let (mut finished, mut cancelled) = (0, 0);
        for id in 0..100_u64 {
            let at = Nanos(id * MS / 2);
            engine.step(at, &mut events);
            engine.submit(EngineRequest::new(id, Content::Unshared(rng.random_range(1..40)), 20), at).unwrap();
            if rng.random_bool(0.4) && engine.cancel(rng.random_range(0..=id)) {
                cancelled += 1;
            }
        }
        while let Some(at) = engine.next_step_at() {
            engine.step(at, &mut events);
        }
        finished += events.iter().filter(|event| event.finished).count();
        prop_assert_eq!(finished + cancelled, 100);
        prop_assert_eq!((engine.in_flight(), engine.stats().blocks_used, engine.stats().swapped), (0, 0, 0));
    }
}
