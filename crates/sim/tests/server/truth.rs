//! The truth log tells what happened.

use std::io::Read;

use inferometer_core::Nanos;
use inferometer_os::clock;
use inferometer_sim::engine::ClusterConfig;
use inferometer_sim::{Delay, SimError, SimSettings, TruthOutcome, TruthRecord, start};
use serde_json::json;

use crate::client::{Client, get, judge, post};
use crate::{fast, serve};

#[test]
fn stamps_are_between_the_client_s_send_and_receipt() {
    let server = serve(SimSettings {
        ttft: Delay::fixed(20.0),
        itl: Delay::fixed(5.0),
        ..SimSettings::default()
    });
    let mut client = Client::connect(server.addr());
    let body = json!({"prompt": "x", "max_tokens": 8, "stream": true}).to_string();
    let sent = clock::now();
    client.send(
        "POST",
        "/v1/completions",
        &[("x-request-id", "mine")],
        body.as_bytes(),
    );
    let answer = client.answer(usize::MAX);
    let record = &server.truth()[0];
    assert_eq!(
        (record.id.as_deref(), record.status, record.output_tokens),
        (Some("mine"), 200, 8)
    );
    assert!(record.accepted <= record.first_byte && sent <= record.first_byte);
    assert!(record.first_byte <= record.body);
    assert!(Some(record.body) <= record.admitted);
    assert_eq!(record.events.len(), 8);
    for (number, (stamp, (_, read))) in record.events.iter().zip(&answer.reads).enumerate() {
        // Never before it is due, never after the client has it.
        let due = record.body + Nanos::from_millis(20 + 5 * number as u64);
        assert!(
            due <= *stamp && stamp <= read,
            "event {number}: {due:?} {stamp:?} {read:?}"
        );
    }
    assert!(record.end >= record.events.last().copied());
    assert_eq!(record.tokens, None);
    assert_eq!(server.lateness().events, 8);
    assert!(server.lateness().max >= record.max_late);
}

