//! Each reason of the verdict that a server, a load or a signal can cause, provoked on the binary.
//!
//! Those that the client's own host causes (a stepped clock, a control group's quota, a kernel
//! without stamps, a saturated worker) are in `hosts.rs`; the tests of the metrics crate provoke all
//! of them on synthetic runs too.

use std::fs;
use std::path::Path;
use std::time::Duration;

use inferometer_testkit::{
    alone, finish, printed, read_json, signal, verdict_codes, verdict_codes_without_host,
};
use serde_json::{Value, json};

use crate::INFEROMETER;

/// A run of `load` against a simulator with `flags`: the codes, without those that a busy machine
/// causes.
fn found(folder: &Path, flags: &[&str], load: &[&str]) -> (Vec<String>, Value) {
    let sim = INFEROMETER.sim(folder, flags);
    let result = finish(INFEROMETER.start_run(folder, &sim.url, load), folder);
    (verdict_codes_without_host(&result), result)
}

#[test]
fn servers_and_loads_that_distort_a_run_are_named_and_nothing_else_is() {
    let _alone = alone();
    let quick = ["--ttft", "20", "--itl", "2"];
    let even = [
        "--num-prompts",
        "100",
        "--request-rate",
        "100",
        "--burstiness",
        "inf",
    ];
    let long = ["--random-output-len", "10", "--ignore-eos"];
    for (code, flags, more) in [
        ("", &[][..], &[][..]),
        (
            "cap_binding",
            &[],
            &["--burstiness", "1", "--max-concurrency", "6"],
        ),
        ("failures", &["--fault", "http_503=0.3"], &[]),
        ("truncated", &["--fault", "early_end=0.3"], &[]),
        (
            "usage_disagreement",
            &["--fault", "usage_inconsistent=1"],
            &["--random-output-len", "40"],
        ),
        ("coalesced", &["--fault", "burst=1"], &[]),
        ("too_few_samples", &[], &["--metric-percentiles", "99.9"]),
        // The simulator honours the one field and not the other.
        ("", &[], &["--extra-body", "{\"max_tokens\": 5}"]),
        (
            "output_length",
            &[],
            &["--extra-body", "{\"n_predict\": 20}"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (found, result) = found(
            folder.path(),
            &[&quick, flags].concat(),
            &[&even[..], &long, more].concat(),
        );
        let expected: Vec<&str> = [code].into_iter().filter(|code| !code.is_empty()).collect();
        let mut found = found;
        // A client without a processor reads events together.
        if code != "coalesced" && verdict_codes(&result).contains(&"receive_lag".to_owned()) {
            found.retain(|code| code != "coalesced");
        }
        assert_eq!(found, expected, "{:#}", result["inferometer"]["verdict"]);
    }
}

#[test]
fn answers_in_one_piece_are_named_and_meet_no_limit_on_tpot() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // Answers of four tokens, written four at a time.
    let flags = ["--ttft", "20", "--itl", "5", "--fault", "burst=1"];
    let load = [
        "--num-prompts",
        "50",
        "--request-rate",
        "100",
        "--random-output-len",
        "4",
        "--ignore-eos",
        "--goodput",
        "tpot:1",
    ];
    let (found, result) = found(folder.path(), &flags, &load);
    assert_eq!(found, ["coalesced", "one_piece_answers"]);
    assert_eq!(result["request_goodput"], 0.0);
    assert!(result["mean_tpot_ms"].is_null() && result["mean_ttft_ms"].is_number());
}

#[test]
fn short_answers_and_repeated_prompts_are_named() {
    let _alone = alone();
    let load = [
        "--num-prompts",
        "40",
        "--max-concurrency",
        "8",
        "--random-output-len",
        "30",
    ];
    let own = [
        "--dataset-name",
        "custom",
        "--dataset-path",
        "d.jsonl",
        "--custom-output-len",
        "30",
    ];
    let fixed = &["--ignore-eos"][..];
    for (code, prompts, more) in [
        ("natural_end", 40, &[][..]),
        ("", 40, fixed),
        ("identical_prompts", 8, fixed),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<String> = (0..40)
            .map(|row| format!("{{\"prompt\": \"Row {}?\"}}\n", row % prompts))
            .collect();
        fs::write(folder.path().join("d.jsonl"), rows.concat()).unwrap();
        let flags = [
            "--ttft",
            "10",
            "--itl",
            "5",
            "--answer-tokens",
            "10",
            // Without it the simulator counts by rules of its own.
            "--tokenizer",
            "builtin",
        ];
        let (found, result) = found(folder.path(), &flags, &[&load[..], &own, more].concat());
        let expected: Vec<&str> = [code].into_iter().filter(|code| !code.is_empty()).collect();
        assert_eq!(found, expected, "{:#}", result["inferometer"]["verdict"]);
    }
}

#[test]
fn a_server_that_falls_behind_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    // One sequence at a time takes longer than the gap between two arrivals.
    let flags = ["--preset", "llama-3.1-8b@h100", "--max-num-seqs", "1"];
    let load = [
        "--num-prompts",
        "150",
        "--request-rate",
        "60",
        "--random-output-len",
        "8",
        "--ignore-eos",
    ];
    let (found, result) = found(folder.path(), &flags, &load);
    assert_eq!(
        found,
        ["backlog_growing"],
        "{:#}",
        result["inferometer"]["verdict"]
    );
}

