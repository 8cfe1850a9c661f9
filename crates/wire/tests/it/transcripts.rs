//! What real servers sent, replayed.

use crate::common::{
    Server, Step, check_order, exchange, exchange_many, exchange_with, settings, write,
};
use inferometer_core::{EventKind, Outcome, Record};

fn transcript(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/data/transcripts/{name}.http",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn replay(backend: &str, name: &str) -> Record {
    let record = exchange(backend, vec![Step::Read, write(transcript(name))]);
    let bytewise = exchange(backend, vec![Step::Read, Step::Bytewise(transcript(name))]);
    // However the bytes come, the facts are the same; only the stamps differ.
    let facts = |record: &Record| {
        let kinds: Vec<EventKind> = record.events.iter().map(|event| event.kind).collect();
        let text = (
            record.text.clone(),
            record.other_text.clone(),
            record.error.clone(),
        );
        (
            record.outcome,
            kinds,
            text,
            record.usage,
            record.finish_reason.clone(),
            record.bytes_received,
        )
    };
    assert_eq!(facts(&record), facts(&bytewise), "{name}");
    record
}

struct Expected {
    name: &'static str,
    events: usize,
    usage: Option<(u32, u32)>,
    done: bool,
}

const fn good(
    name: &'static str,
    events: usize,
    usage: Option<(u32, u32)>,
    done: bool,
) -> Expected {
    Expected {
        name,
        events,
        usage,
        done,
    }
}

/// The lone closing message of llama.cpp and transformers is not a token event; vLLM packs two tokens
/// into one message of its chat stream.
const STREAMS: [Expected; 12] = [
    good("llamacpp-completions-stream", 12, Some((5, 12)), true),
    good("llamacpp-completions-stream-usage", 12, Some((5, 12)), true),
    good("llamacpp-chat-stream", 12, None, true),
    good("llamacpp-chat-stream-usage", 12, Some((32, 12)), true),
    good("vllm-completions-stream", 12, None, true),
    good("vllm-completions-stream-usage", 12, Some((5, 12)), true),
    good("vllm-chat-stream", 12, None, true),
    good("vllm-chat-stream-usage", 11, Some((32, 12)), true),
    good("transformers-completions-stream", 12, Some((5, 12)), false),
    good(
        "transformers-completions-stream-usage",
        12,
        Some((5, 12)),
        false,
    ),
    good("transformers-chat-stream", 12, Some((32, 12)), false),
    good("transformers-chat-stream-usage", 12, Some((32, 12)), false),
];

#[test]
fn good_streams_of_real_servers_are_read_in_full() {
    let mut found = Vec::new();
    for expected in &STREAMS {
        let backend = if expected.name.contains("chat") {
            "openai-chat"
        } else {
            "vllm"
        };
        let record = replay(backend, expected.name);
        assert_eq!(
            record.outcome,
            Outcome::Ok,
            "{}: {:?}",
            expected.name,
            record.error
        );
        assert_eq!(
            record.finish_reason.as_deref(),
            Some("length"),
            "{}",
            expected.name
        );
        assert!(
            record.text.split_whitespace().count() > 3,
            "{}: {}",
            expected.name,
            record.text
        );
        let usage = record
            .usage
            .prompt_tokens
            .zip(record.usage.completion_tokens);
        found.push((
            expected.name,
            record.events.len(),
            usage,
            record.marks.done.is_some(),
        ));
    }
    let wanted: Vec<_> = STREAMS
        .iter()
        .map(|e| (e.name, e.events, e.usage, e.done))
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_json_body_instead_of_a_stream_is_an_outcome_of_its_own() {
    for name in ["cyllama-chat-stream", "cyllama-chat-stream-usage"] {
        let record = replay("openai-chat", name);
        assert_eq!(record.outcome, Outcome::WrongContentType);
        assert!(record.error.unwrap().contains("application/json"));
    }
    let plain = |settings: &mut inferometer_wire::ClientSettings| settings.body.stream = false;
    let script = vec![Step::Read, write(transcript("cyllama-chat-stream"))];
    let record = exchange_with("openai-chat", script, plain);
    assert_eq!(
        (record.outcome, record.usage.completion_tokens),
        (Outcome::Ok, Some(12))
    );
    assert!(record.events.is_empty() && record.text.contains("psychological"));
}

#[test]
fn plain_answers_have_no_first_token() {
    for name in [
        "llamacpp-completions-plain",
        "vllm-completions-plain",
        "transformers-completions-plain",
    ] {
        let script = vec![Step::Read, write(transcript(name))];
        let record = exchange_with("openai", script, |settings| settings.body.stream = false);
        assert_eq!(record.outcome, Outcome::Ok, "{name}: {:?}", record.error);
        assert_eq!(record.usage.completion_tokens, Some(12), "{name}");
        assert_eq!(record.finish_reason.as_deref(), Some("length"), "{name}");
        assert!(record.events.is_empty() && record.first_token().is_none() && record.end.is_some());
        check_order(&record);
    }
}

#[test]
fn refusals_keep_status_and_reason() {
    for (name, status, words) in [
        ("llamacpp-error-too-long", 400, "exceed_context_size_error"),
        ("llamacpp-error-bad-json", 400, "error"),
        ("vllm-error-too-long", 400, "maximum context length is 4096"),
        (
            "vllm-error-unknown-model",
            404,
            "`no-such-model` does not exist",
        ),
        ("vllm-error-bad-json", 400, "JSON decode error"),
        ("transformers-error-unknown-field", 422, "--omit-field"),
        (
            "transformers-error-unknown-model",
            400,
            "Server is pinned to",
        ),
    ] {
        let record = replay("vllm", name);
        assert_eq!(
            (record.outcome, record.status),
            (Outcome::HttpError, Some(status)),
            "{name}"
        );
        let error = record.error.unwrap();
        assert!(error.contains(words), "{name}: {error}");
        assert!(error.starts_with(&format!("HTTP {status}")), "{error}");
    }
}

#[test]
fn a_server_that_closes_after_each_stream_loses_no_request() {
    let name = "llamacpp-completions-stream";
    let server = Server::start(
        (0..5)
            .map(|_| vec![Step::Read, write(transcript(name))])
            .collect(),
    );
    let records = exchange_many(settings("llama.cpp", &server.url()), 5);
    server.finish();
    for record in records {
        assert_eq!(
            (record.outcome, record.events.len()),
            (Outcome::Ok, 12),
            "{:?}",
            record.error
        );
        check_order(&record);
    }
}
