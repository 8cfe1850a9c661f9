//! Where output goes: names and places that cannot take it are refused before anything is sent, and
//! nothing that a command reads, or that a run wrote, is overwritten.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use inferometer_testkit::{printed, read_json, stderr};

use crate::INFEROMETER;

const RUN: [&str; 9] = [
    "simulate",
    "--num-prompts",
    "3",
    "--random-input-len",
    "8",
    "--random-output-len",
    "4",
    "--model",
    "sim",
];

fn simulate(folder: &Path, more: &[&str]) -> Command {
    let mut command = INFEROMETER.command(folder);
    command.args(RUN).args(more);
    command
}

fn refused(output: &Output, word: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", printed(output));
    assert!(stderr(output).contains(word), "{}", printed(output));
}

#[test]
fn a_result_that_cannot_be_written_is_refused_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let long = "n".repeat(252);
    for (flag, name) in [
        ("--label", long.clone()),
        ("--result-filename", format!("{long}.json")),
        ("--result-filename", format!("{}.json", "模".repeat(84))),
    ] {
        let output = simulate(path, &["--save-result", "--no-run-folder", flag, &name]).output();
        refused(&output.unwrap(), "choose a shorter name");
    }
    // The result's own name fits, and that of the page beside it does not.
    let name = format!("{}.json", "n".repeat(248));
    let more = ["--plot-timeline", "--save-result", "--no-run-folder"];
    let output = simulate(path, &more)
        .args(["--result-filename", &name])
        .output();
    refused(&output.unwrap(), "timeline.html");
    let output = simulate(path, &["--save-result", "--label", &"模".repeat(100)]).output();
    refused(&output.unwrap(), "choose a shorter name");
    if Command::new("mkfifo")
        .arg(path.join("pipe"))
        .status()
        .is_ok()
    {
        for save in ["--save-result", "--append-result"] {
            let output = simulate(path, &[save, "--result-filename", "pipe"]).output();
            refused(&output.unwrap(), "it is a named pipe");
        }
    }
}

#[test]
fn a_result_follows_the_table_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let out = File::create(folder.path().join("out")).unwrap();
    let more = ["--save-result", "--result-filename", "/dev/stdout"];
    let mut command = simulate(folder.path(), &more);
    assert!(command.stdout(out).status().unwrap().success());
    let text = fs::read_to_string(folder.path().join("out")).unwrap();
    let (table, result) = text.split_once("{\"date\"").unwrap();
    assert!(table.contains("Benchmark Result"), "{text}");
    assert!(result.contains("\"completed\": 3"), "{result}");
}

#[test]
fn a_full_disk_behind_stdout_is_a_failure_and_a_closed_pipe_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let saved = ["--save-result", "--result-filename", "r.json"];
    assert!(simulate(path, &saved).status().unwrap().success());
    let commands: [&[&str]; 8] = [
        &["help"],
        &["--help"],
        &["run", "--help"],
        &["man"],
        &["completions", "bash"],
        &["compare", "r.json", "r.json"],
        &["aggregate", "."],
        &["install-shims", "bin"],
    ];
    for arguments in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = INFEROMETER.command(path);
        let output = command
            .args(arguments)
            .stdout(full)
            .stderr(Stdio::piped())
            .output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        let message = stderr(&output);
        assert!(message.contains("cannot write to stdout"), "{message}");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = INFEROMETER.command(path);
    let output = command.arg("help").stdout(writer).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn inputs_and_runs_are_not_overwritten_and_other_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let call = |arguments: &[&str]| INFEROMETER.call(path, arguments);
    let saved = ["--save-result", "--result-filename", "r.json"];
    assert!(simulate(path, &saved).status().unwrap().success());
    fs::write(path.join("p.jsonl"), "{\"prompt\": \"a\"}\n").unwrap();
    let runs = fs::read_dir(path.join("inferometer-runs")).unwrap();
    let run = runs.last().unwrap().unwrap().path();
    let manifest = run.join("manifest.json").display().to_string();
    let records = run.join("requests.csv").display().to_string();
    let custom = ["--dataset-name", "custom", "--dataset-path", "p.jsonl"];
    let build = [
        "workload",
        "build",
        "--tokenizer",
        "builtin",
        "--model",
        "m",
    ];

    refused(&call(&["aggregate", ".", "-o", "r.json"]), "an input");
    refused(&call(&["aggregate", ".", "-o", &manifest]), "of a run");
    refused(&call(&["aggregate", ".", "-o", &records]), "of a run");
    let output = call(&[&build[..], &custom, &["-o", "p.jsonl"]].concat());
    refused(&output, "an input");
    refused(&call(&["calibrate", "r.json", "-o", "r.json"]), "an input");
    let parquet = run.join("requests.parquet").display().to_string();
    let name = run.display().to_string();
    let saved = ["--save-result", "--result-filename", &parquet];
    refused(
        &call(&[&["report", &name][..], &saved].concat()),
        "of a run",
    );
    assert!(call(&["verify", &name]).status.success());

    fs::create_dir(path.join("figures")).unwrap();
    fs::write(path.join("figures/performance_report.md"), "mine").unwrap();
    let output = call(&["visualize", "r.json", "--report"]);
    let message = stderr(&output);
    let note = "note: figures/performance_report.md exists and will be replaced";
    assert!(message.contains(note), "{message}");
}

/// The manifest is text, and a path on Linux need not be.
#[test]
fn a_folder_and_a_file_whose_names_are_not_text_are_used() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(OsStr::from_bytes(b"caf\xe9"));
    if fs::create_dir(&folder).is_err() {
        // Some file systems take text only.
        return;
    }
    let saved = ["--save-result", "--result-filename", "r.json"];
    let output = simulate(&folder, &saved).output().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    assert_eq!(read_json(&folder.join("r.json"))["completed"], 3);
    fs::rename(
        folder.join("r.json"),
        folder.join(OsStr::from_bytes(b"n\xff.json")),
    )
    .unwrap();
    fs::remove_dir_all(folder.join("inferometer-runs")).unwrap();
    let output = INFEROMETER.call(&folder, &["aggregate", "."]);
    assert!(output.status.success(), "{}", printed(&output));
    let table = fs::read_to_string(folder.join("aggregate_results.csv")).unwrap();
    assert!(table.contains("n\u{fffd}.json"), "{table}");
}
