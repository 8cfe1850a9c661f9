//! The engine model behind the HTTP server.

use inferometer_core::Nanos;
use inferometer_os::clock;
use inferometer_sim::engine::{
    ClusterConfig, Content, Engine, EngineConfig, EngineRequest, Router, StepCost,
};
use inferometer_sim::{Server, SimSettings, TruthOutcome};
use serde_json::{Value, json};

use crate::client::{Client, get, judge, post};
use crate::serve;

/// Steps of 2 ms and room for few requests.
fn engine() -> EngineConfig {
    EngineConfig {
        max_num_seqs: 2,
        num_blocks: 64,
        cost: StepCost {
            base: 2e6,
            prefill: 0.0,
            decode: 0.0,
            kv: 0.0,
            jitter: 0.0,
        },
        ..EngineConfig::default()
    }
}

fn with(engine: EngineConfig) -> Server {
    serve(SimSettings {
        engine: Some(ClusterConfig {
            engine,
            ..ClusterConfig::default()
        }),
        ..SimSettings::default()
    })
}

fn metric(server: &Server, name: &str) -> f64 {
    let page = get(server.addr(), "/metrics").text();
    let line = page
        .lines()
        .find(|line| line.starts_with(&format!("vllm:{name}{{")))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn requests_beyond_the_slots_wait_their_turn() {
    let server = with(engine());
    let body = json!({"prompt": "x y z", "max_tokens": 10, "stream": true}).to_string();
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(server.addr())).collect();
    for client in &mut clients {
        client.send("POST", "/v1/completions", &[], body.as_bytes());
    }
    for client in &mut clients {
        assert_eq!(
            judge(&client.answer(usize::MAX), usize::MAX),
            inferometer_core::Outcome::Ok
        );
    }
    let truth = server.truth();
    assert_eq!(truth.len(), 4);
    for record in &truth {
        assert_eq!(
            (record.events.len(), record.outcome),
            (10, TruthOutcome::Done)
        );
        assert!(record.first_schedule >= record.admitted, "{record:?}");
    }
    // At most two run at once: the third begins when the first has had its ten steps.
    let mut starts: Vec<Nanos> = truth
        .iter()
        .map(|record| record.first_schedule.unwrap())
        .collect();
    starts.sort_unstable();
    assert!(
        starts[2].since(starts[0]) >= Nanos::from_millis(18),
        "{starts:?}"
    );
    assert_eq!(metric(&server, "num_requests_running"), 0.0);
    assert_eq!(metric(&server, "generation_tokens_total"), 40.0);
    assert_eq!(metric(&server, "time_to_first_token_seconds_count"), 4.0);
    assert!(metric(&server, "request_queue_time_seconds_sum") > 0.03);
}

#[test]
fn the_next_turn_of_a_chat_is_partly_cached_and_usage_says_so() {
    let server = with(EngineConfig {
        num_blocks: 1000,
        ..engine()
    });
    let mut messages = vec![json!({"role": "user", "content": "tell me a story ".repeat(20)})];
    let ask = |messages: &[Value]| {
        let body = json!({"messages": messages, "max_tokens": 40, "stream": false});
        post(server.addr(), "/v1/chat/completions", &[], &body).json()
    };
    let first = ask(&messages);
    assert_eq!(first["usage"]["prompt_tokens"], 80 + 4 + 3);
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let answer = first["choices"][0]["message"]["content"].clone();
    messages.push(json!({"role": "assistant", "content": answer}));
    messages.push(json!({"role": "user", "content": "and then"}));
    let second = ask(&messages);
    // 87 + 40 tokens went before; the last of them was never computed: 7 blocks of 16.
    assert_eq!(
        second["usage"]["prompt_tokens_details"]["cached_tokens"],
        112
    );
    assert_eq!(metric(&server, "prefix_cache_hits_total"), 112.0);
    let reset = post(server.addr(), "/reset_prefix_cache", &[], &json!({}));
    assert_eq!(reset.json()["success"], true);
    assert_eq!(
        ask(&messages)["usage"]["prompt_tokens_details"]["cached_tokens"],
        0
    );
}

#[test]
fn the_limit_of_the_cache_is_the_limit_of_the_model() {
    let server = with(engine());
    let limit = 64 * 16;
    assert_eq!(
        get(server.addr(), "/v1/models").json()["data"][0]["max_model_len"],
        limit
    );
    let refused = post(
        server.addr(),
        "/v1/completions",
        &[],
        &json!({"prompt": [1], "max_tokens": limit}),
    );
    assert_eq!(refused.status, 400);
    let prompt: Vec<u32> = (0..limit - 3).collect();
    let fits = post(
        server.addr(),
        "/v1/completions",
        &[],
        &json!({"prompt": prompt, "max_tokens": 3}),
    );
    assert_eq!(fits.json()["usage"]["completion_tokens"], 3);
}

