//! HTTP/2 servers that refuse streams, frame by frame after RFC 9113: what is provably not
//! processed is sent again, counted, and within limits.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inferometer_core::{Nanos, Outcome, Record};
use inferometer_wire::{Client, ClientSettings, Live, Wire};

use crate::common::{LAST, TOKEN, is_good, on_worker, request, settings};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A whole answer on `stream`.
fn answer(stream: u32) -> Vec<u8> {
    // ":status: 200" by its index, "content-type" by name index 31 (RFC 7541, appendix A).
    let mut headers = vec![0x88, 0x0f, 0x10, 17];
    headers.extend(b"text/event-stream");
    let body = format!("data: {TOKEN}\n\ndata: {LAST}\n\ndata: [DONE]\n\n");
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &headers);
    bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
    bytes
}

/// The streams of a connection, in the order in which their requests are complete; `None` at its
/// end.
struct Requests(TcpStream);

impl Requests {
    fn accept(mut socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.read_exact(&mut [0; 24]).unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self(socket)
    }

    fn send(&mut self, bytes: &[u8]) {
        // A client that has hung up makes this fail; that is its right.
        drop(self.0.write_all(bytes));
    }
}

impl Iterator for Requests {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.0.read_exact(&mut vec![0; length as usize]).ok()?;
            if head[3] == SETTINGS && head[4] == 0 {
                self.send(&frame(SETTINGS, 1, 0, &[]));
            }
            if stream > 0 && head[4] & END_STREAM > 0 && matches!(head[3], DATA | HEADERS) {
                return Some(stream);
            }
        }
    }
}

/// A server that lets `serve` have each connection, on a thread of its own.
fn server(serve: impl Fn(Requests) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    // The threads end with their connections, the last with the test.
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(Requests::accept(socket.unwrap())));
        }
    });
    url
}

/// Sends `count` requests at once; gives the records and the number of connections.
fn at_once(
    url: &str,
    count: usize,
    change: impl FnOnce(&mut ClientSettings),
) -> (Vec<Record>, u64) {
    let mut settings = settings("vllm", url);
    settings.http2 = true;
    change(&mut settings);
    on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let live = Arc::new(Live::default());
        let client = Client::new(&wire, 0, Arc::clone(&live));
        client.open_ahead(1).await.unwrap();
        let prepared = wire.prepare(&request(0)).unwrap();
        let mut records = vec![prepared.record(); count];
        let all = records
            .iter_mut()
            .map(|record| client.exchange(&prepared, record));
        futures_util::future::join_all(all).await;
        (records, live.read().opened)
    })
}

/// Answers `count` streams, then refuses all later ones of this connection.
fn closes_after(count: usize) -> impl Fn(Requests) + Send + Sync + 'static {
    move |mut requests| {
        let served: Vec<u32> = requests.by_ref().take(count).collect();
        let Some(&last) = served.last() else {
            return;
        };
        let mut goaway = last.to_be_bytes().to_vec();
        goaway.extend(0_u32.to_be_bytes());
        requests.send(&frame(GOAWAY, 0, 0, &goaway));
        for stream in served {
            requests.send(&answer(stream));
        }
        // The client closes when it has all answers.
        requests.by_ref().for_each(drop);
    }
}

#[test]
fn streams_above_the_last_number_of_a_goaway_are_sent_again() {
    let url = server(closes_after(10));
    let (records, opened) = at_once(&url, 40, |_| {});
    records.iter().for_each(is_good);
    // 30, 20 and 10 requests are refused by the first three connections.
    let resent: u32 = records
        .iter()
        .map(|record| u32::from(record.reconnects))
        .sum();
    assert_eq!((resent, opened), (60, 4));
    // The clock runs from the first attempt.
    let start = |record: &Record| record.send_start.unwrap();
    let first = records.iter().map(start).min().unwrap();
    let last = records.iter().map(start).max().unwrap();
    let end = records
        .iter()
        .map(|record| record.end.unwrap())
        .max()
        .unwrap();
    assert!(
        last.since(first) < end.since(first),
        "{first:?} {last:?} {end:?}"
    );
}

#[test]
fn a_connection_for_each_request_is_replaced_after_a_goaway_as_well() {
    let connections = AtomicUsize::new(0);
    let url = server(move |mut requests| {
        let number = connections.fetch_add(1, Ordering::Relaxed);
        let stream = requests.next().unwrap();
        if number == 0 {
            requests.send(&frame(GOAWAY, 0, 0, &[0; 8]));
            return;
        }
        requests.send(&answer(stream));
        requests.by_ref().for_each(drop);
    });
    let (records, opened) = at_once(&url, 1, |settings| {
        settings.connect = inferometer_wire::ConnectPolicy::PerRequest;
    });
    is_good(&records[0]);
    assert_eq!((records[0].reconnects, opened), (1, 2));
}

#[test]
fn refused_streams_are_sent_again_on_the_same_connection() {
    let url = server(|mut requests| {
        let mut refused = 0;
        while let Some(stream) = requests.next() {
            if refused < 6 {
                refused += 1;
                let reason = REFUSED_STREAM.to_be_bytes();
                requests.send(&frame(RST_STREAM, 0, stream, &reason));
            } else {
                requests.send(&answer(stream));
            }
        }
    });
    let (records, opened) = at_once(&url, 3, |_| {});
    records.iter().for_each(is_good);
    let resent: u32 = records
        .iter()
        .map(|record| u32::from(record.reconnects))
        .sum();
    assert_eq!((resent, opened), (6, 1));
}

#[test]
fn a_server_that_always_refuses_meets_a_limit() {
    let url = server(|mut requests| {
        while let Some(stream) = requests.next() {
            let reason = REFUSED_STREAM.to_be_bytes();
            requests.send(&frame(RST_STREAM, 0, stream, &reason));
        }
    });
    let (records, _) = at_once(&url, 1, |settings| {
        settings.timeouts.first_byte = Nanos::from_millis(200);
    });
    let record = &records[0];
    assert_eq!(record.outcome, Outcome::ConnectError, "{:?}", record.error);
    let error = record.error.as_deref().unwrap();
    assert!(
        error.contains("REFUSED_STREAM") && error.contains("(refused "),
        "{error}"
    );
    assert!(
        record.reconnects > 3 && record.reconnects < 30,
        "{}",
        record.reconnects
    );

    let url = server(|mut requests| {
        if requests.next().is_some() {
            requests.send(&frame(GOAWAY, 0, 0, &[0; 8]));
        }
    });
    let (records, opened) = at_once(&url, 2, |_| {});
    for record in &records {
        assert_eq!(record.outcome, Outcome::ConnectError, "{:?}", record.error);
        assert_eq!(record.reconnects, 99);
    }
    assert!(opened <= 200, "{opened}");
}

#[test]
fn streams_that_the_server_may_have_processed_are_not_sent_twice() {
    // All are below the last number, and none is answered.
    let url = server(|mut requests| {
        let streams: Vec<u32> = requests.by_ref().take(5).collect();
        let mut goaway = streams[4].to_be_bytes().to_vec();
        goaway.extend(0_u32.to_be_bytes());
        requests.send(&frame(GOAWAY, 0, 0, &goaway));
    });
    let (records, _) = at_once(&url, 5, |settings| {
        settings.connect = inferometer_wire::ConnectPolicy::Lazy;
    });
    for record in &records {
        assert_eq!(record.outcome, Outcome::ConnectError, "{:?}", record.error);
    }
}
