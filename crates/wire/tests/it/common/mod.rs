//! A server that follows a script, and a client to point at it.
#![expect(clippy::unwrap_used, reason = "a test server may panic")]
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod tls;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use inferometer_core::{EventKind, Nanos, Outcome, Prompt, Record, Request};
use inferometer_wire::backend::find;
use inferometer_wire::offline::read_stream;
use inferometer_wire::{Client, ClientSettings, Live, ProxySettings, Wire};

/// Two events of a stream.
pub(crate) const TOKEN: &str = r#"{"choices":[{"index":0,"text":"x","finish_reason":null}]}"#;
pub(crate) const LAST: &str = r#"{"choices":[{"index":0,"text":"y","finish_reason":"length"}]}"#;

/// A whole stream of them.
pub(crate) fn good() -> Vec<u8> {
    stream(&[TOKEN, LAST, "[DONE]"])
}

/// Fails unless the record holds just that.
#[track_caller]
pub(crate) fn is_good(record: &Record) {
    assert_eq!(
        (record.outcome, record.text.as_str()),
        (Outcome::Ok, "xy"),
        "{:?}",
        record.error
    );
}

/// What the server does next on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads one whole request.
    Read,
    /// Writes these bytes in one call.
    Write(Vec<u8>),
    /// Writes them one at a time.
    Bytewise(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Notes the time: see [`Server::marks`].
    Mark,
    /// Waits until the client has counted this many token events.
    Seen(Arc<Live>, u64),
    /// Ends the connection with a reset instead of a proper close.
    Reset,
    /// Closes the writing half, and continues to read.
    HalfClose,
    /// Waits until the client hangs up.
    UntilClosed,
    /// Writes these bytes until the client hangs up.
    Endless(Vec<u8>),
}

pub(crate) fn write(text: impl Into<Vec<u8>>) -> Step {
    Step::Write(text.into())
}

/// A server that plays one script for each connection, in order, and then is gone.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    /// When the script reached its [`Step::Mark`]s.
    pub(crate) marks: Arc<Mutex<Vec<Nanos>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(connections: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let marks = Arc::new(Mutex::new(Vec::new()));
        let (seen, noted) = (Arc::clone(&requests), Arc::clone(&marks));
        let thread = std::thread::spawn(move || {
            for script in connections {
                let (stream, _) = listener.accept().unwrap();
                play(stream, script, &seen, &noted);
            }
        });
        Self {
            port,
            requests,
            marks,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits for the script to end, and gives the requests that came.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.thread.take().unwrap().join().unwrap();
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .map(|request| String::from_utf8(request.clone()).unwrap())
            .collect()
    }
}

