//! Answers of several choices, and messages that repeat an answer.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_core::{Choices, Nanos, Outcome, Record};
use inferometer_wire::Counting;
use inferometer_wire::backend::find;
use inferometer_wire::offline::read_timed;

use crate::common::{lines, whole};

/// The record of messages that arrive 20 ms apart.
fn read(backend: &str, messages: &[String]) -> Record {
    let lines = lines(messages);
    let chunks = lines
        .iter()
        .zip(0..)
        .map(|(line, at)| (Nanos::from_millis(20 * at), line.as_bytes()));
    read_timed(find(backend).unwrap(), Counting::Output, chunks)
}

fn tokens(record: &Record) -> Vec<u16> {
    record.events.iter().map(|event| event.tokens).collect()
}

#[test]
fn sglangs_own_api_numbers_the_answers_of_a_request() {
    let event = |index: usize, text: &str, count: u32, end: &str| {
        format!(
            r#"{{"index":{index},"text":"{text}","meta_info":{{"prompt_tokens":7,"completion_tokens":{count},"finish_reason":{end}}}}}"#
        )
    };
    let length = r#"{"type":"length","length":3}"#;
    let record = read(
        "sglang-native",
        &[
            event(0, "one", 1, "null"),
            event(1, "uno", 1, "null"),
            event(1, "uno dos", 2, "null"),
            event(0, "one two three", 3, length),
            event(1, "uno dos tres", 3, length),
            "[DONE]".to_owned(),
        ],
    );
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    assert_eq!(record.text, "one two threeuno dos tres");
    assert_eq!(tokens(&record), [1, 1, 1, 2, 1]);
    assert_eq!(record.usage.completion_tokens, Some(6));
    let span = Nanos::from_millis(60 + 60);
    assert_eq!(record.choices, Some(Choices { count: 2, span }));
    // Not streamed, they are a list.
    let list = format!(
        "[{},{}]",
        event(0, "one two three", 3, length),
        r#"{"text":"uno dos","meta_info":{"prompt_tokens":7,"completion_tokens":2,"finish_reason":{"type":"stop"}}}"#
    );
    let record = whole("sglang-native", &list);
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    assert_eq!(record.usage.completion_tokens, Some(5));
    assert_eq!(record.choices.unwrap().count, 2);
    assert_eq!(record.text, "one two threeuno dos");
}