#[test]
fn a_warm_prefix_cache_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--preset", "llama-3.1-8b@h100"]);
    let load = [
        "--num-prompts",
        "20",
        "--max-concurrency",
        "4",
        "--random-output-len",
        "4",
        "--ignore-eos",
    ];
    let more = ["--random-input-len", "200", "--seed", "5"];
    let load = [&load[..], &more].concat();
    let cold = verdict_codes(&finish(
        INFEROMETER.start_run(folder.path(), &sim.url, &load),
        folder.path(),
    ));
    assert!(!cold.contains(&"cache_hits".to_owned()), "{cold:?}");
    let warm = verdict_codes(&finish(
        INFEROMETER.start_run(folder.path(), &sim.url, &load),
        folder.path(),
    ));
    assert!(warm.contains(&"cache_hits".to_owned()), "{warm:?}");
}

#[test]
fn a_stopped_client_is_late_and_reports_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "1"]);
    // Answers take 100 ms, so about 3 % of all events arrive during the pause; the p99 of the lag
    // must show them.
    let load = [
        "--num-prompts",
        "300",
        "--request-rate",
        "150",
        "--random-output-len",
        "80",
        "--ignore-eos",
    ];
    let run = INFEROMETER.start_run(folder.path(), &sim.url, &load);
    // Half of the run.
    sim.wait_for_answers(150);
    signal(run.id(), "-STOP");
    std::thread::sleep(Duration::from_millis(600));
    signal(run.id(), "-CONT");
    let result = finish(run, folder.path());
    for code in ["late_sends", "worker_stall", "receive_lag"] {
        assert!(
            verdict_codes(&result).contains(&code.to_owned()),
            "no {code} in {:?}",
            verdict_codes(&result)
        );
    }
    assert_eq!(result["inferometer"]["verdict"]["level"], "INVALID");
}

#[test]
fn an_interrupted_run_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "1"]);
    let load = [
        "--num-prompts",
        "1000",
        "--request-rate",
        "50",
        "--random-output-len",
        "5",
        "--ignore-eos",
    ];
    let run = INFEROMETER.start_run(folder.path(), &sim.url, &load);
    sim.wait_for_answers(100);
    signal(run.id(), "-INT");
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", printed(&output));
    let result = read_json(&folder.path().join("r.json"));
    assert!(
        verdict_codes(&result).contains(&"partial_run".to_owned()),
        "{:?}",
        verdict_codes(&result)
    );
}

#[test]
fn a_run_near_the_ceiling_that_a_self_test_found_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sim = INFEROMETER.sim(folder.path(), &["--ttft", "20", "--itl", "1"]);
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap()
        .trim()
        .to_owned();
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let tail = json!({"p50": 0.0, "p99": 0.0, "max": 0.0});
    let ceiling = json!({
        "format_version": 1, "host": host, "build": build, "lateness_ms": tail, "requests_per_s": 150.0,
        "events_per_s": 1e9, "open_streams": 1_000_000, "streams_limited_by": "", "stamp_error_ms": tail,
        "kernel_stamps": true
    });
    // Under the program's former name, as a self-test before November 2026 left it.
    let cache = folder.path().join("servebench");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("selftest.json"), ceiling.to_string()).unwrap();
    let output = INFEROMETER
        .command(folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .args([
            "run",
            "--base-url",
            &sim.url,
            "--tokenizer",
            "builtin",
            "--dataset-name",
            "random",
        ])
        .args([
            "--random-input-len",
            "8",
            "--random-output-len",
            "2",
            "--ignore-eos",
        ])
        .args([
            "--num-prompts",
            "100",
            "--request-rate",
            "100",
            "--burstiness",
            "inf",
        ])
        .args(["--save-result", "--result-filename", "r.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let result = read_json(&folder.path().join("r.json"));
    assert!(
        verdict_codes(&result).contains(&"near_ceiling".to_owned()),
        "{:?}",
        verdict_codes(&result)
    );
}
