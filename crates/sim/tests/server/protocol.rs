//! HTTP itself: refusals, malformed requests, kept connections, keys and TLS.

use std::sync::Arc;
use std::time::Duration;

use inferometer_core::Secret;
use inferometer_sim::{SimSettings, TlsIdentity};
use serde_json::json;

use super::endpoints::stream_of;
use crate::client::{Client, get, post};
use crate::{fast, serve};

#[test]
fn bad_requests_are_refused_in_vllms_form() {
    let server = serve(SimSettings {
        max_model_len: 100,
        ..fast()
    });
    let long = vec![7; 100];
    for (body, status, part) in [
        (
            json!({"model": "other", "prompt": "x"}).to_string(),
            404,
            "`other` does not exist",
        ),
        (
            json!({"prompt": long}).to_string(),
            400,
            "maximum context length is 100",
        ),
        (
            json!({"prompt": "x", "max_tokens": 100}).to_string(),
            400,
            "maximum context length is 100",
        ),
        (
            json!({"prompt": "x", "max_tokens": 0}).to_string(),
            400,
            "max_tokens",
        ),
        (
            json!({"prompt": {"a": 1}}).to_string(),
            400,
            "prompt must be",
        ),
        (
            json!({"prompt": "x", "max_tokens": "many"}).to_string(),
            400,
            "JSON",
        ),
        (json!({}).to_string(), 400, "no prompt"),
        ("{\"prompt\": ".to_owned(), 400, "JSON"),
    ] {
        let mut client = Client::connect(server.addr());
        client.send("POST", "/v1/completions", &[], body.as_bytes());
        let answer = client.answer(usize::MAX);
        assert_eq!(answer.status, status, "{body}");
        let error = &answer.json()["error"];
        assert_eq!(error["code"], status);
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    assert_eq!(get(server.addr(), "/nothing").status, 404);
}

#[test]
fn malformed_http_is_refused_and_the_server_continues() {
    let server = serve(SimSettings {
        max_body_bytes: 1000,
        ..fast()
    });
    let endless_header = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(100_000));
    for (bytes, status) in [
        (&b"NONSENSE\r\n\r\n"[..], 400),
        (
            b"POST /v1/completions HTTP/1.1\r\ncontent-length: 5000\r\n\r\n",
            413,
        ),
        (
            b"POST /v1/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: rot13\r\n\r\n", 501),
        (endless_header.as_bytes(), 431),
    ] {
        let mut client = Client::connect(server.addr());
        client.raw(bytes);
        assert_eq!(
            client.answer(usize::MAX).status,
            status,
            "{}",
            String::from_utf8_lossy(&bytes[..20.min(bytes.len())])
        );
    }
    assert_eq!(get(server.addr(), "/health").status, 200);
}

#[test]
fn chunked_bodies_expectations_and_kept_connections_work() {
    let server = serve(fast());
    let mut client = Client::connect(server.addr());
    client
        .raw(b"POST /v1/completions HTTP/1.1\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(client.answer(0).status, 100);
    client.raw(b"8\r\n{\"prompt\r\n5\r\n\":\"x\"\r\n1\r\n}\r\n0\r\n\r\n");
    assert_eq!(
        client.answer(usize::MAX).json()["usage"]["completion_tokens"],
        16
    );
    for _ in 0..3 {
        client.send("GET", "/ping", &[], b"");
        assert_eq!(client.answer(usize::MAX).status, 200);
    }
    client.raw(b"GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(
        client.answer(usize::MAX).header("connection"),
        Some("close")
    );
    assert!(client.answer(usize::MAX).broken.is_some());
    let truth = server.truth();
    assert_eq!(
        (truth.len(), truth[0].connection, truth[0].on_connection),
        (1, 0, 0)
    );
}

#[test]
fn the_key_opens_what_is_below_v1_and_nothing_else_needs_it() {
    let server = serve(SimSettings {
        api_key: Some(Secret::new("open")),
        ..fast()
    });
    let body = json!({"prompt": "x", "max_tokens": 1});
    let status =
        |headers: &[(&str, &str)]| post(server.addr(), "/v1/completions", headers, &body).status;
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&[("authorization", "Bearer shut")]), 401);
    assert_eq!(status(&[("authorization", "Bearer open")]), 200);
    assert_eq!(status(&[("x-api-key", "open")]), 200);
    assert_eq!(get(server.addr(), "/v1/models").status, 401);
    assert_eq!(get(server.addr(), "/health").status, 200);
}

#[test]
fn a_starting_server_refuses_until_it_is_ready() {
    let server = serve(SimSettings {
        ready_after: Duration::from_secs(1),
        ..fast()
    });
    assert_eq!(get(server.addr(), "/health").status, 503);
    let mut tries = 0;
    while get(server.addr(), "/health").status != 200 {
        tries += 1;
        assert!(tries < 1_000_000);
    }
    assert_eq!(
        post(
            server.addr(),
            "/v1/completions",
            &[],
            &json!({"prompt": "x", "max_tokens": 1})
        )
        .status,
        200
    );
}

#[test]
fn tls_carries_the_same_answers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/tls");
    let identity = TlsIdentity {
        client_authority: None,
        certificate: format!("{folder}/cert.pem").into(),
        key: format!("{folder}/key.pem").into(),
    };
    let server = serve(SimSettings {
        tls: Some(identity.clone()),
        ..fast()
    });
    assert!(server.url().starts_with("https://"));

    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_file(&identity.certificate).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let session =
        rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = std::net::TcpStream::connect(server.addr()).unwrap();
    let mut client = Client::over(rustls::StreamOwned::new(session, stream));
    for max_tokens in [3, 2000] {
        let body = json!({"prompt": "x", "max_tokens": max_tokens, "stream": true}).to_string();
        let fault: &[(&str, &str)] = if max_tokens == 3 {
            &[]
        } else {
            &[("x-sim-fault", "huge_event")]
        };
        client.send("POST", "/v1/completions", fault, body.as_bytes());
        assert_eq!(stream_of(&client.answer(usize::MAX)).len(), max_tokens);
    }
    for record in server.truth() {
        // The stamp is below the encryption.
        assert_eq!(record.request_arrived.is_some(), cfg!(target_os = "linux"));
        assert!(record.request_arrived <= Some(record.body));
    }

    let wrong = TlsIdentity {
        certificate: format!("{folder}/key.pem").into(),
        ..identity
    };
    let error = inferometer_sim::start(SimSettings {
        tls: Some(wrong),
        ..fast()
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("holds no certificate"), "{error}");
}

#[test]
fn http_2_is_refused_in_plain_words() {
    let server = serve(fast());
    let mut client = Client::connect(server.addr());
    client.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let answer = client.answer(usize::MAX);
    assert_eq!(answer.status, 505);
    assert!(answer.text().contains("HTTP/1.1 only"), "{}", answer.text());
}