#[test]
fn cancelled_requests_free_their_slot() {
    let slow = StepCost {
        base: 20e6,
        ..engine().cost
    };
    let server = with(EngineConfig {
        max_num_seqs: 1,
        cost: slow,
        ..engine()
    });
    let mut leaver = Client::connect(server.addr());
    let body = json!({"prompt": "x", "max_tokens": 900, "stream": true}).to_string();
    leaver.send("POST", "/v1/completions", &[], body.as_bytes());
    leaver.answer(200);
    let started = clock::now();
    drop(leaver);
    let next = post(
        server.addr(),
        "/v1/completions",
        &[],
        &json!({"prompt": "x", "max_tokens": 2}),
    );
    assert_eq!(next.status, 200);
    // The 900 steps of the first would have taken 18 s.
    assert!(clock::now().since(started) < Nanos::from_millis(9000));
    let truth = server.truth();
    assert_eq!(
        truth
            .iter()
            .filter(|record| record.outcome == TruthOutcome::ClientGone)
            .count(),
        1
    );
    assert_eq!(metric(&server, "kv_cache_usage_perc"), 0.0);
}

#[test]
fn every_choice_is_a_request_of_its_own_and_replicas_share_the_load() {
    let cluster = ClusterConfig {
        engine: engine(),
        replicas: 2,
        router: Router::LeastInFlight,
        transfer: None,
    };
    let server = serve(SimSettings {
        engine: Some(cluster),
        tokens_per_event: 4,
        ..SimSettings::default()
    });
    let body = json!({"prompt": "x", "n": 3, "max_tokens": 9, "stream": true, "stream_options": {"include_usage": true}});
    let answer = post(server.addr(), "/v1/completions", &[], &body);
    assert_eq!(judge(&answer, usize::MAX), inferometer_core::Outcome::Ok);
    assert!(answer.text().contains("\"completion_tokens\":27"));
    let record = &server.truth()[0];
    // First token alone, then four at a time: 1 + 4 + 4 for each choice.
    let mut tokens = record.tokens.clone().unwrap();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 1, 1, 4, 4, 4, 4, 4, 4]);
}

#[test]
fn faults_work_with_a_model_too() {
    let server = with(EngineConfig {
        max_num_seqs: 8,
        ..engine()
    });
    for fault in inferometer_sim::ALL_FAULTS {
        let mut client =
            Client::connect(server.addr()).patience(std::time::Duration::from_millis(800));
        let body = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 6, "stream": true,
            "stream_options": {"include_usage": true}});
        client.send(
            "POST",
            "/v1/chat/completions",
            &[("x-sim-fault", fault.name)],
            body.to_string().as_bytes(),
        );
        let answer = client.answer(16 << 20);
        assert_eq!(judge(&answer, 16 << 20), fault.outcome, "{}", fault.name);
    }
    assert!(metric(&server, "prefix_cache_queries_total") > 0.0);
    assert_eq!(
        metric(&server, "num_requests_running") + metric(&server, "num_requests_waiting"),
        0.0
    );
}

#[test]
fn the_real_clock_follows_the_virtual_one() {
    let jittery = EngineConfig {
        cost: StepCost {
            jitter: 0.3,
            ..engine().cost
        },
        ..engine()
    };
    let mut virtual_engine = Engine::new(jittery.clone(), 5).unwrap();
    let mut expected = Vec::new();
    for id in 0..2 {
        virtual_engine
            .submit(
                EngineRequest::new(id, Content::Tokens(vec![1, 2, 3]), 12),
                Nanos::ZERO,
            )
            .unwrap();
    }
    while let Some(at) = virtual_engine.next_step_at() {
        virtual_engine.step(at, &mut expected);
    }

    let cluster = ClusterConfig {
        engine: jittery,
        ..ClusterConfig::default()
    };
    let server = serve(SimSettings {
        engine: Some(cluster),
        seed: 5,
        ..SimSettings::default()
    });
    let body = json!({"prompt": [1, 2, 3], "n": 2, "max_tokens": 12, "stream": true});
    post(server.addr(), "/v1/completions", &[], &body);
    let record = &server.truth()[0];
    let start = record.first_schedule.unwrap();
    assert_eq!(record.events.len(), expected.len());
    for (stamp, event) in record.events.iter().zip(&expected) {
        // Never early, and late by no more than the server itself says.
        let due = start + event.at;
        assert!(
            due <= *stamp && stamp.since(due) <= record.max_late,
            "{stamp:?} for {due:?}: {record:?}"
        );
    }
}
