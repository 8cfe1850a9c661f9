//! Good exchanges, from the bytes of the request to the record.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    STREAM_HEAD, Server, Step, check_order, chunk, exchange_many, exchange_seen, on_worker,
    settings, stream, write,
};
use inferometer_core::{EventKind, Nanos, Outcome};
use inferometer_wire::{Client, Live, Wire};

#[test]
fn a_completions_stream_becomes_a_record() {
    let answer = stream(&[
        r#"{"id":"c","choices":[{"index":0,"text":"Hello","finish_reason":null}]}"#,
        r#"{"id":"c","choices":[{"index":0,"text":" \"w","finish_reason":null}]}"#,
        r#"{"id":"c","choices":[{"index":0,"text":"örld","finish_reason":"stop"}]}"#,
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
        "[DONE]",
    ]);
    let server = Server::start(vec![vec![Step::Read, write(answer)]]);
    let mut records = exchange_many(settings("vllm", &server.url()), 1);
    let record = records.remove(0);
    let requests = server.finish();
    assert_eq!(
        requests[0].split("\r\n\r\n").nth(1).unwrap(),
        r#"{"model": "m", "prompt": "Say h\u00e9llo", "repetition_penalty": 1.0, "max_tokens": 4, "logprobs": null, "stream": true, "stream_options": {"include_usage": true}}"#
    );
    assert!(requests[0].starts_with("POST /v1/completions HTTP/1.1\r\n"));
    assert!(requests[0].contains("\r\nx-request-id: r-0\r\n"));
    check_order(&record);
    assert_eq!(
        (record.outcome, record.status, record.error.clone()),
        (Outcome::Ok, Some(200), None)
    );
    assert_eq!(
        (record.text.as_str(), record.events.len()),
        ("Hello \"wörld", 3)
    );
    assert_eq!(
        (record.usage.prompt_tokens, record.usage.completion_tokens),
        (Some(7), Some(3))
    );
    assert_eq!(record.finish_reason.as_deref(), Some("stop"));
    assert_eq!(record.bytes_sent as usize, requests[0].len());
    assert!(record.marks.done.is_some() && record.marks.usage.is_some());
    assert!(!record.connection.reused && record.connection.connect.is_some());
    // One write, one read: every event but the last has only an upper bound.
    let coalesced: Vec<bool> = record
        .events
        .iter()
        .map(|event| event.coalesced())
        .collect();
    assert_eq!(coalesced, [true, true, false]);
}

#[test]
fn a_chat_stream_becomes_a_record() {
    let answer = stream(&[
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning":"m."}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":6}}"#,
        "[DONE]",
    ]);
    let server = Server::start(vec![vec![Step::Read, write(answer)]]);
    let mut records = exchange_many(settings("openai-chat", &server.url()), 1);
    let record = records.remove(0);
    let requests = server.finish();
    assert!(requests[0].ends_with(
        r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Say h\u00e9llo"}]}], "max_completion_tokens": 4, "stream": true, "stream_options": {"include_usage": true}}"#
    ));
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    let kinds: Vec<EventKind> = record.events.iter().map(|event| event.kind).collect();
    use EventKind::{Blank, Reasoning, Text, ToolCall};
    assert_eq!(kinds, [Reasoning, Reasoning, Text, Blank, ToolCall]);
    assert_eq!(
        (record.text.as_str(), record.other_text.as_str()),
        ("Hi", "Hmm.f{}")
    );
    assert_eq!(record.usage.completion_tokens, Some(6));
}

/// How far a converted kernel stamp may be off.
const ERROR: Nanos = Nanos::from_millis(1);

fn token(text: &str) -> Vec<u8> {
    chunk(&format!(
        "data: {{\"choices\":[{{\"index\":0,\"text\":\"{text}\"}}]}}\n\n"
    ))
}

