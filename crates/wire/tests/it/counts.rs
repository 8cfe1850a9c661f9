//! Token counts of single events: which of them are known.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_core::Record;
use inferometer_wire::backend::find;
use inferometer_wire::offline::read_stream;

use crate::common::lines;

fn read(backend: &str, messages: &[String]) -> Record {
    let lines = lines(messages);
    read_stream(find(backend).unwrap(), lines.iter().map(String::as_bytes))
}

/// The tokens of the events of an answer whose messages report these counts, each with some text.
fn tokens(backend: &str, counts: &[i64]) -> Vec<u16> {
    let messages = counts.iter().zip(1..).map(|(count, number)| {
        let reason = if number == counts.len() {
            r#""length""#
        } else {
            "null"
        };
        match backend {
            "sglang-native" => format!(
                r#"{{"text":"{}","meta_info":{{"completion_tokens":{count},"finish_reason":{reason}}}}}"#,
                "word ".repeat(number)
            ),
            _ => format!(
                r#"{{"choices":[{{"index":0,"text":"x","delta":{{"content":"x"}},"finish_reason":{reason}}}],"usage":{{"completion_tokens":{count}}}}}"#
            ),
        }
    });
    let messages: Vec<String> = messages.chain(["[DONE]".to_owned()]).collect();
    let record = read(backend, &messages);
    assert_eq!(record.events.len(), counts.len());
    record.events.iter().map(|event| event.tokens).collect()
}

#[test]
fn a_running_count_gives_the_tokens_of_each_event() {
    for backend in ["vllm", "openai-chat", "sglang-native"] {
        assert_eq!(tokens(backend, &[1, 4, 6]), [1, 3, 2], "{backend}");
    }
}

#[test]
fn counts_that_do_not_grow_with_the_text_give_no_tokens_of_events() {
    for backend in ["vllm", "openai-chat", "sglang-native"] {
        for counts in [
            // A placeholder, and the whole count with the last text.
            [0, 0, 6],
            // The final usage with every event.
            [6, 6, 6],
            // A count that starts again.
            [2, 4, 1],
            // A placeholder that no answer can have.
            [-1, 2, 6],
        ] {
            assert_eq!(tokens(backend, &counts), [0; 3], "{backend} {counts:?}");
        }
        assert_eq!(tokens(backend, &[-1]), [0], "{backend}");
    }
}

#[test]
fn lists_of_tokens_that_are_empty_beside_text_give_no_tokens_of_events() {
    for backend in ["vllm", "openai-chat"] {
        let event = |ids: &str| {
            format!(
                r#"{{"choices":[{{"index":0,"text":"x","delta":{{"content":"x"}},"token_ids":{ids}}}]}}"#
            )
        };
        let of = |lists: [&str; 2]| {
            let record = read(
                backend,
                &[event(lists[0]), event(lists[1]), "[DONE]".into()],
            );
            let events = record.events.iter();
            events.map(|event| event.tokens).collect::<Vec<u16>>()
        };
        assert_eq!(of(["[7]", "[8,9]"]), [1, 2], "{backend}");
        assert_eq!(of(["[]", "[7,8,9]"]), [0, 0], "{backend}");
    }
}
