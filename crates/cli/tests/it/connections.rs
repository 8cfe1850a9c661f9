//! Every kind of connection, on the binary: the server sees what the flags ask for.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use inferometer_sim::{Server, SimSettings, TlsIdentity, start};
use inferometer_testkit::{printed, read_json, run_folder, server, stderr, stdout};
use serde_json::Value;

use crate::INFEROMETER;

fn certificate(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../wire/tests/data/tls", name]
        .iter()
        .collect();
    path.display().to_string()
}

pub(crate) fn manifest(folder: &Path) -> Value {
    read_json(&run_folder(folder).join("manifest.json"))
}

pub(crate) fn outcome(manifest: &Value, name: &str) -> u64 {
    manifest["summary"]["extras"]["outcomes"][name]
        .as_u64()
        .unwrap_or(0)
}

#[track_caller]
fn all_good(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", printed(output));
    let words = stdout(output);
    let line = words
        .lines()
        .find(|line| line.starts_with("Successful requests:"))
        .unwrap();
    assert!(line.trim_end().ends_with(" 20"), "{}", printed(output));
}

#[track_caller]
pub(crate) fn refused(output: &Output, words: &[&str], not: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", printed(output));
    for word in words {
        assert!(
            stderr(output).contains(word),
            "no {word:?}: {}",
            printed(output)
        );
    }
    assert!(!stderr(output).contains(not), "{}", printed(output));
}

/// The simulator over TLS; with `known_clients` it requires a client certificate that they signed.
fn tls_server(known_clients: bool) -> (Server, String) {
    let identity = TlsIdentity {
        certificate: certificate("server.pem").into(),
        key: certificate("server.key").into(),
        client_authority: known_clients.then(|| certificate("ca.pem").into()),
    };
    let server = start(SimSettings {
        ttft: "2".parse().unwrap(),
        itl: "1".parse().unwrap(),
        tls: Some(identity),
        ..SimSettings::default()
    })
    .unwrap();
    let port = server
        .url()
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    (server, format!("https://localhost:{port}"))
}

#[test]
fn tls_is_verified_unless_insecure_is_given() {
    let (server, url) = tls_server(false);
    let ca = certificate("ca.pem");
    let folder = tempfile::tempdir().unwrap();
    all_good(&INFEROMETER.run(folder.path(), &url, &["--ca-cert", &ca]));
    let folder = tempfile::tempdir().unwrap();
    all_good(&INFEROMETER.run(folder.path(), &url, &["--insecure"]));
    let told_apart = INFEROMETER.run(folder.path(), &url, &[]);
    refused(
        &told_apart,
        &["TLS", "--ca-cert", "--insecure"],
        "Nothing answers",
    );
    // Waiting for the server would not help.
    let patient = INFEROMETER.run(folder.path(), &url, &["--ready-check-timeout-sec", "600"]);
    refused(&patient, &["--ca-cert"], "was not reachable within");
    assert_eq!(server.truth().len(), 40);
    server.stop().unwrap();
}

#[test]
fn a_server_that_requires_a_client_certificate_gets_it() {
    let (server, url) = tls_server(true);
    let (ca, cert, key) = (
        certificate("ca.pem"),
        certificate("client.pem"),
        certificate("client.key"),
    );
    let folder = tempfile::tempdir().unwrap();
    all_good(&INFEROMETER.run(
        folder.path(),
        &url,
        &[
            "--ca-cert",
            &ca,
            "--client-cert",
            &cert,
            "--client-key",
            &key,
        ],
    ));
    let stranger = INFEROMETER.run(folder.path(), &url, &["--ca-cert", &ca, "--no-run-folder"]);
    assert_ne!(stranger.status.code(), Some(0), "{}", printed(&stranger));
    assert_eq!(server.truth().len(), 20);
    server.stop().unwrap();
}

/// A proxy for plain and tunnelled connections; it keeps the heads of the requests it forwards.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, seen) = (stream.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || pass_on(stream, &seen));
        }
    });
    (url, heads)
}