#[test]
fn each_events_stamp_is_that_of_its_own_read() {
    let live = Arc::new(Live::default());
    let mut script = vec![Step::Read, write(STREAM_HEAD)];
    for (number, text) in ["a", "b", "c"].into_iter().enumerate() {
        let seen = Step::Seen(Arc::clone(&live), number as u64 + 1);
        script.extend([
            Step::Mark,
            write(token(text)),
            seen,
            Step::Pause(Duration::from_millis(5)),
        ]);
    }
    script.extend([
        Step::Mark,
        write([token("d"), token("e")].concat()),
        Step::Seen(Arc::clone(&live), 5),
    ]);
    script.extend([Step::Mark, write("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")]);
    let server = Server::start(vec![script]);
    let record = exchange_seen(settings("vllm", &server.url()), 1, &live).remove(0);
    let marks = server.marks.lock().unwrap().clone();
    server.finish();
    assert_eq!(
        (record.outcome, record.text.as_str()),
        (Outcome::Ok, "abcde")
    );
    let at: Vec<Nanos> = record.events.iter().map(|event| event.at).collect();
    // Each event came after its own write began, and before the next one did.
    for (event, mark) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)] {
        assert!(
            at[event] + ERROR >= marks[mark] && at[event] <= marks[mark + 1],
            "{at:?} {marks:?}"
        );
    }
    assert_eq!(at[3], at[4]);
    let coalesced: Vec<bool> = record
        .events
        .iter()
        .map(|event| event.coalesced())
        .collect();
    assert_eq!(coalesced, [false, false, false, true, false]);
}

#[test]
fn connections_are_used_again() {
    let answer = || {
        write(stream(&[
            r#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#,
            "[DONE]",
        ]))
    };
    let server = Server::start(vec![vec![
        Step::Read,
        answer(),
        Step::Read,
        answer(),
        Step::Read,
        answer(),
    ]]);
    let records = exchange_many(settings("openai", &server.url()), 3);
    assert_eq!(server.finish().len(), 3);
    let reused: Vec<bool> = records
        .iter()
        .map(|record| record.connection.reused)
        .collect();
    assert_eq!(reused, [false, true, true]);
    for record in &records {
        assert_eq!(
            (record.outcome, record.reconnects, record.connection.id),
            (Outcome::Ok, 0, 0)
        );
        check_order(record);
    }
}

#[test]
fn a_late_worker_still_knows_when_an_event_arrived() {
    let live = Arc::new(Live::default());
    let seen = |events| Step::Seen(Arc::clone(&live), events);
    let end = [chunk("data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat();
    let script = vec![
        Step::Read,
        write([STREAM_HEAD.into(), token("a")].concat()),
        seen(1),
        Step::Pause(Duration::from_millis(5)),
        write(token("b")),
        Step::Pause(Duration::from_millis(20)),
        Step::Mark,
        seen(2),
        write(end),
    ];
    let server = Server::start(vec![script]);
    let marks = Arc::clone(&server.marks);
    let record = on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let client = Client::new(&wire, 0, Arc::clone(&live));
        let prepared = wire.prepare(&crate::common::request(0)).unwrap();
        let mut record = prepared.record();
        let disturb = async {
            while live.read().events == 0 {
                tokio::task::yield_now().await;
            }
            // Something else keeps the worker's thread until long after the second event has come.
            while marks.lock().unwrap().is_empty() {
                std::thread::sleep(Duration::from_micros(200));
            }
        };
        futures_util::future::join(client.exchange(&prepared, &mut record), disturb).await;
        record
    });
    server.finish();
    assert_eq!((record.outcome, record.text.as_str()), (Outcome::Ok, "ab"));
    let second = record.events[1];
    let mark = marks.lock().unwrap()[0];
    if second.kernel_stamped() {
        // It was read after the mark, but came 20 ms before.
        assert!(second.at < mark, "{:?} {mark:?}", second.at);
        assert!(second.lag_ns > 5_000_000, "{} ns", second.lag_ns);
    }
}
