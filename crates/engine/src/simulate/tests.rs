//! Simulated runs, request by request.

use inferometer_sim::engine::{Content, EngineConfig};

use super::*;

fn input(n: usize, gap_ms: u64, cap: Option<usize>) -> VirtualRun {
    let due = (0..n as u64)
        .map(|i| Nanos::from_millis(i * gap_ms))
        .collect();
    let requests = (0..n)
        .map(|i| VirtualRequest {
            engine: EngineRequest::new(i as u64, Content::Unshared(100), 20),
            facts: Record {
                prompt_tokens: 100,
                asked_output_tokens: Some(20),
                ..Record::default()
            },
            cancel_after: None,
            think: None,
        })
        .collect();
    VirtualRun {
        requests,
        schedule: Schedule::new(due).unwrap(),
        max_concurrency: cap,
        max_conversations: None,
        cluster: ClusterConfig::default(),
        seed: 7,
    }
}

#[test]
fn every_request_is_answered_in_full_and_the_same_job_gives_the_same_records() {
    let (first, stats) = simulate(input(200, 5, None)).unwrap();
    let (second, _) = simulate(input(200, 5, None)).unwrap();
    assert_eq!(first.records, second.records);
    for record in &first.records {
        assert_eq!(
            (record.outcome, record.usage.completion_tokens),
            (Outcome::Ok, Some(20))
        );
        assert_eq!(record.lateness(), Some(Nanos::ZERO));
        assert!(record.events.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert_eq!(record.last_token(), record.end);
    }
    assert_eq!(stats.generated_tokens, 200 * 20);
}

#[test]
fn a_cap_of_one_serves_one_after_the_other() {
    let (finished, _) = simulate(input(20, 0, Some(1))).unwrap();
    for pair in finished.records.windows(2) {
        assert_eq!(pair[1].send_start, pair[0].end);
    }
    assert_eq!(finished.health.in_flight_peak, 1);
}

#[test]
fn a_request_that_can_never_run_gets_status_400() {
    let mut input = input(3, 1, Some(1));
    input.cluster.engine = EngineConfig {
        max_model_len: 110,
        ..input.cluster.engine
    };
    let (finished, _) = simulate(input).unwrap();
    for record in &finished.records {
        assert_eq!(
            (record.outcome, record.status),
            (Outcome::HttpError, Some(400))
        );
    }
}

#[test]
fn a_cancelled_request_frees_its_slot_and_keeps_its_tokens() {
    let mut input = input(3, 0, Some(1));
    input.requests[1].cancel_after = Some(Nanos::from_millis(50));
    let (finished, stats) = simulate(input).unwrap();
    let cancelled = &finished.records[1];
    assert_eq!(cancelled.outcome, Outcome::Cancelled);
    assert_eq!(
        cancelled.end,
        cancelled
            .send_start
            .map(|sent| sent + Nanos::from_millis(50))
    );
    assert!(!cancelled.events.is_empty() && cancelled.events.len() < 20);
    assert_eq!(finished.records[2].send_start, cancelled.end);
    assert_eq!((stats.finished, stats.cancelled), (2, 1));
}

#[test]
fn a_turn_follows_the_answer_before_it_and_finds_it_in_the_cache() {
    let mut input = input(4, 0, None);
    let answer: Vec<u32> = (1_000..1_020).collect();
    let mut said: Vec<u32> = (0..100).collect();
    for (turn, request) in input.requests.iter_mut().enumerate() {
        request.engine.prompt = Content::Tokens(said.clone());
        request.engine.answer.clone_from(&answer);
        said.extend(&answer);
        said.extend(0..12);
        request.think = (turn > 0).then_some(Nanos::from_millis(250));
    }
    let (finished, _) = simulate(input).unwrap();
    for pair in finished.records.windows(2) {
        let due = pair[0].end.map(|end| end + Nanos::from_millis(250));
        assert_eq!((Some(pair[1].due), pair[1].send_start), (due, due));
        // All full blocks of what was said, less the newest token of the answer, which was
        // never computed.
        let known = pair[0].usage.prompt_tokens.unwrap() + 20 - 1;
        assert_eq!(pair[1].usage.cached_tokens, Some(known / 16 * 16));
    }
}

#[test]
fn the_limit_on_conversations_holds_and_a_failed_one_makes_room() {
    let mut input = input(12, 0, None);
    for (index, request) in input.requests.iter_mut().enumerate() {
        request.think = (index % 3 > 0).then_some(Nanos::from_millis(400));
    }
    input.max_conversations = Some(2);
    // The second turn of the second conversation can never run.
    input.requests[4].engine.prompt = Content::Unshared(1_000_000);
    let (finished, _) = simulate(input).unwrap();
    let spans: Vec<(Nanos, Nanos)> = finished
        .records
        .chunks(3)
        .map(|turns| {
            let ends = turns.iter().filter_map(|turn| turn.end);
            (turns[0].send_start.unwrap(), ends.max().unwrap())
        })
        .collect();
    for &(start, _) in &spans {
        let under_way = spans
            .iter()
            .filter(|(from, to)| *from <= start && start < *to)
            .count();
        assert!(under_way <= 2, "{spans:?}");
    }
    // The third took the place of the one that failed.
    assert_eq!(spans[2].0, spans[1].1);
    assert_eq!(finished.records[5].outcome, Outcome::Unfinished);
    assert!(
        finished.records[9..]
            .iter()
            .all(|record| record.outcome == Outcome::Ok)
    );
}

#[test]
fn turns_after_one_that_is_refused_are_not_sent() {
    let mut input = input(3, 0, None);
    input.cluster.engine = EngineConfig {
        max_model_len: 110,
        ..input.cluster.engine
    };
    for request in &mut input.requests[1..] {
        request.think = Some(Nanos::ZERO);
    }
    let (finished, _) = simulate(input).unwrap();
    let outcomes: Vec<_> = finished
        .records
        .iter()
        .map(|record| record.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [Outcome::HttpError, Outcome::Unfinished, Outcome::Unfinished]
    );
    assert!(
        finished.records[2]
            .error
            .as_ref()
            .unwrap()
            .contains("earlier turn")
    );
}
