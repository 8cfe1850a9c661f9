//! Connections of every kind: opened ahead, per request, encrypted, multiplexed, through proxies
//! and sockets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use crate::common::tls::{Tls, file, tls_server, tls_settings};
use crate::common::{
    STREAM_HEAD, Server, Step, TOKEN, chunk, exchange_many, good, is_good, on_worker, request,
    settings, write,
};
use inferometer_core::{Nanos, Outcome, Record, Secret};
use inferometer_wire::{
    Balance, Client, ClientSettings, ConnectPolicy, Live, ProxySettings, Wire, WireError,
};

#[test]
fn requests_do_not_wait_for_connections_opened_ahead() {
    let server = Server::start(vec![
        vec![Step::Read, write(good()), Step::Read, write(good())],
        vec![],
    ]);
    on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let live = Arc::new(Live::default());
        let client = Client::new(&wire, 0, Arc::clone(&live));
        client.open_ahead(1).await.unwrap();
        assert_eq!(live.read().opened, 1);
        for _ in 0..2 {
            let prepared = wire.prepare(&request(0)).unwrap();
            let mut record = prepared.record();
            client.exchange(&prepared, &mut record).await;
            is_good(&record);
            assert!(record.connection.reused && record.connection.connect.is_none());
        }
        let counts = live.read();
        assert_eq!(
            (
                counts.ok,
                counts.failed,
                counts.in_flight,
                counts.events,
                counts.opened
            ),
            (2, 0, 0, 4, 1)
        );
        // The second script of the server has nothing to do.
        drop(std::net::TcpStream::connect(("127.0.0.1", server.port)));
    });
    server.finish();
    let dead = Wire::new(settings("vllm", "http://127.0.0.1:1")).unwrap();
    let error = on_worker(async || {
        Client::new(&dead, 0, Arc::default())
            .open_ahead(1)
            .await
            .unwrap_err()
    });
    assert!(matches!(error, WireError::Connect { .. }), "{error}");
}

#[test]
fn every_request_can_have_its_own_connection() {
    let once = || vec![Step::Read, write(good()), Step::UntilClosed];
    let server = Server::start(vec![once(), once()]);
    let mut settings = settings("vllm", &server.url());
    settings.connect = ConnectPolicy::PerRequest;
    settings.source_ips = vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
    for record in exchange_many(settings, 2) {
        is_good(&record);
        assert!(!record.connection.reused && record.connection.connect.is_some());
    }
    for request in server.finish() {
        assert!(request.contains("connection: close\r\n"));
    }
}

#[test]
fn a_dropped_exchange_keeps_its_facts_and_frees_its_slot() {
    let server = Server::start(vec![vec![
        Step::Read,
        write(STREAM_HEAD),
        write(chunk(&format!("data: {TOKEN}\n\n"))),
        Step::UntilClosed,
    ]]);
    on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let live = Arc::new(Live::default());
        let client = Client::new(&wire, 0, Arc::clone(&live));
        let prepared = wire.prepare(&request(0)).unwrap();
        let mut record = prepared.record();
        let seen = async {
            while live.read().events == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(live.read().in_flight, 1);
        };
        tokio::select! {
            () = client.exchange(&prepared, &mut record) => panic!("the server never ends its answer"),
            () = seen => {}
        }
        assert_eq!(
            (record.outcome, record.events.len(), record.status),
            (Outcome::Unfinished, 1, Some(200))
        );
        assert!(
            record.send_start.is_some() && record.marks.headers.is_some() && record.end.is_none()
        );
        assert_eq!(live.read().in_flight, 0);
    });
    server.finish();
}

#[test]
fn a_request_is_cancelled_only_after_it_was_sent() {
    let server = Server::start(vec![vec![
        Step::Read,
        write(STREAM_HEAD),
        Step::UntilClosed,
    ]]);
    let record = on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let client = Client::new(&wire, 0, Arc::default());
        let mut request = request(0);
        // More than the socket takes at once.
        request.prompt = inferometer_core::Prompt::Text("long ".repeat(2 << 20));
        let mut prepared = wire.prepare(&request).unwrap();
        prepared.cancel_after = Some(Nanos::from_millis(20));
        let mut record = prepared.record();
        client.exchange(&prepared, &mut record).await;
        record
    });
    let requests = server.finish();
    assert!(requests[0].len() > 10 << 20);
    assert_eq!(record.outcome, Outcome::Cancelled);
    let waited = record.end.unwrap().since(record.send_end.unwrap());
    assert!(waited >= Nanos::from_millis(20), "{waited:?}");
}

