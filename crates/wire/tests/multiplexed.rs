//! HTTP/2: many streams on one connection.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "it/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::tls::{Tls, tls_server, tls_settings};
use common::{
    LAST, Server, Step, TOKEN, exchange_many, is_good, on_worker, request, settings, write,
};
use inferometer_core::{Nanos, Outcome, Record};
use inferometer_wire::{Client, Live, Wire};

/// How the server of [`serve_http2`] behaves.
#[derive(Clone, Copy, Default)]
struct Http2 {
    /// Connections that it accepts, one after the other.
    connections: usize,
    /// Streams that it allows at once.
    streams: Option<u32>,
    /// Bytes that a client may send before it must wait.
    window: Option<u32>,
    /// How long it waits before it reads a body.
    wait: Duration,
    /// Closes each connection but the last when a request has come, without an answer.
    hangs_up: bool,
    /// Resets each stream.
    resets: bool,
}

/// An HTTP/2 server that answers every request with the same stream.
fn serve_http2(how: Http2) -> (u16, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut tasks = Vec::new();
            for number in 1..=how.connections {
                let (stream, _) = listener.accept().await.unwrap();
                let asked = Arc::new(tokio::sync::Notify::new());
                let heard = Arc::clone(&asked);
                let hangs_up = how.hangs_up && number < how.connections;
                let service = hyper::service::service_fn(
                    move |request: http::Request<hyper::body::Incoming>| {
                        let heard = Arc::clone(&heard);
                        async move {
                            assert_eq!(request.uri().path(), "/v1/completions");
                            assert_eq!(request.headers()["x-request-id"], "r-0");
                            if how.resets {
                                return Err(std::io::Error::other("no"));
                            }
                            if hangs_up {
                                heard.notify_one();
                                std::future::pending::<()>().await;
                            }
                            // Deaf meanwhile, as a busy server is.
                            std::thread::sleep(how.wait);
                            let _ = http_body_util::BodyExt::collect(request.into_body()).await;
                            let body = format!("data: {TOKEN}\n\ndata: {LAST}\n\ndata: [DONE]\n\n");
                            let body = http_body_util::Full::new(bytes::Bytes::from(body));
                            let answer = http::Response::builder()
                                .header("content-type", "text/event-stream");
                            Ok(answer.body(body).unwrap())
                        }
                    },
                );
                let mut builder =
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                builder.max_concurrent_streams(how.streams.unwrap_or(10_000));
                builder.initial_stream_window_size(how.window);
                let io = hyper_util::rt::TokioIo::new(stream);
                let connection = builder.serve_connection(io, service);
                tasks.push(tokio::spawn(async move {
                    tokio::select! {
                        _ = connection => {}
                        () = asked.notified() => {}
                    }
                }));
            }
            drop(listener);
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
    (port, thread)
}

/// Sends `count` requests at once over HTTP/2; gives the records and the number of connections.
fn at_once_over_http2(port: u16, count: usize, ahead: usize, body: &str) -> (Vec<Record>, u64) {
    let mut settings = settings("vllm", &format!("http://127.0.0.1:{port}"));
    settings.http2 = true;
    on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let live = Arc::new(Live::default());
        let client = Client::new(&wire, 0, Arc::clone(&live));
        client.open_ahead(ahead).await.unwrap();
        let mut request = request(0);
        request.prompt = inferometer_core::Prompt::Text(body.to_owned());
        let prepared = wire.prepare(&request).unwrap();
        let mut records = vec![prepared.record(); count];
        let all = records
            .iter_mut()
            .map(|record| client.exchange(&prepared, record));
        futures_util::future::join_all(all).await;
        assert_eq!(live.read().in_flight, 0);
        (records, live.read().opened)
    })
}

#[test]
fn http2_carries_many_streams_on_one_connection() {
    for ahead in [20, 0] {
        let (port, server) = serve_http2(Http2 {
            connections: 1,
            ..Http2::default()
        });
        let (records, opened) = at_once_over_http2(port, 20, ahead, "hello");
        server.join().unwrap();
        assert_eq!(opened, 1);
        for (number, record) in records.iter().enumerate() {
            is_good(record);
            assert!(record.send_start.is_some() && record.send_start <= record.send_end);
            assert!(
                record.bytes_sent > 50 && record.bytes_received > 100,
                "{record:?}"
            );
            // Whoever opens the connection waits for it, and the others with it.
            assert_eq!(record.connection.reused, ahead > 0 || number > 0);
        }
    }
}

