//! For each backend the record of a typical answer.

use std::sync::Arc;

use inferometer_core::{Audio, EventKind, Outcome, Prompt, Request};
use inferometer_wire::BackendKind;
use inferometer_wire::backend::ALL;
use serde_json::json;

use super::{run, text};
use crate::common::{json_answer, stream};

#[test]
fn a_completions_exchange_with_token_counts_for_each_event() {
    let answer = stream(&[
        r#"{"choices":[{"text":"ab"}],"usage":{"prompt_tokens":2,"completion_tokens":2}}"#,
        r#"{"choices":[{"text":"c"}],"usage":{"prompt_tokens":2,"completion_tokens":3}}"#,
        r#"{"choices":[{"text":"","finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":3}}"#,
        "[DONE]",
    ]);
    let (_, record) = run("vllm", &text("Hi"), answer, |settings| {
        settings.body.continuous_usage = true;
    });
    let tokens: Vec<u16> = record.events.iter().map(|event| event.tokens).collect();
    assert_eq!((record.outcome, tokens), (Outcome::Ok, vec![2, 1]));
    assert_eq!(record.worker, 3);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn every_completions_and_chat_backend_has_its_golden_exchange() {
    let completions = (
        "/v1/completions",
        r#"{"model": "m", "prompt": "Hi", "repetition_penalty": 1.0, "max_tokens": 8, "logprobs": null, "stream": true, "stream_options": {"include_usage": true}}"#,
        ["{\"choices\":[{\"text\":\"", "\"}]}"],
    );
    let chat = (
        "/v1/chat/completions",
        r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "max_completion_tokens": 8, "stream": true, "stream_options": {"include_usage": true}}"#,
        ["{\"choices\":[{\"delta\":{\"content\":\"", "\"}}]}"],
    );
    let families = [
        ("vllm", completions),
        ("openai", completions),
        ("sglang", completions),
        ("lmdeploy", completions),
        ("scalellm", completions),
        ("llama.cpp", completions),
        ("openai-chat", chat),
    ];
    // The others have tests of their own in this file.
    let own = [
        "openai-responses",
        "openai-audio",
        "anthropic",
        "sglang-native",
        "tgi",
        "tensorrt-llm",
        "deepspeed-mii",
    ];
    for backend in ALL
        .iter()
        .filter(|backend| backend.kind() != BackendKind::Pooling)
    {
        let name = backend.name();
        assert!(
            own.contains(&name) || families.iter().any(|(known, _)| *known == name),
            "{name} has none"
        );
    }
    for (backend, (path, body, [before, after])) in families {
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}"#;
        let (first, last) = (format!("{before}He{after}"), format!("{before}y{after}"));
        let last = last.replace("}]}", r#","finish_reason":"length"}]}"#);
        let (sent, record) = run(
            backend,
            &text("Hi"),
            stream(&[&first, &last, usage, "[DONE]"]),
            |settings| {
                settings.api_key = Some(inferometer_core::Secret::new("sk-test"));
            },
        );
        let (head, sent_body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("POST {path} HTTP/1.1\r\n")),
            "{backend}: {head}"
        );
        for line in [
            "content-type: application/json",
            "authorization: Bearer sk-test",
            "x-request-id: b-1",
        ] {
            assert!(head.contains(line), "{backend}: no {line} in {head}");
        }
        assert_eq!(sent_body, body, "{backend}");
        assert_eq!(
            (record.outcome, record.text.as_str()),
            (Outcome::Ok, "Hey"),
            "{backend}: {:?}",
            record.error
        );
        assert_eq!(
            (record.events.len(), record.finish_reason.as_deref()),
            (2, Some("length"))
        );
        let told = record.usage;
        assert_eq!(
            (
                told.prompt_tokens,
                told.completion_tokens,
                told.cached_tokens
            ),
            (Some(2), Some(2), Some(1))
        );
        assert!(record.marks.usage.is_some() && record.marks.usage <= record.marks.done);
    }
}

#[test]
fn server_side_times_are_kept() {
    let answer = stream(&[
        r#"{"choices":[{"text":"a","finish_reason":"stop"}],"metrics":{"queue_time_ms":1.5,"time_to_first_token_ms":250}}"#,
        "[DONE]",
    ]);
    let (_, record) = run("vllm", &text("Hi"), answer, |_| {});
    assert_eq!(
        (record.server_queue_s, record.server_ttft_s),
        (Some(0.0015), Some(0.25))
    );
}