#[test]
fn several_targets_share_the_load() {
    let count = |balance: Balance, sessions: &[Option<usize>]| {
        let script = || {
            (0..6)
                .flat_map(|_| [Step::Read, write(good())])
                .collect::<Vec<_>>()
        };
        let servers = [Server::start(vec![script()]), Server::start(vec![script()])];
        let mut settings = settings("vllm", &servers[0].url());
        settings.base_urls.push(servers[1].url());
        settings.balance = balance;
        let targets = on_worker(async || {
            let wire = Wire::new(settings).unwrap();
            assert_eq!(wire.resolved().len(), 2);
            let client = Client::new(&wire, 0, Arc::default());
            let mut targets = Vec::new();
            for session in sessions {
                let mut request = request(0);
                request.session = session.map(|session| inferometer_core::SessionTurn {
                    session,
                    ..Default::default()
                });
                let prepared = wire.prepare(&request).unwrap();
                let mut record = prepared.record();
                client.exchange(&prepared, &mut record).await;
                is_good(&record);
                targets.push(record.target);
            }
            targets
        });
        for server in servers {
            // The listener waits for a connection if none came.
            drop(std::net::TcpStream::connect(("127.0.0.1", server.port)));
            server.finish();
        }
        targets
    };
    assert_eq!(count(Balance::RoundRobin, &[None; 4]), [0, 1, 0, 1]);
    assert_eq!(count(Balance::LeastInFlight, &[None; 4]), [0, 1, 0, 1]);
    assert_eq!(
        count(
            Balance::SessionSticky,
            &[Some(4), Some(7), Some(4), Some(7)]
        ),
        [0, 1, 0, 1]
    );
}

#[test]
fn headers_have_an_order_of_precedence_and_stay_secret() {
    let server = Server::start(vec![vec![Step::Read, write(good())]]);
    let mut settings = settings("vllm", &server.url());
    settings.api_key = Some(Secret::new("sk-one"));
    settings.headers = vec![
        ("Authorization".into(), Secret::new("Token two")),
        ("X-Team".into(), Secret::new("blue")),
        ("x-request-id".into(), Secret::new("mine")),
    ];
    let shown = format!("{settings:?}");
    assert!(!shown.contains("sk-one") && !shown.contains("two"));
    is_good(&exchange_many(settings.clone(), 1)[0]);
    let sent = server.finish().remove(0);
    assert!(sent.contains("\r\nauthorization: Token two\r\n") && !sent.contains("sk-one"));
    assert!(sent.contains("\r\nx-team: blue\r\n") && sent.contains("\r\nx-request-id: r-0\r\n"));
    settings.headers[0].1 = Secret::new("line\nbreak");
    let error = Wire::new(settings).unwrap_err().to_string();
    assert!(
        error.contains("Authorization") && !error.contains("break\""),
        "{error}"
    );
}

#[test]
fn side_requests() {
    let models = br#"{"data":[{"id":"m"}]}"#;
    let answer = [
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            models.len()
        )
        .as_bytes(),
        models,
    ]
    .concat();
    let server = Server::start(vec![
        vec![Step::Read, write(answer)],
        vec![Step::Read, Step::UntilClosed],
    ]);
    let mut settings = settings("vllm", &format!("{}/api", server.url()));
    settings.api_key = Some(Secret::new("sk-one"));
    settings.timeouts.side = Nanos::from_millis(60);
    on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let client = Client::new(&wire, 0, Arc::default());
        let reply = client
            .fetch(http::Method::GET, "/v1/models", None)
            .await
            .unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &models[..]));
        let error = client
            .fetch(http::Method::POST, "/tokenize", Some("{}".into()))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/tokenize") && error.contains("within 0.06 s"),
            "{error}"
        );
    });
    let requests = server.finish();
    assert!(requests[0].starts_with("GET /api/v1/models HTTP/1.1\r\n"));
    assert!(requests[0].contains("authorization: Bearer sk-one\r\n"));
    assert!(requests[1].ends_with("\r\n\r\n{}"));
}