#[test]
fn http2_opens_as_many_connections_as_the_server_allows_streams() {
    for ahead in [20, 0] {
        // The server waits for connections that need not come: its thread ends with the test.
        let (port, _) = serve_http2(Http2 {
            connections: 9,
            streams: Some(5),
            ..Http2::default()
        });
        let (records, opened) = at_once_over_http2(port, 20, ahead, "hello");
        records.iter().for_each(is_good);
        // Opened on demand, a later request may find room that an earlier one has left.
        let expected = if ahead == 0 { 2..=4 } else { 4..=4 };
        assert!(
            expected.contains(&opened),
            "{opened} connections, {ahead} opened ahead"
        );
    }
}

#[test]
fn an_http2_request_is_sent_when_its_last_byte_is() {
    // The server lets 64 KiB through and reads on after a while only.
    let wait = Duration::from_millis(80);
    let (port, server) = serve_http2(Http2 {
        connections: 1,
        window: Some(65_535),
        wait,
        ..Http2::default()
    });
    let (records, _) = at_once_over_http2(port, 1, 1, &"long ".repeat(100_000));
    server.join().unwrap();
    let record = &records[0];
    is_good(record);
    let sending = record.send_end.unwrap().since(record.send_start.unwrap());
    assert!(sending >= Nanos::from_millis(70), "{sending:?}");
    assert!(record.bytes_sent > 500_000, "{}", record.bytes_sent);
}

#[test]
fn an_http2_connection_that_breaks_is_replaced_once_for_all_its_streams() {
    let (port, server) = serve_http2(Http2 {
        connections: 2,
        hangs_up: true,
        ..Http2::default()
    });
    let (records, opened) = at_once_over_http2(port, 10, 1, "hello");
    server.join().unwrap();
    for record in &records {
        is_good(record);
        assert_eq!(record.reconnects, 1);
    }
    assert_eq!(opened, 2);
}

#[test]
fn a_stream_that_the_server_resets_is_not_sent_again() {
    let (port, server) = serve_http2(Http2 {
        connections: 1,
        resets: true,
        ..Http2::default()
    });
    let (records, opened) = at_once_over_http2(port, 3, 1, "hello");
    server.join().unwrap();
    for record in &records {
        assert_eq!(
            (record.outcome, record.reconnects),
            (Outcome::ConnectError, 0),
            "{:?}",
            record.error
        );
        assert!(
            record
                .error
                .as_deref()
                .unwrap()
                .contains("reset the stream"),
            "{:?}",
            record.error
        );
    }
    assert_eq!(opened, 1);
}

#[test]
fn http2_over_tls_is_agreed_on_by_alpn() {
    let serve = |protocol: &'static [u8]| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let mut config = (*tls_server(Tls::Plain)).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = hyper::service::service_fn(
                    |_: http::Request<hyper::body::Incoming>| async move {
                        let body = format!("data: {TOKEN}\n\ndata: {LAST}\n\ndata: [DONE]\n\n");
                        let answer =
                            http::Response::builder().header("content-type", "text/event-stream");
                        Ok::<_, std::convert::Infallible>(answer.body(body).unwrap())
                    },
                );
                let builder =
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                drop(
                    builder
                        .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                        .await,
                );
            });
        });
        let mut settings = tls_settings(port);
        settings.http2 = true;
        on_worker(async || {
            let wire = Wire::new(settings).unwrap();
            let client = Client::new(&wire, 0, Arc::default());
            let prepared = wire.prepare(&request(0)).unwrap();
            let mut record = prepared.record();
            client.exchange(&prepared, &mut record).await;
            record
        })
    };
    let record = serve(b"h2");
    is_good(&record);
    assert!(record.connection.tls.is_some() && record.send_end.is_some());
    let record = serve(b"http/1.1");
    assert_eq!(record.outcome, Outcome::ConnectError, "{record:?}");
}

#[test]
fn waiting_requests_share_the_failure_of_one_attempt() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (records, opened) = at_once_over_http2(port, 5, 0, "hello");
    assert_eq!(opened, 0);
    assert!(
        records
            .iter()
            .all(|record| record.outcome == Outcome::ConnectError)
    );
}

