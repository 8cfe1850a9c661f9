//! Every endpoint answers in its API's form.

use std::sync::Arc;

use inferometer_sim::{Distribution, SimSettings, Tokenizer};
use serde_json::{Value, json};

use crate::client::{Client, events, get, post};
use crate::{fast, serve};

pub(crate) fn stream_of(answer: &crate::client::Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let events = events(&answer.body).expect("valid server-sent events");
    events
        .iter()
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[test]
fn completions_stream_as_vllm_does() {
    let server = serve(fast());
    let body = json!({
        "model": "sim", "prompt": [1, 2, 3, 4, 5], "max_tokens": 3, "stream": true,
        "stream_options": {"include_usage": true}, "ignore_eos": true,
    });
    let answer = post(
        server.addr(),
        "/v1/completions",
        &[("x-request-id", "r7")],
        &body,
    );
    let events = stream_of(&answer);
    assert_eq!(events.len(), 4);
    assert!(
        events
            .iter()
            .all(|event| event["id"] == "cmpl-r7" && event["object"] == "text_completion")
    );
    let finishes: Vec<_> = events[..3]
        .iter()
        .map(|event| &event["choices"][0]["finish_reason"])
        .collect();
    assert_eq!(finishes, [&Value::Null, &Value::Null, &json!("length")]);
    assert_eq!(events[3]["choices"], json!([]));
    assert_eq!(events[3]["usage"]["prompt_tokens"], 5);
    assert_eq!(events[3]["usage"]["completion_tokens"], 3);
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn the_same_answer_comes_as_one_body_or_as_a_stream() {
    let ask = |stream: bool, tokens_per_event: u16| {
        let server = serve(SimSettings {
            tokens_per_event,
            ..fast()
        });
        let body = json!({"prompt": ["a b", "c d e"], "max_tokens": 10, "n": 2, "stream": stream});
        post(server.addr(), "/v1/completions", &[], &body)
    };
    let whole = ask(false, 1).json();
    let texts: Vec<&str> = (0..4)
        .map(|index| whole["choices"][index]["text"].as_str().unwrap())
        .collect();
    assert_eq!(whole["usage"]["prompt_tokens"], 2 * (2 + 3));
    assert_eq!(whole["usage"]["completion_tokens"], 40);
    for tokens_per_event in [1, 4] {
        let mut streamed = vec![String::new(); 4];
        let events = stream_of(&ask(true, tokens_per_event));
        assert_eq!(
            events.len(),
            4 * 10_usize.div_ceil(usize::from(tokens_per_event))
        );
        for event in events {
            let choice = &event["choices"][0];
            streamed[choice["index"].as_u64().unwrap() as usize]
                .push_str(choice["text"].as_str().unwrap());
        }
        assert_eq!(streamed, texts);
    }
}

#[test]
fn chat_opens_with_the_role_and_may_reason_and_call_tools() {
    let server = serve(SimSettings {
        reasoning_tokens: 3,
        ..fast()
    });
    let mut body = json!({
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_completion_tokens": 6, "stream": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true},
    });
    let events = stream_of(&post(server.addr(), "/v1/chat/completions", &[], &body));
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    let deltas: Vec<&Value> = events[1..7]
        .iter()
        .map(|event| &event["choices"][0]["delta"])
        .collect();
    assert!(
        deltas[..3]
            .iter()
            .all(|delta| delta["reasoning"].is_string())
    );
    assert!(deltas[3..].iter().all(|delta| delta["content"].is_string()));
    let counts: Vec<u64> = events[1..8]
        .iter()
        .map(|event| event["usage"]["completion_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 6]);
    assert_eq!(
        events[7]["usage"]["completion_tokens_details"]["reasoning_tokens"],
        3
    );

    body["tools"] = json!([{"type": "function", "function": {"name": "weather"}}]);
    body["tool_choice"] = json!("required");
    let events = stream_of(&post(server.addr(), "/v1/chat/completions", &[], &body));
    let mut arguments = String::new();
    for event in &events[4..7] {
        let call = &event["choices"][0]["delta"]["tool_calls"][0]["function"];
        arguments.push_str(call["arguments"].as_str().unwrap());
    }
    assert_eq!(
        events[4]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"],
        "weather"
    );
    assert!(
        serde_json::from_str::<Value>(&arguments)
            .unwrap()
            .is_object(),
        "{arguments}"
    );
    assert_eq!(events[6]["choices"][0]["finish_reason"], "tool_calls");
    body["stream"] = json!(false);
    let answer = post(server.addr(), "/v1/chat/completions", &[], &body).json();
    let arguments = answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        .as_str()
        .unwrap();
    assert!(
        serde_json::from_str::<Value>(arguments).unwrap()["text"].is_string(),
        "{arguments}"
    );
}

#[test]
fn the_responses_api_ends_with_its_own_event() {
    let server = serve(SimSettings {
        reasoning_tokens: 2,
        ..fast()
    });
    let body = json!({"input": "Hello there", "max_output_tokens": 5, "stream": true});
    let events = stream_of(&post(server.addr(), "/v1/responses", &[], &body));
    let kind = |name: &str| events.iter().filter(|event| event["type"] == name).count();
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(kind("response.reasoning_text.delta"), 2);
    assert_eq!(kind("response.output_text.delta"), 3);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["usage"]["output_tokens"], 5);
    let answer = post(
        server.addr(),
        "/v1/responses",
        &[],
        &json!({"input": "x", "max_output_tokens": 5}),
    )
    .json();
    assert_eq!(answer["output"][1]["content"][0]["type"], "output_text");
}

#[test]
fn anthropic_messages_come_in_blocks() {
    let server = serve(SimSettings {
        answer_tokens: Some(Distribution::Fixed(4.0)),
        ..fast()
    });
    let body =
        json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "stream": true});
    let events = stream_of(&post(server.addr(), "/v1/messages", &[], &body));
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[..3], ["message_start", "ping", "content_block_start"]);
    assert_eq!(kinds[3..7], ["content_block_delta"; 4]);
    assert_eq!(
        kinds[7..],
        ["content_block_stop", "message_delta", "message_stop"]
    );
    assert_eq!(events[8]["delta"]["stop_reason"], "end_turn");
    assert_eq!(events[8]["usage"]["output_tokens"], 4);
    let refused = post(
        server.addr(),
        "/v1/messages",
        &[],
        &json!({"messages": [{"role": "user"}]}),
    );
    assert_eq!(refused.status, 400);
}

