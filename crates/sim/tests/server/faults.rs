//! Every fault does what its entry in the table says.

use std::time::Duration;

use inferometer_core::Outcome;
use inferometer_sim::{ALL_FAULTS, FaultFraction, FaultKind, SimSettings};
use serde_json::json;

use crate::client::{Client, events, judge, post};
use crate::{fast, serve};

const LIMIT: usize = 16 << 20;

/// Sends one streamed request with a fault and judges the answer.
fn suffer(client: Client, path: &str, fault: &str) -> (Outcome, crate::client::Answer) {
    let body = json!({
        "prompt": "Tell me", "messages": [{"role": "user", "content": "Tell me"}], "max_tokens": 10,
        "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true,
    });
    let mut client = client.patience(Duration::from_millis(800));
    client.send(
        "POST",
        path,
        &[("x-sim-fault", fault)],
        body.to_string().as_bytes(),
    );
    let answer = client.answer(LIMIT);
    (judge(&answer, LIMIT), answer)
}

#[test]
fn each_fault_has_exactly_its_outcome() {
    let server = serve(fast());
    for path in ["/v1/completions", "/v1/chat/completions"] {
        for fault in ALL_FAULTS {
            let (outcome, answer) = suffer(Client::connect(server.addr()), path, fault.name);
            assert_eq!(outcome, fault.outcome, "{path} {}: {answer:?}", fault.name);
        }
        let (outcome, answer) = suffer(Client::connect(server.addr()), path, "no-such-fault");
        assert_eq!(outcome, Outcome::HttpError);
        assert!(answer.text().contains("reset_mid_stream"));
    }
    let expected = 2 * (ALL_FAULTS.len() + 1);
    // The server notices on its own time that the clients of the endless streams have left.
    while server.truth().len() < expected {
        std::thread::yield_now();
    }
    let truth = server.truth();
    assert_eq!(truth.len(), expected);
    for record in &truth {
        let name = record.fault.as_deref().unwrap_or("none");
        assert_eq!(
            truth
                .iter()
                .filter(|other| other.fault == record.fault)
                .count(),
            2,
            "{name}"
        );
    }
}

#[test]
fn harmless_faults_lose_no_token() {
    let server = serve(fast());
    let harmless = ALL_FAULTS
        .iter()
        .filter(|fault| fault.outcome == Outcome::Ok);
    for fault in harmless {
        let (_, answer) = suffer(
            Client::connect(server.addr()),
            "/v1/completions",
            fault.name,
        );
        let events = events(&answer.body).unwrap();
        let choices = events
            .iter()
            .filter(|event| event.contains("\"text\":"))
            .count();
        assert_eq!(choices, 10, "{}", fault.name);
        let usage: Vec<_> = events
            .iter()
            .filter(|event| event.contains("\"usage\""))
            .collect();
        let expected = match fault.kind {
            FaultKind::UsageMissing => None,
            FaultKind::UsageInconsistent => Some("\"completion_tokens\":13"),
            _ => Some("\"completion_tokens\":10"),
        };
        match expected {
            None => assert!(usage.is_empty(), "{usage:?}"),
            Some(part) => assert!(
                usage.len() == 1 && usage[0].contains(part),
                "{}: {usage:?}",
                fault.name
            ),
        }
    }
}

#[test]
fn fractions_decide_how_many_requests_suffer_and_the_seed_which() {
    let run = |seed: u64, connection_per_request: bool| {
        let faults: Vec<FaultFraction> = ["http_500=0.2", "early_end=0.3"]
            .into_iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let server = serve(SimSettings {
            faults,
            seed,
            flood: Some(4),
            ..fast()
        });
        let mut client = Client::connect(server.addr());
        let body = json!({"prompt": "x", "max_tokens": 2, "stream": true}).to_string();
        (0..300)
            .map(|number| {
                if connection_per_request {
                    client = Client::connect(server.addr());
                }
                let id = format!("request-{number}");
                client.send(
                    "POST",
                    "/v1/completions",
                    &[("x-request-id", &id)],
                    body.as_bytes(),
                );
                judge(&client.answer(LIMIT), LIMIT)
            })
            .collect::<Vec<Outcome>>()
    };
    let outcomes = run(1, false);
    let count = |outcome| outcomes.iter().filter(|&&other| other == outcome).count();
    assert!(
        (40..=80).contains(&count(Outcome::HttpError)),
        "{}",
        count(Outcome::HttpError)
    );
    assert!(
        (65..=115).contains(&count(Outcome::Truncated)),
        "{}",
        count(Outcome::Truncated)
    );
    // The same ids meet the same faults, over whatever connections they come.
    assert_eq!(outcomes, run(1, true));
    assert_ne!(outcomes, run(2, false));
}

#[test]
fn a_connection_announced_as_kept_can_be_closed() {
    let server = serve(fast());
    let mut client = Client::connect(server.addr());
    let body = json!({"prompt": "x", "max_tokens": 2, "stream": true}).to_string();
    client.send(
        "POST",
        "/v1/completions",
        &[("x-sim-fault", "close_after_stream")],
        body.as_bytes(),
    );
    let answer = client.answer(LIMIT);
    assert_eq!(answer.header("connection"), None);
    assert_eq!(judge(&answer, LIMIT), Outcome::Ok);
    assert!(client.answer(LIMIT).broken.is_some());
}

#[test]
fn errors_carry_bodies_and_advice() {
    let server = serve(fast());
    let body = json!({"prompt": "x"});
    let answer = post(
        server.addr(),
        "/v1/completions",
        &[("x-sim-fault", "http_429")],
        &body,
    );
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("1"))
    );
    assert_eq!(answer.json()["error"]["code"], 429);
    let answer = post(
        server.addr(),
        "/v1/completions",
        &[("x-sim-fault", "http_503")],
        &body,
    );
    assert!(answer.body.len() > 64 * 1024);
}