#[test]
fn an_http1_server_asked_for_http2_is_an_error() {
    let server = Server::start(vec![vec![
        Step::Pause(Duration::from_millis(20)),
        write("HTTP/1.1 400 Bad Request\r\n\r\n"),
    ]]);
    let mut settings = settings("vllm", &server.url());
    settings.http2 = true;
    let record = exchange_many(settings, 1).remove(0);
    server.finish();
    assert!(
        matches!(record.outcome, Outcome::ConnectError | Outcome::Malformed),
        "{record:?}"
    );
}

/// An HTTP/2 server that sends an event a millisecond, each with `padding` bytes of comment.
fn serve_slowly(events: usize, padding: usize) -> (u16, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let service = hyper::service::service_fn(
                move |_: http::Request<hyper::body::Incoming>| async move {
                    let event = format!(": {}\n\ndata: {TOKEN}\n\n", "x".repeat(padding));
                    let parts = futures_util::stream::unfold(0, move |number| {
                        let event = event.clone();
                        async move {
                            let timer = inferometer_os::PreciseTimer::new().unwrap();
                            timer
                                .sleep_until(inferometer_os::clock::now() + Nanos::from_millis(1))
                                .await
                                .unwrap();
                            let part = match number {
                                number if number < events => event,
                                number if number == events => {
                                    format!("data: {LAST}\n\ndata: [DONE]\n\n")
                                }
                                _ => return None,
                            };
                            let frame = hyper::body::Frame::data(bytes::Bytes::from(part));
                            Some((Ok::<_, std::convert::Infallible>(frame), number + 1))
                        }
                    });
                    let answer =
                        http::Response::builder().header("content-type", "text/event-stream");
                    Ok::<_, std::convert::Infallible>(
                        answer.body(http_body_util::StreamBody::new(parts)).unwrap(),
                    )
                },
            );
            let builder =
                hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            drop(
                builder
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await,
            );
        });
    });
    (port, thread)
}

/// A server sends an event a millisecond, and the client stalls after the first one. How many
/// different instants there are among the events that came during the stall; `None` without stamps
/// by the kernel.
fn instants_of_a_stall() -> Option<usize> {
    let stall = Nanos::from_millis(40);
    let (port, server) = serve_slowly(20, 3_000);
    let mut settings = settings("vllm", &format!("http://127.0.0.1:{port}"));
    settings.http2 = true;
    let (record, span) = on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let live = Arc::new(Live::default());
        let client = std::rc::Rc::new(Client::new(&wire, 0, Arc::clone(&live)));
        let exchange = tokio::task::spawn_local(async move {
            let prepared = wire.prepare(&request(0)).unwrap();
            let mut record = prepared.record();
            client.exchange(&prepared, &mut record).await;
            record
        });
        while live.read().events == 0 {
            tokio::task::yield_now().await;
        }
        // All that comes meanwhile is more than one read of HTTP/2 takes.
        let begin = inferometer_os::clock::now();
        let end = inferometer_os::PreciseTimer::spin_until(begin + stall);
        (exchange.await.unwrap(), begin..end)
    });
    server.join().unwrap();
    assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
    for pair in record.events.windows(2) {
        assert!(pair[0].at < pair[1].at || pair[0].coalesced(), "{pair:?}");
    }
    record
        .events
        .iter()
        .any(|event| event.kernel_stamped())
        .then(|| {
            let during = record
                .events
                .iter()
                .map(|event| event.at)
                .filter(|at| span.contains(at));
            during.collect::<std::collections::BTreeSet<_>>().len()
        })
}

#[test]
fn http2_events_that_waited_for_a_stalled_client_keep_the_kernels_stamps() {
    let _stamping = inferometer_os::stamps::warm_up();
    // A server that is itself held up sends many at once, which the kernel joins under one stamp:
    // hence several tries. Were all reads made before the exchange runs, there would never be more
    // than one instant.
    let seen = (0..20)
        .map(|_| instants_of_a_stall())
        .find(|seen| seen.is_none_or(|count| count >= 3));
    let must_run = std::env::var_os("INFEROMETER_TESTS_MUST_RUN").is_some();
    match seen {
        Some(Some(_)) => {}
        Some(None) => assert!(!must_run, "no stamps by the kernel"),
        None => panic!("events that waited have lost their stamps"),
    }
}
