//! What accompanies an answer and must neither cost it nor be lost.

use inferometer_core::{EventKind, Outcome};
use inferometer_wire::backend::find;
use inferometer_wire::offline::read_stream;

use crate::common::{Step, exchange, json_answer, kinds, read, whole, write};

#[test]
fn a_tool_that_fails_does_not_end_the_answer() {
    for name in [
        "response.mcp_call.failed",
        "response.mcp_list_tools.failed",
        "response.image_generation_call.failed",
    ] {
        let stream = format!(
            "event: {name}\ndata: {{\"type\":\"{name}\",\"item_id\":\"i\"}}\n\n\
             event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\" hi\"}}\n\n\
             event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"status\":\"completed\"}}}}\n\n"
        );
        let record = read_stream(find("openai-responses").unwrap(), [stream.as_bytes()]);
        assert_eq!(record.outcome, Outcome::Ok, "{name} {:?}", record.error);
    }
    let stream = "event: failover\ndata: {\"provider\":\"b\"}\n\n\
                  data: {\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let record = read_stream(find("vllm").unwrap(), [stream.as_bytes()]);
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
}

fn delta(members: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{{{members}}}}}]}}"#)
}

const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#;

#[test]
fn output_of_an_unknown_kind_is_named_beside_output_that_is_known() {
    let (thought, text) = (delta(r#""thoughts":"hm""#), delta(r#""content":" hi""#));
    for messages in [[&*thought, &*text], [&*text, &*thought]] {
        let record = read("openai-chat", &[messages[0], messages[1], END, "[DONE]"]);
        assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
        assert_eq!(record.unknown_output.as_deref(), Some("thoughts"));
        assert_eq!(kinds(&record), [EventKind::Text]);
    }
    // Copilot's name of the reasoning is known.
    let thought = delta(r#""reasoning_text":"hm""#);
    let record = read("openai-chat", &[&thought, &text, END, "[DONE]"]);
    assert_eq!(record.unknown_output, None);
    assert_eq!(kinds(&record), [EventKind::Reasoning, EventKind::Text]);
    // What accompanies output is none.
    for members in [
        r#""annotations":[{"type":"url_citation"}]"#,
        r#""reasoning_opaque":"abc""#,
        r#""role":"assistant""#,
        r#""audio":{"expires_at":5}"#,
    ] {
        let record = read("openai-chat", &[&delta(members), &text, END, "[DONE]"]);
        assert_eq!(record.unknown_output, None, "{members}");
    }
}

#[test]
fn an_unknown_reason_of_any_choice_is_kept() {
    let end = |index: usize, reason: &str| {
        format!(r#"{{"choices":[{{"index":{index},"text":"x","finish_reason":"{reason}"}}]}}"#)
    };
    for reasons in [["length", "odd"], ["odd", "length"]] {
        let record = read(
            "vllm",
            &[&end(0, reasons[0]), &end(1, reasons[1]), "[DONE]"],
        );
        assert_eq!(record.outcome, Outcome::Ok);
        assert_eq!(record.finish_reason.as_deref(), Some("odd"), "{reasons:?}");
    }
    let body = r#"{"choices":[{"index":0,"text":"a","finish_reason":"stop"},{"index":1,"text":"b","finish_reason":"odd"}]}"#;
    assert_eq!(whole("vllm", body).finish_reason.as_deref(), Some("odd"));
}

/// `json.dumps(float("nan"))` is `NaN`, and `json.loads` reads it.
#[test]
fn what_only_python_reads_does_not_cost_an_answer() {
    let chat = |member: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":" hi"}},"finish_reason":"stop"}}]{member}}}"#
        )
    };
    for member in [
        "",
        r#","usage":{"prompt_tokens":3,"completion_tokens":1,"tokens_per_second":Infinity}"#,
        r#","usage":{"prompt_tokens":3,"completion_tokens":1},"usage":{"prompt_tokens":9,"completion_tokens":1}"#,
    ] {
        let record = read("openai-chat", &[&chat(member), "[DONE]"]);
        assert_eq!(record.outcome, Outcome::Ok, "{member} {:?}", record.error);
        assert_eq!((record.text.as_str(), record.events.len()), (" hi", 1));
        let expected = match member {
            "" => None,
            member if member.contains("Infinity") => Some(3),
            _ => Some(9),
        };
        assert_eq!(record.usage.prompt_tokens, expected, "{member}");
    }
    let logprobs = r#"{"choices":[{"index":0,"text":" hi","logprobs":{"tokens":["x"],"token_logprobs":[-Infinity],"top_logprobs":[{"x":NaN}]},"finish_reason":"length"}]}"#;
    let record = read("vllm", &[logprobs, "[DONE]"]);
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    assert_eq!(whole("vllm", logprobs).outcome, Outcome::Ok);
}

#[test]
fn nan_in_a_vector_is_a_failure_that_says_so() {
    let body = |vector: &str, rate: &str| {
        format!(
            r#"{{"data":[{{"index":0,"embedding":{vector}}}],"usage":{{"prompt_tokens":3,"rate":{rate}}}}}"#
        )
    };
    let answer = |body: &str| {
        let script = vec![Step::Read, write(json_answer("200 OK", body))];
        exchange("openai-embeddings", script)
    };
    let record = answer(&body("[0.1,NaN]", "1.0"));
    assert_eq!(record.outcome, Outcome::Malformed);
    assert_eq!(record.error.as_deref(), Some("NaN or Infinity in a vector"));
    assert_eq!(answer(&body("[0.1,0.2]", "NaN")).outcome, Outcome::Ok);
    let broken = answer("{\"data\":[");
    assert!(broken.error.unwrap().starts_with("invalid JSON ("));
}

#[test]
fn a_body_without_a_choice_is_a_failure_in_the_servers_words() {
    for backend in ["vllm", "openai-chat"] {
        let record = whole(backend, r#"{"choices":[],"detail":"overloaded"}"#);
        assert_eq!(record.outcome, Outcome::StreamError, "{backend}");
        assert_eq!(record.error.as_deref(), Some("overloaded"));
    }
}
