//! What sets inferometer apart, tested on the binary: numbers stay right when the server or the
//! client is stopped, and the verdict reports it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use inferometer_testkit::{
    alone, finish, request_index, signal, verdict_codes, wait_for_in_flight,
};
use serde_json::Value;

use crate::INFEROMETER;

fn number(result: &Value, path: &str) -> f64 {
    result
        .pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("no number at {path}"))
}

fn floats(result: &Value, key: &str) -> Vec<f64> {
    result[key]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}

#[test]
fn a_stopped_server_shows_in_the_response_latency() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "1"]);
    // A cap that is far from binding until the server is stopped.
    let load = [
        "--num-prompts",
        "1200",
        "--request-rate",
        "200",
        "--random-output-len",
        "1",
    ];
    let cap = ["--max-concurrency", "100"];
    let run = INFEROMETER.start_run(folder.path(), &sim.url, &[&load[..], &cap[..]].concat());
    sim.wait_for_answers(350);
    signal(sim.id(), "-STOP");
    std::thread::sleep(Duration::from_secs(3));
    signal(sim.id(), "-CONT");
    let result = finish(run, folder.path());

    // A hundred requests were in flight when the server stopped; those have a service latency of up
    // to 3 s, but the hundreds that waited for their slot meanwhile have a short one.
    let service = number(&result, "/inferometer/extras/service/e2el_ms/p90");
    let response = number(&result, "/inferometer/extras/response/e2el_ms/p90");
    assert!(
        response > 2_000.0,
        "p90 of response latency is {response} ms"
    );
    assert!(
        service < 2_900.0 && service < response,
        "service {service} ms, response {response} ms"
    );

    // Each request's response latency is its wait since it was due plus its service latency.
    let (queued, latencies) = (floats(&result, "queue_times"), floats(&result, "latencies"));
    let mut sums: Vec<f64> = queued
        .iter()
        .zip(&latencies)
        .map(|(wait, latency)| (wait + latency) * 1e3)
        .collect();
    sums.sort_by(f64::total_cmp);
    let expected = sums[sums.len() * 9 / 10];
    assert!(
        (response - expected).abs() / expected < 0.01,
        "{response} against {expected}"
    );
    assert!(
        verdict_codes(&result).contains(&"cap_binding".to_owned()),
        "{:?}",
        verdict_codes(&result)
    );
}

#[test]
fn the_simulator_reports_the_arrival_of_a_request_that_it_read_late() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "1", "--itl", "1"]);
    signal(sim.id(), "-STOP");
    let mut socket = TcpStream::connect(sim.url.trim_start_matches("http://")).unwrap();
    let body = r#"{"prompt": "x", "max_tokens": 1, "stream": true}"#;
    let length = body.len();
    write!(
        socket,
        "POST /v1/completions HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    signal(sim.id(), "-CONT");
    socket.read_to_end(&mut Vec::new()).unwrap();
    let truth = sim.truth().remove(0);
    if cfg!(target_os = "linux") {
        let waited = (number(&truth, "/body") - number(&truth, "/request_arrived")) / 1e6;
        assert!(
            waited > 150.0,
            "read {waited} ms after its arrival: {truth}"
        );
    }
}

#[test]
fn a_cap_that_binds_is_named_and_the_wait_is_counted() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // Service takes 100 ms, requests come every 20 ms, one at a time is served: request i waits i ·
    // 80 ms.
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "100", "--itl", "1"]);
    let load = [
        "--num-prompts",
        "40",
        "--request-rate",
        "50",
        "--burstiness",
        "inf",
    ];
    let more = ["--max-concurrency", "1", "--random-output-len", "1"];
    let result = finish(
        INFEROMETER.start_run(folder.path(), &sim.url, &[&load[..], &more[..]].concat()),
        folder.path(),
    );
    let service = number(&result, "/inferometer/extras/service/e2el_ms/mean");
    let response = number(&result, "/inferometer/extras/response/e2el_ms/mean");
    // Due at 20 (i + 1), started at service · i after the first.
    let expected = (0..40)
        .map(|i| 20.0 + service * f64::from(i) + service - 20.0 * f64::from(i + 1))
        .sum::<f64>()
        / 40.0;
    assert!(
        (100.0..110.0).contains(&service),
        "service latency is {service} ms"
    );
    assert!(
        (response - expected).abs() / expected < 0.02,
        "{response} against {expected}"
    );
    assert!(
        verdict_codes(&result).contains(&"cap_binding".to_owned()),
        "{:?}",
        verdict_codes(&result)
    );
}

#[test]
fn a_client_stopped_for_50_ms_keeps_its_stamps_and_reports_the_stall() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "200", "--itl", "200"]);
    let load = [
        "--num-prompts",
        "8",
        "--max-concurrency",
        "8",
        "--random-output-len",
        "15",
    ];
    let run = INFEROMETER.start_run(folder.path(), &sim.url, &load);
    wait_for_in_flight(&sim.url, 8);
    for _ in 0..8 {
        signal(run.id(), "-STOP");
        std::thread::sleep(Duration::from_millis(50));
        signal(run.id(), "-CONT");
        std::thread::sleep(Duration::from_millis(150));
    }
    let result = finish(run, folder.path());
    assert_eq!(result["inferometer"]["client"]["kernel_stamps"], true);
    let itls: Vec<Vec<f64>> = serde_json::from_value(result["itls"].clone()).unwrap();
    let mut errors = Vec::new();
    for truth in sim.truth() {
        let index = request_index(truth["id"].as_str().unwrap());
        let sent: Vec<f64> = floats(&truth, "events");
        errors.extend(
            sent.windows(2)
                .zip(&itls[index])
                .map(|(pair, gap)| (gap * 1e3 - (pair[1] - pair[0]) / 1e6).abs()),
        );
    }
    assert_eq!(errors.len(), 8 * 14);
    errors.sort_by(f64::total_cmp);
    // If the process took the stamps, every fourth gap would be tens of milliseconds off. The
    // simulator may lose its processor between reading the clock and writing: hence the p95 instead
    // of the largest error.
    let error = errors[errors.len() * 95 / 100];
    assert!(error < 0.2, "gaps are {error} ms off");
    let level = result["inferometer"]["verdict"]["level"].as_str().unwrap();
    assert!(
        level != "VALID" && verdict_codes(&result).contains(&"worker_stall".to_owned()),
        "{level} {:?}",
        verdict_codes(&result)
    );
}
