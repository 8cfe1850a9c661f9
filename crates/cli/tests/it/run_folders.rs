//! What can be done with run folders afterwards, and names that replace nothing.

use std::fs;
use std::path::Path;
use std::process::Output;

use inferometer_testkit::{Recorder, printed, read_json, run_folder, server, stderr, stdout};

use crate::INFEROMETER;

fn call(folder: &Path, arguments: &[&str]) -> Output {
    INFEROMETER.call(folder, arguments)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// With the same seed, the first 10 of 20 prompts are those of a run of 10.
#[test]
fn a_run_that_repeats_a_part_of_another_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Recorder::start();
    let notes = |n: &str, seed: &str, more: &[&str]| {
        let base = [
            "--num-prompts",
            n,
            "--seed",
            seed,
            "--served-model-name",
            "m",
        ];
        let more = [&base[..], more].concat();
        let output = INFEROMETER.run(folder.path(), &server.url, &more);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let words: Vec<_> = stdout(&output)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        words.join(" ")
    };
    assert!(!notes("10", "7", &[]).contains("[repeated_workload]"));
    let said = notes("20", "7", &[]);
    assert!(
        said.contains("sent 50 % of the requests of this run to this server"),
        "{said}"
    );
    let said = notes("5", "7", &["--lang", "zh"]);
    assert!(said.contains("本次运行中 100 % 的请求"), "{said}");
    assert!(notes("20", "7", &[]).contains("sent the same requests to this server"));
    assert!(!notes("20", "8", &[]).contains("[repeated_workload]"));
}

#[test]
fn a_run_folder_becomes_the_result_that_the_run_would_have_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(2.0, 1.0);
    let more = [
        "--save-result",
        "--save-detailed",
        "--result-filename",
        "own.json",
    ];
    let output = INFEROMETER.run(folder.path(), &server.url(), &more);
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let run = run_folder(folder.path()).display().to_string();
    let saving = ["--save-result", "--save-detailed", "--result-dir", "again"];
    let output = call(folder.path(), &[&["report", &run][..], &saving].concat());
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let [name] = &names(&folder.path().join("again"))[..] else {
        panic!("one file")
    };
    let mut own = read_json(&folder.path().join("own.json"));
    let mut again = read_json(&folder.path().join("again").join(name));
    assert_eq!(again["inferometer"]["written_from"], "run folder");
    for result in [&mut own, &mut again] {
        let result = result.as_object_mut().unwrap();
        // The file has the time at which the run was prepared, the folder that of its start.
        result.remove("date");
        result["inferometer"]
            .as_object_mut()
            .unwrap()
            .remove("written_from");
    }
    assert_eq!(own, again);

    // The run is there three times, and counts once.
    let output = call(folder.path(), &["aggregate", ".", "-o", "tables/all.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        stdout(&output).contains("1 runs from 1 files"),
        "{}",
        printed(&output)
    );
    assert!(
        stderr(&output).contains("counted once"),
        "{}",
        printed(&output)
    );
    // A folder alone is enough for every figure, those of single requests included.
    let output = call(folder.path(), &["visualize", &run, "--output", "figures"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        stdout(&output).contains("(1 with per-request data)"),
        "{}",
        printed(&output)
    );
    let report = fs::read_to_string(folder.path().join("figures/performance_report.md")).unwrap();
    for word in ["inferometer run", "--seed", "--tokenizer", "--base-url"] {
        assert!(report.contains(word), "no {word} in {report}");
    }
}

#[test]
fn figures_take_requests_from_the_folder_of_the_run_that_wrote_a_result() {
    let folder = tempfile::tempdir().unwrap();
    // Two runs whose results have one name, as repeats have.
    for seed in ["1", "2"] {
        let load = "simulate --num-prompts 20 --request-rate 5 --save-result --result-filename r.json --runs-dir all/runs";
        let results = format!("all/{seed}");
        let own = ["--seed", seed, "--result-dir", &results];
        let arguments: Vec<&str> = load.split(' ').chain(own).collect();
        let output = call(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    let output = call(folder.path(), &["aggregate", "all", "-o", "all/all.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    for source in [&["--csv", "all/all.csv"][..], &["all"]] {
        let output = call(folder.path(), &[&["visualize"], source].concat());
        assert!(
            stdout(&output).contains("(2 with per-request data)"),
            "{}",
            printed(&output)
        );
    }
}

#[test]
fn changed_data_are_found_and_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(2.0, 1.0);
    for _ in 0..2 {
        let output = INFEROMETER.run(folder.path(), &server.url(), &[]);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    server.stop().unwrap();
    let runs = folder.path().join("inferometer-runs");
    let [first, second] = &names(&runs)[..] else {
        panic!("two runs")
    };
    let [first, second] = [first, second].map(|name| format!("inferometer-runs/{name}"));
    let output = call(folder.path(), &["verify", &first, &second]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));

    let records = |run: &str| folder.path().join(run).join("requests.parquet");
    fs::copy(records(&second), records(&first)).unwrap();
    let output = call(folder.path(), &["verify", &first]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(stdout(&output).contains("requests.parquet was changed after the run"));
    let output = call(folder.path(), &["report", &first]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let text = stdout(&output);
    assert!(text.contains("Verdict: INVALID"), "{text}");
    assert!(text.contains("[data_changed]"), "{text}");
    let output = call(folder.path(), &["report", &first, "--lang", "zh"]);
    assert!(
        stdout(&output).contains("数据在运行之后被改动"),
        "{}",
        printed(&output)
    );
}

/// Six runs within a second or two: their default names are made of seconds.
#[test]
fn default_names_replace_nothing_and_named_files_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 0.5);
    let url = server.url();
    let saving = [
        "--save-result",
        "--result-dir",
        "results",
        "--no-run-folder",
    ];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| INFEROMETER.run(folder.path(), &url, &saving));
        }
    });
    for _ in 0..3 {
        let output = INFEROMETER.run(folder.path(), &url, &saving);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    assert_eq!(names(&folder.path().join("results")).len(), 6);
    let named = [
        "--save-result",
        "--result-filename",
        "named.json",
        "--no-run-folder",
    ];
    let said = "named.json exists and will be replaced";
    let first = INFEROMETER.run(folder.path(), &url, &named);
    assert!(!stderr(&first).contains(said), "{}", printed(&first));
    let second = INFEROMETER.run(folder.path(), &url, &named);
    assert!(stderr(&second).contains(said), "{}", printed(&second));
    server.stop().unwrap();
}

