//! Sweeps of our own plans: tables, figures, resuming, repeats.

use std::fs;
use std::path::Path;
use std::process::Output;

use inferometer_sim::{SimSettings, start};
use inferometer_testkit::{printed, read_json, server, signal, stderr, stdout, wait_until};
use serde_json::Value;

use super::{call, code, combos, table};
use crate::INFEROMETER;

#[test]
fn the_tutorials_sweep_aggregate_and_visualize() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    combos(folder.path(), &server.url());
    let output = call(folder.path(), &["sweep", "--", "--save-detailed"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let text = stdout(&output);
    assert!(
        text.contains("Plan: 4 runs") && text.contains("[4/4] io32x4 mc2 np8"),
        "{text}"
    );
    for name in [
        "bench_io16x4_mc1_np4",
        "bench_io16x4_mc2_np8",
        "bench_io32x4_mc1_np4",
        "bench_io32x4_mc2_np8",
    ] {
        let text = fs::read_to_string(folder.path().join(format!("results/{name}.json"))).unwrap();
        let result: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(result["failed"], 0, "{name}");
        assert!(result["mean_e2el_ms"].is_number(), "{name}");
    }
    // Each cell has prompts of its own, or a prefix cache would answer them.
    assert_eq!(server.truth().len(), 24);
    server.stop().unwrap();

    assert_eq!(table(folder.path()).len(), 4);
    let output = call(folder.path(), &["visualize", "--all"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    assert!(
        stdout(&output)
            .contains("4 runs from results/aggregate_results.csv (4 with per-request data)")
    );
    for name in [
        "throughput_analysis.png",
        "throughput_analysis.svg",
        "latency_analysis.png",
        "latency_analysis.svg",
        "interactive_dashboard.html",
        "performance_report.txt",
        "performance_report.md",
    ] {
        let length = fs::metadata(folder.path().join("figures").join(name))
            .unwrap()
            .len();
        assert!(length > 500, "{name}: {length} bytes");
    }
    let own = call(
        folder.path(),
        &[
            "visualize",
            "--report",
            "--csv",
            "results/aggregate_results.csv",
            "--output",
            "mine/",
            "--lang",
            "zh",
        ],
    );
    assert_eq!(code(&own), 0, "{}", printed(&own));
    let files: Vec<_> = fs::read_dir(folder.path().join("mine")).unwrap().collect();
    assert_eq!(files.len(), 2);
    assert!(
        fs::read_to_string(folder.path().join("mine/performance_report.txt"))
            .unwrap()
            .contains("性能报告")
    );
}

/// Starts a sweep, and sends it a signal as soon as `when` holds.
fn sweep_until(folder: &Path, name: &str, when: impl Fn() -> bool) -> Output {
    let mut command = INFEROMETER.command(folder);
    command
        .arg("sweep")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    wait_until("the sweep to come this far", when);
    signal(child.id(), name);
    child.wait_with_output().unwrap()
}

#[test]
fn a_sweep_that_is_killed_in_a_run_and_resumed_gives_the_table_of_an_unbroken_one() {
    let server = server(20.0, 10.0);
    let whole = tempfile::tempdir().unwrap();
    combos(whole.path(), &server.url());
    let output = call(whole.path(), &["sweep"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let expected = table(whole.path());
    for signal in ["-KILL", "-INT"] {
        server.reset_truth();
        let broken = tempfile::tempdir().unwrap();
        combos(broken.path(), &server.url());
        // During the third run: one of its requests is in flight or done.
        let output = sweep_until(broken.path(), signal, || server.truth().len() > 13);
        if signal == "-INT" {
            assert_eq!(code(&output), 130, "{}", printed(&output));
            assert!(
                stdout(&output).contains("Resume with: inferometer sweep --resume"),
                "{}",
                printed(&output)
            );
        }
        assert!(
            !broken
                .path()
                .join("results/bench_io32x4_mc2_np8.json")
                .exists()
        );
        let again = call(broken.path(), &["sweep"]);
        assert_eq!(code(&again), 2, "{}", printed(&again));
        let resumed = call(broken.path(), &["sweep", "--resume"]);
        assert_eq!(code(&resumed), 0, "{}", printed(&resumed));
        let text = stdout(&resumed);
        assert!(
            text.contains("[3/4]") && !text.contains("[2/4]"),
            "{signal}: {text}"
        );
        assert_eq!(table(broken.path()), expected, "{signal}");
    }
    server.stop().unwrap();
}

#[test]
fn a_failed_cell_is_named_and_sets_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(SimSettings {
        max_model_len: 64,
        ttft: "1".parse().unwrap(),
        itl: "1".parse().unwrap(),
        ..SimSettings::default()
    })
    .unwrap();
    let experiment = format!(
        "run:\n  backend: vllm\n  base_url: {}\n  model: sim\n  tokenizer: builtin\n  num_prompts: 4\n  \
         random_output_len: 4\n  random_input_len: [16, 500, 24]\n",
        server.url()
    );
    fs::write(folder.path().join("e.yaml"), experiment).unwrap();
    let output = call(folder.path(), &["sweep", "e.yaml"]);
    server.stop().unwrap();
    assert_eq!(code(&output), 1, "{}", printed(&output));
    let text = stdout(&output);
    assert!(
        text.contains("random_input_len=500  FAILED: requests failed"),
        "{text}"
    );
    assert!(text.contains("2 of 3 runs done, 1 failed"), "{text}");
    assert!(
        folder
            .path()
            .join("results/random_input_len=500.failure.json")
            .exists()
    );
    assert!(
        folder
            .path()
            .join("results/random_input_len=24.json")
            .exists()
    );
}

#[test]
fn an_invalid_run_fails_under_strict() {
    let folder = tempfile::tempdir().unwrap();
    let half = SimSettings {
        faults: vec!["http_500=0.5".parse().unwrap()],
        ..SimSettings::default()
    };
    let server = start(half).unwrap();
    let experiment = format!(
        "run: {{backend: vllm, base_url: \"{}\", model: sim, tokenizer: builtin, strict: true, num_prompts: 40,\n  \
         random_input_len: 16, random_output_len: [4, 5, 6]}}\n",
        server.url()
    );
    fs::write(folder.path().join("e.yaml"), experiment).unwrap();
    let output = call(folder.path(), &["sweep", "e.yaml", "--fail-fast"]);
    server.stop().unwrap();
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("FAILED: the verdict is INVALID"),
        "{}",
        printed(&output)
    );
    assert!(
        stdout(&output).contains("1 failed, 2 not done"),
        "{}",
        printed(&output)
    );
}

#[test]
fn mistakes_are_found_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    let missing = call(folder.path(), &["sweep"]);
    assert_eq!(code(&missing), 2);
    assert!(
        stderr(&missing).contains("combos.yaml"),
        "{}",
        printed(&missing)
    );
    for (text, words) in [
        (
            "modle: sim\ninput_output: [[1,1]]\nconcurrency_prompts: [[1,1]]\n",
            &["modle", "did you mean \"model\""][..],
        ),
        (
            "run: {model: sim, num_promts: [1, 2]}\n",
            &["num_promts", "did you mean \"num_prompts\""],
        ),
        (
            "run: {model: sim, burstiness: [1, 0]}\n",
            &["burstiness=0", "--burstiness"],
        ),
        (
            "run:\n  model: sim\n  num_prompts: [5, many]\n",
            &["s.yaml: line 3: num_prompts=many", "--num-prompts"],
        ),
    ] {
        fs::write(folder.path().join("s.yaml"), text).unwrap();
        let output = call(
            folder.path(),
            &["sweep", "s.yaml", "--", "--base-url", &server.url()],
        );
        assert_eq!(code(&output), 2, "{}", printed(&output));
        for word in words {
            assert!(
                stderr(&output).contains(word),
                "no {word:?} in {}",
                printed(&output)
            );
        }
    }
    assert!(server.truth().is_empty());
    let url = server.url();
    server.stop().unwrap();
    combos(folder.path(), &url);
    let gone = call(folder.path(), &["sweep"]);
    assert_eq!(code(&gone), 2, "{}", printed(&gone));
    assert!(
        stderr(&gone).contains(&url) && stderr(&gone).contains("base_url"),
        "{}",
        printed(&gone)
    );
    let dry = call(folder.path(), &["sweep", "--dry-run"]);
    assert_eq!(code(&dry), 0, "{}", printed(&dry));
    assert!(
        stdout(&dry).contains("inferometer run --backend vllm --model sim"),
        "{}",
        printed(&dry)
    );
}

#[test]
fn repeats_are_summarised_beside_the_runs_and_broken_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(1.0, 1.0);
    combos(folder.path(), &server.url());
    let output = call(
        folder.path(),
        &["sweep", "--num-runs", "2", "--no-run-folders"],
    );
    server.stop().unwrap();
    assert_eq!(code(&output), 0, "{}", printed(&output));
    assert!(!folder.path().join("results/runs").exists());
    let output = call(folder.path(), &["aggregate"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let lines = |name: &str| {
        fs::read_to_string(folder.path().join("results").join(name))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!(
        (
            lines("aggregate_results.csv"),
            lines("aggregate_results_repeats.csv")
        ),
        (9, 5)
    );
    assert!(
        folder
            .path()
            .join("results/aggregate_results.parquet")
            .is_file()
    );
    let head =
        fs::read_to_string(folder.path().join("results/aggregate_results_repeats.csv")).unwrap();
    for column in [
        "runs",
        "mean_ttft_ms",
        "mean_ttft_ms.sd",
        "mean_ttft_ms.ci95_low",
        "mean_ttft_ms.n",
    ] {
        assert!(
            head.lines()
                .next()
                .unwrap()
                .split(',')
                .any(|name| name == column),
            "{head}"
        );
    }
    fs::write(
        folder.path().join("results/broken.json"),
        "{\"duration\": 1,",
    )
    .unwrap();
    let output = call(folder.path(), &["aggregate", "--output", "other.csv"]);
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stderr(&output).contains("broken.json"),
        "{}",
        printed(&output)
    );
    assert!(
        stderr(&output).contains("1 file was left out"),
        "{}",
        printed(&output)
    );
    assert!(
        folder.path().join("other.csv").is_file() && folder.path().join("other.parquet").is_file()
    );
    let nothing = call(folder.path(), &["aggregate", "none"]);
    assert_eq!(code(&nothing), 2, "{}", printed(&nothing));
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a sequence of steps or a table of cases"
)]
fn a_sweep_on_the_virtual_clock_needs_no_server_and_leaves_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let text = "run: {num_prompts: 200, random_input_len: 64, random_output_len: 32, request_rate: [5, 50],\n  backend: \
                sim, preset: [llama-3.1-8b@h100, llama-3.1-8b@l4]}\n";
    fs::write(folder.path().join("experiment.yaml"), text).unwrap();
    let output = call(folder.path(), &["sweep", "experiment.yaml"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    assert!(
        stdout(&output).contains("4 of 4 on a virtual clock"),
        "{}",
        stdout(&output)
    );
    let result = |name: &str| -> Value { read_json(&folder.path().join("results").join(name)) };
    let names = [
        "5-preset=llama-3.1-8b@h100",
        "50-preset=llama-3.1-8b@h100",
        "50-preset=llama-3.1-8b@l4",
    ];
    let [slow, fast, small] = names.map(|name| result(&format!("request_rate={name}.json")));
    for result in [&slow, &fast, &small] {
        assert_eq!(result["completed"], 200);
        assert!(result["inferometer"]["simulated"]["counters"].is_object());
    }
    assert_eq!(small["label"], "preset=llama-3.1-8b@l4");
    let ttft = |result: &Value| result["mean_ttft_ms"].as_f64().unwrap();
    assert!(
        ttft(&slow) < ttft(&small),
        "{} {}",
        ttft(&slow),
        ttft(&small)
    );

    // One result is lost; resuming makes it again, identical but for the time of the host.
    fs::remove_file(
        folder
            .path()
            .join("results/request_rate=50-preset=llama-3.1-8b@l4.json"),
    )
    .unwrap();
    let output = call(folder.path(), &["sweep", "experiment.yaml", "--resume"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    assert!(
        stdout(&output).contains("1 run to go, 3 done already"),
        "{}",
        stdout(&output)
    );
    assert_eq!(result("request_rate=50-preset=llama-3.1-8b@l4.json"), small);
    assert_eq!(table(folder.path()).len(), 4);
    let output = call(folder.path(), &["visualize", "--report", "--interactive"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));

    // The tutorial's file, with the flag of the sweep itself.
    combos(folder.path(), "http://127.0.0.1:1");
    let output = call(
        folder.path(),
        &[
            "sweep",
            "--backend",
            "sim",
            "-o",
            "other",
            "--",
            "--replicas",
            "2",
        ],
    );
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let text = fs::read_to_string(folder.path().join("other/bench_io16x4_mc1_np4.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["inferometer"]["simulated"]["replicas"], 2, "{text}");

    for (arguments, words) in [
        (
            vec![
                "sweep",
                "--backend",
                "sim",
                "-o",
                "x",
                "--",
                "--preset",
                "nothing",
            ],
            "--preset nothing",
        ),
        (
            vec![
                "sweep",
                "--backend",
                "sim",
                "-o",
                "x",
                "--",
                "--find-rate",
                "p99_ttft<5",
            ],
            "--find-rate",
        ),
        (
            vec!["run", "--backend", "sim"],
            "or many with inferometer sweep --backend sim",
        ),
    ] {
        let output = call(folder.path(), &arguments);
        assert_eq!(code(&output), 2, "{}", printed(&output));
        assert!(stderr(&output).contains(words), "{}", printed(&output));
    }
}

#[test]
fn flags_passed_through_a_sweep_may_use_the_spellings_of_argparse() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(2.0, 1.0);
    combos(folder.path(), &server.url());
    let refused = call(folder.path(), &["sweep", "--", "--metric_perc=50,900"]);
    // The value is wrong; the spelling is one that a run understands.
    assert_eq!(code(&refused), 2, "{}", printed(&refused));
    assert!(
        stderr(&refused).contains("--metric-percentiles: 900 is outside"),
        "{}",
        printed(&refused)
    );
    let output = call(
        folder.path(),
        &[
            "sweep",
            "--",
            "--goodp",
            "ttft:500",
            "--metric_percentiles=50,90",
        ],
    );
    server.stop().unwrap();
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let result =
        fs::read_to_string(folder.path().join("results/bench_io16x4_mc1_np4.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert!(result["p90_ttft_ms"].is_number() && result["request_goodput"].is_number());
    let typo = call(
        folder.path(),
        &["sweep", "--overwrite", "--", "--goodputt", "ttft:500"],
    );
    assert_eq!(code(&typo), 2, "{}", printed(&typo));
    assert!(stderr(&typo).contains("--goodputt"), "{}", printed(&typo));
}
