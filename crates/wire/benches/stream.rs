//! Cost of one server-sent event: our client beside a bare reader of the same stream on the same
//! machine.
//!
//! `cargo bench -p inferometer-wire` prints processor time of the reading thread for each event,
//! which other work on the machine disturbs less than elapsed time, and events for each second of
//! that time.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic, and prints its table"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use inferometer_core::{Outcome, Prompt, Request};
use inferometer_os::clock;
use inferometer_wire::backend::find;
use inferometer_wire::{Client, ClientSettings, Live, ProxySettings, Wire};

const EVENTS: usize = 200_000;
const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// An event as vLLM sends it; `fast` has the same shape every time, the other never.
fn event(number: usize, fast: bool) -> String {
    let text = ["Hello", " world", " of", " tokens"][number % 4];
    let extra = if fast {
        String::new()
    } else {
        format!(r#","n":{number}"#)
    };
    let data = format!(
        r#"data: {{"id":"chatcmpl-97ec8f3331171407","object":"chat.completion.chunk","created":1795490807,"model":"tiny","choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":null,"token_ids":null}}]{extra}}}"#
    );
    format!("{:x}\r\n{data}\n\n\r\n", data.len() + 2)
}

fn answer(per_write: usize, fast: bool) -> Vec<Vec<u8>> {
    let mut writes = vec![HEAD.as_bytes().to_vec()];
    let events: Vec<String> = (0..EVENTS).map(|number| event(number, fast)).collect();
    writes.extend(
        events
            .chunks(per_write)
            .map(|part| part.concat().into_bytes()),
    );
    writes.push(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n".to_vec());
    writes
}

fn serve(writes: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 16_384];
        let _ = stream.read(&mut request).unwrap();
        for bytes in writes {
            stream.write_all(&bytes).unwrap();
        }
    });
    port
}

/// Reads to the end and counts line feeds, which is the least that any reader must do.
fn bare(port: u16) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    let start = clock::thread_cpu();
    let mut buffer = vec![0; 65_536];
    let mut lines = 0;
    loop {
        let length = stream.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        lines += memchr::memchr_iter(b'\n', &buffer[..length]).count();
    }
    assert!(lines > EVENTS);
    clock::thread_cpu().since(start).as_secs_f64()
}

fn ours(port: u16) -> f64 {
    let mut settings = ClientSettings::new(
        find("openai-chat").unwrap(),
        format!("http://127.0.0.1:{port}"),
        "tiny",
    );
    settings.proxy = ProxySettings::Off;
    let wire = Wire::new(settings).unwrap();
    let request = Request {
        prompt: Prompt::Text("Hi".into()),
        ..Request::default()
    };
    let prepared = wire.prepare(&request).unwrap();
    let mut record = prepared.record();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let start = clock::thread_cpu();
    runtime.block_on(async {
        Client::new(&wire, 0, Arc::<Live>::default())
            .exchange(&prepared, &mut record)
            .await;
    });
    let used = clock::thread_cpu().since(start).as_secs_f64();
    assert_eq!(
        (record.outcome, record.events.len()),
        (Outcome::Ok, EVENTS),
        "{:?}",
        record.error
    );
    used
}

fn main() {
    println!(
        "{:>16} {:>8} {:>14} {:>14} {:>14}",
        "events/write", "shape", "bare µs/event", "ours µs/event", "ours events/s"
    );
    for (per_write, fast) in [(1, true), (16, true), (16, false), (64, true)] {
        let median = |run: fn(u16) -> f64| {
            let mut times: Vec<f64> = (0..5)
                .map(|_| run(serve(answer(per_write, fast))))
                .collect();
            times.sort_by(f64::total_cmp);
            times[2] * 1e6 / EVENTS as f64
        };
        let (bare, ours) = (median(bare), median(ours));
        let shape = if fast { "same" } else { "other" };
        println!(
            "{per_write:>16} {shape:>8} {bare:>14.3} {ours:>14.3} {:>14.0}",
            1e6 / ours
        );
    }
}
