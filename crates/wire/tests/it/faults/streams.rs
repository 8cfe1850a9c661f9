//! Streams with faults in them, and how they end.

use inferometer_core::{EventKind, Outcome};

use super::{LAST, TOKEN, answer, begun, expect, raw};
use crate::common::{Step, chunk, exchange, exchange_with, json_answer, stream, write};

#[test]
fn ends_of_streams() {
    let good = |events: &[&str], count: usize| {
        let record = answer(stream(events));
        assert_eq!(
            (record.outcome, record.events.len()),
            (Outcome::Ok, count),
            "{events:?} {:?}",
            record.error
        );
        record
    };
    good(&[TOKEN, LAST, "[DONE]", "[DONE]"], 2);
    good(&[TOKEN, LAST], 2);
    good(&[TOKEN, "[DONE]"], 1);
    let usage = r#"{"choices":[{"text":"","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    assert_eq!(good(&[TOKEN, usage], 1).usage.completion_tokens, Some(1));
    let lone = r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#;
    expect(
        &answer(stream(&[lone, "[DONE]"])),
        Outcome::Empty,
        "no output",
    );
    assert_eq!(
        good(&[r#"{"choices":[{"text":""}]}"#, LAST], 2).events[0].kind,
        EventKind::Blank
    );
    expect(
        &answer(stream(&[TOKEN, TOKEN])),
        Outcome::Truncated,
        "without [DONE] or finish_reason",
    );
    expect(&answer(stream(&[])), Outcome::Truncated, "after 0 events");
    expect(&answer(stream(&["[DONE]"])), Outcome::Empty, "no output");
    let roles = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    let end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let record = exchange(
        "openai-chat",
        vec![Step::Read, write(stream(&[roles, end, "[DONE]"]))],
    );
    expect(&record, Outcome::Empty, "no output");
    assert!(record.marks.first_event.is_some() && record.marks.first_content.is_none());
    let record = exchange(
        "vllm",
        vec![
            Step::Read,
            write(begun(&[TOKEN, LAST, "[DONE]"])),
            Step::UntilClosed,
        ],
    );
    assert_eq!(
        (record.outcome, record.events.len()),
        (Outcome::Ok, 2),
        "{:?}",
        record.error
    );
}

#[test]
fn errors_inside_streams() {
    for (event, words) in [
        (
            r#"{"error":{"message":"CUDA out of memory","type":"InternalServerError","code":500}}"#,
            "CUDA out of memory (InternalServerError)",
        ),
        (r#"{"error":"engine died"}"#, "engine died"),
        (
            r#"{"object":"error","message":"bad request","code":400}"#,
            "bad request",
        ),
    ] {
        for backend in ["vllm", "openai-chat"] {
            let token = r#"{"choices":[{"text":"x","delta":{"content":"x"}}]}"#;
            let record = exchange(
                backend,
                vec![Step::Read, write(stream(&[token, event, "[DONE]"]))],
            );
            expect(&record, Outcome::StreamError, words);
            assert_eq!(record.events.len(), 1);
        }
    }
    let named = answer(raw(&format!(
        "data: {TOKEN}\n\nevent: error\ndata: {{\"detail\":\"gone\"}}\n\n"
    )));
    expect(&named, Outcome::StreamError, "gone");
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn unreadable_side_fields_do_not_cost_the_answer() {
    let odd = [
        (r#""usage":"n/a""#, r#""stop""#),
        (r#""usage":null"#, "3"),
        (
            r#""usage":{"prompt_tokens":2,"prompt_tokens_details":"none","completion_tokens_details":7}"#,
            "true",
        ),
        (
            r#""usage":{"prompt_tokens":1e400,"completion_tokens":-1e999}"#,
            r#"{"type":"length"}"#,
        ),
        (
            r#""usage":[1],"metrics":"none","object":5,"created":1e400"#,
            r#""\ud83d""#,
        ),
        (
            r#""metrics":{"queue_time_ms":1e400,"time_to_first_token_ms":"soon"},"error":{}"#,
            "null",
        ),
        (r#""error":"","usage":{}"#, "null"),
        (r#""error":null,"error_code":0"#, "null"),
    ];
    for (side, reason) in odd {
        let event = format!(
            r#"{{"choices":[{{"text":"x","message":null,"delta":{{"role":7,"content":"x"}},"finish_reason":{reason},"logprobs":1e400}}],{side}}}"#
        );
        for backend in ["vllm", "openai-chat"] {
            let record = exchange(
                backend,
                vec![Step::Read, write(stream(&[&event, &event, "[DONE]"]))],
            );
            assert_eq!(
                (record.outcome, record.text.as_str()),
                (Outcome::Ok, "xx"),
                "{event}: {:?}",
                record.error
            );
            let record = exchange_with(
                backend,
                vec![Step::Read, write(json_answer("200 OK", &event))],
                |settings| {
                    settings.body.stream = false;
                },
            );
            assert_eq!(record.outcome, Outcome::Ok, "{event}: {:?}", record.error);
        }
    }
    for (backend, events) in [
        (
            "tgi",
            &[
                r#"{"token":{"text":"x","special":"no"},"details":"none"}"#,
                r#"{"token":{"text":"x"},"generated_text":"xx","details":{"finish_reason":4,"generated_tokens":1e400},"error":{}}"#,
            ][..],
        ),
        (
            "tensorrt-llm",
            &[
                r#"{"text_output":"x","error":""}"#,
                r#"{"text_output":"x","error":{}}"#,
            ],
        ),
        (
            "sglang-native",
            &[
                r#"{"text":"x","meta_info":"none"}"#,
                r#"{"text":"xx","meta_info":{"completion_tokens":"?","finish_reason":7},"error":null}"#,
            ],
        ),
        (
            "openai-responses",
            &[
                r#"{"type":"response.output_text.delta","delta":"x","error":{}}"#,
                r#"{"type":"response.output_text.delta","delta":"x","error":null}"#,
                r#"{"type":"response.completed","response":{"status":3,"usage":"none","error":{},"incomplete_details":"?","output":[{"type":4,"logprobs":[1e400]}]}}"#,
            ],
        ),
        (
            "anthropic",
            &[
                r#"{"type":"message_start","message":{"usage":"none"}}"#,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"},"error":{}}"#,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#,
                r#"{"type":"message_delta","delta":{"stop_reason":9},"usage":1e400}"#,
                r#"{"type":"message_stop"}"#,
            ],
        ),
    ] {
        let record = exchange(backend, vec![Step::Read, write(stream(events))]);
        assert_eq!(
            (record.outcome, record.text.as_str()),
            (Outcome::Ok, "xx"),
            "{backend}: {:?}",
            record.error
        );
    }
}

#[test]
fn half_a_surrogate_pair_is_replaced() {
    for (backend, event) in [
        ("vllm", r#"{"choices":[{"text":"a\ud83d"}]}"#),
        (
            "openai-chat",
            r#"{"choices":[{"delta":{"content":"a\ud83d"}}]}"#,
        ),
        (
            "openai-responses",
            r#"{"type":"response.output_text.delta","delta":"a\ud83d"}"#,
        ),
        (
            "anthropic",
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a\ud83d"}}"#,
        ),
        ("tgi", r#"{"token":{"text":"a\ud83d"}}"#),
        ("tensorrt-llm", r#"{"text_output":"a\ud83d"}"#),
        ("sglang-native", r#"{"text":"a\ud83d"}"#),
    ] {
        let record = exchange(backend, vec![Step::Read, write(stream(&[event]))]);
        assert_eq!(record.text, "a\u{fffd}", "{backend}: {:?}", record.error);
    }
}

#[test]
fn what_follows_the_end_marker_is_no_part_of_the_answer() {
    let usage = r#"{"choices":[],"usage":{"completion_tokens":99}}"#;
    for rest in [
        &[TOKEN, TOKEN][..],
        &["[DONE]", TOKEN],
        &["nonsense"],
        &[r#"{"error":"late"}"#],
        &[usage],
    ] {
        let events = [&[TOKEN, LAST, "[DONE]"], rest].concat();
        let record = answer(stream(&events));
        assert_eq!(
            (record.outcome, record.events.len()),
            (Outcome::Ok, 2),
            "{rest:?}: {:?}",
            record.error
        );
        assert_eq!(
            (record.text.as_str(), record.usage.completion_tokens),
            ("xy", None)
        );
    }
    let record = answer(raw(&format!(
        "data: {TOKEN}\n\ndata: {LAST}\n\ndata: [DONE]\n\n<html>\n\n{{\"a\":1"
    )));
    assert_eq!(
        (record.outcome, record.events.len()),
        (Outcome::Ok, 2),
        "{:?}",
        record.error
    );
    // Nor is it a way around the limits.
    let ended = begun(&[TOKEN, LAST, "[DONE]"]);
    let script = vec![
        Step::Read,
        write(ended),
        Step::Endless(chunk(&format!("data: {TOKEN}\n\n"))),
    ];
    let record = exchange_with("vllm", script, |settings| settings.limits.events = 1_000);
    assert_eq!(
        (record.outcome, record.events.len()),
        (Outcome::Ok, 2),
        "{:?}",
        record.error
    );
}

#[test]
fn impossible_usage_numbers_are_ignored() {
    let event = |tokens: u64| {
        format!(
            r#"{{"choices":[{{"text":"x"}}],"usage":{{"prompt_tokens":3,"completion_tokens":{tokens}}}}}"#
        )
    };
    let answer = |events: &[&str]| {
        exchange_with(
            "vllm",
            vec![Step::Read, write(stream(events))],
            |settings| {
                settings.keep_text = inferometer_wire::KeepText::UntilUsage;
            },
        )
    };
    let record = answer(&[&event(1), &event(4_000_000_000), LAST, "[DONE]"]);
    assert_eq!(
        (record.outcome, record.usage.completion_tokens),
        (Outcome::Ok, Some(4_000_000_000))
    );
    assert_eq!(record.reported_output_tokens(), None);
    // The text stays, so that its tokens can be counted instead.
    assert_eq!((record.text.as_str(), record.events[1].tokens), ("xxy", 0));
    let record = answer(&[&event(1), &event(40), LAST, "[DONE]"]);
    assert_eq!(
        (
            record.reported_output_tokens(),
            record.events[1].tokens,
            record.text.as_str()
        ),
        (Some(40), 39, "")
    );
}
