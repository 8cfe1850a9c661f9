//! Many exchanges at once with a server that fails in mixed ways: each gets exactly its own
//! outcome, and no failure spills over to another request of the same connection.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "it/common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use common::{STREAM_HEAD, chunk, json_answer, on_worker, request, settings, stream};
use futures_util::StreamExt;
use inferometer_core::{Outcome, OutcomeCounts, Record};
use inferometer_wire::{Client, Live, Wire};

const REQUESTS: usize = 4_000;
const AT_ONCE: usize = 48;
const TOKEN: &str = r#"{"choices":[{"index":0,"text":"x","finish_reason":null}]}"#;
const LAST: &str = r#"{"choices":[{"index":0,"text":"y","finish_reason":"length"}]}"#;

/// What the server does to request `index`, and whether it closes the connection afterwards.
fn fate(index: usize) -> (Outcome, Vec<u8>, bool) {
    let begun = [
        STREAM_HEAD.as_bytes(),
        &chunk(&format!("data: {TOKEN}\n\n")),
    ]
    .concat();
    // A multiplier without common factors with the modulus mixes the fates of neighbours.
    match index * 7 % 20 {
        0 => (
            Outcome::HttpError,
            json_answer("500 Internal Server Error", "{}"),
            false,
        ),
        1 => (
            Outcome::StreamError,
            stream(&[TOKEN, r#"{"error":"full"}"#, "[DONE]"]),
            false,
        ),
        2 => (Outcome::Truncated, begun, true),
        3 => (Outcome::Truncated, stream(&[TOKEN]), false),
        4 => (Outcome::Empty, stream(&["[DONE]"]), false),
        5 => (
            Outcome::Malformed,
            stream(&[TOKEN, "{", LAST, "[DONE]"]),
            false,
        ),
        6 => (
            Outcome::WrongContentType,
            json_answer("200 OK", "{}"),
            false,
        ),
        7 => (Outcome::ConnectError, Vec::new(), true),
        8 => (Outcome::Ok, stream(&[TOKEN, LAST, "[DONE]"]), true),
        _ => (Outcome::Ok, stream(&[TOKEN, TOKEN, LAST, "[DONE]"]), false),
    }
}

/// Serves one connection until a fate closes it.
fn serve(stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let (mut index, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => {}
            }
            if let Some(id) = line.strip_prefix("x-request-id: r-") {
                index = id.trim().parse().ok();
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        if reader.read_exact(&mut vec![0; length]).is_err() {
            return;
        }
        let (_, answer, close) = fate(index.unwrap());
        if writer.write_all(&answer).is_err() || close {
            return;
        }
    }
}

#[test]
fn every_request_gets_exactly_its_own_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The threads end with their connections, the last with the test.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    let live = Arc::new(Live::default());
    let records: Vec<Record> = on_worker(async || {
        let wire = Wire::new(settings("vllm", &format!("http://127.0.0.1:{port}"))).unwrap();
        let client = Client::new(&wire, 0, Arc::clone(&live));
        let (client, wire) = (&client, &wire);
        let exchanges = (0..REQUESTS).map(|index| async move {
            let prepared = wire.prepare(&request(index)).unwrap();
            let mut record = prepared.record();
            client.exchange(&prepared, &mut record).await;
            record
        });
        futures_util::stream::iter(exchanges)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    });
    let mut counts = OutcomeCounts::default();
    for record in &records {
        let (wanted, ..) = fate(record.index);
        assert_eq!(
            record.outcome, wanted,
            "request {}: {:?}",
            record.index, record.error
        );
        assert!(
            record.reconnects
                <= u16::from(wanted == Outcome::ConnectError || !record.connection.reused)
        );
        assert!(record.end >= record.send_start && record.send_start.is_some());
        counts.add(record.outcome);
    }
    assert_eq!(
        (counts.total(), counts.get(Outcome::Ok)),
        (REQUESTS, REQUESTS * 12 / 20)
    );
    let seen = live.read();
    assert_eq!(
        (seen.ok + seen.failed, seen.in_flight),
        (REQUESTS as u64, 0)
    );
    assert_eq!(
        seen.events as usize,
        records
            .iter()
            .map(|record| record.events.len())
            .sum::<usize>()
    );
    // Good answers keep their connection, unless the server closes it.
    assert!(
        (seen.opened as usize) < REQUESTS / 2,
        "{} connections",
        seen.opened
    );
}
