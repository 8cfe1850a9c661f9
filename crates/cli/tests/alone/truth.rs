//! The numbers against the ground truth of the simulator, and of its model on a virtual clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use inferometer_sim::engine::{ClusterConfig, PresetFile};
use inferometer_sim::{SimSettings, start};
use inferometer_testkit::{
    alone, printed, read_json, request_index, run_folder, server, slow_engine,
};

use crate::INFEROMETER;

/// A command that must succeed.
fn good(folder: &Path, arguments: &[&str]) {
    let output = INFEROMETER
        .command(folder)
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn two_hundred_streams_are_measured_as_the_server_sent_them() {
    let _alone = alone();
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
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &[&more[..], &saving[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));

    let result = read_json(&folder.path().join("r.json"));
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
    // the kernel can be compared with the instant at which the client reports that it arrived.
    let mut ttft_errors = Vec::new();
    let mut itl_errors = Vec::new();
    let mut seen = BTreeSet::new();
    for truth in server.truth() {
        let id = truth.id.unwrap();
        let index = request_index(&id);
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

#[test]
fn the_real_clock_agrees_with_the_virtual_one() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let engine = slow_engine();
    fs::write(
        folder.join("slow.json"),
        PresetFile::new("slow", engine.clone()).to_json().unwrap(),
    )
    .unwrap();
    let cluster = ClusterConfig {
        engine,
        ..ClusterConfig::default()
    };
    let server = start(SimSettings {
        engine: Some(cluster),
        ..SimSettings::default()
    })
    .unwrap();
    let load = "--backend vllm --model sim --tokenizer builtin --num-prompts 60 --request-rate 12 --prompt-token-ids \
                --random-input-len 100 --random-output-len 20 --random-range-ratio 0.5 --seed 3 --disable-tqdm \
                --percentile-metrics ttft,tpot,itl,e2el --save-result --no-run-folder --result-filename";
    let load: Vec<&str> = load.split_whitespace().collect();
    let url = server.url();
    let on_server = [&["run", "--base-url", &url][..], &load, &["real.json"]].concat();
    good(folder, &on_server);
    let without_server = [
        &["simulate", "--preset", "slow.json"][..],
        &load,
        &["virtual.json"],
    ]
    .concat();
    good(folder, &without_server);
    server.stop().unwrap();
    let (real, simulated) = (
        read_json(&folder.join("real.json")),
        read_json(&folder.join("virtual.json")),
    );
    for key in ["total_input_tokens", "total_output_tokens", "completed"] {
        assert_eq!(real[key], simulated[key], "{key}");
    }
    for key in [
        "mean_ttft_ms",
        "median_ttft_ms",
        "mean_itl_ms",
        "median_itl_ms",
        "mean_e2el_ms",
        "p99_e2el_ms",
    ] {
        let (real, simulated) = (
            real[key].as_f64().unwrap(),
            simulated[key].as_f64().unwrap(),
        );
        // In the real run an arrival close to the end of a step may fall on its other side: hence
        // the relative part.
        let within = 3.0 + 0.05 * simulated;
        assert!(
            (real - simulated).abs() < within,
            "{key}: real {real}, virtual {simulated}"
        );
    }
}
