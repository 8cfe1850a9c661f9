//! What a run prints and leaves.

use std::fs;

use inferometer_sim::SimSettings;
use inferometer_testkit::{printed, read_json, run_folder, server, stderr, stdout};
use serde_json::Value;

use crate::INFEROMETER;

/// The part of the output from vLLM's heading to the end.
fn table(text: &str) -> &str {
    &text[text.find("============ Serving").unwrap()..]
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn a_run_prints_the_table_and_leaves_files_that_give_the_same_table_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let more = [
        "--save-result",
        "--result-filename",
        "r.json",
        "--metadata",
        "tp=2",
        "gpu=H100",
    ];
    let output = INFEROMETER.run(folder.path(), &server.url(), &more);
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let text = stdout(&output);
    for line in [
        "Successful requests:                     20        \n",
        "Failed requests:                         0         \n",
        "Total input tokens:                      320       \n",
        "Total generated tokens:                  160       \n",
        "\nMean TTFT (ms):                          ",
        "\nVerdict: ",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }

    let result = read_json(&folder.path().join("r.json"));
    let keys: Vec<_> = result
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "date",
            "endpoint_type",
            "backend",
            "label",
            "model_id",
            "tokenizer_id",
            "num_prompts",
            "tp",
            "gpu",
            "request_rate",
            "burstiness",
            "max_concurrency",
            "duration",
            "completed",
            "failed",
            "total_input_tokens",
            "total_output_tokens",
            "request_throughput",
            "request_goodput",
            "output_throughput",
            "total_token_throughput",
            "latencies",
            "queue_times",
            "max_output_tokens_per_s",
            "max_concurrent_requests",
            "rtfx",
            "mean_ttft_ms",
            "median_ttft_ms",
            "std_ttft_ms",
            "p99_ttft_ms",
            "mean_tpot_ms",
            "median_tpot_ms",
            "std_tpot_ms",
            "p99_tpot_ms",
            "mean_itl_ms",
            "median_itl_ms",
            "std_itl_ms",
            "p99_itl_ms",
            "inferometer"
        ]
    );
    assert_eq!(
        (&result["request_rate"], &result["gpu"]),
        (&Value::from("inf"), &Value::from("H100"))
    );

    let run = run_folder(folder.path());
    let mut files: Vec<_> = fs::read_dir(&run)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["manifest.json", "report.html", "requests.parquet"]);
    let again = INFEROMETER
        .command(folder.path())
        .arg("report")
        .arg(run.strip_prefix(folder.path()).unwrap())
        .output()
        .unwrap();
    assert_eq!(table(&stdout(&again)), table(&text), "{}", printed(&again));
}

#[test]
fn appended_results_are_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 0.5);
    for _ in 0..2 {
        let output = INFEROMETER.run(
            folder.path(),
            &server.url(),
            &["--append-result", "--result-filename", "all.jsonl"],
        );
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    server.stop().unwrap();
    let text = fs::read_to_string(folder.path().join("all.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["completed"] == 20));
}

#[test]
fn a_run_without_a_successful_request_exits_with_1_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let server = inferometer_sim::start(SimSettings {
        faults: vec!["http_500=1".parse().unwrap()],
        ..SimSettings::default()
    })
    .unwrap();
    let output = INFEROMETER.run(folder.path(), &server.url(), &[]);
    // Under vLLM's rules each failure has its line, as in its tool.
    let vllm = INFEROMETER.run(folder.path(), &server.url(), &["--compat", "vllm"]);
    server.stop().unwrap();
    let lines = stdout(&vllm);
    assert!(
        lines.contains("Error 9: http_error") && !lines.contains("Error 10:"),
        "{lines}"
    );
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let text = stdout(&output);
    assert!(
        text.contains("Error 0: http_error") && text.contains("(20 times)"),
        "{text}"
    );
    assert!(
        text.contains("500") && text.contains("Verdict: INVALID"),
        "{text}"
    );
}

#[test]
fn strict_makes_an_invalid_run_exit_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let server = inferometer_sim::start(SimSettings {
        faults: vec!["http_500=0.5".parse().unwrap()],
        ..SimSettings::default()
    })
    .unwrap();
    let output = INFEROMETER.run(folder.path(), &server.url(), &["--strict"]);
    let relaxed = INFEROMETER.run(folder.path(), &server.url(), &[]);
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", printed(&output));
    assert_eq!(relaxed.status.code(), Some(0), "{}", printed(&relaxed));
}

#[test]
fn spellings_of_argparse_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 0.5);
    let more = [
        "--max_concurrency=4",
        "--metric-perc",
        "50,90",
        "--seed",
        "1",
        "--seed",
        "2",
    ];
    let output = INFEROMETER.run(folder.path(), &server.url(), &more);
    server.stop().unwrap();
    let text = stdout(&output);
    assert!(
        text.contains("Maximum request concurrency:             4 "),
        "{}",
        printed(&output)
    );
    assert!(text.contains("P90 TTFT (ms):"), "{text}");
    assert!(
        stderr(&output).contains("--seed is given more than once"),
        "{}",
        printed(&output)
    );
}

#[test]
fn the_manifest_holds_the_deltas_of_the_servers_counters() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    // What came before the run does not count.
    let before = INFEROMETER.run(folder.path(), &server.url(), &["--no-run-folder"]);
    assert_eq!(before.status.code(), Some(0), "{}", printed(&before));
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &["--ready-check-timeout-sec", "10"],
    );
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let run_folder = run_folder(folder.path());
    let manifest = read_json(&run_folder.join("manifest.json"));
    let told = &manifest["server_metrics"];
    assert_eq!(told["gained"]["engine"], "vllm", "{told:#}");
    assert_eq!(told["gained"]["generation_tokens"], 160, "{told:#}");
    assert!(
        told["gained"]["prompt_tokens"].as_u64().unwrap() >= 320,
        "{told:#}"
    );
    assert_eq!(told["at_end"]["running"], 0.0, "{told:#}");
    // The page of the run shows them.
    let page = fs::read_to_string(run_folder.join("report.html")).unwrap();
    assert!(page.contains("gained.generation_tokens"));
}
