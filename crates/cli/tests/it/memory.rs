//! Runs with more events than memory should hold: events stay in the record log, and nothing else
//! changes.

use std::fs;
use std::process::Output;

use inferometer_sim::SimSettings;
use inferometer_testkit::{printed, read_json, run_folder, server};
use serde_json::Value;

use crate::INFEROMETER;

/// A run of 60 requests that may keep no more than ten events in memory.
fn spilling(folder: &std::path::Path, url: &str, more: &[&str]) -> Output {
    let mut command = INFEROMETER.command(folder);
    command.env("INFEROMETER_EVENTS_IN_MEMORY", "10").args([
        "run",
        "--base-url",
        url,
        "--tokenizer",
        "builtin",
    ]);
    command.args([
        "--dataset-name",
        "random",
        "--random-input-len",
        "16",
        "--random-output-len",
        "8",
    ]);
    command.args([
        "--num-prompts",
        "60",
        "--max-concurrency",
        "7",
        "--save-result",
    ]);
    command.args(["--save-detailed", "--result-filename", "r.json"]);
    command.args(more).output().unwrap()
}

fn result(folder: &std::path::Path) -> Value {
    read_json(&folder.join("r.json"))
}

/// Every answer has its eight events, seven gaps and text in `result`.
fn assert_whole(result: &Value, output: &Output) {
    assert_eq!(result["completed"], 60, "{}", printed(output));
    assert_eq!(result["total_output_tokens"], 480);
    let gaps: Vec<_> = result["itls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gaps| gaps.as_array().unwrap())
        .collect();
    assert_eq!(gaps.len(), 60);
    assert!(gaps.iter().all(|gaps| gaps.len() == 7), "{gaps:?}");
    let texts = result["generated_texts"].as_array().unwrap();
    assert!(
        texts.iter().all(|text| !text.as_str().unwrap().is_empty()),
        "{texts:?}"
    );
    assert!(
        result["ttfts"]
            .as_array()
            .unwrap()
            .iter()
            .all(|ttft| ttft.as_f64().unwrap() > 0.0)
    );
    assert_eq!(result["inferometer"]["extras"]["receive"]["events"], 480);
}

#[test]
fn events_beyond_the_limit_are_read_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let output = spilling(folder.path(), &server.url(), &[]);
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_whole(&result(folder.path()), &output);
    let run = run_folder(folder.path());
    assert!(run.join("requests.parquet").is_file());
    assert!(
        !run.join("requests.arrows").exists(),
        "the log goes when the table is written"
    );
    let again = INFEROMETER
        .command(folder.path())
        .arg("report")
        .arg(&run)
        .output()
        .unwrap();
    let table = |output: &Output| {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        text[text.find("============ Serving").unwrap()
            ..text.find("Run folder").unwrap_or(text.len())]
            .to_owned()
    };
    assert_eq!(table(&again), table(&output));
}

#[test]
fn without_a_run_folder_events_go_to_a_temporary_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let output = spilling(folder.path(), &server.url(), &["--no-run-folder"]);
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_whole(&result(folder.path()), &output);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing but the result"
    );
}

#[test]
fn answers_without_usage_are_counted_from_the_log() {
    let server = inferometer_sim::start(SimSettings {
        faults: vec!["usage_missing=1".parse().unwrap()],
        ..SimSettings::default()
    })
    .unwrap();
    // Without a tokenizer, as in vLLM, one token is asked for.
    let own = [
        "--dataset-name",
        "custom",
        "--dataset-path",
        "d.jsonl",
        "--custom-output-len",
        "8",
        "--ignore-eos",
    ];
    let without = [&own[..], &["--skip-tokenizer-init", "--skip-chat-template"]].concat();
    for (more, tokenizer) in [(&[][..], true), (&without, false)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("d.jsonl"),
            "{\"prompt\": \"Why?\"}\n".repeat(60),
        )
        .unwrap();
        let output = spilling(folder.path(), &server.url(), more);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let result = result(folder.path());
        let counted = result["total_output_tokens"].as_u64().unwrap();
        assert!(
            if tokenizer {
                counted > 400
            } else {
                counted == 60
            },
            "{counted}: {}",
            printed(&output)
        );
    }
    server.stop().unwrap();
}

#[test]
fn an_invalid_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    let output = INFEROMETER
        .command(folder.path())
        .env("INFEROMETER_EVENTS_IN_MEMORY", "lots")
        .args([
            "run",
            "--base-url",
            &server.url(),
            "--tokenizer",
            "builtin",
            "--num-prompts",
            "1",
        ])
        .output()
        .unwrap();
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    assert!(
        printed(&output).contains("INFEROMETER_EVENTS_IN_MEMORY=lots: expected a whole number"),
        "{}",
        printed(&output)
    );
}
