//! The numbers against a server that knows the truth.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::{run, run_folder, server, told};

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn two_hundred_streams_are_measured_as_the_server_sent_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(50.0, 10.0);
    let more = [
        "--num-prompts",
        "400",
        "--max-concurrency",
        "200",
        "--random-output-len",
        "50",
    ];
    let saving = [
        "--save-result",
        "--save-detailed",
        "--result-filename",
        "r.json",
    ];
    let output = run(
        folder.path(),
        &server.url(),
        &[&more[..], &saving[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));

    let result: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("r.json")).unwrap()).unwrap();
    let floats = |key: &str| -> Vec<f64> {
        result[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap())
            .collect()
    };
    let itls: Vec<Vec<f64>> = serde_json::from_value(result["itls"].clone()).unwrap();
    let (ttfts, starts) = (floats("ttfts"), floats("start_times"));

    // Both processes read the same monotonic clock, so the instant at which an event was handed to
    // the kernel can be compared with the instant at which the client says that it arrived.
    let mut ttft_errors = Vec::new();
    let mut itl_errors = Vec::new();
    let mut seen = BTreeSet::new();
    for truth in server.truth() {
        let id = truth.id.unwrap();
        let index: usize = id.rsplit('-').next().unwrap().parse().unwrap();
        assert!(seen.insert(index), "{id} came twice");
        let events: Vec<f64> = truth.events.iter().map(|at| at.as_secs_f64()).collect();
        assert_eq!((events.len(), itls[index].len()), (50, 49));
        ttft_errors.push(ttfts[index] - (events[0] - starts[index]));
        itl_errors.extend(
            events
                .windows(2)
                .zip(&itls[index])
                .map(|(pair, gap)| gap - (pair[1] - pair[0])),
        );
    }
    server.stop().unwrap();
    assert_eq!(seen.len(), 400);
    let (ttft, itl) = (mean(&ttft_errors) * 1e3, mean(&itl_errors) * 1e3);
    assert!(ttft.abs() < 1.0, "the mean TTFT is {ttft} ms off");
    assert!(itl.abs() < 0.2, "the mean ITL is {itl} ms off");
    assert!(run_folder(folder.path()).join("requests.parquet").is_file());
}
