//! Traces with their own clock.

use inferometer_testkit::{printed, read_json, run_folder, stderr, stdout};
use serde_json::json;

use super::{good, quick, run, write_files};

#[test]
fn a_trace_keeps_its_clock_and_reports_how_well() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let server = quick();
    let trace = [
        "--dataset-name",
        "trace",
        "--dataset-path",
        "azure.csv",
        "--num-prompts",
        "0",
    ];
    let stretch = [
        "--trace-speed",
        "10",
        "--trace-start",
        "1",
        "--trace-duration",
        "3",
    ];
    let output = run(
        folder.path(),
        &server.url(),
        &[&trace[..], &stretch[..]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        stdout(&output).contains("Replay: 3 of 6 rows sent"),
        "{}",
        printed(&output)
    );
    let result = read_json(&folder.path().join("r.json"));
    let fidelity = &result["inferometer"]["traffic"]["fidelity"];
    assert_eq!(
        (&fidelity["rows_used"], &fidelity["rows_in_file"]),
        (&json!(3), &json!(6))
    );
    assert_eq!(fidelity["out_of_order"], 0);
    // Rows one second apart, at ten times the speed.
    let starts: Vec<f64> = serde_json::from_value(result["start_times"].clone()).unwrap();
    for pair in starts.windows(2) {
        assert!((pair[1] - pair[0] - 0.1).abs() < 0.05, "{starts:?}");
    }
    // Latency from the due instant exists, although no rate was given.
    assert!(result["inferometer"]["extras"]["response"]["e2el_ms"]["p50"].is_number());

    // With a rate instead of the trace's clock.
    let other = run(
        folder.path(),
        &server.url(),
        &[&trace[..], &["--no-self-timed"]].concat(),
    );
    assert!(!stdout(&other).contains("Replay:"), "{}", printed(&other));
    let refused = run(
        folder.path(),
        &server.url(),
        &[&trace[..], &["--request-rate", "5"]].concat(),
    );
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("--no-self-timed"),
        "{}",
        printed(&refused)
    );
    let refused = run(folder.path(), &server.url(), &["--trace-speed", "2"]);
    assert!(
        stderr(&refused).contains("--trace-speed"),
        "{}",
        printed(&refused)
    );
    server.stop().unwrap();
}

#[test]
fn the_schedule_of_a_trace_is_in_its_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path());
    let server = quick();
    good(
        folder.path(),
        &server.url(),
        &[
            "--dataset-name",
            "timed_trace",
            "--dataset-path",
            "timed.jsonl",
            "--num-prompts",
            "6",
        ],
    );
    server.stop().unwrap();
    let kept = read_json(&run_folder(folder.path()).join("schedule.json"));
    assert_eq!(
        kept["due"],
        json!([
            0,
            100_000_000,
            200_000_000,
            300_000_000,
            400_000_000,
            500_000_000
        ])
    );
}
