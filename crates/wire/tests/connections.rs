//! Connections of every kind: opened ahead, per request, encrypted, multiplexed, through proxies and sockets.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{STREAM_HEAD, Server, Step, chunk, exchange_many, on_worker, request, settings, stream, write};
use servebench_core::{Nanos, Outcome, Record, Secret};
use servebench_wire::{Balance, Client, ClientSettings, ConnectPolicy, Live, ProxySettings, Wire, WireError};

const TOKEN: &str = r#"{"choices":[{"index":0,"text":"x","finish_reason":null}]}"#;
const LAST: &str = r#"{"choices":[{"index":0,"text":"y","finish_reason":"length"}]}"#;

fn good() -> Vec<u8> {
    stream(&[TOKEN, LAST, "[DONE]"])
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/tls", name].iter().collect()
}

#[track_caller]
fn is_good(record: &Record) {
    assert_eq!((record.outcome, record.text.as_str()), (Outcome::Ok, "xy"), "{:?}", record.error);
}

#[test]
fn connections_opened_ahead_cost_the_requests_nothing() {
    let server = Server::start(vec![vec![Step::Read, write(good()), Step::Read, write(good())], vec![]]);
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
            (counts.ok, counts.failed, counts.in_flight, counts.events, counts.opened),
            (2, 0, 0, 4, 1)
        );
        // The second script of the server has nothing to do.
        drop(std::net::TcpStream::connect(("127.0.0.1", server.port)));
    });
    server.finish();
    let dead = Wire::new(settings("vllm", "http://127.0.0.1:1")).unwrap();
    let error = on_worker(async || Client::new(&dead, 0, Arc::default()).open_ahead(1).await.unwrap_err());
    assert!(matches!(error, WireError::Connect { .. }), "{error}");
}

#[test]
fn a_connection_for_each_request() {
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
        assert_eq!((record.outcome, record.events.len(), record.status), (Outcome::Unfinished, 1, Some(200)));
        assert!(record.send_start.is_some() && record.marks.headers.is_some() && record.end.is_none());
        assert_eq!(live.read().in_flight, 0);
    });
    server.finish();
}

#[test]
fn the_client_hangs_up_only_after_the_request_was_sent() {
    let server = Server::start(vec![vec![Step::Read, write(STREAM_HEAD), Step::UntilClosed]]);
    let record = on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let client = Client::new(&wire, 0, Arc::default());
        let mut request = request(0);
        // More than the socket takes at once.
        request.prompt = servebench_core::Prompt::Text("long ".repeat(2 << 20));
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
        let script = || (0..6).flat_map(|_| [Step::Read, write(good())]).collect::<Vec<_>>();
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
                request.session =
                    session.map(|session| servebench_core::SessionTurn { session, ..Default::default() });
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
    assert_eq!(count(Balance::SessionSticky, &[Some(4), Some(7), Some(4), Some(7)]), [0, 1, 0, 1]);
}

#[test]
fn headers_have_their_order_of_precedence_and_stay_secret() {
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
    assert!(error.contains("Authorization") && !error.contains("break\""), "{error}");
}

#[test]
fn side_requests() {
    let models = br#"{"data":[{"id":"m"}]}"#;
    let answer =
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", models.len()).as_bytes(), models].concat();
    let server = Server::start(vec![vec![Step::Read, write(answer)], vec![Step::Read, Step::UntilClosed]]);
    let mut settings = settings("vllm", &format!("{}/api", server.url()));
    settings.api_key = Some(Secret::new("sk-one"));
    settings.timeouts.side = Nanos::from_millis(60);
    on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let client = Client::new(&wire, 0, Arc::default());
        let reply = client.fetch(http::Method::GET, "/v1/models", None).await.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &models[..]));
        let error =
            client.fetch(http::Method::POST, "/tokenize", Some("{}".into())).await.unwrap_err().to_string();
        assert!(error.contains("/tokenize") && error.contains("within 0.06 s"), "{error}");
    });
    let requests = server.finish();
    assert!(requests[0].starts_with("GET /api/v1/models HTTP/1.1\r\n"));
    assert!(requests[0].contains("authorization: Bearer sk-one\r\n"));
    assert!(requests[1].ends_with("\r\n\r\n{}"));
}