#[test]
fn a_responses_exchange() {
    let answer = stream(&[
        r#"{"type":"response.created","response":{"status":"in_progress","error":null}}"#,
        r#"{"type":"response.reasoning_text.delta","delta":"Hm","sequence_number":1}"#,
        r#"{"type":"response.output_text.delta","delta":"He","sequence_number":2}"#,
        r#"{"type":"response.output_text.delta","delta":"y","sequence_number":3}"#,
        r#"{"type":"response.completed","response":{"status":"completed","error":null,"usage":{"input_tokens":5,"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1}},"output":[{"type":"message","content":[{"type":"output_text","text":"Hey"}]}]}}"#,
    ]);
    let (request, record) = run("openai-responses", &text("Hi"), answer, |_| {});
    assert!(request.starts_with("POST /v1/responses HTTP/1.1\r\n"));
    assert!(request.ends_with(
        r#"{"model": "m", "input": "Hi", "max_output_tokens": 8, "stream": true, "store": false}"#
    ));
    let kinds: Vec<EventKind> = record.events.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [EventKind::Reasoning, EventKind::Text, EventKind::Text]
    );
    assert_eq!(
        (
            record.outcome,
            record.text.as_str(),
            record.other_text.as_str()
        ),
        (Outcome::Ok, "Hey", "Hm")
    );
    assert_eq!(
        (
            record.usage.completion_tokens,
            record.usage.reasoning_tokens
        ),
        (Some(3), Some(1))
    );
    assert!(record.marks.done.is_some());

    let failed = stream(&[
        r#"{"type":"response.output_text.delta","delta":"He"}"#,
        r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"out of memory"}}}"#,
    ]);
    let (_, record) = run("openai-responses", &text("Hi"), failed, |_| {});
    assert_eq!(record.outcome, Outcome::StreamError);
    assert!(record.error.unwrap().contains("out of memory"));
    let cut = stream(&[r#"{"type":"response.output_text.delta","delta":"He"}"#]);
    assert_eq!(
        run("openai-responses", &text("Hi"), cut, |_| {}).1.outcome,
        Outcome::Truncated
    );
}

#[test]
fn an_audio_exchange() {
    let mut request = text("");
    request.audio = Some(Arc::new(Audio {
        file_name: "a\"b.wav".into(),
        bytes: b"RIFF\0".to_vec(),
        seconds: 2.5,
    }));
    let answer = stream(&[
        r#"{"object":"transcription.chunk","choices":[{"delta":{"content":"Good"}}],"usage":{"completion_tokens":1}}"#,
        r#"{"object":"transcription.chunk","choices":[{"delta":{"content":" day"},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}"#,
        "[DONE]",
    ]);
    let (sent, record) = run("openai-audio", &request, answer, |_| {});
    let boundary = "inferometer-0000000000000000";
    assert!(sent.contains(&format!(
        "content-type: multipart/form-data; boundary={boundary}\r\n"
    )));
    let field = |name: &str, value: &str| {
        format!(
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
    };
    let wanted = [
        format!("--{boundary}\r\nContent-Type: audio/wav\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a_b.wav\"\r\n\r\nRIFF\0\r\n"),
        field("model", "m"),
        field("max_completion_tokens", "8"),
        field("stream", "True"),
        field("language", "en"),
        field("stream_include_usage", "True"),
        field("stream_continuous_usage_stats", "True"),
        format!("--{boundary}--\r\n"),
    ]
    .concat();
    assert_eq!(sent.split_once("\r\n\r\n").unwrap().1, wanted);
    assert_eq!(
        (record.outcome, record.text.as_str(), record.audio_seconds),
        (Outcome::Ok, "Good day", 2.5)
    );
    assert_eq!(
        record
            .events
            .iter()
            .map(|event| event.tokens)
            .collect::<Vec<_>>(),
        [1, 1]
    );

    let whole = json_answer(
        "200 OK",
        r#"{"text":"Good day","usage":{"type":"duration","seconds":3}}"#,
    );
    let (_, record) = run("openai-audio", &request, whole, |settings| {
        settings.body.stream = false;
    });
    assert_eq!(
        (record.outcome, record.text.as_str()),
        (Outcome::Ok, "Good day")
    );
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn pooling_exchanges() {
    let vectors = |count: u32| {
        let data = vec![r#"{"embedding":[0.1,0.2]}"#; count as usize].join(",");
        format!(
            r#"{{"object":"list","data":[{data}],"usage":{{"prompt_tokens":6,"total_tokens":6}}}}"#
        )
    };
    let mut batch = text("");
    batch.prompt = Prompt::Texts(vec!["query".into(), "a".into(), "b".into()]);
    let mut image = text("What is it?");
    image.media = vec![json!({"type": "image_url", "image_url": {"url": "data:x"}})];
    let image_part = r#"{"type": "image_url", "image_url": {"url": "data:x"}}"#;
    let cases: [(&str, &Request, String, u32); 10] = [
        (
            "openai-embeddings",
            &batch,
            r#""input": ["query", "a", "b"], "truncate_prompt_tokens": -1"#.into(),
            3,
        ),
        (
            "openai-embeddings-chat",
            &image,
            format!(
                r#""messages": [{{"role": "user", "content": [{{"type": "text", "text": "What is it?"}}, {image_part}]}}], "truncate_prompt_tokens": -1"#
            ),
            1,
        ),
        (
            "openai-embeddings-clip",
            &image,
            format!(
                r#""messages": [{{"role": "user", "content": [{{"type": "text", "text": ""}}, {image_part}]}}], "truncate_prompt_tokens": -1"#
            ),
            1,
        ),
        (
            "openai-embeddings-vlm2vec",
            &image,
            format!(
                r#""messages": [{{"role": "user", "content": [{image_part}, {{"type": "text", "text": "Represent the given image with the following question: What is it?"}}]}}], "truncate_prompt_tokens": -1"#
            ),
            1,
        ),
        (
            "infinity-embeddings",
            &batch,
            r#""input": ["query", "a", "b"]"#.into(),
            3,
        ),
        (
            "infinity-embeddings-clip",
            &image,
            r#""input": "data:x", "modality": "image""#.into(),
            1,
        ),
        (
            "vllm-pooling",
            &batch,
            r#""truncate_prompt_tokens": -1, "input": ["query", "a", "b"]"#.into(),
            3,
        ),
        (
            "vllm-pooling",
            &image,
            format!(
                r#""truncate_prompt_tokens": -1, "messages": [{{"role": "user", "content": [{{"type": "text", "text": "What is it?"}}, {image_part}]}}]"#
            ),
            1,
        ),
        (
            "vllm-rerank",
            &batch,
            r#""query": "query", "documents": ["a", "b"], "truncate_prompt_tokens": -1"#.into(),
            2,
        ),
        (
            "infinity-embeddings",
            &text("Hi"),
            r#""input": "Hi""#.into(),
            1,
        ),
    ];
    for (backend, request, fields, sequences) in cases {
        let (sent, record) = run(
            backend,
            request,
            json_answer("200 OK", &vectors(sequences)),
            |settings| {
                settings
                    .body
                    .extra_body
                    .insert("dimensions".into(), json!(2));
            },
        );
        let wanted = format!(r#"{{"model": "m", {fields}, "dimensions": 2}}"#);
        assert_eq!(sent.split_once("\r\n\r\n").unwrap().1, wanted, "{backend}");
        assert_eq!(record.outcome, Outcome::Ok, "{backend}: {:?}", record.error);
        assert_eq!(
            (record.usage.prompt_tokens, record.sequences),
            (Some(6), sequences),
            "{backend}"
        );
        assert!(record.events.is_empty() && record.end.is_some());
    }
    let (_, record) = run(
        "vllm-rerank",
        &batch,
        json_answer("200 OK", r#"{"results":[],"usage":{"total_tokens":4}}"#),
        |_| {},
    );
    assert_eq!(
        (record.outcome, record.usage.prompt_tokens),
        (Outcome::Empty, Some(4))
    );
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nmetadata: {\"usage\":{\"prompt_tokens\":9}}\r\ncontent-length: 4\r\n\r\n\x00\x01\x02\x03";
    let (_, record) = run("openai-embeddings", &text("Hi"), bytes.to_vec(), |_| {});
    assert_eq!(
        (record.outcome, record.usage.prompt_tokens),
        (Outcome::Ok, Some(9))
    );
    let (_, record) = run(
        "openai-embeddings",
        &text("Hi"),
        json_answer("200 OK", r#"{"error":"busy"}"#),
        |_| {},
    );
    assert_eq!(
        (record.outcome, record.error.as_deref()),
        (Outcome::StreamError, Some("busy"))
    );
}

#[test]
fn legacy_exchanges() {
    let tgi = stream(&[
        r#"{"token":{"id":1,"text":"He","special":false},"generated_text":null,"details":null}"#,
        r#"{"token":{"id":2,"text":"</s>","special":true},"generated_text":"He","details":{"finish_reason":"eos_token","generated_tokens":2}}"#,
    ]);
    let (sent, record) = run("tgi", &text("Hi"), tgi, |settings| {
        settings.body.ignore_eos = true;
    });
    assert!(sent.ends_with(
        r#"{"inputs": "Hi", "parameters": {"max_new_tokens": 8, "do_sample": true, "temperature": 0.01, "top_p": 0.99, "truncate": 2, "ignore_eos_token": true}}"#
    ));
    assert_eq!(
        (record.outcome, record.text.as_str(), record.events.len()),
        (Outcome::Ok, "He", 2)
    );
    assert_eq!(
        (
            record.usage.completion_tokens,
            record.finish_reason.as_deref()
        ),
        (Some(2), Some("eos_token"))
    );

    let triton = stream(&[r#"{"text_output":"He"}"#, r#"{"text_output":"y"}"#]);
    let (sent, record) = run("tensorrt-llm", &text("Hi"), triton, |settings| {
        settings.body.ignore_eos = true;
    });
    assert!(sent.ends_with(
        r#"{"accumulate_tokens": false, "text_input": "Hi", "temperature": 0.0, "top_p": 1.0, "max_tokens": 8, "stream": true, "min_length": 8}"#
    ));
    assert_eq!(
        (record.outcome, record.text.as_str(), record.events.len()),
        (Outcome::Ok, "Hey", 2)
    );

    for answer in [
        r#"{"choices":[{"text":"Hey","finish_reason":"stop"}]}"#,
        r#"{"text":["Hey"]}"#,
    ] {
        let (sent, record) = run(
            "deepspeed-mii",
            &text("Hi"),
            json_answer("200 OK", answer),
            |_| {},
        );
        assert!(sent.ends_with(
            r#"{"model": "m", "prompt": "Hi", "max_tokens": 8, "temperature": 0.01, "top_p": 1.0}"#
        ));
        assert_eq!(
            (record.outcome, record.text.as_str()),
            (Outcome::Ok, "Hey"),
            "{:?}",
            record.error
        );
    }
}

#[test]
fn an_anthropic_exchange() {
    let answer = stream(&[
        r#"{"type":"message_start","message":{"type":"message","usage":{"input_tokens":11,"output_tokens":1,"cache_read_input_tokens":4}}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"He"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"y"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\""}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let key = inferometer_core::Secret::new("sk-test");
    let (sent, record) = run("anthropic", &text("Hi"), answer, |settings| {
        settings.api_key = Some(key);
    });
    assert!(
        sent.contains("\r\nanthropic-version: 2023-06-01\r\n")
            && sent.contains("\r\nx-api-key: sk-test\r\n")
    );
    assert!(sent.ends_with(
        r#"{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "stream": true}"#
    ));
    let kinds: Vec<EventKind> = record.events.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            EventKind::Reasoning,
            EventKind::Text,
            EventKind::Text,
            EventKind::ToolCall
        ]
    );
    assert_eq!((record.outcome, record.text.as_str()), (Outcome::Ok, "Hey"));
    let usage = record.usage;
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens
        ),
        // Of the prompt, 4 tokens came from the cache and 11 did not.
        (Some(15), Some(4), Some(4))
    );
    let failed =
        stream(&[r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#]);
    let (_, record) = run("anthropic", &text("Hi"), failed, |_| {});
    assert_eq!(
        (record.outcome, record.error.as_deref()),
        (Outcome::StreamError, Some("Overloaded (overloaded_error)"))
    );
}

#[test]
fn a_native_sglang_exchange() {
    let answer = stream(&[
        r#"{"text":"He","meta_info":{"prompt_tokens":3,"completion_tokens":1,"cached_tokens":0,"finish_reason":null}}"#,
        r#"{"text":"Hey you","meta_info":{"prompt_tokens":3,"completion_tokens":4,"finish_reason":null}}"#,
        r#"{"text":"Hey you","meta_info":{"prompt_tokens":3,"completion_tokens":4,"finish_reason":{"type":"length","length":4}}}"#,
        "[DONE]",
    ]);
    let mut request = text("");
    request.prompt = Prompt::Tokens(vec![5, 6]);
    let (sent, record) = run("sglang-native", &request, answer, |settings| {
        settings
            .body
            .sampling
            .insert("temperature".into(), json!(0.0));
        settings.body.ignore_eos = true;
    });
    assert!(sent.ends_with(
        r#"{"input_ids": [5, 6], "sampling_params": {"max_new_tokens": 8, "ignore_eos": true, "temperature": 0.0}, "stream": true}"#
    ));
    let tokens: Vec<u16> = record.events.iter().map(|event| event.tokens).collect();
    assert_eq!(
        (record.outcome, record.text.as_str(), tokens),
        (Outcome::Ok, "Hey you", vec![1, 3])
    );
    assert_eq!(record.finish_reason.as_deref(), Some("length"));
}