fn pass_on(mut client: TcpStream, heads: &Mutex<Vec<String>>) {
    let mut upstream: Option<TcpStream> = None;
    let mut head = Vec::new();
    let mut byte = [0];
    while matches!(client.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        let (line, rest) = text.split_once("\r\n").unwrap();
        heads.lock().unwrap().push(line.to_owned());
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let is_tunnel = method == "CONNECT";
        let address = target
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap();
        let server = upstream.get_or_insert_with(|| {
            let server = TcpStream::connect(address).unwrap();
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            if is_tunnel {
                to.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .unwrap();
            }
            std::thread::spawn(move || {
                drop(std::io::copy(&mut from, &mut to));
                drop(to.shutdown(Shutdown::Both));
            });
            server
        });
        if is_tunnel {
            drop(std::io::copy(&mut client, server));
            break;
        }
        let path = target
            .trim_start_matches("http://")
            .trim_start_matches(address);
        let length = rest
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        client.read_exact(&mut body).unwrap();
        server
            .write_all(format!("{method} {path} HTTP/1.1\r\n{rest}").as_bytes())
            .unwrap();
        server.write_all(&body).unwrap();
    }
    if let Some(server) = upstream {
        drop(server.shutdown(Shutdown::Both));
    }
}

#[test]
fn everything_goes_through_the_proxy() {
    let plain = server(2.0, 1.0);
    let (proxy_url, heads) = proxy();
    let folder = tempfile::tempdir().unwrap();
    all_good(&INFEROMETER.run(folder.path(), &plain.url(), &["--proxy", &proxy_url]));
    let asked = std::mem::take(&mut *heads.lock().unwrap());
    let completions = format!("POST {}/v1/completions ", plain.url());
    let posts = asked
        .iter()
        .filter(|line| line.starts_with(&completions))
        .count();
    assert_eq!(posts, 20, "{asked:?}");
    assert_eq!(plain.truth().len(), 20);

    let (encrypted, url) = tls_server(false);
    let folder = tempfile::tempdir().unwrap();
    let ca = certificate("ca.pem");
    all_good(&INFEROMETER.run(
        folder.path(),
        &url,
        &["--proxy", &proxy_url, "--ca-cert", &ca],
    ));
    let asked = std::mem::take(&mut *heads.lock().unwrap());
    assert!(
        !asked.is_empty()
            && asked
                .iter()
                .all(|line| line.starts_with("CONNECT localhost:")),
        "{asked:?}"
    );
    assert_eq!(encrypted.truth().len(), 20);

    // Nothing listens there, which is not the server's fault.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER.run(
        folder.path(),
        &plain.url(),
        &["--proxy", &format!("http://{closed}")],
    );
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    plain.stop().unwrap();
    encrypted.stop().unwrap();
}

/// What an HTTP server of the tests has seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The client's address of each connection, and whether it spoke HTTP/2.
    connections: Vec<(IpAddr, bool)>,
    /// Completions over HTTP/2.
    multiplexed: usize,
    /// Completions over HTTP/1.1.
    single: usize,
}

/// A server for HTTP/1.1 and, by prior knowledge, HTTP/2.
fn both_versions() -> (String, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Seen>>::default();
    let notes = Arc::clone(&seen);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            serve_both(tokio::net::TcpListener::from_std(listener).unwrap(), notes).await;
        });
    });
    (url, seen)
}

async fn serve_both(listener: tokio::net::TcpListener, seen: Arc<Mutex<Seen>>) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut start = [0; 3];
            while stream
                .peek(&mut start)
                .await
                .is_ok_and(|length| (1..3).contains(&length))
            {}
            let is_http2 = &start == b"PRI";
            seen.lock().unwrap().connections.push((peer.ip(), is_http2));
            let service = hyper::service::service_fn(move |request| {
                let seen = Arc::clone(&seen);
                async move { Ok::<_, std::convert::Infallible>(answer(request, is_http2, &seen).await) }
            });
            let io = TokioIo::new(stream);
            // The client may disconnect.
            if is_http2 {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(io, service).await);
            } else {
                drop(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await,
                );
            }
        });
    }
}

