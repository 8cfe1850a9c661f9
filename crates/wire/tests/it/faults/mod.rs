//! Whatever a server does, the exchange ends in exactly the outcome that describes it.

mod streams;

use std::time::Duration;

use crate::common::{
    STREAM_HEAD, Server, Step, check_order, chunk, exchange, exchange_many, exchange_with,
    json_answer, settings, stream, write,
};
use inferometer_core::{Nanos, Outcome, Record};

const TOKEN: &str = r#"{"choices":[{"index":0,"text":"x","finish_reason":null}]}"#;
const LAST: &str = r#"{"choices":[{"index":0,"text":"y","finish_reason":"length"}]}"#;

/// The head of a stream and these events, without an end.
fn begun(events: &[&str]) -> Vec<u8> {
    let mut bytes = stream(events);
    bytes.truncate(bytes.len() - 5);
    bytes
}

/// A complete stream with this body.
fn raw(body: &str) -> Vec<u8> {
    [STREAM_HEAD.as_bytes(), &chunk(body), b"0\r\n\r\n"].concat()
}

fn answer(bytes: Vec<u8>) -> Record {
    exchange("vllm", vec![Step::Read, Step::Write(bytes)])
}

#[track_caller]
fn expect(record: &Record, outcome: Outcome, words: &str) {
    assert_eq!(record.outcome, outcome, "{:?}", record.error);
    let error = record.error.as_deref().unwrap_or_default();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
    assert!(error.len() <= 2_100 && !error.chars().any(char::is_control));
}

#[test]
fn refusals() {
    for (status, code) in [
        ("400 Bad Request", 400),
        ("429 Too Many Requests", 429),
        ("503 Service Unavailable", 503),
    ] {
        let record = answer(json_answer(
            status,
            r#"{"error":{"message":"no room\nat all"}}"#,
        ));
        expect(&record, Outcome::HttpError, "no room");
        assert_eq!(record.status, Some(code));
        assert!(record.error.unwrap().starts_with(&format!("HTTP {status}")));
    }
    let busy =
        b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".to_vec();
    expect(&answer(busy), Outcome::HttpError, "Retry-After: 7");
    let moved =
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://other/v1\r\ncontent-length: 0\r\n\r\n".to_vec();
    expect(
        &answer(moved),
        Outcome::HttpError,
        "to http://other/v1: redirects are not followed",
    );
    let long = json_answer(
        "500 Internal Server Error",
        &"\u{7}ab\u{2028}".repeat(1 << 20),
    );
    expect(&answer(long), Outcome::HttpError, " ab");
    expect(
        &answer(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Outcome::HttpError,
        "HTTP 204",
    );
}

#[test]
fn failing_connections() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let refused = exchange_many(settings("vllm", &format!("http://127.0.0.1:{port}")), 1).remove(0);
    expect(
        &refused,
        Outcome::ConnectError,
        "cannot connect to http://127.0.0.1",
    );
    assert!(refused.send_start.is_none() && refused.end.is_some());
    for step in [Step::Reset, Step::Pause(Duration::ZERO)] {
        let record = exchange("vllm", vec![Step::Read, step]);
        expect(
            &record,
            Outcome::ConnectError,
            "before any byte of the answer",
        );
        assert!(record.send_start.is_some() && record.reconnects == 0);
    }
    for step in [Step::Reset, Step::Pause(Duration::ZERO), Step::HalfClose] {
        let record = exchange(
            "vllm",
            vec![Step::Read, write("HTTP/1.1 200 OK\r\nserv"), step],
        );
        expect(&record, Outcome::Truncated, "headers");
    }
    for step in [Step::Reset, Step::Pause(Duration::ZERO), Step::HalfClose] {
        let pause = Step::Pause(Duration::from_millis(20));
        let record = exchange(
            "vllm",
            vec![Step::Read, write(begun(&[TOKEN, TOKEN])), pause, step],
        );
        expect(&record, Outcome::Truncated, "before the body was complete");
        assert_eq!((record.events.len(), record.text.as_str()), (2, "xx"));
    }
}