#[test]
fn the_log_is_served_line_by_line_and_can_be_reset() {
    let server = serve(SimSettings {
        tokens_per_event: 3,
        ..fast()
    });
    for tokens in 1..=4 {
        post(
            server.addr(),
            "/v1/completions",
            &[],
            &json!({"prompt": "x", "max_tokens": tokens, "stream": true}),
        );
    }
    let lines = |path: &str| {
        let text = get(server.addr(), path).text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect::<Vec<TruthRecord>>()
    };
    assert_eq!(lines("/truth"), server.truth());
    assert_eq!(
        lines("/truth?since=2")
            .iter()
            .map(|record| record.index)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(server.truth()[3].tokens, Some(vec![3, 1]));
    assert_eq!(
        get(server.addr(), "/truth/summary").json()["events"],
        1 + 1 + 1 + 2
    );
    assert_eq!(
        post(server.addr(), "/truth/reset", &[], &json!({})).status,
        200
    );
    assert!(lines("/truth").is_empty());
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let server = serve(SimSettings {
        ttft: Delay::fixed(1.0),
        itl: Delay::fixed(1.0),
        ..fast()
    });
    let mut client = Client::connect(server.addr());
    client.send(
        "POST",
        "/v1/completions",
        &[],
        json!({"prompt": "x", "max_tokens": 100_000, "stream": true})
            .to_string()
            .as_bytes(),
    );
    client.answer(1000);
    drop(client);
    while server.truth().is_empty() {
        std::thread::yield_now();
    }
    let record = &server.truth()[0];
    assert_eq!(record.outcome, TruthOutcome::ClientGone);
    assert!(record.output_tokens < 100_000 && !record.events.is_empty());
}

#[test]
fn the_kernel_s_stamps_are_logged_with_the_server_s_own() {
    for (tokens_per_event, flood) in [(1, None), (3, None), (1, Some(16))] {
        let server = serve(SimSettings {
            kernel_stamps: true,
            tokens_per_event,
            flood,
            ..fast()
        });
        let mut client = Client::connect(server.addr());
        // More than one batch of stamps, and a second answer on the same connection.
        for tokens in [100, 7] {
            let body = json!({"prompt": "x", "max_tokens": tokens, "stream": true}).to_string();
            client.send("POST", "/v1/completions", &[], body.as_bytes());
            assert_eq!(client.answer(usize::MAX).status, 200);
        }
        for record in server.truth() {
            assert_eq!(record.kernel_sent.is_some(), cfg!(target_os = "linux"));
            let Some(left) = &record.kernel_sent else {
                continue;
            };
            assert_eq!(left.len(), record.events.len());
            let mut previous = Nanos::ZERO;
            for (wrote, left) in record.events.iter().zip(left) {
                let left = left.expect("on loopback every write leaves at once");
                // The wall clock is known to some microseconds; a busy host may take the processor
                // away.
                assert!(
                    left.0 + 2_000_000 > wrote.0 && left >= previous,
                    "{wrote:?} {left:?}"
                );
                assert!(left < record.end.unwrap() + Nanos::from_millis(2));
                previous = left;
            }
        }
    }
    let server = serve(fast());
    post(
        server.addr(),
        "/v1/completions",
        &[],
        &json!({"prompt": "x", "max_tokens": 2, "stream": true}),
    );
    assert_eq!(server.truth()[0].kernel_sent, None);
    assert!(!get(server.addr(), "/truth").text().contains("kernel_sent"));
}

#[test]
fn the_kernel_stamps_the_last_byte_of_a_request() {
    let server = serve(fast());
    let mut client = Client::connect(server.addr());
    // The second comes on the same connection, in two parts.
    for parts in [1, 2] {
        let body =
            json!({"prompt": "x ".repeat(20_000), "max_tokens": 2, "stream": true}).to_string();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let (first, second) = body.split_at(if parts == 1 { 0 } else { 100 });
        client.raw(head.as_bytes());
        client.raw(first.as_bytes());
        while parts == 2 && clock::now() < server.truth()[0].end.unwrap() + Nanos::from_millis(30) {
            std::thread::yield_now();
        }
        let sent = clock::now();
        client.raw(second.as_bytes());
        assert_eq!(client.answer(usize::MAX).status, 200);
        let record = server.truth().pop().unwrap();
        assert_eq!(record.request_arrived.is_some(), cfg!(target_os = "linux"));
        let Some(arrived) = record.request_arrived else {
            continue;
        };
        // The wall clock is known to some microseconds.
        assert!(
            sent < arrived + Nanos::from_millis(1) && arrived <= record.body,
            "{sent:?} {record:?}"
        );
    }
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    for kernel_stamps in [false, true] {
        read_late(SimSettings {
            flood: Some(16),
            kernel_stamps,
            ..fast()
        });
    }
}

fn read_late(settings: SimSettings) {
    let server = serve(settings);
    let mut client = Client::connect(server.addr());
    let body = json!({"prompt": "x", "max_tokens": 60_000, "stream": true}).to_string();
    client.send("POST", "/v1/completions", &[], body.as_bytes());
    // The kernel's buffers fill up while nothing is read; another client is served meanwhile.
    for _ in 0..50 {
        assert_eq!(get(server.addr(), "/health").status, 200);
    }
    let answer = client.answer(usize::MAX);
    assert_eq!(judge(&answer, usize::MAX), inferometer_core::Outcome::Ok);
    let record = &server.truth()[0];
    assert_eq!(
        (record.events.len(), record.output_tokens),
        (60_000, 60_000)
    );
    assert!(record.blocked_writes > 0);
}

#[test]
fn stopping_ends_every_stream_and_completes_the_file() {
    let file = std::env::temp_dir().join(format!("inferometer-sim-{}.jsonl", std::process::id()));
    let settings = SimSettings {
        truth_file: Some(file.clone()),
        ..fast()
    };
    let server = serve(settings);
    post(
        server.addr(),
        "/v1/completions",
        &[],
        &json!({"prompt": "x", "max_tokens": 2, "stream": true}),
    );
    let mut open = std::net::TcpStream::connect(server.addr()).unwrap();
    use std::io::Write;
    let body = "{\"prompt\":\"x\",\"max_tokens\":100000,\"stream\":true}";
    write!(
        open,
        "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    open.read_exact(&mut [0; 15]).unwrap();
    server.stop().unwrap();
    // What was on its way still comes, then the end.
    while open.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let records: Vec<TruthRecord> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].outcome, TruthOutcome::Done);
    assert_eq!(records[1].outcome, TruthOutcome::Stopped);
}

#[test]
fn several_threads_share_one_port_and_one_log() {
    let server = serve(SimSettings {
        threads: 3,
        flood: Some(4),
        ..fast()
    });
    for _ in 0..60 {
        post(
            server.addr(),
            "/v1/completions",
            &[],
            &json!({"prompt": "x", "max_tokens": 2, "stream": true}),
        );
    }
    let mut indices: Vec<u64> = server.truth().iter().map(|record| record.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..60).collect::<Vec<_>>());
}

#[test]
fn an_occupied_port_and_wrong_settings_are_refused() {
    let server = serve(fast());
    let error = start(SimSettings {
        address: server.addr(),
        ..fast()
    })
    .unwrap_err();
    assert!(matches!(error, SimError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&server.addr().to_string()));
    for (settings, part) in [
        (
            SimSettings {
                threads: 0,
                ..fast()
            },
            "thread",
        ),
        (
            SimSettings {
                tokens_per_event: 0,
                ..fast()
            },
            "token",
        ),
        (
            SimSettings {
                flood: Some(0),
                ..fast()
            },
            "flood",
        ),
        (
            SimSettings {
                threads: 2,
                engine: Some(ClusterConfig::default()),
                ..fast()
            },
            "one thread",
        ),
        (
            SimSettings {
                truth_file: Some("/no/such/folder/x".into()),
                ..fast()
            },
            "/no/such/folder/x",
        ),
    ] {
        let error = start(settings).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
