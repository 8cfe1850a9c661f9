//! Answers of vectors and scores.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_core::{Outcome, Prompt, Record, Request};
use inferometer_wire::{Client, Wire};
use serde_json::{Value, json};

use crate::common::{
    Server, Step, exchange, json_answer, on_worker, read, request, settings, whole, write,
};

/// The record of an answer with `body` to a request with these texts and this extra body.
fn answer(backend: &str, texts: &[&str], extra: &Value, body: &str) -> Record {
    let server = Server::start(vec![vec![Step::Read, write(json_answer("200 OK", body))]]);
    let mut settings = settings(backend, &server.url());
    settings.body.extra_body = extra.as_object().cloned().unwrap_or_default();
    let request = Request {
        prompt: Prompt::Texts(texts.iter().map(|&text| text.into()).collect()),
        ..request(0)
    };
    let record = on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let client = Client::new(&wire, 0, std::sync::Arc::default());
        let prepared = wire.prepare(&request).unwrap();
        let mut record = prepared.record();
        client.exchange(&prepared, &mut record).await;
        record
    });
    server.finish();
    record
}

#[test]
fn lists_are_not_read_by_position() {
    for (backend, body) in [
        ("openai-embeddings", "[[0.1,0.2],[0.3,0.4]]"),
        ("vllm-pooling", r#"[{"index":0,"score":0.9}]"#),
        ("vllm-pooling", r#"[[{"label":"a","score":0.9}]]"#),
        ("vllm-pooling", "[0.5,0.25]"),
        ("openai-embeddings", r#"{"embeddings":[[0.1]]}"#),
        ("vllm-pooling", r#"{"score":0.5}"#),
    ] {
        let record = exchange(
            backend,
            vec![Step::Read, write(json_answer("200 OK", body))],
        );
        assert_eq!(record.outcome, Outcome::Ok, "{body} {:?}", record.error);
    }
    for (body, outcome) in [
        ("[]", Outcome::Empty),
        ("{}", Outcome::Empty),
        (r#"{"data":[]}"#, Outcome::Empty),
        (r#"{"detail":"out of memory"}"#, Outcome::StreamError),
    ] {
        let answer = json_answer("200 OK", body);
        let record = exchange("openai-embeddings", vec![Step::Read, write(answer)]);
        assert_eq!(record.outcome, outcome, "{body}");
    }
    for backend in [
        "vllm",
        "openai-chat",
        "openai-responses",
        "anthropic",
        "sglang-native",
    ] {
        let record = read(backend, &[r#"[[{"text":"x"}]]"#, "[DONE]"]);
        assert_eq!(record.outcome, Outcome::Malformed, "{backend}");
        assert!(
            record.error.unwrap().contains("a list where an object"),
            "{backend}"
        );
    }
    let answers =
        r#"[{"text":"a","meta_info":{"completion_tokens":1}},{"text":"b","meta_info":{}}]"#;
    let record = whole("sglang-native", answers);
    assert_eq!((record.outcome, record.text.as_str()), (Outcome::Ok, "ab"));
}

#[test]
fn each_input_has_a_vector_or_a_score() {
    let list = |name: &str, item: &str, count: usize| {
        format!(r#"{{"{name}":[{}]}}"#, vec![item; count].join(","))
    };
    let embedding = r#"{"index":0,"embedding":[0.1]}"#;
    let score = r#"{"index":0,"relevance_score":0.5}"#;
    let inputs = ["a", "b", "c", "d"];
    let bare = |count: usize| format!("[{}]", vec!["[0.5]"; count].join(","));
    let no_extra = || json!({});
    for (backend, extra, right, wrong, words) in [
        (
            "openai-embeddings",
            no_extra(),
            list("data", embedding, 4),
            list("data", embedding, 1),
            "expected 4 embeddings, got 1",
        ),
        (
            "vllm-pooling",
            no_extra(),
            list("data", r#"{"data":[0.5,0.5]}"#, 4),
            list("data", r#"{"data":[0.5,0.5]}"#, 5),
            "expected 4 embeddings, got 5",
        ),
        (
            "openai-embeddings",
            no_extra(),
            bare(4),
            bare(3),
            "expected 4 results, got 3",
        ),
        (
            "openai-embeddings",
            no_extra(),
            list("embeddings", "[0.1]", 4),
            r#"{"embeddings":{"float":[[0.1],[]]}}"#.to_owned(),
            "expected 4 embeddings, got 1",
        ),
        // The first of the texts is the query.
        (
            "vllm-rerank",
            no_extra(),
            list("results", score, 3),
            list("results", score, 2),
            "expected 3 scores, got 2",
        ),
        (
            "vllm-rerank",
            json!({"top_n": 2}),
            list("results", score, 2),
            list("results", score, 3),
            "expected 2 scores, got 3",
        ),
    ] {
        let record = answer(backend, &inputs, &extra, &right);
        assert_eq!(record.outcome, Outcome::Ok, "{right} {:?}", record.error);
        let record = answer(backend, &inputs, &extra, &wrong);
        assert_eq!(record.outcome, Outcome::Malformed, "{wrong}");
        assert_eq!(record.error.as_deref(), Some(words), "{wrong}");
    }
}

#[test]
fn an_answer_without_any_vector_is_no_success() {
    for (body, outcome, words) in [
        (
            r#"{"data":[{"index":0,"embedding":[]}]}"#,
            Outcome::Empty,
            "no output",
        ),
        (
            r#"{"data":[{"index":0,"embedding":null}]}"#,
            Outcome::Empty,
            "no output",
        ),
        (
            r#"{"data":[{"index":0,"embedding":""}]}"#,
            Outcome::Empty,
            "no output",
        ),
        ("[[]]", Outcome::Empty, "no output"),
        ("[null]", Outcome::Empty, "no output"),
        (
            r#"{"embeddings":{"float":[]}}"#,
            Outcome::Empty,
            "no output",
        ),
        (
            r#"{"results":[{"index":0,"document":{"text":"x"}}]}"#,
            Outcome::Empty,
            "no output",
        ),
        (
            r#"{"data":[{"index":0,"error":{"message":"boom"}}]}"#,
            Outcome::StreamError,
            "boom",
        ),
        (
            r#"{"code":50001,"message":"model is loading","request_id":5}"#,
            Outcome::StreamError,
            "model is loading",
        ),
        (
            r#"{"message":"overloaded","retry_after":3}"#,
            Outcome::StreamError,
            "overloaded",
        ),
    ] {
        let record = whole("openai-embeddings", body);
        assert_eq!(record.outcome, outcome, "{body} {:?}", record.error);
        assert!(record.error.unwrap().contains(words), "{body}");
    }
    for body in [
        r#"{"data":[{"index":0,"embedding":"AACAPw=="}]}"#,
        r#"{"data":[{"index":0,"label":"a","probs":[0.5]}]}"#,
        r#"{"embeddings":{"float":[[0.1]]}}"#,
        r#"{"embedding":[0.1]}"#,
        r#"{"scores":[0.1]}"#,
        r#"{"similarity":0.0}"#,
        "[[0]]",
    ] {
        let record = whole("openai-embeddings", body);
        assert_eq!(record.outcome, Outcome::Ok, "{body} {:?}", record.error);
    }
}