#[test]
fn unix_sockets() {
    let folder = std::env::temp_dir().join(format!("servebench-wire-{}", std::process::id()));
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
    assert!(record.events.iter().all(|event| !event.kernel_stamped() && event.lag_ns == 0));
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
    assert!(sent.starts_with("POST http://model.invalid:9/v/v1/completions HTTP/1.1\r\n"), "{sent}");
    assert!(
        sent.contains("host: model.invalid:9\r\n") && sent.contains("proxy-authorization: Basic dTpw\r\n")
    );

    let server = Server::start(vec![vec![Step::Read, write("HTTP/1.1 403 Forbidden\r\n\r\n")]]);
    let mut tunnel = settings("vllm", "https://model.invalid");
    tunnel.proxy = ProxySettings::Url(Secret::new(format!("http://127.0.0.1:{}", server.port)));
    tunnel.tls.insecure = true;
    let record = exchange_many(tunnel, 1).remove(0);
    assert!(server.finish()[0].starts_with("CONNECT model.invalid:443 HTTP/1.1\r\n"));
    assert_eq!(record.outcome, Outcome::ConnectError);
    assert!(record.error.unwrap().contains("403 Forbidden"));
}

/// How the server of [`serve_tls`] behaves.
#[derive(Clone, Copy, PartialEq)]
enum Tls {
    Plain,
    WantsClientCertificate,
    BehindProxy,
}

/// Accepts one TLS connection on a thread of its own and plays a good answer.
fn serve_tls(kind: Tls) -> (u16, std::thread::JoinHandle<bool>) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let builder = if kind == Tls::WantsClientCertificate {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let thread = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        if kind == Tls::BehindProxy {
            let mut ask = [0; 1_024];
            let length = tcp.read(&mut ask).unwrap();
            assert!(ask[..length].starts_with(b"CONNECT localhost:"));
            tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        }
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
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
fn tls_is_verified_unless_told_otherwise() {
    let (record, _) = over_tls(Tls::Plain, |settings, _| settings.tls.ca_file = Some(file("ca.pem")));
    is_good(&record);
    assert!(record.connection.tls.is_some() && record.bytes_received > good().len() as u64);
    assert!(record.events[0].at > record.send_start.unwrap());
    let (record, asked) = over_tls(Tls::Plain, |_, _| {});
    assert!(record.error.as_deref().unwrap_or_default().contains("TLS"), "{:?}", record.error);
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

#[test]
fn tls_settings_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut ClientSettings)| {
        let mut settings = settings("vllm", "https://127.0.0.1");
        change(&mut settings);
        Wire::new(settings).unwrap_err().to_string()
    };
    assert!(refused(|s| s.tls.ca_file = Some(file("missing.pem"))).contains("--ca-file"));
    assert!(refused(|s| s.tls.ca_file = Some(file("server.key"))).contains("--ca-file"));
    assert!(refused(|s| s.tls.client_cert = Some(file("client.pem"))).contains("--client-key"));
}

/// An HTTP/2 server that answers every request with the same stream.
fn serve_http2(connections: usize) -> (u16, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut tasks = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept().await.unwrap();
                let service =
                    hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        assert_eq!(request.uri().path(), "/v1/completions");
                        assert_eq!(request.headers()["x-request-id"], "r-0");
                        let body = format!("data: {TOKEN}\n\ndata: {LAST}\n\ndata: [DONE]\n\n");
                        let body = http_body_util::Full::new(bytes::Bytes::from(body));
                        http::Response::builder().header("content-type", "text/event-stream").body(body)
                    });
                let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let io = hyper_util::rt::TokioIo::new(stream);
                tasks.push(tokio::spawn(async move { drop(builder.serve_connection(io, service).await) }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
    (port, thread)
}

#[test]
fn http2_carries_many_streams_on_one_connection() {
    let (port, server) = serve_http2(1);
    let mut settings = settings("vllm", &format!("http://127.0.0.1:{port}"));
    settings.http2 = true;
    let records = on_worker(async || {
        let wire = Wire::new(settings).unwrap();
        let live = Arc::new(Live::default());
        let client = Client::new(&wire, 0, Arc::clone(&live));
        client.open_ahead(20).await.unwrap();
        let prepared = wire.prepare(&request(0)).unwrap();
        let mut records = vec![prepared.record(); 20];
        let all = records.iter_mut().map(|record| client.exchange(&prepared, record));
        futures_util::future::join_all(all).await;
        assert_eq!((live.read().opened, live.read().ok), (1, 20));
        records
    });
    server.join().unwrap();
    for record in &records {
        is_good(record);
        assert!(record.send_start <= record.send_end && record.send_start < record.end);
        assert!(record.events.iter().all(|event| !event.kernel_stamped()));
        assert!(record.connection.reused);
    }
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
    assert!(matches!(record.outcome, Outcome::ConnectError | Outcome::Malformed), "{record:?}");
}
