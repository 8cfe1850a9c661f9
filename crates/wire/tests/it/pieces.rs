//! Output that does not come in deltas, and output that does not come at all.

use inferometer_core::{EventKind, Outcome};

use crate::common::{kinds, read, whole};

const DONE: &str = r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":" one two"}]}],"usage":{"input_tokens":9,"output_tokens":2}}}"#;

#[test]
fn text_in_the_last_events_only_is_an_answer_in_one_piece() {
    let text_done = r#"{"type":"response.output_text.done","text":" one two"}"#;
    for messages in [vec![DONE], vec![text_done, DONE]] {
        let mut record = read("openai-responses", &messages);
        assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
        assert_eq!(record.text, " one two", "{messages:?}");
        assert_eq!(kinds(&record), [EventKind::Text], "{messages:?}");
        record.output_tokens = 2;
        assert!(record.is_in_one_piece());
    }
    let delta = r#"{"type":"response.output_text.delta","delta":" one two"}"#;
    // Every output that comes as a whole is an event; what came in deltas is not repeated.
    let call = r#"{"type":"response.function_call_arguments.done","arguments":"{\"a\":1}"}"#;
    let record = read("openai-responses", &[delta, text_done, call, call, DONE]);
    assert_eq!(
        kinds(&record),
        [EventKind::Text, EventKind::ToolCall, EventKind::ToolCall]
    );
    assert_eq!(record.text, " one two");
}

#[test]
fn transcripts_come_in_deltas_in_segments_or_as_a_whole() {
    let done = r#"{"type":"transcript.text.done","text":" one two","usage":{"input_tokens":14,"output_tokens":2}}"#;
    let segment = |text| format!(r#"{{"type":"transcript.text.segment","text":"{text}"}}"#);
    let delta = |text| format!(r#"{{"type":"transcript.text.delta","delta":"{text}"}}"#);
    let (one, two) = (segment(" one"), segment(" two"));
    for (messages, events) in [
        (vec![done], 1),
        (vec![&*one, &*two, done], 2),
        // A segment repeats its deltas.
        (
            vec![&*delta(" one"), &*one, &*delta(" two"), &*two, done],
            2,
        ),
    ] {
        let record = read("openai-audio", &messages);
        assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
        assert_eq!(record.text, " one two", "{messages:?}");
        assert_eq!(record.events.len(), events, "{messages:?}");
    }
}

#[test]
fn a_transcript_of_silence_is_empty() {
    for body in [
        r#"{"text":""}"#,
        r#"{"task":"transcribe","language":"en","duration":1.0,"text":"","segments":[]}"#,
    ] {
        let record = whole("deepspeed-mii", body);
        assert_eq!(record.outcome, Outcome::Empty, "{:?}", record.error);
    }
}

/// A block of Anthropic's API with these deltas.
fn block(start: &str, deltas: &[&str]) -> Vec<String> {
    let deltas = deltas
        .iter()
        .map(|delta| format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#));
    let start = format!(r#"{{"type":"content_block_start","index":0,"content_block":{start}}}"#);
    let stop = r#"{"type":"content_block_stop","index":0}"#.to_owned();
    [start].into_iter().chain(deltas).chain([stop]).collect()
}

fn anthropic(blocks: &[Vec<String>]) -> inferometer_core::Record {
    let end = [
        r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":203}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let all: Vec<&str> = blocks
        .iter()
        .flatten()
        .map(String::as_str)
        .chain(end)
        .collect();
    let record = read("anthropic", &all);
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    record
}

#[test]
fn reasoning_that_anthropics_api_keeps_back_is_noticed() {
    let text = block(
        r#"{"type":"text","text":""}"#,
        &[r#"{"type":"text_delta","text":" hi"}"#],
    );
    let signature = r#"{"type":"signature_delta","signature":"EqQB"}"#;
    let thought = r#"{"type":"thinking_delta","thinking":"hm"}"#;
    let thinking = r#"{"type":"thinking","thinking":"","signature":""}"#;
    for (reasoning, withheld) in [
        (
            block(r#"{"type":"redacted_thinking","data":"EmwK"}"#, &[]),
            true,
        ),
        (block(thinking, &[signature]), true),
        (block(thinking, &[]), true),
        (block(thinking, &[thought, signature]), false),
    ] {
        let record = anthropic(&[reasoning.clone(), text.clone()]);
        assert_eq!(record.withheld_reasoning, withheld, "{reasoning:?}");
        assert_eq!(record.unknown_output, None);
        assert_eq!(record.text, " hi");
    }
    assert!(!anthropic(std::slice::from_ref(&text)).withheld_reasoning);
    // Not streamed.
    let body = r#"{"type":"message","content":[{"type":"redacted_thinking","data":"EmwK"},{"type":"text","text":"hi"}],"stop_reason":"end_turn"}"#;
    assert!(whole("anthropic", body).withheld_reasoning);
}

#[test]
fn text_in_the_start_of_a_block_is_output() {
    let record = anthropic(&[block(
        r#"{"type":"text","text":"Hello"}"#,
        &[r#"{"type":"text_delta","text":" you"}"#],
    )]);
    assert_eq!(record.text, "Hello you");
    assert_eq!(kinds(&record), [EventKind::Text; 2]);
    // The frame of a call holds none of its arguments.
    let record = anthropic(&[block(
        r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#,
        &[r#"{"type":"input_json_delta","partial_json":"{}"}"#],
    )]);
    assert_eq!(kinds(&record), [EventKind::ToolCall]);
}