/// A name with control characters and markup reaches every text, and none of them obeys it.
#[test]
fn text_from_files_controls_neither_terminal_nor_page() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "\u{1b}[31m<script>alert(1)</script>";
    for (name, cap) in [("a", 1), ("b", 2)] {
        let result = serde_json::json!({
            "model_id": hostile, "backend": "vllm", "note": "=1+1", "completed": 10, "failed": 0, "duration": 2.0 + f64::from(cap),
            "request_throughput": 5.0, "output_throughput": 50.0, "max_concurrency": cap, "total_input_tokens": 100,
        });
        fs::create_dir_all(folder.path().join("results")).unwrap();
        let path = folder.path().join(format!("results/{name}.json"));
        fs::write(path, result.to_string()).unwrap();
    }
    let compared = call(
        folder.path(),
        &["compare", "results/a.json", "results/b.json"],
    );
    assert_eq!(compared.status.code(), Some(0), "{}", printed(&compared));
    assert!(
        !stdout(&compared).contains('\u{1b}'),
        "{}",
        printed(&compared)
    );
    assert!(call(folder.path(), &["aggregate"]).status.success());
    let table = fs::read_to_string(folder.path().join("results/aggregate_results.csv")).unwrap();
    assert!(table.contains("'=1+1"), "{table}");
    let drawn = call(folder.path(), &["visualize"]);
    assert!(drawn.status.success(), "{}", printed(&drawn));
    for name in ["performance_report.txt", "performance_report.md"] {
        let text = fs::read_to_string(folder.path().join("figures").join(name)).unwrap();
        assert!(!text.contains('\u{1b}'), "{text}");
        let is_markup = name == "performance_report.md" && text.contains("<script>");
        assert!(!is_markup, "{text}");
        // The apostrophe is for spreadsheets only.
        assert!(text.contains("=1+1") && !text.contains("'=1+1"), "{text}");
    }
}
