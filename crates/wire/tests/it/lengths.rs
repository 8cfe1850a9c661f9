//! What bodies ask for.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_core::Request;
use inferometer_wire::backend::{BodySettings, find};
use serde_json::{Value, json};

use crate::common::request;

/// The length and `ignore_eos` of a request of four tokens with this extra body.
fn asked(backend: &str, extra: &Value, ignore_eos: bool) -> (Option<u32>, bool) {
    let settings = BodySettings {
        extra_body: extra.as_object().cloned().unwrap_or_default(),
        ignore_eos,
        ..BodySettings::new("m")
    };
    let body = find(backend).unwrap().body(&request(0), &settings);
    let asked = body.unwrap().asked;
    (asked.output_tokens, asked.ignore_eos)
}

#[test]
fn the_length_is_the_one_that_is_sent() {
    for (backend, extra, length) in [
        ("vllm", json!({}), Some(4)),
        ("vllm", json!({"max_tokens": 9}), Some(9)),
        ("vllm", json!({"max_tokens": null}), None),
        ("llama.cpp", json!({"n_predict": 9}), Some(9)),
        ("llama.cpp", json!({"n_predict": -1}), None),
        ("openai-chat", json!({"max_tokens": 9}), Some(9)),
        ("openai-chat", json!({"max_completion_tokens": 9}), Some(9)),
        ("openai-responses", json!({"max_output_tokens": 9}), Some(9)),
        ("anthropic", json!({"max_tokens": 9}), Some(9)),
        (
            "sglang-native",
            json!({"sampling_params": {"max_new_tokens": 9}}),
            Some(9),
        ),
        ("tgi", json!({"max_new_tokens": 9}), Some(9)),
        ("tensorrt-llm", json!({"max_tokens": 9}), Some(9)),
        ("deepspeed-mii", json!({"max_tokens": 9}), Some(9)),
    ] {
        assert_eq!(
            asked(backend, &extra, false),
            (length, false),
            "{backend} {extra}"
        );
    }
    // A limit that only the API requires is not one that was asked for.
    let open = Request {
        output_tokens: None,
        ..request(0)
    };
    let body = find("anthropic")
        .unwrap()
        .body(&open, &BodySettings::new("m"));
    assert_eq!(body.unwrap().asked.output_tokens, None);
}

#[test]
fn the_end_of_the_text_is_ignored_if_the_body_says_so() {
    for (backend, extra, ignore_eos, expected) in [
        ("vllm", json!({}), true, true),
        ("vllm", json!({"ignore_eos": false}), true, false),
        ("vllm", json!({"min_tokens": 4}), false, true),
        ("vllm", json!({"min_tokens": 3}), false, false),
        (
            "sglang-native",
            json!({"sampling_params": {"ignore_eos": true}}),
            false,
            true,
        ),
        ("sglang-native", json!({"sampling_params": {}}), true, false),
        ("tgi", json!({}), true, true),
        ("tgi", json!({"ignore_eos_token": false}), true, false),
        ("tensorrt-llm", json!({}), true, true),
        ("tensorrt-llm", json!({"min_length": 1}), true, false),
        ("tensorrt-llm", json!({"min_length": 4}), false, true),
    ] {
        let found = asked(backend, &extra, ignore_eos).1;
        assert_eq!(found, expected, "{backend} {extra}");
    }
}
