//! Events with empty text before the end of an answer: tokens that decode to nothing, or signs of life.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_core::{Nanos, Outcome, Record};
use inferometer_wire::Counting;
use inferometer_wire::backend::find;
use inferometer_wire::offline::read_timed;

use crate::common::lines;

/// The record of messages that arrive 50 ms apart, the first at 50 ms.
fn read(backend: &str, counting: Counting, messages: &[String]) -> Record {
    let lines = lines(messages);
    let chunks = lines.iter().zip(1..);
    let chunks = chunks.map(|(line, at)| (Nanos::from_millis(50 * at), line.as_bytes()));
    let record = read_timed(find(backend).unwrap(), counting, chunks);
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    record
}

fn instants(backend: &str, counting: Counting, messages: &[String]) -> Vec<u64> {
    let record = read(backend, counting, messages);
    let events = record.events.iter();
    events.map(|event| event.at.0 / 1_000_000).collect()
}

/// One letter per message: `_` empty text, `t` text, `x` empty text with a reason to stop, `.` a closing
/// message without text.
fn answer(backend: &str, shape: &str, tokens: Option<u32>) -> Vec<String> {
    let message = |letter| {
        let (text, reason) = match letter {
            't' => ("t", "null"),
            '_' => ("", "null"),
            _ => ("", "\"stop\""),
        };
        let member = match (backend, letter) {
            ("openai-chat", '.') => r#""delta":{}"#.to_owned(),
            ("openai-chat", _) => format!(r#""delta":{{"content":"{text}"}}"#),
            _ => format!(r#""text":"{text}""#),
        };
        format!(r#"{{"choices":[{{"index":0,{member},"finish_reason":{reason}}}]}}"#)
    };
    let usage = tokens.map(|tokens| {
        format!(r#"{{"choices":[],"usage":{{"prompt_tokens":5,"completion_tokens":{tokens}}}}}"#)
    });
    let end = usage.into_iter().chain(["[DONE]".to_owned()]);
    shape.chars().map(message).chain(end).collect()
}

#[test]
fn empty_text_counts_as_far_as_the_usage_has_tokens_for_it() {
    for backend in ["vllm", "openai-chat"] {
        for (shape, tokens, expected) in [
            // Three signs of life: TTFT is 200 ms, TPOT 50 ms.
            ("___tttttx", Some(5), vec![200, 250, 300, 350, 400]),
            ("t_tx", Some(2), vec![50, 150]),
            // An end-of-text token after them.
            ("___ttx", Some(3), vec![200, 250, 300]),
            // A character of three tokens, of which the first two have no text.
            ("t__tx", Some(4), vec![50, 100, 150, 200]),
            ("__tx", Some(3), vec![50, 100, 150]),
            // Both: those before any text are not tokens.
            ("__t_tx", Some(3), vec![150, 200, 250]),
            ("__t_tx", Some(4), vec![150, 200, 250, 300]),
            // Several tokens per event leave it open.
            ("_ttx", Some(9), vec![50, 100, 150, 200]),
            // Without usage there is nothing to tell them apart by.
            ("_ttx", None, vec![50, 100, 150]),
            // An answer of tokens that decode to nothing.
            ("___x", Some(3), vec![50, 100, 150]),
        ] {
            let messages = answer(backend, shape, tokens);
            let found = instants(backend, Counting::Output, &messages);
            assert_eq!(found, expected, "{backend} {shape} {tokens:?}");
        }
        // vLLM's client counts them all.
        let messages = answer(backend, "___ttx", Some(2));
        let all = instants(backend, Counting::Vllm, &messages);
        assert_eq!(all, [50, 100, 150, 200, 250, 300], "{backend}");
    }
    let bare = answer("openai-chat", "___tt.", Some(3));
    let found = instants("openai-chat", Counting::Output, &bare);
    assert_eq!(found, [200, 250, 300]);
}

#[test]
fn an_event_before_a_dropped_one_is_the_last_of_its_read() {
    let messages = lines(&answer("vllm", "t_tx", Some(2)));
    let chunks = [messages[..2].concat(), messages[2..].concat()];
    let chunks = chunks
        .iter()
        .zip(1..)
        .map(|(chunk, at)| (Nanos::from_millis(50 * at), chunk.as_bytes()));
    let record = read_timed(find("vllm").unwrap(), Counting::Output, chunks);
    let coalesced: Vec<bool> = record
        .events
        .iter()
        .map(|event| event.coalesced())
        .collect();
    assert_eq!(coalesced, [false, false]);
}

/// llama.cpp with `return_progress`.
#[test]
fn progress_with_the_prompt_is_no_token() {
    let progress = r#"{"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":null}],"prompt_progress":{"total":10,"cache":0,"processed":3,"time_ms":5}}"#;
    let mut messages = vec![progress.to_owned(), progress.to_owned()];
    messages.extend(answer("llama.cpp", "ttx", None));
    let found = instants("llama.cpp", Counting::Output, &messages);
    assert_eq!(found, [150, 200]);
    let all = instants("llama.cpp", Counting::Vllm, &messages);
    assert_eq!(all, [50, 100, 150, 200, 250]);
}
