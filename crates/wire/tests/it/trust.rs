//! Which server is trusted, and what is said of one that is not what its URL says.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use inferometer_core::{Nanos, Record, Secret};
use inferometer_wire::{ConnectStep, ProxySettings, SideClient, Wire, WireError};

use crate::common::tls::{file, self_signed};
use crate::common::{Server, Step, exchange_many, good, settings, write};

/// Exchanges one request with a server that shows the certificate in `shown`, by a client that names
/// the one in `named`.
fn exchange_with(shown: &str, named: &str, host: &str) -> Record {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = self_signed(shown);
    let server = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(config).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, tcp);
        if matches!(tls.read(&mut [0; 16_384]), Ok(1..)) {
            tls.write_all(&good()).unwrap();
            tls.flush().unwrap();
        }
    });
    let mut settings = settings("vllm", &format!("https://{host}:{port}"));
    settings.tls.ca_file = Some(file(named));
    let record = exchange_many(settings, 1).remove(0);
    server.join().unwrap();
    record
}

#[test]
fn the_servers_own_certificate_is_trusted_when_it_is_named_and_no_other() {
    for (shown, named, host, reason) in [
        ("self_names.pem", "self_names.pem", "localhost", None),
        ("self_names.pem", "self_names.pem", "127.0.0.1", None),
        ("self_leaf.pem", "self_leaf.pem", "localhost", None),
        // A certificate without host names has nothing to compare; its common name is none.
        ("self_nameless.pem", "self_nameless.pem", "localhost", None),
        ("self_nameless.pem", "self_nameless.pem", "127.0.0.1", None),
        // Host names that are there must fit.
        (
            "self_other.pem",
            "self_other.pem",
            "localhost",
            Some("other.example"),
        ),
        (
            "self_leaf.pem",
            "self_leaf.pem",
            "127.0.0.1",
            Some("localhost"),
        ),
        (
            "self_expired.pem",
            "self_expired.pem",
            "localhost",
            Some("expired"),
        ),
        // Another certificate of the same key and name is not the one that was named.
        (
            "self_leaf.pem",
            "self_nameless.pem",
            "localhost",
            Some("certificate"),
        ),
        ("self_names.pem", "ca.pem", "localhost", Some("certificate")),
        // One that is no authority vouches for itself alone.
        (
            "below_leaf.pem",
            "self_leaf.pem",
            "localhost",
            Some("certificate"),
        ),
    ] {
        let record = exchange_with(shown, named, host);
        let error = record.error.as_deref().unwrap_or_default();
        match reason {
            None => assert!(record.is_ok(), "{shown} as {named} at {host}: {error}"),
            Some(reason) => assert!(
                !record.is_ok() && error.contains("TLS") && error.contains(reason),
                "{shown} as {named} at {host}: {error:?} does not hold {reason:?}"
            ),
        }
    }
}

/// What a client with `settings` finds out about its server.
fn inspect(settings: inferometer_wire::ClientSettings) -> WireError {
    let wire = Wire::new(settings).unwrap();
    let side = SideClient::new(&wire).unwrap();
    side.inspect(Duration::ZERO).unwrap_err()
}

#[track_caller]
fn is_scheme(error: &WireError, words: &str) {
    assert!(
        matches!(
            error,
            WireError::Connect {
                step: ConnectStep::Scheme,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn https_to_a_server_without_tls_is_said_at_once() {
    let refuses = vec![
        Step::Pause(Duration::from_millis(50)),
        write("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"),
    ];
    let hangs_up = vec![Step::Pause(Duration::from_millis(50)), Step::Reset];
    for first in [refuses, hangs_up] {
        let answer = vec![Step::Read, write("HTTP/1.1 404 Not Found\r\n\r\n")];
        let server = Server::start(vec![first, answer]);
        let error = inspect(settings(
            "vllm",
            &format!("https://127.0.0.1:{}", server.port),
        ));
        server.finish();
        is_scheme(&error, "the server speaks plain HTTP at this port");
    }
}

#[test]
fn https_to_a_server_that_waits_in_silence_is_said_within_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It reads lines, and a TLS handshake has none.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 4_096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if buffer[..length].starts_with(b"GET ") {
                        drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n"));
                        return;
                    }
                }
            });
        }
    });
    let before = inferometer_os::clock::now();
    let error = inspect(settings("vllm", &format!("https://127.0.0.1:{port}")));
    is_scheme(&error, "the server speaks plain HTTP at this port");
    let after = inferometer_os::clock::now().since(before);
    assert!(after < Nanos::from_millis(6_000), "{after:?}");
}

