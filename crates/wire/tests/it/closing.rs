//! Closing messages without output: which of them are token events.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_core::{Choices, EventKind, Nanos, Outcome, Record};
use inferometer_wire::Counting;
use inferometer_wire::backend::find;
use inferometer_wire::offline::{read_stream, read_timed};

/// Messages that arrive 20 ms apart, the first at 10 ms; what begins with `+` comes with the one
/// before.
fn arrivals(messages: &[&str]) -> Vec<(Nanos, Vec<u8>)> {
    let mut at = 10;
    let mut chunks: Vec<(Nanos, Vec<u8>)> = Vec::new();
    for message in messages {
        let together = message.strip_prefix('+');
        let bytes = format!("data: {}\n\n", together.unwrap_or(message)).into_bytes();
        if together.is_some()
            && let Some((_, last)) = chunks.last_mut()
        {
            last.extend(bytes);
            continue;
        }
        chunks.push((Nanos::from_millis(at), bytes));
        at += 20;
    }
    chunks
}

/// The record of these messages, which is the same however the bytes are cut.
fn read(backend: &str, counting: Counting, messages: &[&str]) -> Record {
    let backend = find(backend).unwrap();
    let chunks = arrivals(messages);
    let timed = read_timed(
        backend,
        counting,
        chunks.iter().map(|(at, bytes)| (*at, bytes.as_slice())),
    );
    if counting == Counting::Output {
        let all: Vec<u8> = chunks.into_iter().flat_map(|(_, bytes)| bytes).collect();
        for size in [1, 7, all.len()] {
            let cut = read_stream(backend, all.chunks(size));
            assert_eq!(cut.outcome, timed.outcome, "{size} bytes at a time");
            assert_eq!(
                cut.events.len(),
                timed.events.len(),
                "{size} bytes at a time"
            );
            assert_eq!((&cut.text, cut.usage), (&timed.text, timed.usage));
        }
    }
    timed
}

/// Instants of the token events in milliseconds.
fn instants(record: &Record) -> Vec<u64> {
    let events = record.events.iter();
    events.map(|event| event.at.0 / 1_000_000).collect()
}

fn native(backend: &str, messages: &[&str]) -> Vec<u64> {
    let record = read(backend, Counting::Output, messages);
    assert_eq!(
        record.outcome,
        Outcome::Ok,
        "{messages:?} {:?}",
        record.error
    );
    instants(&record)
}

const A: &str = r#"{"choices":[{"index":0,"text":" a","finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#;
const CHAT_ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
const CHAT_A: &str = r#"{"choices":[{"index":0,"delta":{"content":" a"},"finish_reason":null}]}"#;
const CHAT_STOP: &str =
    r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}"#;
const CHAT_BARE: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

