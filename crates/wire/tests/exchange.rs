//! Good exchanges, from the bytes of the request to the record.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    STREAM_HEAD, Server, Step, check_order, chunk, exchange, exchange_many, on_worker, settings, stream,
    write,
};
use servebench_core::{EventKind, Outcome};
use servebench_wire::{Client, Live, Wire};

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
    assert_eq!((record.outcome, record.status, record.error.clone()), (Outcome::Ok, Some(200), None));
    assert_eq!((record.text.as_str(), record.events.len()), ("Hello \"wörld", 3));
    assert_eq!((record.usage.prompt_tokens, record.usage.completion_tokens), (Some(7), Some(3)));
    assert_eq!(record.finish_reason.as_deref(), Some("stop"));
    assert_eq!(record.bytes_sent as usize, requests[0].len());
    assert!(record.marks.done.is_some() && record.marks.usage.is_some());
    assert!(!record.connection.reused && record.connection.connect.is_some());
    // One write, one read: every event but the last has only an upper bound.
    let coalesced: Vec<bool> = record.events.iter().map(|event| event.coalesced()).collect();
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
    assert_eq!((record.text.as_str(), record.other_text.as_str()), ("Hi", "Hmm.f{}"));
    assert_eq!(record.usage.completion_tokens, Some(6));
}

#[test]
fn each_events_stamp_is_that_of_its_own_read() {
    let event =
        |text: &str| chunk(&format!("data: {{\"choices\":[{{\"index\":0,\"text\":\"{text}\"}}]}}\n\n"));
    let gap = Duration::from_millis(20);
    let mut script = vec![Step::Read, write(STREAM_HEAD)];
    for text in ["a", "b", "c"] {
        script.extend([Step::Pause(gap), write(event(text))]);
    }
    script.extend([Step::Pause(gap), write([event("d"), event("e")].concat())]);
    script.push(write("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"));
    let record = exchange("vllm", script);
    assert_eq!((record.outcome, record.text.as_str()), (Outcome::Ok, "abcde"));
    let gaps: Vec<f64> =
        record.events.windows(2).map(|pair| pair[1].at.since(pair[0].at).as_millis_f64()).collect();
    for gap in &gaps[..3] {
        assert!((19.9..60.0).contains(gap), "{gaps:?}");
    }
    assert_eq!(gaps[3], 0.0);
    let coalesced: Vec<bool> = record.events.iter().map(|event| event.coalesced()).collect();
    assert_eq!(coalesced, [false, false, false, true, false]);
}

#[test]
fn connections_are_used_again() {
    let answer = || write(stream(&[r#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#, "[DONE]"]));
    let server = Server::start(vec![vec![Step::Read, answer(), Step::Read, answer(), Step::Read, answer()]]);
    let records = exchange_many(settings("openai", &server.url()), 3);
    assert_eq!(server.finish().len(), 3);
    let reused: Vec<bool> = records.iter().map(|record| record.connection.reused).collect();
    assert_eq!(reused, [false, true, true]);
    for record in &records {
        assert_eq!((record.outcome, record.reconnects, record.connection.id), (Outcome::Ok, 0, 0));
        check_order(record);
    }
}

#[test]
fn a_worker_that_is_late_still_knows_when_an_event_came() {
    let event = |text: &str| chunk(&format!("data: {{\"choices\":[{{\"text\":\"{text}\"}}]}}\n\n"));
    let pause = Step::Pause(Duration::from_millis(30));
    let end = chunk("data: [DONE]\n\n");
    let script =
        vec![Step::Read, write([STREAM_HEAD.into(), event("a")].concat()), pause.clone(), write(event("b"))];
    let script =
        [script, vec![Step::Pause(Duration::from_millis(80)), write([end, b"0\r\n\r\n".to_vec()].concat())]]
            .concat();
    let server = Server::start(vec![script]);
    let record = on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let live = Arc::new(Live::default());
        let client = Client::new(&wire, 0, Arc::clone(&live));
        let prepared = wire.prepare(&common::request(0)).unwrap();
        let mut record = prepared.record();
        let disturb = async {
            while live.read().events == 0 {
                tokio::task::yield_now().await;
            }
            // Something else keeps the worker's thread busy while the second event comes.
            std::thread::sleep(Duration::from_millis(70));
        };
        futures_util::future::join(client.exchange(&prepared, &mut record), disturb).await;
        record
    });
    server.finish();
    assert_eq!((record.outcome, record.text.as_str()), (Outcome::Ok, "ab"));
    let second = record.events[1];
    if second.kernel_stamped() {
        let gap = second.at.since(record.events[0].at).as_millis_f64();
        assert!((29.0..60.0).contains(&gap), "{gap} ms");
        assert!(second.lag_ns > 5_000_000, "{} ns", second.lag_ns);
    }
}