/// vLLM counts each choice for itself in the usage of an event (`continuous_usage_stats`), and all of
/// them in the last one.
#[test]
fn the_usage_of_an_event_is_that_of_its_choice() {
    for (backend, member) in [
        ("vllm", r#""text":"TEXT""#),
        ("openai-chat", r#""delta":{"content":"TEXT"}"#),
    ] {
        let event = |index: usize, text: &str, count: u32| {
            let member = member.replace("TEXT", text);
            format!(
                r#"{{"choices":[{{"index":{index},{member},"finish_reason":null}}],"usage":{{"prompt_tokens":5,"completion_tokens":{count}}}}}"#
            )
        };
        let end = |index: usize| {
            let member = member.replace("TEXT", "");
            format!(r#"{{"choices":[{{"index":{index},{member},"finish_reason":"length"}}]}}"#)
        };
        let usage = |count: u32| {
            format!(r#"{{"choices":[],"usage":{{"prompt_tokens":5,"completion_tokens":{count}}}}}"#)
        };
        let events = |last: u32| {
            [
                event(0, "a", 1),
                event(1, "b", 3),
                event(1, "c", 6),
                event(0, "d", 2),
                end(0),
                end(1),
                usage(last),
                "[DONE]".to_owned(),
            ]
        };
        let record = read(backend, &events(8));
        assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
        assert_eq!(tokens(&record), [1, 3, 3, 1], "{backend}");
        assert_eq!(record.usage.completion_tokens, Some(8));
        assert_eq!(record.text, "adbc");
        // Numbers that mean something else are not believed.
        let record = read(backend, &events(6));
        assert_eq!(tokens(&record)[..4], [0, 0, 0, 0], "{backend}");
        assert_eq!(record.usage.completion_tokens, Some(6));
    }
}

#[test]
fn choices_in_one_event_each_have_no_time_per_token() {
    let event = |index: usize| {
        format!(r#"{{"choices":[{{"index":{index},"text":"a b c d","finish_reason":"length"}}]}}"#)
    };
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":8}}"#;
    let mut record = read(
        "vllm",
        &[event(0), event(1), usage.to_owned(), "[DONE]".to_owned()],
    );
    record.output_tokens = 8;
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    assert_eq!(record.choices.unwrap().span, Nanos::ZERO);
    assert!(record.is_in_one_piece());
}

#[test]
fn the_choices_of_a_whole_answer_are_counted() {
    for (backend, member) in [
        ("vllm", r#""text":"a b""#),
        (
            "openai-chat",
            r#""message":{"role":"assistant","content":"a b"}"#,
        ),
    ] {
        let choice =
            |index: usize| format!(r#"{{"index":{index},{member},"finish_reason":"length"}}"#);
        let body = format!(
            r#"{{"choices":[{},{}],"usage":{{"prompt_tokens":5,"completion_tokens":4}}}}"#,
            choice(0),
            choice(1)
        );
        let record = whole(backend, &body);
        assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
        assert_eq!(record.choices.unwrap().count, 2, "{backend}");
        assert_eq!(record.text, "a ba b");
        assert!(!record.is_in_one_piece(), "it was not streamed");
    }
}

/// As at the end of MiniMax's streams.
#[test]
fn a_whole_answer_after_its_deltas_is_no_output() {
    let delta =
        |text: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
    let last = r#"{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"one two"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;
    let record = read(
        "openai-chat",
        &[
            delta("one"),
            delta(" two"),
            last.to_owned(),
            "[DONE]".to_owned(),
        ],
    );
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    assert_eq!((record.text.as_str(), record.events.len()), ("one two", 2));
    assert_eq!(record.usage.completion_tokens, Some(2));
    // A server whose events have messages in place of deltas.
    let message =
        |text: &str| format!(r#"{{"choices":[{{"index":0,"message":{{"content":"{text}"}}}}]}}"#);
    let record = read(
        "openai-chat",
        &[message("one"), message(" two"), "[DONE]".to_owned()],
    );
    assert_eq!(record.text, "one two");
}

/// OpenRouter reports a provider's failure in the choice.
#[test]
fn an_error_in_a_choice_fails_the_answer() {
    for (backend, member, whole_member) in [
        ("vllm", r#""text":"a""#, r#""text":"a""#),
        (
            "openai-chat",
            r#""delta":{"content":"a"}"#,
            r#""message":{"content":"a"}"#,
        ),
    ] {
        let failed = |member: &str| {
            format!(
                r#"{{"choices":[{{"index":0,{member},"finish_reason":"stop","error":{{"code":502,"message":"the provider went away"}}}}]}}"#
            )
        };
        let good = format!(r#"{{"choices":[{{"index":0,{member},"error":null}}]}}"#);
        let stream = [good, failed(member), "[DONE]".to_owned()];
        for record in [
            read(backend, &stream),
            whole(backend, &failed(whole_member)),
        ] {
            assert_eq!(record.outcome, Outcome::StreamError, "{backend}");
            assert!(record.error.unwrap().contains("the provider went away"));
        }
    }
}

#[test]
fn an_answer_of_hidden_reasoning_alone_is_an_answer() {
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#;
    let usage = |reasoning: u32| {
        format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":5,"completion_tokens":8,"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}}}"#
        )
    };
    let messages = |reasoning| {
        [
            role.to_owned(),
            end.to_owned(),
            usage(reasoning),
            "[DONE]".to_owned(),
        ]
    };
    let record = read("openai-chat", &messages(8));
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    assert!(record.events.is_empty());
    let record = read("openai-chat", &messages(3));
    assert_eq!(record.outcome, Outcome::Empty);
    assert!(record.error.unwrap().contains("reports 8 output tokens"));
}