fn usage(tokens: u32) -> String {
    format!(r#"+{{"choices":[],"usage":{{"prompt_tokens":5,"completion_tokens":{tokens}}}}}"#)
}

#[test]
fn an_end_of_text_token_of_its_own_counts_and_takes_its_time() {
    // As vLLM sends it: two tokens of text at 10 and 30 ms, the end-of-text token at 50 ms. So TPOT
    // is 20 ms and the answer ends at 50 ms.
    for (backend, token, stop) in [
        ("vllm", A, STOP),
        ("sglang", A, STOP),
        ("openai-chat", CHAT_A, CHAT_STOP),
        // llama.cpp and SGLang in chat.
        ("openai-chat", CHAT_A, CHAT_BARE),
    ] {
        let messages = [token, token, stop, &usage(3), "+[DONE]"];
        assert_eq!(native(backend, &messages), [10, 30, 50], "{backend} {stop}");
    }
    let with_usage = STOP.replace("}]}", r#"}],"usage":{"completion_tokens":3}}"#);
    assert_eq!(
        native("vllm", &[A, A, &with_usage, "+[DONE]"]),
        [10, 30, 50]
    );
    // Also where the end-of-text token is all there is.
    for (backend, messages) in [
        ("vllm", vec![STOP]),
        ("openai-chat", vec![CHAT_ROLE, CHAT_STOP]),
        ("openai-chat", vec![CHAT_ROLE, CHAT_BARE]),
    ] {
        let counted = usage(1);
        let messages = [messages, vec![&counted, "+[DONE]"]].concat();
        assert_eq!(
            native(backend, &messages).len(),
            1,
            "{backend} {messages:?}"
        );
    }
}

#[test]
fn a_closing_message_that_carries_no_token_does_not_count() {
    // llama.cpp and transformers: with the last token, which is in an event already.
    let length = STOP.replace("stop", "length");
    let last = length.replace("}]}", r#"}],"usage":{"completion_tokens":2}}"#);
    assert_eq!(
        native("llama.cpp", &[A, A, &format!("+{last}"), "+[DONE]"]),
        [10, 30]
    );
    let chat = [
        CHAT_A,
        CHAT_A,
        &format!("+{CHAT_BARE}"),
        &usage(2),
        "+[DONE]",
    ];
    assert_eq!(native("openai-chat", &chat), [10, 30]);
    let content = [CHAT_A, CHAT_A, CHAT_STOP, &usage(2), "+[DONE]"];
    assert_eq!(native("openai-chat", &content), [10, 30]);
    // Its event is gone, and so is its mark on the event before.
    let record = read(
        "llama.cpp",
        Counting::Output,
        &[A, A, &format!("+{last}"), "+[DONE]"],
    );
    assert!(!record.events[1].coalesced());
    // Without usage, tokens are counted by the text.
    assert_eq!(native("vllm", &[A, A, STOP, "+[DONE]"]), [10, 30]);
    // Several tokens an event: nothing says that a message without even empty text has one.
    assert_eq!(
        native(
            "openai-chat",
            &[CHAT_A, CHAT_A, CHAT_BARE, &usage(9), "+[DONE]"]
        ),
        [10, 30]
    );
    // Reasoning that is not shown is no token of a closing message.
    let hidden = r#"+{"choices":[],"usage":{"completion_tokens":40,"completion_tokens_details":{"reasoning_tokens":38}}}"#;
    assert_eq!(
        native(
            "openai-chat",
            &[CHAT_A, CHAT_A, CHAT_STOP, hidden, "+[DONE]"]
        ),
        [10, 30]
    );
}

#[test]
fn known_counts_of_single_events_decide_exactly() {
    let event = |text: &str, reason: &str, total: u32| {
        format!(
            r#"{{"choices":[{{"text":"{text}","finish_reason":{reason}}}],"usage":{{"completion_tokens":{total}}}}}"#
        )
    };
    let (first, second) = (event("abc", "null", 3), event("de", "null", 5));
    let none = event("", "\"stop\"", 5);
    assert_eq!(
        native("vllm", &[&first, &second, &none, "+[DONE]"]),
        [10, 30]
    );
    let one = event("", "\"stop\"", 6);
    let record = read(
        "vllm",
        Counting::Output,
        &[&first, &second, &one, "+[DONE]"],
    );
    let tokens: Vec<u16> = record.events.iter().map(|event| event.tokens).collect();
    assert_eq!(tokens, [3, 2, 1]);
}

#[test]
fn an_answer_without_text_and_tokens_is_empty() {
    let length = STOP.replace("stop", "length");
    for (backend, messages) in [
        ("vllm", vec![length.as_str()]),
        ("openai-chat", vec![CHAT_ROLE, CHAT_STOP]),
        (
            "openai-chat",
            vec![r#"{"choices":[{"delta":{"content":""}}]}"#, CHAT_BARE],
        ),
    ] {
        let none = usage(0);
        let messages = [messages, vec![&none, "+[DONE]"]].concat();
        let record = read(backend, Counting::Output, &messages);
        assert_eq!(record.outcome, Outcome::Empty, "{messages:?}");
        assert!(record.error.unwrap().contains("0 output tokens"));
    }
    // The same without usage, whatever the number of events.
    for (backend, blank, end) in [
        ("vllm", STOP.replace("\"stop\"", "null"), STOP),
        (
            "openai-chat",
            CHAT_STOP.replace("\"stop\"", "null"),
            CHAT_BARE,
        ),
        (
            "openai-responses",
            String::new(),
            r#"{"type":"response.completed","response":{"status":"completed"}}"#,
        ),
        (
            "anthropic",
            String::new(),
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
        ),
        (
            "tensorrt-llm",
            r#"{"text_output":""}"#.to_owned(),
            r#"{"text_output":""}"#,
        ),
        (
            "sglang-native",
            r#"{"text":"","meta_info":{}}"#.to_owned(),
            r#"{"text":"","meta_info":{"finish_reason":{"type":"stop"}}}"#,
        ),
    ] {
        for blanks in [0, 3] {
            let mut messages = vec![blank.as_str(); blanks];
            messages.retain(|message| !message.is_empty());
            messages.extend([end, "+[DONE]"]);
            for counting in [Counting::Output, Counting::Vllm] {
                let record = read(backend, counting, &messages);
                assert_eq!(
                    record.outcome,
                    Outcome::Empty,
                    "{backend} {counting:?} {messages:?}"
                );
            }
        }
    }
    // A token that the server lists is one, although it has no text.
    for listed in [
        STOP.replace("\"text\"", "\"token_ids\":[2],\"text\""),
        STOP.replace("\"stop\"", "null")
            .replace("\"text\"", "\"token_ids\":[2],\"text\""),
    ] {
        assert_eq!(native("vllm", &[&listed, "+[DONE]"]), [10], "{listed}");
    }
}

#[test]
fn under_vllms_rule_its_clients_events_count() {
    let completions = [A, A, STOP, &usage(2), "+[DONE]"];
    let chat = [CHAT_ROLE, CHAT_A, CHAT_A, CHAT_BARE, &usage(2), "+[DONE]"];
    let empty = [CHAT_ROLE, CHAT_A, CHAT_A, CHAT_STOP, &usage(2), "+[DONE]"];
    let count =
        |backend, counting, messages: &[&str]| read(backend, counting, messages).events.len();
    for counting in [Counting::Vllm, Counting::VllmEveryChoice] {
        assert_eq!(count("vllm", counting, &completions), 3, "{counting:?}");
    }
    // vLLM 0.33 leaves out the opening message and one without content; before, all counted.
    assert_eq!(count("openai-chat", Counting::Vllm, &chat), 2);
    assert_eq!(count("openai-chat", Counting::Vllm, &empty), 3);
    assert_eq!(count("openai-chat", Counting::VllmEveryChoice, &chat), 4);
}

#[test]
fn named_events_close_an_answer_at_its_last_token() {
    let text = |kind: &str| match kind {
        "openai-responses" => r#"{"type":"response.output_text.delta","delta":"x"}"#,
        _ => r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#,
    };
    let end = |kind: &str, tokens: u32| match kind {
        "openai-responses" => format!(
            r#"{{"type":"response.completed","response":{{"status":"completed","usage":{{"output_tokens":{tokens}}}}}}}"#
        ),
        _ => format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{{"output_tokens":{tokens}}}}}"#
        ),
    };
    let stop = r#"+{"type":"message_stop"}"#;
    for kind in ["openai-responses", "anthropic"] {
        let of = |tokens| native(kind, &[text(kind), text(kind), &end(kind, tokens), stop]);
        assert_eq!(of(3), [10, 30, 50], "{kind}");
        assert_eq!(of(2), [10, 30], "{kind}");
        assert_eq!(of(9), [10, 30], "{kind}");
    }
    // vLLM's client counts deltas only.
    let kind = "openai-responses";
    let record = read(
        kind,
        Counting::Vllm,
        &[text(kind), text(kind), &end(kind, 3)],
    );
    assert_eq!(instants(&record), [10, 30]);
}

#[test]
fn triton_closes_with_a_message_without_text_or_usage() {
    let (text, blank) = (r#"{"text_output":" a"}"#, r#"{"text_output":""}"#);
    assert_eq!(
        native("tensorrt-llm", &[text, blank, text, blank]),
        [10, 30, 50]
    );
    let record = read("tensorrt-llm", Counting::Vllm, &[text, text, blank]);
    assert_eq!(instants(&record), [10, 30, 50]);
    assert_eq!(
        read("tensorrt-llm", Counting::Output, &[blank]).outcome,
        Outcome::Empty
    );
}

#[test]
fn sglangs_own_api_counts_by_its_numbers() {
    let event = |text: &str, tokens: &str, reason: &str| {
        format!(
            r#"{{"text":"{text}","meta_info":{{"prompt_tokens":3{tokens},"finish_reason":{reason}}}}}"#
        )
    };
    let with =
        |text, tokens, reason| event(text, &format!(",\"completion_tokens\":{tokens}"), reason);
    let stop = r#"{"type":"stop","matched":2}"#;
    let (first, second) = (with("a", 1, "null"), with("a b", 2, "null"));
    let end = with("a b", 3, stop);
    assert_eq!(
        native("sglang-native", &[&first, &second, &end, "+[DONE]"]),
        [10, 30, 50]
    );
    let same = with("a b", 2, stop);
    assert_eq!(
        native("sglang-native", &[&first, &second, &same, "+[DONE]"]),
        [10, 30]
    );
    let (first, second) = (event("a", "", "null"), event("a b", "", "null"));
    let end = event("a b", "", stop);
    assert_eq!(
        native("sglang-native", &[&first, &second, &end, "+[DONE]"]),
        [10, 30]
    );
}

#[test]
fn sglangs_texts_are_whole_or_new() {
    let read = |texts: &[&str]| {
        let events: Vec<String> = texts
            .iter()
            .zip(1..)
            .map(|(text, tokens)| {
                let reason = if tokens == texts.len() { r#"{"type":"length"}"# } else { "null" };
                format!(
                    r#"{{"text":"{text}","meta_info":{{"completion_tokens":{tokens},"finish_reason":{reason}}}}}"#
                )
            })
            .collect();
        let mut messages: Vec<&str> = events.iter().map(String::as_str).collect();
        messages.push("+[DONE]");
        let record = read("sglang-native", Counting::Output, &messages);
        assert_eq!(record.events.len(), texts.len());
        record.text
    };
    assert_eq!(
        read(&[" alpha", " be", " gamma", " d"]),
        " alpha be gamma d"
    );
    assert_eq!(read(&[" a", " a b", " a b c"]), " a b c");
    // What looks like a repetition at first.
    assert_eq!(read(&["a", "ab", "c", "a"]), "aabca");
    assert_eq!(read(&["x", "x", "x", "y"]), "xxxy");
    let long = "a text that is longer than any token";
    assert_eq!(
        read(&[long, &format!("{long}, b"), &format!("{long}, b c")]),
        format!("{long}, b c")
    );
    // Half a character is completed by the next token.
    assert_eq!(read(&["é\u{fffd}", "é☃", "é☃!"]).chars().last(), Some('!'));
}

#[test]
fn sglangs_token_ids_tell_whole_texts_from_new_ones() {
    let read = |events: &[(&str, &[u32])]| {
        let mut messages: Vec<String> = Vec::new();
        for ((text, ids), tokens) in events.iter().zip(1..) {
            messages.push(format!(
                r#"{{"text":"{text}","output_ids":{ids:?},"meta_info":{{"completion_tokens":{tokens}}}}}"#
            ));
        }
        messages.push("+[DONE]".to_owned());
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let record = read("sglang-native", Counting::Output, &messages);
        assert_eq!(record.events.len(), events.len());
        record.text
    };
    // New texts that are all alike.
    let ha: (&str, &[u32]) = (" ha", &[7]);
    assert_eq!(read(&[ha; 8]), " ha".repeat(8));
    // Whole texts with a token without text in between.
    assert_eq!(
        read(&[("a", &[7]), ("a", &[7, 1]), ("aa", &[7, 1, 7])]),
        "aa"
    );
    // Whole texts with the ids of new tokens alone.
    assert_eq!(read(&[("a", &[7]), ("ab", &[8]), ("abc", &[9])]), "abc");
    // A token that has no text, in front of new texts.
    assert_eq!(read(&[("", &[1]), (" ha", &[7]), (" ha", &[7])]), " ha ha");
}

#[test]
fn the_choices_of_an_answer_have_their_own_spans() {
    for (backend, token) in [
        (
            "vllm",
            r#"{"choices":[{"index":N,"text":"x","finish_reason":null}]}"#,
        ),
        (
            "openai-chat",
            r#"{"choices":[{"index":N,"delta":{"content":"x"}}]}"#,
        ),
        (
            "openai-chat",
            r#"{"choices":[{"delta":{"content":"x"},"index":N}]}"#,
        ),
    ] {
        let of = |choice: usize| token.replace('N', &choice.to_string());
        let end = |choice: usize| {
            format!(
                r#"+{{"choices":[{{"index":{choice},"text":"","delta":{{}},"finish_reason":"length"}}]}}"#
            )
        };
        // Choice 0 at 10, 50 and 90 ms, choice 1 at 30 and 70 ms.
        let messages = [
            of(0),
            of(1),
            of(0),
            of(1),
            of(0),
            end(0),
            end(1),
            usage(5),
            "+[DONE]".into(),
        ];
        let record = read(
            backend,
            Counting::Output,
            &messages.each_ref().map(String::as_str),
        );
        assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
        let span = Nanos::from_millis(80 + 40);
        assert_eq!(
            record.choices,
            Some(Choices { count: 2, span }),
            "{backend}"
        );
        assert_eq!(record.events.len(), 5);
        // One choice of the two was cut off, with or without an end marker.
        for marker in ["+[DONE]", "+"] {
            let messages = [of(0), of(1), end(0), of(1), marker.into()];
            let record = read(
                backend,
                Counting::Output,
                &messages.each_ref().map(String::as_str),
            );
            assert_eq!(record.outcome, Outcome::Truncated);
            assert!(record.error.unwrap().contains("choice 1"));
        }
    }
    let both = r#"{"choices":[{"index":0,"text":"x"},{"index":1,"text":"y"}]}"#;
    let ends = both.replace(r#""}"#, r#"","finish_reason":"stop"}"#);
    let record = read("vllm", Counting::Output, &[both, both, &ends, "+[DONE]"]);
    let span = Nanos::from_millis(80);
    assert_eq!(
        (record.choices, record.events.len()),
        (Some(Choices { count: 2, span }), 3)
    );
    let one = read("vllm", Counting::Output, &[A, A, "+[DONE]"]);
    assert_eq!(one.choices, None);
    assert_eq!(one.events[0].kind, EventKind::Text);
}