#[test]
fn native_apis_are_recognised_by_their_prompt() {
    let server = serve(fast());
    let tgi = json!({"inputs": "a b", "parameters": {"max_new_tokens": 3}});
    let events = stream_of(&post(server.addr(), "/generate_stream", &[], &tgi));
    let text: String = events
        .iter()
        .map(|event| event["token"]["text"].as_str().unwrap())
        .collect();
    assert_eq!(events[2]["generated_text"], text);
    assert_eq!(events[2]["details"]["generated_tokens"], 3);

    let triton =
        json!({"text_input": "a b", "max_tokens": 3, "stream": true, "accumulate_tokens": true});
    let events = stream_of(&post(
        server.addr(),
        "/v2/models/ensemble/generate_stream",
        &[],
        &triton,
    ));
    let texts: Vec<&str> = events
        .iter()
        .map(|event| event["text_output"].as_str().unwrap())
        .collect();
    assert!(texts[1].starts_with(texts[0]) && texts[2].starts_with(texts[1]));

    let sglang = json!({"text": "a b", "sampling_params": {"max_new_tokens": 3}, "stream": true});
    let events = stream_of(&post(server.addr(), "/generate", &[], &sglang));
    assert_eq!(events[1]["meta_info"]["completion_tokens"], 2);
    assert_eq!(events[2]["meta_info"]["finish_reason"]["type"], "length");
    assert_eq!(
        events[2]["text"]
            .as_str()
            .unwrap()
            .split_whitespace()
            .count(),
        3
    );
    let refused = post(server.addr(), "/generate", &[], &json!({"prompt": "x"}));
    assert!(refused.status == 400 && refused.text().contains("input_ids"));
}