#[test]
fn http_to_a_server_with_tls_is_said_before_anything_is_measured() {
    for answers in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = self_signed("self_names.pem");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let config = Arc::clone(&config);
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut first = [0];
                    // As nginx does: it tells the two apart by the first byte.
                    if stream.peek(&mut first).is_ok() && first == *b"G" && answers {
                        drop(stream.read(&mut [0; 4_096]));
                        drop(
                            stream.write_all(
                                b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
                            ),
                        );
                        return;
                    }
                    let connection = rustls::ServerConnection::new(config).unwrap();
                    let mut tls = rustls::StreamOwned::new(connection, stream);
                    drop(tls.read(&mut [0; 4_096]));
                });
            }
        });
        let error = inspect(settings("vllm", &format!("http://127.0.0.1:{port}")));
        is_scheme(&error, "the server speaks TLS (https://) at this port");
    }
}

#[test]
fn a_proxy_that_refuses_is_named_and_not_the_server() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for scheme in ["http", "https"] {
        let mut settings = settings("vllm", &format!("{scheme}://model.invalid:9"));
        settings.proxy = ProxySettings::Url(Secret::new(format!("http://u:hidden@{closed}")));
        let record = exchange_many(settings.clone(), 1).remove(0);
        let error = record.error.unwrap();
        let words = format!("proxy http://{closed}: Connection refused");
        assert!(
            error.contains(&words) && !error.contains("hidden"),
            "{error}"
        );
        let error = inspect(settings);
        assert!(
            matches!(
                error,
                WireError::Connect {
                    step: ConnectStep::Proxy,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains(&words), "{error}");
    }
}

#[test]
fn a_page_that_hangs_is_asked_once() {
    let models = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
    let server = Server::start(vec![
        vec![Step::Read, write(models)],
        vec![Step::Read, Step::UntilClosed],
        vec![Step::Read, write(models)],
    ]);
    let wire = Wire::new(settings("vllm", &server.url())).unwrap();
    let side = SideClient::new(&wire).unwrap();
    let before = inferometer_os::clock::now();
    assert_eq!(side.inspect(Duration::ZERO).unwrap().version, None);
    // The second time /version is not asked.
    assert_eq!(side.inspect(Duration::ZERO).unwrap().version, None);
    let after = inferometer_os::clock::now().since(before);
    assert!(after < Nanos::from_millis(5_000), "{after:?}");
    let requests = server.finish();
    assert_eq!(requests.len(), 3);
    let said = wire.unanswered_pages();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("/version did not answer within 2 s"),
        "{said:?}"
    );
}

/// A key may be good for requests and not for the list of models.
#[test]
fn a_refused_list_of_models_is_a_fact_and_no_error() {
    let refuses = vec![
        Step::Read,
        write("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"),
        Step::Read,
        write("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
    ];
    let server = Server::start(vec![refuses]);
    let wire = Wire::new(settings("vllm", &server.url())).unwrap();
    let side = SideClient::new(&wire).unwrap();
    let facts = side.inspect(Duration::ZERO).unwrap();
    assert_eq!((&facts.models, facts.models_status), (&None, Some(403)));
    let refused = side.access_refused(&facts).unwrap();
    assert!(refused.to_string().contains("HTTP 403"));
}

/// A server that loads its model answers with 503.
#[test]
fn a_server_that_is_not_ready_is_waited_for() {
    let loading = vec![
        Step::Read,
        write("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ];
    let list = r#"{"data":[{"id":"m"}]}"#;
    let ready = vec![
        Step::Read,
        write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{list}",
            list.len()
        )),
        Step::Read,
        write("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
    ];
    let server = Server::start(vec![loading, ready]);
    let wire = Wire::new(settings("vllm", &server.url())).unwrap();
    let side = SideClient::new(&wire).unwrap();
    let facts = side.inspect(Duration::from_mins(1)).unwrap();
    assert_eq!(facts.models.unwrap()[0].id, "m");
}
