//! Workload files, and mixes of workloads.

use std::fs;
use std::path::Path;
use std::process::Output;

use inferometer_testkit::{Recorder, printed, stderr, stdout};

use super::{good, quick, run};
use crate::INFEROMETER;

fn build(folder: &Path, file: &str, arguments: &[&str]) -> Output {
    INFEROMETER
        .command(folder)
        .args([
            "workload",
            "build",
            "--tokenizer",
            "builtin",
            "--model",
            "sim",
            "-o",
            file,
        ])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn a_workload_file_is_replayed_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--num-prompts",
        "12",
        "--random-input-len",
        "30",
        "--random-output-len",
        "3",
        "--seed",
        "5",
    ];
    let flags = [
        &flags[..],
        &["--random-range-ratio", "0.5", "--request-rate", "200"],
    ]
    .concat();
    for file in ["w.jsonl", "again.jsonl"] {
        let output = build(folder.path(), file, &flags);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    let read = |file: &str| fs::read(folder.path().join(file)).unwrap();
    assert_eq!(read("w.jsonl"), read("again.jsonl"));

    // What the file sends is what the flags send.
    let (by_flags, by_file) = (Recorder::start(), Recorder::start());
    let prefix = ["--request-id-prefix", "bench-"];
    good(
        folder.path(),
        &by_flags.url,
        &[&flags[..], &prefix[..]].concat(),
    );
    let result = good(folder.path(), &by_file.url, &["--workload", "w.jsonl"]);
    let sent = |recorder: &Recorder| {
        let mut sent: Vec<(String, String)> = recorder
            .to("/completions")
            .into_iter()
            .map(|asked| (asked.id.unwrap_or_default(), asked.body.to_string()))
            .collect();
        sent.sort();
        sent
    };
    assert_eq!(sent(&by_flags), sent(&by_file));
    assert_eq!(sent(&by_file).len(), 12);
    let hash = result["inferometer"]["traffic"]["workload_file_sha256"]
        .as_str()
        .unwrap()
        .to_owned();

    let shown = INFEROMETER
        .command(folder.path())
        .args(["workload", "show", "w.jsonl", "--html", "w.html"])
        .output()
        .unwrap();
    let text = stdout(&shown);
    for part in [
        "12 requests",
        &hash,
        "prompt tokens: mean",
        "█",
        "milliseconds between due instants",
    ] {
        assert!(text.contains(part), "{part}: {}", printed(&shown));
    }
    let page = String::from_utf8(read("w.html")).unwrap();
    assert!(page.contains("<svg") && page.contains(&hash));

    let refused = run(
        folder.path(),
        &by_file.url,
        &["--workload", "w.jsonl", "--dataset-name", "random"],
    );
    assert!(
        stderr(&refused).contains("--dataset-name cannot"),
        "{}",
        printed(&refused)
    );
    let broken = String::from_utf8(read("w.jsonl"))
        .unwrap()
        .replacen("bench-3", "bench-x", 1);
    fs::write(folder.path().join("broken.jsonl"), broken).unwrap();
    let refused = run(folder.path(), &by_file.url, &["--workload", "broken.jsonl"]);
    assert!(
        stderr(&refused).contains("was changed"),
        "{}",
        printed(&refused)
    );
}

#[test]
fn conversations_can_be_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--multi-turn",
        "--backend",
        "openai-chat",
        "--num-prompts",
        "6",
        "--multi-turn-min-turns",
        "2",
    ];
    let output = build(
        folder.path(),
        "w.jsonl",
        &[&flags[..], &["--multi-turn-output-len", "3"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let server = quick();
    let result = good(
        folder.path(),
        &server.url(),
        &["--workload", "w.jsonl", "--backend", "openai-chat"],
    );
    server.stop().unwrap();
    let talks = &result["inferometer"]["traffic"]["conversations"];
    assert_eq!(talks["sessions"], talks["complete"]);
    assert_eq!(talks["turns"][0]["completed"], talks["sessions"]);
}

#[test]
fn a_mix_reports_its_classes_and_what_a_cache_could_reuse() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start();
    let mix = [
        "--mix",
        "1:200/4,1:400/8",
        "--num-prompts",
        "40",
        "--cache-hit-fraction",
        "0.5",
    ];
    let result = good(folder.path(), &recorder.url, &mix);
    let traffic = &result["inferometer"]["traffic"];
    let classes: Vec<&str> = traffic["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["name"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["200/4", "400/8"]);
    let share = traffic["reusable_prefix_share"].as_f64().unwrap();
    assert!((0.4..0.5).contains(&share), "{share}");

    let salted = Recorder::start();
    let result = good(
        folder.path(),
        &salted.url,
        &[&mix[..], &["--salt", "seven"]].concat(),
    );
    assert_eq!(result["inferometer"]["traffic"]["salt"], "seven");
    let prompts = |recorder: &Recorder| -> Vec<String> {
        recorder
            .to("/completions")
            .iter()
            .map(|request| request.body["prompt"].to_string())
            .collect()
    };
    let plain = prompts(&recorder);
    assert!(
        prompts(&salted)
            .iter()
            .all(|prompt| !plain.contains(prompt))
    );
    let refused = run(folder.path(), &recorder.url, &["--prefix-groups", "3"]);
    assert!(stderr(&refused).contains("--mix"), "{}", printed(&refused));
}