#[test]
fn unix_sockets() {
    let folder = std::env::temp_dir().join(format!("inferometer-wire-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("server.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).unwrap();
        stream.write_all(&good()).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    });
    let record = exchange_many(settings("vllm", &format!("unix:{}", path.display())), 1).remove(0);
    is_good(&record);
    assert!(
        record
            .events
            .iter()
            .all(|event| !event.kernel_stamped() && event.lag_ns == 0)
    );
    assert!(server.join().unwrap().contains("host: localhost\r\n"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn proxies() {
    let server = Server::start(vec![vec![Step::Read, write(good())]]);
    let mut plain = settings("vllm", "http://model.invalid:9/v");
    plain.proxy = ProxySettings::Url(Secret::new(format!("http://u:p@127.0.0.1:{}", server.port)));
    is_good(&exchange_many(plain, 1)[0]);
    let sent = server.finish().remove(0);
    assert!(
        sent.starts_with("POST http://model.invalid:9/v/v1/completions HTTP/1.1\r\n"),
        "{sent}"
    );
    assert!(
        sent.contains("host: model.invalid:9\r\n")
            && sent.contains("proxy-authorization: Basic dTpw\r\n")
    );

    let server = Server::start(vec![vec![
        Step::Read,
        write("HTTP/1.1 403 Forbidden\r\n\r\n"),
    ]]);
    let mut tunnel = settings("vllm", "https://model.invalid");
    tunnel.proxy = ProxySettings::Url(Secret::new(format!("http://127.0.0.1:{}", server.port)));
    tunnel.tls.insecure = true;
    let record = exchange_many(tunnel, 1).remove(0);
    assert!(server.finish()[0].starts_with("CONNECT model.invalid:443 HTTP/1.1\r\n"));
    assert_eq!(record.outcome, Outcome::ConnectError);
    assert!(record.error.unwrap().contains("403 Forbidden"));
}

/// Accepts one TLS connection on a thread of its own and plays a good answer.
fn serve_tls(kind: Tls) -> (u16, std::thread::JoinHandle<bool>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = tls_server(kind);
    let thread = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        if kind == Tls::BehindProxy {
            let mut ask = [0; 1_024];
            let length = tcp.read(&mut ask).unwrap();
            assert!(ask[..length].starts_with(b"CONNECT localhost:"));
            tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .unwrap();
        }
        let connection = rustls::ServerConnection::new(config).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, tcp);
        let mut buffer = [0; 16_384];
        let asked = matches!(tls.read(&mut buffer), Ok(1..));
        if asked {
            for part in good().split_inclusive(|&byte| byte == b'}') {
                tls.write_all(part).unwrap();
                tls.flush().unwrap();
            }
        }
        asked
    });
    (port, thread)
}

fn over_tls(kind: Tls, change: impl FnOnce(&mut ClientSettings, u16)) -> (Record, bool) {
    let (port, server) = serve_tls(kind);
    let mut settings = settings("vllm", &format!("https://localhost:{port}"));
    settings.timeouts.connect = Nanos::from_millis(5_000);
    change(&mut settings, port);
    let record = exchange_many(settings, 1).remove(0);
    (record, server.join().unwrap())
}

#[test]
fn tls_is_verified_unless_it_is_insecure() {
    let (record, _) = over_tls(Tls::Plain, |settings, _| {
        settings.tls.ca_file = Some(file("ca.pem"));
    });
    is_good(&record);
    assert!(record.connection.tls.is_some() && record.bytes_received > good().len() as u64);
    assert!(record.events[0].at > record.send_start.unwrap());
    let (record, asked) = over_tls(Tls::Plain, |_, _| {});
    assert!(
        record.error.as_deref().unwrap_or_default().contains("TLS"),
        "{:?}",
        record.error
    );
    assert_eq!((record.outcome, asked), (Outcome::ConnectError, false));
    let (record, _) = over_tls(Tls::Plain, |settings, _| settings.tls.insecure = true);
    is_good(&record);
    let (record, _) = over_tls(Tls::WantsClientCertificate, |settings, _| {
        settings.tls.ca_file = Some(file("ca.pem"));
        settings.tls.client_cert = Some(file("client.pem"));
        settings.tls.client_key = Some(file("client.key"));
    });
    is_good(&record);
    let (record, _) = over_tls(Tls::BehindProxy, |settings, port| {
        settings.tls.ca_file = Some(file("ca.pem"));
        settings.proxy = ProxySettings::Url(Secret::new(format!("127.0.0.1:{port}")));
    });
    is_good(&record);
}