#[test]
fn servers_that_stall() {
    let short = |settings: &mut inferometer_wire::ClientSettings| {
        settings.timeouts.first_byte = Nanos::from_millis(50);
        settings.timeouts.idle = Nanos::from_millis(60);
    };
    let record = exchange_with("vllm", vec![Step::Read, Step::UntilClosed], short);
    expect(&record, Outcome::Timeout, "no first byte within 0.05 s");
    let record = exchange_with(
        "vllm",
        vec![Step::Read, write(begun(&[TOKEN])), Step::UntilClosed],
        short,
    );
    expect(
        &record,
        Outcome::Timeout,
        "no data for 0.06 s (--idle-timeout)",
    );
    assert_eq!(record.events.len(), 1);
    // The limit on silence counts from the first byte, however much time that had.
    let patient = |settings: &mut inferometer_wire::ClientSettings| {
        settings.timeouts.first_byte = Nanos::from_millis(60_000);
        settings.timeouts.idle = Nanos::from_millis(60);
    };
    let record = exchange_with(
        "vllm",
        vec![Step::Read, write(begun(&[TOKEN])), Step::UntilClosed],
        patient,
    );
    expect(
        &record,
        Outcome::Timeout,
        "no data for 0.06 s (--idle-timeout)",
    );
    let lasting = record
        .end
        .unwrap()
        .since(record.send_start.unwrap())
        .as_millis_f64();
    assert!((60.0..10_000.0).contains(&lasting), "{lasting}");
    let endless = chunk(&format!("data: {TOKEN}\n\n"));
    let script = vec![Step::Read, write(STREAM_HEAD), Step::Endless(endless)];
    let record = exchange_with("vllm", script, |settings| {
        settings.timeouts.total = Some(Nanos::from_millis(80));
    });
    expect(
        &record,
        Outcome::Timeout,
        "not complete within 0.08 s of the send",
    );
    assert!(record.events.len() > 1);
    let lasting = record
        .end
        .unwrap()
        .since(record.send_start.unwrap())
        .as_millis_f64();
    assert!((80.0..2_000.0).contains(&lasting), "{lasting}");
}

#[test]
fn slow_and_chopped_answers_are_good_answers() {
    let bytes = stream(&[TOKEN, TOKEN, LAST, "[DONE]"]);
    let record = exchange("vllm", vec![Step::Read, Step::Bytewise(bytes.clone())]);
    assert_eq!((record.outcome, record.text.as_str()), (Outcome::Ok, "xxy"));
    let mut script = vec![Step::Read];
    for part in bytes.chunks(50) {
        script.extend([
            Step::Write(part.to_vec()),
            Step::Pause(Duration::from_millis(1)),
        ]);
    }
    assert_eq!(exchange("vllm", script).text, "xxy");
    let crlf = format!(
        ": hello\r\n\r\nevent: message\r\nid: 4\r\ndata: {TOKEN}\r\n\r\n:\r\n\r\ndata:{LAST}\r\n\r\ndata:[DONE]\r\n\r\n"
    );
    assert_eq!(answer(raw(&crlf)).text, "xy");
    let several_lines = raw(&format!(
        "data: {{\"choices\":\ndata: [{{\"text\":\"z\"}}]}}\n\ndata: {LAST}\n\ndata: [DONE]"
    ));
    assert_eq!(answer(several_lines).text, "zy");
    let closing = format!(
        "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {TOKEN}\n\ndata: {LAST}\n\ndata: [DONE]\n\n"
    );
    assert_eq!(answer(closing.into_bytes()).outcome, Outcome::Ok);
}

#[test]
fn invalid_answers() {
    for (body, words) in [
        ("{\"error\":\"bare\"}\n\n", "invalid line"),
        ("data: {\"choices\":[{\"text\":\n\n", "invalid JSON ("),
        ("data: nonsense\n\n", "invalid JSON ("),
        ("data: {\"choices\":7}\n\n", "invalid JSON ("),
    ] {
        let record = answer(raw(&format!("data: {TOKEN}\n\n{body}data: [DONE]\n\n")));
        expect(&record, Outcome::Malformed, words);
        assert_eq!(record.events.len(), 1);
    }
    let mut invalid = STREAM_HEAD.as_bytes().to_vec();
    invalid.extend(b"23\r\ndata: {\"choices\":[{\"text\":\"\xff\xfe\"}]}\n\n\r\n0\r\n\r\n");
    expect(&answer(invalid), Outcome::Malformed, "invalid JSON (");
    expect(
        &answer(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        Outcome::Malformed,
        "invalid HTTP in the answer",
    );
    expect(
        &answer([STREAM_HEAD.as_bytes(), b"zz\r\nxx"].concat()),
        Outcome::Malformed,
        "invalid HTTP body framing",
    );
    let header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    expect(
        &answer(header.into_bytes()),
        Outcome::Malformed,
        "invalid HTTP in the answer",
    );
    let headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(500));
    expect(
        &answer(headers.into_bytes()),
        Outcome::Malformed,
        "invalid HTTP in the answer",
    );
    let cut = raw(&format!("data: {TOKEN}\n\ndata: {{\"choices\":[{{\"te"));
    expect(&answer(cut), Outcome::Truncated, "middle of an event");
}

