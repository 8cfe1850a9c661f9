//! Servers that never come to an end, as fast or as slowly as they like: every exchange meets its
//! limits, and leaves turns to the others of its worker.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use inferometer_core::{Nanos, Outcome, Record};
use inferometer_wire::{Client, ClientSettings, Live, Wire};

use crate::common::{
    LAST, STREAM_HEAD, Server, Step, TOKEN, chunk, exchange, exchange_many, exchange_with, good,
    is_good, on_worker, request, settings, stream, write,
};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// A server that writes `begin`, and then `more` for ever.
fn endless(begin: &str, more: &str) -> Record {
    let script = vec![
        Step::Read,
        write(begin),
        Step::Endless(more.repeat(2_000).into_bytes()),
    ];
    exchange_with("vllm", script, |settings| {
        settings.timeouts.total = Some(Nanos::from_millis(1_000));
    })
}

#[track_caller]
fn expect(record: &Record, outcome: Outcome, words: &str) {
    assert_eq!(record.outcome, outcome, "{:?}", record.error);
    let error = record.error.as_deref().unwrap_or_default();
    assert!(error.contains(words), "{error:?} does not hold {words:?}");
}

#[test]
fn endless_informational_answers_end_the_exchange() {
    for more in [
        CONTINUE,
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n",
    ] {
        let record = endless("", more);
        expect(
            &record,
            Outcome::Malformed,
            "more than 100 informational answers (1xx)",
        );
    }
}

#[test]
fn a_few_informational_answers_come_before_a_good_one() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let begin = [CONTINUE, hints].concat().into_bytes();
    is_good(&exchange(
        "vllm",
        vec![Step::Read, Step::Write([begin, good()].concat())],
    ));
}

#[test]
fn informational_answers_do_not_count_as_the_first_byte() {
    let mut script = vec![Step::Read];
    for _ in 0..60 {
        script.push(write(CONTINUE));
        script.push(Step::Pause(Duration::from_millis(5)));
    }
    let record = exchange_with("vllm", script, |settings| {
        settings.timeouts.first_byte = Nanos::from_millis(60);
    });
    expect(
        &record,
        Outcome::Timeout,
        "(--first-byte-timeout); informational answers (1xx)",
    );
}

#[test]
fn headers_that_come_byte_by_byte_meet_a_limit() {
    let mut script = vec![Step::Read, write("HTTP/1.1 200 OK\r\nx: ")];
    for _ in 0..300 {
        script.push(write("y"));
        script.push(Step::Pause(Duration::from_millis(5)));
    }
    let record = exchange_with("vllm", script, |settings| {
        settings.timeouts.first_byte = Nanos::from_millis(50);
        settings.timeouts.idle = Nanos::from_millis(50);
    });
    expect(
        &record,
        Outcome::Timeout,
        "status and headers not complete within 0.55 s",
    );
}

#[test]
fn what_comes_without_end_meets_a_limit_of_size_or_time() {
    for (begin, more, outcome) in [
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n", Outcome::Malformed),
        ("HTTP/1.1 200 OK\r\nx: ", "yyyyyyyy", Outcome::Malformed),
        // Comments, and blank lines.
        (STREAM_HEAD, "4\r\n: x\n\r\n", Outcome::Timeout),
        (STREAM_HEAD, "1\r\n\n\r\n", Outcome::Timeout),
    ] {
        let record = endless(begin, more);
        assert_eq!(record.outcome, outcome, "{more:?}: {:?}", record.error);
    }
    // Empty events: a fast machine reads a million of them before the time is over.
    let record = endless(STREAM_HEAD, "7\r\ndata:\n\n\r\n");
    assert!(
        matches!(record.outcome, Outcome::Malformed | Outcome::Timeout),
        "{record:?}"
    );
    let begin = format!("{STREAM_HEAD}1;");
    let record = endless(&begin, "extension=1;");
    assert!(
        matches!(record.outcome, Outcome::Malformed | Outcome::Truncated),
        "{record:?}"
    );
    // Trailers that never end come after the end marker, so that the answer is complete.
    let body = stream(&[TOKEN, LAST, "[DONE]"]);
    let begin = String::from_utf8(body).unwrap();
    is_good(&endless(begin.strip_suffix("\r\n").unwrap(), "x: y\r\n"));
}

/// Exchanges with two servers on one worker until the second is done.
fn beside(hostile: &Server, friendly: &Server, live: &Arc<Live>) -> Record {
    let settings = ClientSettings {
        base_urls: vec![hostile.url(), friendly.url()],
        ..settings("vllm", "http://unused")
    };
    on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let client = std::rc::Rc::new(Client::new(&wire, 0, Arc::clone(live)));
        let spawn = |index| {
            let (client, wire) = (std::rc::Rc::clone(&client), Arc::clone(&wire));
            tokio::task::spawn_local(async move {
                let prepared = wire.prepare(&request(index)).unwrap();
                let mut record = prepared.record();
                client.exchange(&prepared, &mut record).await;
                record
            })
        };
        let first = spawn(0);
        let second = spawn(1);
        let record = second.await.unwrap();
        first.abort();
        record
    })
}

#[test]
fn an_endless_stream_leaves_turns_to_the_others_of_its_worker() {
    const EVENTS: usize = 60;
    let comments = chunk(&": a comment that says nothing\n".repeat(1_000));
    let hostile = Server::start(vec![vec![
        Step::Read,
        write(STREAM_HEAD),
        Step::Endless(comments),
    ]]);
    let mut script = vec![Step::Read, write(STREAM_HEAD)];
    for _ in 0..EVENTS {
        script.push(Step::Pause(Duration::from_millis(3)));
        script.push(Step::Write(chunk(&format!("data: {TOKEN}\n\n"))));
    }
    script.push(Step::Write(
        [
            chunk(&format!("data: {LAST}\n\ndata: [DONE]\n\n")),
            b"0\r\n\r\n".to_vec(),
        ]
        .concat(),
    ));
    let friendly = Server::start(vec![script]);
    let record = beside(&hostile, &friendly, &Arc::default());
    friendly.finish();
    hostile.finish();
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    // How long each event waited between the kernel and us. A turn of the other stream is 64 KiB,
    // a millisecond without optimisation; with all that the runtime allows, 8 MiB, it is 100.
    let mut lags: Vec<u32> = record.events.iter().map(|event| event.lag_ns).collect();
    lags.sort_unstable();
    let median = Nanos(u64::from(lags[lags.len() / 2]));
    assert!(
        median < Nanos::from_millis(25),
        "{median:?} of {EVENTS} events"
    );
}

#[test]
fn many_large_answers_share_one_budget() {
    // Each holds an event that does not end.
    let begun = [
        STREAM_HEAD.as_bytes(),
        &chunk(&format!("data: {}", "x".repeat(3 << 20))),
    ]
    .concat();
    let script = || vec![Step::Read, Step::Write(begun.clone()), Step::UntilClosed];
    let server = Server::start((0..3).map(|_| script()).collect());
    let mut settings = settings("vllm", &server.url());
    settings.limits.memory = 1 << 20;
    let records = exchange_many(settings, 3);
    server.finish();
    for record in &records {
        expect(
            record,
            Outcome::Malformed,
            "together hold the limit of 1048576 bytes",
        );
    }
}
