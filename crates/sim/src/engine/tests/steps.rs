//! What goes into a step, request by request.

use super::*;

#[test]
fn one_request_takes_one_step_per_token() {
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
fn drafts_are_accepted_at_the_given_rates() {
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