fn play(
    mut stream: TcpStream,
    script: Vec<Step>,
    seen: &Mutex<Vec<Vec<u8>>>,
    marks: &Mutex<Vec<Nanos>>,
) {
    stream.set_nodelay(true).unwrap();
    for step in script {
        // A client that has hung up makes writes fail; that is its right.
        match step {
            Step::Read => match read_request(&mut stream) {
                Some(request) => seen.lock().unwrap().push(request),
                None => return,
            },
            Step::Write(bytes) => drop(stream.write_all(&bytes)),
            Step::Bytewise(bytes) => bytes
                .chunks(1)
                .for_each(|byte| drop(stream.write_all(byte))),
            Step::Pause(span) => std::thread::sleep(span),
            Step::Mark => marks.lock().unwrap().push(inferometer_os::clock::now()),
            Step::Seen(live, events) => {
                while live.read().events < events {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            Step::Reset => {
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                return;
            }
            Step::HalfClose => drop(stream.shutdown(std::net::Shutdown::Write)),
            Step::UntilClosed => while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {},
            Step::Endless(bytes) => while stream.write_all(&bytes).is_ok() {},
        }
    }
}

/// One request with its body, or nothing if the client has closed.
fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    request.extend(body);
    Some(request)
}

/// Messages as server-sent events.
pub(crate) fn lines<M: std::fmt::Display>(messages: &[M]) -> Vec<String> {
    let event = |message| format!("data: {message}\n\n");
    messages.iter().map(event).collect()
}

/// The record of an answer of `backend` with these messages, which come in one read.
pub(crate) fn read(backend: &str, messages: &[&str]) -> Record {
    let stream = lines(messages).concat();
    read_stream(find(backend).unwrap(), [stream.as_bytes()])
}

/// The kinds of an answer's events.
pub(crate) fn kinds(record: &Record) -> Vec<EventKind> {
    record.events.iter().map(|event| event.kind).collect()
}

/// A stream as servers send it: chunked, one chunk an event.
pub(crate) fn stream(events: &[&str]) -> Vec<u8> {
    let mut bytes = STREAM_HEAD.as_bytes().to_vec();
    for event in events {
        bytes.extend(chunk(&format!("data: {event}\n\n")));
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

pub(crate) fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

pub(crate) const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

pub(crate) fn json_answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn settings(backend: &str, url: &str) -> ClientSettings {
    let mut settings = ClientSettings::new(find(backend).unwrap(), url, "m");
    settings.proxy = ProxySettings::Off;
    settings.keep_text = inferometer_wire::KeepText::Always;
    settings
}

pub(crate) fn request(index: usize) -> Request {
    Request {
        index,
        id: Some(format!("r-{index}")),
        prompt: Prompt::Text("Say héllo".into()),
        prompt_tokens: 3,
        output_tokens: Some(4),
        ..Request::default()
    }
}

/// Runs `work` on a worker's runtime.
pub(crate) fn on_worker<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work())
}

/// Exchanges `count` requests one after the other.
pub(crate) fn exchange_many(settings: ClientSettings, count: usize) -> Vec<Record> {
    exchange_seen(settings, count, &Arc::default())
}

/// Like [`exchange_many`], with counters that the server may watch.
pub(crate) fn exchange_seen(
    settings: ClientSettings,
    count: usize,
    live: &Arc<Live>,
) -> Vec<Record> {
    on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let client = Client::new(&wire, 0, Arc::clone(live));
        let mut records = Vec::new();
        for index in 0..count {
            let prepared = wire.prepare(&request(index)).unwrap();
            let mut record = prepared.record();
            client.exchange(&prepared, &mut record).await;
            records.push(record);
        }
        records
    })
}

/// Exchanges one request with a server that plays `script`.
pub(crate) fn exchange(backend: &str, script: Vec<Step>) -> Record {
    exchange_with(backend, script, |_| {})
}

pub(crate) fn exchange_with(
    backend: &str,
    script: Vec<Step>,
    change: impl FnOnce(&mut ClientSettings),
) -> Record {
    let server = Server::start(vec![script]);
    let mut settings = settings(backend, &server.url());
    change(&mut settings);
    let record = exchange_many(settings, 1).remove(0);
    server.finish();
    check_order(&record);
    record
}

/// Instants of one record never go backwards.
pub(crate) fn check_order(record: &Record) {
    let marks = &record.marks;
    // The answer may arrive before the call that wrote the request returns.
    assert!(record.send_start <= record.send_end);
    let mut instants = vec![
        record.send_start,
        marks.first_byte,
        marks.headers,
        marks.first_event,
    ];
    instants.extend(record.events.iter().map(|event| Some(event.at)));
    instants.push(record.end);
    let known: Vec<Nanos> = instants.into_iter().flatten().collect();
    assert!(known.is_sorted(), "{known:?}");
}

/// The record of an answer that was not streamed.
pub(crate) fn whole(backend: &str, body: &str) -> Record {
    exchange_with(
        backend,
        vec![Step::Read, write(json_answer("200 OK", body))],
        |settings| settings.body.stream = false,
    )
}
