//! What answers hold besides plain text, and how servers say that something went wrong.

use inferometer_core::{EventKind, Outcome};
use inferometer_wire::backend::find;
use inferometer_wire::offline::read_stream;

use crate::common::{STREAM_HEAD, Step, chunk, exchange, json_answer, kinds, read, whole, write};

#[test]
fn chat_deltas_of_every_kind_are_output() {
    use EventKind::{Blank, Reasoning, Text};
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    for (delta, kind, text, other) in [
        (
            r#"{"content":[{"type":"text","text":"hi"}]}"#,
            Text,
            "hi",
            "",
        ),
        (
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
            Reasoning,
            "",
            "hm",
        ),
        (r#"{"refusal":"no","content":null}"#, Text, "no", ""),
        (r#"{"reasoning":"hm"}"#, Reasoning, "", "hm"),
        (r#"{"thinking":"hm","content":""}"#, Reasoning, "", "hm"),
        (
            r#"{"reasoning_details":[{"type":"reasoning.text","text":"hm"}]}"#,
            Reasoning,
            "",
            "hm",
        ),
        (r#"{"audio":{"id":"a","data":"AAAA"}}"#, Blank, "", ""),
        (r#"{"audio":{"transcript":"hi"}}"#, Text, "hi", ""),
        (
            r#"{"images":[{"type":"image_url","image_url":{"url":"data:x"}}]}"#,
            Blank,
            "",
            "",
        ),
    ] {
        let message = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
        let record = read("openai-chat", &[role, &message, &message, end, "[DONE]"]);
        assert_eq!(record.outcome, Outcome::Ok, "{delta} {:?}", record.error);
        assert_eq!(kinds(&record), [kind, kind], "{delta}");
        assert_eq!(record.text, text.repeat(2), "{delta}");
        assert_eq!(record.other_text, other.repeat(2), "{delta}");
        assert!(record.marks.first_content.is_some(), "{delta}");
    }
    // What is not known is named.
    let odd = r#"{"choices":[{"index":0,"delta":{"hologram":"AAAA"}}]}"#;
    let record = read("openai-chat", &[role, odd, end, "[DONE]"]);
    assert_eq!(record.outcome, Outcome::Empty);
    assert!(record.error.unwrap().contains("\"hologram\""));
}

#[test]
fn whole_chat_answers_of_every_kind_are_output() {
    for (message, text) in [
        (r#"{"content":[{"type":"text","text":"hi"}]}"#, "hi"),
        (r#"{"content":null,"refusal":"no"}"#, "no"),
        (
            r#"{"content":null,"audio":{"data":"AAAA","transcript":"hi"}}"#,
            "hi",
        ),
        (r#"{"content":null,"audio":{"data":"AAAA"}}"#, ""),
    ] {
        let body = format!(
            r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#
        );
        let record = whole("openai-chat", &body);
        assert_eq!(
            (record.outcome, record.text.as_str()),
            (Outcome::Ok, text),
            "{message}"
        );
    }
}

#[test]
fn responses_deltas_of_every_kind_are_output() {
    use EventKind::{Blank, Reasoning, Text, ToolCall};
    let end = r#"{"type":"response.completed","response":{"status":"completed"}}"#;
    for (kind, delta, event) in [
        ("response.output_text.delta", "\"x\"", Some(Text)),
        ("response.refusal.delta", "\"x\"", Some(Text)),
        ("response.reasoning_text.delta", "\"x\"", Some(Reasoning)),
        (
            "response.reasoning_summary_text.delta",
            "\"x\"",
            Some(Reasoning),
        ),
        (
            "response.function_call_arguments.delta",
            "\"x\"",
            Some(ToolCall),
        ),
        (
            "response.custom_tool_call_input.delta",
            "\"x\"",
            Some(ToolCall),
        ),
        ("response.mcp_call_arguments.delta", "\"x\"", Some(ToolCall)),
        (
            "response.code_interpreter_call_code.delta",
            "\"x\"",
            Some(ToolCall),
        ),
        ("response.output_audio.delta", "\"AAAA\"", Some(Blank)),
        (
            "response.output_audio_transcript.delta",
            "\"x\"",
            Some(Text),
        ),
        ("response.output_text.done", "\"x\"", None),
        ("response.hologram.delta", r#"{"x":1}"#, None),
    ] {
        let message = format!(r#"{{"type":"{kind}","delta":{delta}}}"#);
        let record = read("openai-responses", &[&message, end]);
        assert_eq!(kinds(&record), Vec::from_iter(event), "{kind}");
        let outcome = if event.is_some() {
            Outcome::Ok
        } else {
            Outcome::Empty
        };
        assert_eq!(record.outcome, outcome, "{kind} {:?}", record.error);
    }
}

#[test]
fn openais_own_transcription_events_are_read() {
    let record = read(
        "openai-audio",
        &[
            r#"{"type":"transcript.text.delta","delta":"Good"}"#,
            r#"{"type":"transcript.text.delta","delta":" day"}"#,
            r#"{"type":"transcript.text.done","text":"Good day","usage":{"type":"tokens","input_tokens":14,"output_tokens":2}}"#,
        ],
    );
    assert_eq!(
        (record.outcome, record.text.as_str()),
        (Outcome::Ok, "Good day")
    );
    assert_eq!(record.usage.completion_tokens, Some(2));
}

const TOKEN: &str = r#"{"choices":[{"index":0,"text":"x","delta":{"content":"x"}}]}"#;
const STOP: &str =
    r#"{"choices":[{"index":0,"text":"x","delta":{"content":"x"},"finish_reason":"stop"}]}"#;

#[test]
fn an_answer_that_the_server_broke_off_is_a_failure_in_its_words() {
    for backend in ["vllm", "openai-chat"] {
        for (reason, words) in [
            (r#""abort""#, "\"abort\""),
            (r#""error""#, "\"error\""),
            (r#""cancelled""#, "\"cancelled\""),
            (
                r#"{"type":"abort","message":"Input length exceeds","status_code":400}"#,
                "Input length exceeds",
            ),
        ] {
            let end = format!(
                r#"{{"choices":[{{"index":0,"text":"","delta":{{}},"finish_reason":{reason}}}]}}"#
            );
            let record = read(backend, &[TOKEN, TOKEN, &end, "[DONE]"]);
            assert_eq!(record.outcome, Outcome::StreamError, "{reason}");
            assert!(
                record.error.as_deref().unwrap().contains(words),
                "{:?}",
                record.error
            );
            let body = format!(
                r#"{{"choices":[{{"index":0,"text":"x","message":{{"content":"x"}},"finish_reason":{reason}}}]}}"#
            );
            assert_eq!(
                whole(backend, &body).outcome,
                Outcome::StreamError,
                "{reason}"
            );
        }
        for reason in [
            "stop",
            "length",
            "repetition",
            "tool_calls",
            "content_filter",
            "odd",
            "2",
        ] {
            let end = STOP.replace("stop", reason);
            let record = read(backend, &[TOKEN, &end, "[DONE]"]);
            assert_eq!(record.outcome, Outcome::Ok, "{reason} {:?}", record.error);
            assert_eq!(record.finish_reason.as_deref(), Some(reason));
        }
        for placeholder in ["", "null", "None", "none"] {
            let open = STOP.replace("stop", placeholder);
            // The stream is cut in the middle.
            let record = read(backend, &[&open, TOKEN]);
            assert_eq!(record.outcome, Outcome::Truncated, "{placeholder:?}");
            assert_eq!(record.finish_reason, None);
            // The last reason is the real one, whatever came before it.
            let record = read(backend, &[&open, STOP, "[DONE]"]);
            assert_eq!(record.outcome, Outcome::Ok, "{placeholder:?}");
            assert_eq!(record.finish_reason.as_deref(), Some("stop"));
        }
        let length = STOP.replace("stop", "length");
        let record = read(backend, &[STOP, &length, "[DONE]"]);
        assert_eq!(record.finish_reason.as_deref(), Some("length"));
    }
    let abort = r#"{"text":"a","meta_info":{"completion_tokens":1,"finish_reason":{"type":"abort","message":"out of memory"}}}"#;
    let record = read("sglang-native", &[abort, "[DONE]"]);
    assert_eq!(record.outcome, Outcome::StreamError);
    assert!(record.error.unwrap().contains("out of memory"));
    let cancelled = r#"{"type":"response.cancelled","response":{"status":"cancelled"}}"#;
    let token = r#"{"type":"response.output_text.delta","delta":"x"}"#;
    assert_eq!(
        read("openai-responses", &[token, cancelled]).outcome,
        Outcome::StreamError
    );
}

#[test]
fn a_message_of_another_kind_fails_only_as_the_last_word() {
    let strays = [
        (r#"{"detail":"out of memory"}"#, "out of memory"),
        (
            r#"{"error_code":50001,"msg":"out of memory"}"#,
            "out of memory",
        ),
        (
            r#"{"code":500,"message":"out of memory","choices":[]}"#,
            "out of memory (500)",
        ),
        (r#"{"progress":0.5}"#, "progress"),
    ];
    for backend in ["vllm", "openai-chat"] {
        for (stray, words) in strays {
            for messages in [
                vec![TOKEN, stray, "[DONE]"],
                vec![stray, "[DONE]"],
                vec![TOKEN, stray],
            ] {
                let record = read(backend, &messages);
                assert_eq!(record.outcome, Outcome::StreamError, "{messages:?}");
                assert!(record.error.unwrap().contains(words), "{messages:?}");
            }
            for messages in [
                vec![stray, TOKEN, "[DONE]"],
                vec![TOKEN, stray, STOP],
                vec![STOP, stray, "[DONE]"],
            ] {
                let record = read(backend, &messages);
                assert_eq!(
                    record.outcome,
                    Outcome::Ok,
                    "{messages:?} {:?}",
                    record.error
                );
            }
        }
        // The frame of a message, without anything in it, is a heartbeat.
        for empty in [
            "{}",
            r#"{"id":"c","object":"x","created":1,"choices":[]}"#,
            r#"{"object":null}"#,
        ] {
            assert_eq!(
                read(backend, &[TOKEN, empty, "[DONE]"]).outcome,
                Outcome::Ok,
                "{empty}"
            );
        }
    }
    let token = r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#;
    for (backend, token) in [
        ("anthropic", token),
        ("tensorrt-llm", r#"{"text_output":"x"}"#),
        ("tgi", r#"{"token":{"text":"x"}}"#),
        (
            "openai-responses",
            r#"{"type":"response.output_text.delta","delta":"x"}"#,
        ),
        (
            "sglang-native",
            r#"{"text":"x","meta_info":{"completion_tokens":1}}"#,
        ),
    ] {
        let record = read(backend, &[token, r#"{"detail":"out of memory"}"#]);
        assert_eq!(record.outcome, Outcome::StreamError, "{backend}");
        assert_eq!(record.error.as_deref(), Some("out of memory"), "{backend}");
    }
}

#[test]
fn failures_have_many_names() {
    let named = |name: &str, data: &str| {
        let stream = format!("data: {TOKEN}\n\nevent: {name}\ndata: {data}\n\ndata: [DONE]\n\n");
        read_stream(find("openai-chat").unwrap(), [stream.as_bytes()])
    };
    for (name, data, words) in [
        ("error", r#"{"message":"out of memory"}"#, "out of memory"),
        ("server_error", "out of memory", "out of memory"),
        (
            "exception",
            r#"{"detail":"out of memory"}"#,
            "out of memory",
        ),
    ] {
        let record = named(name, data);
        assert_eq!(record.outcome, Outcome::StreamError, "{name}");
        assert_eq!(record.error.as_deref(), Some(words), "{name}");
    }
    assert_eq!(named("message", STOP).outcome, Outcome::Ok);
    for bare in ["error: model crashed\n\n", "ERROR: model crashed"] {
        let stream = format!("data: {TOKEN}\n\n{bare}");
        let record = read_stream(find("vllm").unwrap(), [stream.as_bytes()]);
        assert_eq!(record.outcome, Outcome::StreamError, "{bare:?}");
        assert_eq!(record.error.as_deref(), Some("model crashed"));
    }
}

#[test]
fn usage_is_found_where_servers_put_it() {
    let usage = r#"{"prompt_tokens":64,"completion_tokens":2,"cached_tokens":48}"#;
    for end in [
        format!(
            r#"{{"choices":[{{"index":0,"text":"","delta":{{}},"finish_reason":"stop","usage":{usage}}}]}}"#
        ),
        format!(
            r#"{{"choices":[{{"index":0,"text":"","delta":{{}},"finish_reason":"stop"}}],"x_groq":{{"usage":{usage}}}}}"#
        ),
    ] {
        for backend in ["vllm", "openai-chat"] {
            let record = read(backend, &[TOKEN, TOKEN, &end, "[DONE]"]);
            assert_eq!(record.usage.completion_tokens, Some(2), "{end}");
            assert_eq!(record.cached_tokens(), Some(48), "{end}");
        }
    }
}

#[test]
fn a_good_stream_under_another_label_is_read() {
    let body = [
        chunk(&format!("data: {TOKEN}\n\ndata: {STOP}\n\n")),
        b"0\r\n\r\n".to_vec(),
    ]
    .concat();
    for (status, kind) in [
        ("200 OK", "application/json"),
        ("200 OK", "application/x-ndjson"),
        ("202 Accepted", "text/event-stream"),
    ] {
        let head = STREAM_HEAD
            .replace("200 OK", status)
            .replace("text/event-stream", kind);
        let answer = [head.into_bytes(), body.clone()].concat();
        let record = exchange("vllm", vec![Step::Read, write(answer)]);
        assert_eq!(
            record.outcome,
            Outcome::Ok,
            "{status} {kind} {:?}",
            record.error
        );
        assert_eq!(record.text, "xx");
    }
    let error = json_answer("202 Accepted", r#"{"error":{"message":"busy"}}"#);
    let record = exchange("vllm", vec![Step::Read, write(error)]);
    assert_eq!(
        (record.outcome, record.error.as_deref()),
        (Outcome::StreamError, Some("busy"))
    );
    let nothing = "HTTP/1.1 204 No Content\r\n\r\n";
    let record = exchange("vllm", vec![Step::Read, write(nothing)]);
    assert_eq!(record.outcome, Outcome::HttpError);
}

#[test]
fn llama_cpp_reports_its_cache_beside_the_usage() {
    let last = r#"{"choices":[{"index":0,"text":"x","delta":{"content":"x"},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":2},"timings":{"cache_n":7,"prompt_n":2}}"#;
    for backend in ["llama.cpp", "openai-chat"] {
        let record = read(backend, &[TOKEN, last, "[DONE]"]);
        assert_eq!(record.usage.cached_tokens, Some(7), "{backend}");
        assert_eq!(record.usage.prompt_tokens, Some(9));
    }
}

/// Some servers send an error as plain JSON under the type of an event stream.
#[test]
fn plain_json_in_place_of_a_stream_keeps_its_words() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    for (body, outcome, words) in [
        (
            "{\"error\": {\"message\": \"queue full\", \"code\": 429}}",
            Outcome::StreamError,
            "queue full",
        ),
        (
            "{\n  \"error\": {\n    \"message\": \"queue full\"\n  }\n}\n",
            Outcome::StreamError,
            "queue full",
        ),
        ("{\"id\": 7}", Outcome::Malformed, "not an event stream"),
    ] {
        let record = exchange("vllm", vec![Step::Read, write(format!("{head}{body}"))]);
        assert_eq!(record.outcome, outcome, "{body} {:?}", record.error);
        assert!(record.error.unwrap().contains(words), "{body}");
    }
}

/// Names of codings that change nothing, as some servers send them; aiohttp, with which vLLM's client
/// reads, takes the body as it is.
#[test]
fn only_compression_is_refused() {
    let body = format!("data: {TOKEN}\n\ndata: {STOP}\n\ndata: [DONE]\n\n");
    for (coding, good) in [
        ("none", true),
        ("Identity", true),
        ("utf-8", true),
        ("", true),
        ("gzip", false),
        ("identity, BR", false),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: {coding}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let record = exchange("vllm", vec![Step::Read, write(answer)]);
        assert_eq!(record.is_ok(), good, "{coding}: {:?}", record.error);
    }
}
