//! The KV cache: hits, preemption and swapping.

use super::*;

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
fn swapped_requests_come_back_without_being_computed_again() {
    // Two requests of 32 + 32 tokens in room for 6 blocks of 16: one has to be preempted.
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
fn the_newest_request_is_preempted_when_the_cache_is_full() {
    let config = EngineConfig {
        num_blocks: 5,
        max_model_len: 80,
        ..constant()
    };
    let mut engine = Engine::new(config, 0).unwrap();
    // Both prompts fit (two blocks each), but not both answers: request 1 is preempted when
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