#[test]
fn other_content_types() {
    let html =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>".to_vec();
    expect(&answer(html), Outcome::WrongContentType, "text/html");
    expect(
        &answer(json_answer("200 OK", r#"{"choices":[]}"#)),
        Outcome::WrongContentType,
        "--no-streaming",
    );
    expect(
        &answer(json_answer("200 OK", r#"{"error":{"message":"full"}}"#)),
        Outcome::StreamError,
        "full",
    );
    let zipped = STREAM_HEAD.replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n");
    expect(
        &answer([zipped.as_bytes(), &chunk("\u{1f}\u{8b}")].concat()),
        Outcome::WrongContentType,
        "gzip",
    );
    let script = vec![Step::Read, Step::Write(stream(&[TOKEN, LAST, "[DONE]"]))];
    let record = exchange_with("vllm", script, |settings| settings.body.stream = false);
    expect(&record, Outcome::WrongContentType, "event stream");
}

#[test]
fn hostile_amounts() {
    let big = "z".repeat(8 << 20);
    let bytes = stream(&[
        &format!(r#"{{"choices":[{{"text":"{big}"}}]}}"#),
        LAST,
        "[DONE]",
    ]);
    let record = answer(bytes);
    assert_eq!(
        (record.outcome, record.text.len()),
        (Outcome::Ok, (8 << 20) + 1),
        "{:?}",
        record.error
    );
    let endless = |bytes: Vec<u8>| vec![Step::Read, write(STREAM_HEAD), Step::Endless(bytes)];
    let record = exchange_with("vllm", endless(chunk(&format!("data: {TOKEN}\n\n"))), |s| {
        s.limits.events = 1_000;
    });
    expect(&record, Outcome::Malformed, "more than 1000 events");
    assert_eq!(record.events.len(), 1_000);
    let record = exchange_with("vllm", endless(chunk("data: x")), |s| {
        s.limits.event = 100_000;
    });
    expect(&record, Outcome::Malformed, "limit of 100000 bytes");
    let record = exchange_with("vllm", endless(chunk(": ping\n\n")), |s| {
        s.limits.stream = 100_000;
    });
    expect(&record, Outcome::Malformed, "limit of 100000 bytes");
    let script = vec![
        Step::Read,
        write("HTTP/1.1 200 OK\r\n\r\n"),
        Step::Endless(vec![b' '; 1_000]),
    ];
    let record = exchange_with("vllm", script, |settings| {
        settings.body.stream = false;
        settings.limits.body = 50_000;
    });
    expect(&record, Outcome::Malformed, "limit of 50000 bytes");
}

#[test]
fn a_reused_connection_that_is_closed_is_replaced_once() {
    let good = || vec![Step::Read, write(stream(&[TOKEN, LAST, "[DONE]"]))];
    let twice = || [good(), vec![Step::Read]].concat();
    let server = Server::start(vec![twice(), good()]);
    let records = exchange_many(settings("vllm", &server.url()), 2);
    assert_eq!(server.finish().len(), 3);
    let record = &records[1];
    assert_eq!(
        (record.outcome, record.reconnects),
        (Outcome::Ok, 1),
        "{:?}",
        record.error
    );
    assert!(!record.connection.reused);
    // The clock runs from the first attempt, so that the new connection's time is inside.
    let sending = record.send_end.unwrap().since(record.send_start.unwrap());
    assert!(sending > record.connection.connect.unwrap());
    check_order(record);

    let server = Server::start(vec![twice(), vec![Step::Read]]);
    let records = exchange_many(settings("vllm", &server.url()), 2);
    server.finish();
    expect(&records[1], Outcome::ConnectError, "before any byte");
    assert_eq!(records[1].reconnects, 1);

    let server = Server::start(vec![
        [good(), vec![Step::Read, write("HTTP/1.1 2")]].concat(),
    ]);
    let records = exchange_many(settings("vllm", &server.url()), 2);
    server.finish();
    expect(&records[1], Outcome::Truncated, "headers");
    assert_eq!(records[1].reconnects, 0);
}
