//! What holds for any engine and any load.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Tokens in = tokens out + cached + work lost to preemption, whatever the engine and the load.
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

    /// Requests that are cancelled at any moment leave nothing behind.
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
