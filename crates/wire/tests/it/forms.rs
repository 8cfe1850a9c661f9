//! The forms in which servers send the same thing.

use inferometer_core::{EventKind, Outcome};
use inferometer_wire::backend::find;
use inferometer_wire::offline::read_stream;

use crate::common::{kinds, read, whole};

const TOKEN: &str = r#"{"choices":[{"index":0,"text":"x","delta":{"content":"x"}}]}"#;
const STOP: &str =
    r#"{"choices":[{"index":0,"text":"x","delta":{"content":"x"},"finish_reason":"stop"}]}"#;

#[test]
fn tool_calls_are_output_in_every_form() {
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
    let completed = r#"{"type":"response.completed","response":{"status":"completed"}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    let chat =
        |calls: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":{calls}}}}}]}}"#);
    let json = "{\"a\":1}";
    for (backend, message, end, output) in [
        // Text Generation Inference.
        (
            "openai-chat",
            chat(
                r#"{"index":0,"id":"","type":"function","function":{"name":null,"arguments":" a"}}"#,
            ),
            end,
            " a",
        ),
        (
            "openai-chat",
            chat(r#"[{"index":0,"function":{"name":"f","arguments":{"a":1}}}]"#),
            end,
            &*format!("f{json}"),
        ),
        (
            "openai-responses",
            format!(r#"{{"type":"response.function_call_arguments.delta","delta":{json}}}"#),
            completed,
            json,
        ),
        (
            "anthropic",
            format!(
                r#"{{"type":"content_block_delta","delta":{{"type":"input_json_delta","partial_json":{json}}}}}"#
            ),
            stop,
            json,
        ),
    ] {
        let record = read(backend, &[&message, end]);
        assert_eq!(record.outcome, Outcome::Ok, "{message} {:?}", record.error);
        assert_eq!(kinds(&record), [EventKind::ToolCall], "{message}");
        assert_eq!(record.other_text, output, "{message}");
    }
    let call = r#"{"id":"0","type":"function","function":{"name":"f","arguments":{"a":1}}}"#;
    for (backend, body) in [
        (
            "openai-chat",
            format!(
                r#"{{"choices":[{{"index":0,"message":{{"content":null,"tool_calls":[{call}]}}}}]}}"#
            ),
        ),
        (
            "openai-responses",
            r#"{"status":"completed","output":[{"type":"function_call","arguments":{"a":1}}]}"#
                .to_owned(),
        ),
    ] {
        let record = whole(backend, &body);
        assert_eq!(record.outcome, Outcome::Ok, "{body} {:?}", record.error);
        assert!(record.other_text.ends_with(json), "{}", record.other_text);
    }
}

#[test]
fn heartbeats_and_end_markers_have_many_forms() {
    let usage = r#"{"choices":[],"usage":{"completion_tokens":2}}"#;
    for backend in ["vllm", "openai-chat"] {
        for heartbeat in [
            "event: ping\ndata: ping\n\n",
            "event: keepalive\ndata: {\"detail\":\"here\"}\n\n",
            "event: Keep-Alive\ndata: 7\n\n",
            "data: null\n\n",
        ] {
            let stream = format!("data: {TOKEN}\n\n{heartbeat}data: {STOP}\n\n{heartbeat}");
            let record = read_stream(find(backend).unwrap(), [stream.as_bytes()]);
            assert_eq!(
                record.outcome,
                Outcome::Ok,
                "{heartbeat:?} {:?}",
                record.error
            );
            assert_eq!(record.text, "xx");
        }
        for marker in ["data: \"[DONE]\"\n\n", "[DONE]\n\n", "[DONE]"] {
            let stream = format!("data: {TOKEN}\n\ndata: {TOKEN}\n\ndata: {usage}\n\n{marker}");
            let record = read_stream(find(backend).unwrap(), [stream.as_bytes()]);
            assert_eq!(record.outcome, Outcome::Ok, "{marker:?} {:?}", record.error);
            assert!(record.marks.done.is_some(), "{marker:?}");
        }
    }
}