async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
    is_http2: bool,
    seen: &Mutex<Seen>,
) -> hyper::Response<String> {
    if request.uri().path() != "/v1/completions" {
        return hyper::Response::builder()
            .status(404)
            .body(String::new())
            .unwrap();
    }
    let _ = http_body_util::BodyExt::collect(request.into_body()).await;
    {
        let mut seen = seen.lock().unwrap();
        *(if is_http2 {
            &mut seen.multiplexed
        } else {
            &mut seen.single
        }) += 1;
    }
    let event =
        r#"{"choices":[{"text":"x","finish_reason":"length"}],"usage":{"completion_tokens":1}}"#;
    hyper::Response::builder()
        .header("content-type", "text/event-stream")
        .body(format!("data: {event}\n\ndata: [DONE]\n\n"))
        .unwrap()
}

#[test]
fn http2_shares_one_connection_per_worker() {
    for connect in ["ahead", "lazy"] {
        let (url, seen) = both_versions();
        let folder = tempfile::tempdir().unwrap();
        let more = [
            "--http2",
            "--connect",
            connect,
            "--workers",
            "2",
            "--max-concurrency",
            "20",
        ];
        all_good(&INFEROMETER.run(folder.path(), &url, &more));
        let seen = seen.lock().unwrap().clone();
        assert_eq!((seen.multiplexed, seen.single), (20, 0), "{seen:?}");
        let multiplexed = seen
            .connections
            .iter()
            .filter(|(_, is_http2)| *is_http2)
            .count();
        assert!(
            (1..=2).contains(&multiplexed),
            "{connect}: {multiplexed} connections for 2 workers"
        );
    }
    let plain = server(2.0, 1.0);
    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER.run(folder.path(), &plain.url(), &["--http2"]);
    refused(
        &output,
        &["does not speak HTTP/2", "--http2"],
        "Nothing answers",
    );
    plain.stop().unwrap();
}

#[test]
fn connections_come_from_the_addresses_that_were_named() {
    let (url, seen) = both_versions();
    let folder = tempfile::tempdir().unwrap();
    let more = [
        "--source-ip",
        "127.0.0.2",
        "127.0.0.3",
        "--connect",
        "per-request",
    ];
    all_good(&INFEROMETER.run(folder.path(), &url, &more));
    let from: Vec<String> = seen
        .lock()
        .unwrap()
        .connections
        .iter()
        .map(|(address, _)| address.to_string())
        .collect();
    let of = |address: &str| from.iter().filter(|known| *known == address).count();
    assert!(of("127.0.0.2") >= 10 && of("127.0.0.3") >= 10, "{from:?}");
    assert_eq!(of("127.0.0.2") + of("127.0.0.3"), from.len());
    for wrong in ["203.0.113.9", "::1"] {
        let folder = tempfile::tempdir().unwrap();
        let output = INFEROMETER.run(folder.path(), &url, &["--source-ip", wrong]);
        refused(
            &output,
            &["--source-ip", wrong, "addresses of this machine"],
            "Nothing answers",
        );
    }
}

#[test]
fn several_servers_share_the_load_and_have_a_row_each() {
    let servers = [server(2.0, 1.0), server(2.0, 1.0)];
    for balance in ["round-robin", "least-in-flight"] {
        let before: Vec<usize> = servers.iter().map(|server| server.truth().len()).collect();
        let folder = tempfile::tempdir().unwrap();
        let more = ["--base-url", &servers[1].url(), "--balance", balance];
        all_good(&INFEROMETER.run(folder.path(), &servers[0].url(), &more));
        let got: Vec<usize> = servers
            .iter()
            .zip(before)
            .map(|(server, before)| server.truth().len() - before)
            .collect();
        assert_eq!(got, [10, 10], "{balance}");
        let rows = manifest(folder.path())["summary"]["extras"]["targets"].clone();
        assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
        assert_eq!(
            (&rows[0]["completed"], &rows[1]["completed"]),
            (&10.into(), &10.into()),
            "{rows}"
        );
    }
    for server in servers {
        server.stop().unwrap();
    }
}
