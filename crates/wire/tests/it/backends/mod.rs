//! Golden exchanges: for each backend the bytes of the request body and the record of a typical
//! answer.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod exchanges;

use std::sync::Arc;

use crate::common::{Server, Step, on_worker, settings, write};
use inferometer_core::{Outcome, Prompt, Record, Request, SessionTurn};
use inferometer_wire::backend::{ALL, find};
use inferometer_wire::{BodySettings, Client, ClientSettings, Live, Wire};
use serde_json::json;

fn text(prompt: &str) -> Request {
    Request {
        id: Some("b-1".into()),
        prompt: Prompt::Text(prompt.into()),
        prompt_tokens: 2,
        output_tokens: Some(8),
        ..Request::default()
    }
}

fn body(backend: &str, request: &Request, change: impl FnOnce(&mut BodySettings)) -> String {
    let mut settings = BodySettings::new("m");
    change(&mut settings);
    let body = find(backend).unwrap().body(request, &settings).unwrap();
    String::from_utf8(body.bytes).unwrap()
}

fn run(
    backend: &str,
    request: &Request,
    answer: Vec<u8>,
    change: impl FnOnce(&mut ClientSettings),
) -> (String, Record) {
    let server = Server::start(vec![vec![Step::Read, write(answer)]]);
    let mut settings = settings(backend, &server.url());
    change(&mut settings);
    let record = on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let client = Client::new(&wire, 3, Arc::new(Live::default()));
        let prepared = wire.prepare(request).unwrap();
        let mut record = prepared.record();
        client.exchange(&prepared, &mut record).await;
        record
    });
    let request = server.finish().remove(0);
    (request, record)
}

#[test]
fn every_backend_accepts_its_own_endpoint_and_no_other_api() {
    for backend in ALL {
        backend.check_endpoint(backend.default_endpoint()).unwrap();
        assert_eq!(find(backend.name()).unwrap().name(), backend.name());
        let error = backend
            .check_endpoint("/v1/nonsense")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--endpoint") && error.contains(backend.default_endpoint()),
            "{error}"
        );
    }
    assert!(
        find("openai-chat")
            .unwrap()
            .check_endpoint("/v1/completions")
            .is_err()
    );
    assert!(
        find("vllm")
            .unwrap()
            .check_endpoint("/v1/chat/completions")
            .is_err()
    );
    assert!(
        find("vllm")
            .unwrap()
            .check_endpoint("/v1/completions?x=1")
            .is_ok()
    );
    assert!(find("vlm").unwrap_err().to_string().contains("openai-chat"));
}

#[test]
fn completions_bodies() {
    let plain = r#"{"model": "m", "prompt": "Hi", "repetition_penalty": 1.0, "max_tokens": 8, "logprobs": null, "stream": true, "stream_options": {"include_usage": true}}"#;
    for backend in [
        "vllm",
        "openai",
        "sglang",
        "lmdeploy",
        "scalellm",
        "llama.cpp",
    ] {
        assert_eq!(body(backend, &text("Hi"), |_| {}), plain);
    }
    let mut request = text("Hi");
    request.prompt = Prompt::Tokens(vec![1, 20, 300]);
    request.model = Some("lora-1".into());
    request.overrides.insert("top_p".into(), json!(0.5));
    request.overrides.insert("seed".into(), json!(7));
    let full = body("vllm", &request, |settings| {
        settings.sampling.insert("temperature".into(), json!(0.0));
        settings
            .sampling
            .insert("repetition_penalty".into(), json!(1.05));
        settings
            .extra_body
            .insert("temperature".into(), json!(1e-5));
        settings.extra_body.insert("top_p".into(), json!(0.9));
        settings.ignore_eos = true;
        settings.logprobs = Some(0);
        settings.continuous_usage = true;
        settings.omit_fields = vec!["logprobs".into()];
    });
    assert_eq!(
        full,
        r#"{"model": "lora-1", "prompt": [1, 20, 300], "repetition_penalty": 1.05, "max_tokens": 8, "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}, "ignore_eos": true, "temperature": 1e-05, "top_p": 0.5, "seed": 7}"#
    );
    let quiet = body("openai", &text("Hi"), |settings| settings.stream = false);
    assert_eq!(
        quiet,
        r#"{"model": "m", "prompt": "Hi", "repetition_penalty": 1.0, "max_tokens": 8, "logprobs": null, "stream": false}"#
    );
}

#[test]
fn chat_bodies() {
    let mut request = text("Hi");
    request.media = vec![json!({"type": "image_url", "image_url": {"url": "data:x"}})];
    let with_image = body("openai-chat", &request, |settings| {
        settings.ignore_eos = true;
    });
    assert_eq!(
        with_image,
        r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:x"}}]}], "max_completion_tokens": 8, "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true}"#
    );
    let mut request = text("");
    request.output_tokens = None;
    request.prompt = Prompt::Messages(vec![json!({"role": "system", "content": "Be brief."})]);
    assert_eq!(
        body("openai-chat", &request, |_| {}),
        r#"{"model": "m", "messages": [{"role": "system", "content": "Be brief."}], "stream": true, "stream_options": {"include_usage": true}}"#
    );
}

#[test]
fn what_a_backend_cannot_express_is_refused() {
    let mut tokens = text("");
    tokens.prompt = Prompt::Tokens(vec![1]);
    let mut image = text("x");
    image.media = vec![json!({"type": "image_url"})];
    for (backend, request) in [
        ("openai-chat", &tokens),
        ("vllm", &image),
        ("openai-responses", &tokens),
        ("tgi", &tokens),
        ("anthropic", &image),
        ("vllm-rerank", &image),
        ("openai-audio", &image),
        ("infinity-embeddings", &image),
    ] {
        let error = find(backend)
            .unwrap()
            .body(request, &BodySettings::new("m"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(backend), "{error}");
    }
}

#[test]
fn a_prepared_request_knows_its_record() {
    let mut request = text("Hi");
    request.index = 9;
    request.session = Some(SessionTurn {
        session: 2,
        turn: 1,
        ..SessionTurn::default()
    });
    request.category = Some("coding".into());
    let wire = Wire::new(settings("vllm", "http://127.0.0.1:1")).unwrap();
    let record = wire.prepare(&request).unwrap().record();
    assert_eq!(
        (record.index, record.id.as_deref(), record.prompt_tokens),
        (9, Some("b-1"), 2)
    );
    assert_eq!(
        (record.session, record.category.as_deref()),
        (Some((2, 1)), Some("coding"))
    );
    assert_eq!(
        (record.asked_output_tokens, record.outcome),
        (Some(8), Outcome::Unfinished)
    );
}
