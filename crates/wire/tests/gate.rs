//! Requests that are made ready before they are due leave when they are due, and not before.

#[path = "it/common/mod.rs"]
mod common;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use common::{Server, Step, on_worker, request, settings, stream, write};
use inferometer_core::{Nanos, Outcome};
use inferometer_os::clock;
use inferometer_wire::{Client, Live, Wire};

const LAST: &str = r#"{"choices":[{"index":0,"text":"y","finish_reason":"length"}]}"#;

fn good() -> Vec<u8> {
    stream(&[LAST, "[DONE]"])
}

#[test]
fn no_byte_leaves_before_the_instant_on_new_and_idle_connections() {
    let server = Server::start(vec![vec![
        Step::Read,
        Step::Mark,
        write(good()),
        Step::Read,
        Step::Mark,
        write(good()),
    ]]);
    let sent = on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let client = Client::new(&wire, 0, Arc::<Live>::default());
        let mut sent = Vec::new();
        for index in 0..2 {
            let prepared = wire.prepare(&request(index)).unwrap();
            let mut record = prepared.record();
            let due = clock::now() + Nanos::from_millis(2);
            client.exchange_at(due, &prepared, &mut record).await;
            assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
            assert!(record.send_start.unwrap() >= due && record.send_end.unwrap() >= due);
            sent.push(due);
        }
        assert!(client.spun() > Nanos::ZERO);
        sent
    });
    let marks = server.marks.lock().unwrap().clone();
    assert!(
        sent.iter().zip(&marks).all(|(due, came)| came >= due),
        "{sent:?} {marks:?}"
    );
    server.finish();
}

#[test]
fn requests_wait_ready_behind_shut_gates() {
    let server = Server::start(vec![vec![Step::Read, Step::Mark, write(good())]]);
    on_worker(async || {
        let wire = Wire::new(settings("vllm", &server.url())).unwrap();
        let client = Client::new(&wire, 0, Arc::<Live>::default());
        client.open_ahead(1).await.unwrap();
        let prepared = wire.prepare(&request(0)).unwrap();
        let mut record = prepared.record();
        let opened = {
            let mut exchange = pin!(client.exchange_at(Nanos(1), &prepared, &mut record));
            client.shut_gates(true);
            for _ in 0..50 {
                let ended =
                    poll_fn(|context| Poll::Ready(exchange.as_mut().poll(context).is_ready()))
                        .await;
                assert!(!ended);
                tokio::task::yield_now().await;
            }
            let opened = clock::now();
            client.shut_gates(false);
            exchange.await;
            opened
        };
        assert_eq!(record.outcome, Outcome::Ok, "{:?}", record.error);
        assert!(record.send_start.unwrap() >= opened);
        assert!(server.marks.lock().unwrap()[0] >= opened);
    });
    server.finish();
}

#[test]
fn missing_connections_are_opened_and_idle_ones_are_counted() {
    // The kernel takes connections that the server has not accepted yet.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    on_worker(async || {
        let wire = Wire::new(settings("vllm", &url)).unwrap();
        let live = Arc::<Live>::default();
        let client = Client::new(&wire, 0, Arc::clone(&live));
        client.open_ahead(2).await.unwrap();
        for (requests, opened) in [(1, 2), (5, 5), (5, 5)] {
            client.open_missing(requests).await;
            assert_eq!(live.read().opened, opened);
        }
        // Those that the server has closed meanwhile are none.
        for _ in 0..5 {
            drop(listener.accept().unwrap());
        }
        client.open_missing(2).await;
        assert_eq!(live.read().opened, 7);
        let dead = Wire::new(settings("vllm", "http://127.0.0.1:1")).unwrap();
        // That nothing listens is for the request to find and to record.
        Client::new(&dead, 0, Arc::default()).open_missing(3).await;
    });
}