#[test]
fn embeddings_pooling_and_rerank_count_their_input() {
    let server = serve(fast());
    let answer = post(
        server.addr(),
        "/v1/embeddings",
        &[],
        &json!({"input": ["a b", "c"], "dimensions": 5}),
    )
    .json();
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 5);
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 3, "total_tokens": 3})
    );
    let packed = json!({"input": "a", "dimensions": 3, "encoding_format": "base64"});
    let answer = post(server.addr(), "/v1/embeddings", &[], &packed).json();
    assert_eq!(answer["data"][0]["embedding"].as_str().unwrap().len(), 16);
    let answer = post(server.addr(), "/pooling", &[], &json!({"input": [1, 2, 3]})).json();
    assert!(answer["data"][0]["data"].is_array());
    let answer = post(
        server.addr(),
        "/v1/rerank",
        &[],
        &json!({"query": "q", "documents": ["a", "b", "c"]}),
    )
    .json();
    let scores: Vec<f64> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["relevance_score"].as_f64().unwrap())
        .collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b));
    let refused = post(
        server.addr(),
        "/v1/embeddings",
        &[],
        &json!({"input": "a", "encoding_format": "bytes"}),
    );
    assert_eq!(refused.status, 400);
    assert!(
        server
            .truth()
            .iter()
            .all(|record| record.output_tokens == 0)
    );
}

#[test]
fn transcriptions_read_multipart_bodies() {
    let server = serve(fast());
    let mut body = Vec::new();
    for (name, value) in [
        ("model", "sim"),
        ("stream", "true"),
        ("stream_include_usage", "True"),
    ] {
        body.extend_from_slice(
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .as_bytes(),
        );
    }
    body.extend_from_slice(
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n",
    );
    body.resize(body.len() + 64_000, 1);
    body.extend_from_slice(b"\r\n--b--\r\n");
    let mut client = Client::connect(server.addr());
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    client.send("POST", "/v1/audio/transcriptions", &kind, &body);
    let events = stream_of(&client.answer(usize::MAX));
    // Two seconds of sound: six words, and usage.
    assert_eq!(events.len(), 7);
    assert_eq!(events[0]["object"], "transcription.chunk");
    assert_eq!(events[6]["usage"]["prompt_tokens"], 100);
}

#[test]
fn adapters_can_be_loaded_and_unloaded() {
    let server = serve(SimSettings {
        lora_modules: vec!["first".into()],
        ..fast()
    });
    let ids = || {
        let list = get(server.addr(), "/v1/models").json();
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(), ["sim", "first"]);
    let load = json!({"lora_name": "second", "lora_path": "/x"});
    assert_eq!(
        post(server.addr(), "/v1/load_lora_adapter", &[], &load).status,
        200
    );
    assert_eq!(
        post(server.addr(), "/v1/load_lora_adapter", &[], &load).status,
        400
    );
    let ask = json!({"model": "second", "prompt": "x", "max_tokens": 1});
    assert_eq!(
        post(server.addr(), "/v1/completions", &[], &ask).json()["model"],
        "second"
    );
    assert_eq!(
        post(server.addr(), "/v1/unload_lora_adapter", &[], &load).status,
        200
    );
    assert_eq!(
        post(server.addr(), "/v1/unload_lora_adapter", &[], &load).status,
        404
    );
    assert_eq!(
        post(server.addr(), "/v1/completions", &[], &ask).status,
        404
    );
    assert_eq!(ids(), ["sim", "first"]);
}

struct Letters;

impl Tokenizer for Letters {
    fn encode(&self, text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    fn decode(&self, tokens: &[u32]) -> String {
        tokens
            .iter()
            .filter_map(|&token| char::from_u32(token))
            .collect()
    }
}

#[test]
fn a_tokenizer_counts_and_translates() {
    let server = serve(SimSettings {
        tokenizer: Some(Arc::new(Letters)),
        ..fast()
    });
    let answer = post(server.addr(), "/tokenize", &[], &json!({"prompt": "abc"})).json();
    assert_eq!(answer["tokens"], json!([97, 98, 99]));
    let answer = post(
        server.addr(),
        "/detokenize",
        &[],
        &json!({"tokens": [104, 105]}),
    )
    .json();
    assert_eq!(answer["prompt"], "hi");
    let answer = post(
        server.addr(),
        "/v1/completions",
        &[],
        &json!({"prompt": "abcde", "max_tokens": 1}),
    )
    .json();
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    let without = serve(fast());
    assert_eq!(
        post(without.addr(), "/tokenize", &[], &json!({"prompt": "abc"})).status,
        404
    );
}