/// What a TLS server does with one of its connections.
#[derive(Clone, Copy, Debug)]
enum Visit {
    /// Answers a request well.
    Answer,
    /// Answers only after a while.
    AnswerLate(Duration),
    /// Reads a request and does not answer.
    Ignore,
    /// Says goodbye (`close_notify`) and closes.
    Goodbye,
}

/// Plays these visits, one list a connection, and gives the instants at which late answers began.
fn visit_over_tls(connections: Vec<Vec<Visit>>) -> (u16, std::thread::JoinHandle<Vec<Nanos>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = tls_server(Tls::Plain);
    let thread = std::thread::spawn(move || {
        let mut begun = Vec::new();
        for visits in connections {
            let (tcp, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, tcp);
            for visit in visits {
                if matches!(visit, Visit::Goodbye) {
                    tls.conn.send_close_notify();
                    drop(tls.flush());
                    drop(tls.sock.shutdown(std::net::Shutdown::Write));
                    continue;
                }
                let mut buffer = [0; 16_384];
                assert!(tls.read(&mut buffer).unwrap() > 0);
                if let Visit::AnswerLate(wait) = visit {
                    std::thread::sleep(wait);
                    begun.push(inferometer_os::clock::now());
                }
                if !matches!(visit, Visit::Ignore) {
                    tls.write_all(&good()).unwrap();
                    tls.flush().unwrap();
                }
            }
        }
        begun
    });
    (port, thread)
}

#[test]
fn a_session_ticket_is_not_a_first_byte() {
    let (port, server) = visit_over_tls(vec![vec![Visit::AnswerLate(Duration::from_millis(60))]]);
    let record = exchange_many(tls_settings(port), 1).remove(0);
    let begun = server.join().unwrap()[0];
    is_good(&record);
    // The tickets come with the end of the handshake, long before the answer.
    let first = record.marks.first_byte.unwrap();
    assert!(
        first >= begun,
        "{first:?} is before the answer, which began at {begun:?}"
    );
    let (port, server) = visit_over_tls(vec![vec![Visit::Ignore, Visit::Goodbye]]);
    let mut settings = tls_settings(port);
    settings.timeouts.first_byte = Nanos::from_millis(2_000);
    let record = exchange_many(settings, 1).remove(0);
    server.join().unwrap();
    assert_eq!(
        (record.outcome, record.reconnects),
        (Outcome::ConnectError, 0),
        "{:?}",
        record.error
    );
    assert!(record.marks.first_byte.is_none());
}

#[test]
fn a_tls_server_that_closes_between_requests_costs_no_request() {
    // It hangs up while the connection is idle: seen before the second request is sent.
    let (port, server) = visit_over_tls(vec![
        vec![Visit::Answer, Visit::Goodbye],
        vec![Visit::Answer],
    ]);
    let records = on_worker(async || {
        let wire = Wire::new(tls_settings(port)).unwrap();
        let live = Arc::new(Live::default());
        let client = Client::new(&wire, 0, Arc::clone(&live));
        let mut records = Vec::new();
        for index in 0..2 {
            let prepared = wire.prepare(&request(index)).unwrap();
            let mut record = prepared.record();
            client.exchange(&prepared, &mut record).await;
            records.push(record);
            // Time for the goodbye to arrive; that it is late would only show the other case below.
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(live.read().opened, 2);
        records
    });
    server.join().unwrap();
    records.iter().for_each(is_good);
    assert_eq!(
        (records[1].reconnects, records[1].connection.reused),
        (0, false)
    );

    // It hangs up when the second request is on its way: sent again, and counted.
    let (port, server) = visit_over_tls(vec![
        vec![Visit::Answer, Visit::Ignore, Visit::Goodbye],
        vec![Visit::Answer],
    ]);
    let records = exchange_many(tls_settings(port), 2);
    server.join().unwrap();
    records.iter().for_each(is_good);
    assert_eq!(
        (records[1].reconnects, records[1].connection.reused),
        (1, false)
    );
}

#[test]
fn invalid_tls_settings_are_refused() {
    let refused = |change: fn(&mut ClientSettings)| {
        let mut settings = settings("vllm", "https://127.0.0.1");
        change(&mut settings);
        Wire::new(settings).unwrap_err().to_string()
    };
    assert!(refused(|s| s.tls.ca_file = Some(file("missing.pem"))).contains("--ca-cert"));
    assert!(refused(|s| s.tls.ca_file = Some(file("server.key"))).contains("--ca-cert"));
    assert!(refused(|s| s.tls.client_cert = Some(file("client.pem"))).contains("--client-key"));
}
