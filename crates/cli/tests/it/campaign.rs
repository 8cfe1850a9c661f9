//! Many runs: sweeps, tables, figures, comparisons, and the check of a server.

use std::fs;
use std::path::Path;
use std::process::Output;

use inferometer_sim::{Server, SimSettings, start};
use inferometer_testkit::{
    printed, read_json, run_folder, server, signal, stderr, stdout, wait_until,
};
use serde_json::Value;

use crate::INFEROMETER;

fn combos(folder: &Path, url: &str) {
    let text = format!(
        "model: sim\nbase_url: {url}\ntokenizer: builtin\ninput_output:\n  - [16, 4]\n  - [32, 4]\n\
         concurrency_prompts:\n  - [1, 4]\n  - [2, 8]\n"
    );
    fs::write(folder.join("combos.yaml"), text).unwrap();
}

fn call(folder: &Path, arguments: &[&str]) -> Output {
    INFEROMETER
        .command(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// The parts of the table that do not depend on time.
fn table(folder: &Path) -> Vec<Vec<String>> {
    let output = call(folder, &["aggregate", "--per-run"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let text = fs::read_to_string(folder.join("results/aggregate_results.csv")).unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let columns = [
        "filename",
        "input_len",
        "output_len",
        "max_concurrency",
        "num_prompts",
        "completed",
        "failed",
    ];
    let more = [
        "total_input_tokens",
        "total_output_tokens",
        "model_id",
        "request_rate",
    ];
    let places: Vec<usize> = columns
        .iter()
        .chain(&more)
        .map(|name| {
            head.iter()
                .position(|column| column == name)
                .unwrap_or_else(|| panic!("no {name} in {head:?}"))
        })
        .collect();
    lines
        .map(|line| {
            // Lists are quoted and hold commas.
            let mut quoted = false;
            let line: String = line
                .chars()
                .map(|c| {
                    quoted ^= c == '"';
                    if quoted && c == ',' { ';' } else { c }
                })
                .collect();
            let cells: Vec<&str> = line.split(',').collect();
            places
                .iter()
                .map(|&place| cells[place].to_owned())
                .collect()
        })
        .collect()
}

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
            .contains("4 runs from results/aggregate_results.csv (4 with single requests)")
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
            assert_eq!(code(&output), 1, "{}", printed(&output));
            assert!(
                stdout(&output).contains("Go on with: inferometer sweep --resume"),
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
fn vllms_sweep_starts_the_server_and_leaves_vllms_files() {
    let folder = tempfile::tempdir().unwrap();
    // A port that is free now.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    fs::write(
        folder.path().join("serve.json"),
        r#"[{"itl": 1}, {"itl": 2}]"#,
    )
    .unwrap();
    fs::write(
        folder.path().join("bench.json"),
        r#"{"small": {"random_input_len": 16}}"#,
    )
    .unwrap();
    let program = INFEROMETER.path();
    let serve = format!("{program} sim --port {port} --ttft 1 --itl 9");
    let bench = format!(
        "inferometer run --backend vllm --base-url http://127.0.0.1:{port} --model sim --tokenizer builtin \
         --num-prompts 5 --random-output-len 4 --random-input-len 9 --disable-tqdm"
    );
    let arguments = [
        "sweep",
        "--serve-cmd",
        &serve,
        "--bench-cmd",
        &bench,
        "--serve-params",
        "serve.json",
        "--bench-params",
        "bench.json",
        "--num-runs",
        "2",
        "-e",
        "exp",
        "--warmup-num-prompts",
        "2",
    ];
    let output = call(folder.path(), &arguments);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let experiment = folder.path().join("results/exp");
    for itl in [1, 2] {
        let cell = experiment.join(format!("SERVE--itl={itl}-BENCH--small"));
        assert!(cell.join("warmup.json").is_file());
        let run = read_json(&cell.join("run=1.json"));
        assert_eq!(
            (&run["run_number"], &run["itl"], &run["completed"]),
            (&1.into(), &itl.into(), &5.into())
        );
        assert_eq!(run["total_input_tokens"], 80);
        let summary = read_json(&cell.join("summary.json"));
        assert_eq!(summary.as_array().unwrap().len(), 2);
    }
    assert_eq!(
        fs::read_to_string(experiment.join("summary.csv"))
            .unwrap()
            .lines()
            .count(),
        5
    );
    // The server is gone.
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    let again = call(folder.path(), &arguments);
    assert_eq!(code(&again), 2, "{}", printed(&again));
    // With the words of vLLM's command line.
    let resumed = call(
        folder.path(),
        &[
            &["vllm", "bench", "sweep", "serve", "--resume"],
            &arguments[1..],
        ]
        .concat(),
    );
    assert_eq!(code(&resumed), 0, "{}", printed(&resumed));
    assert!(
        !stdout(&resumed).contains("healthy"),
        "{}",
        printed(&resumed)
    );
}

#[test]
fn a_server_that_exits_early_is_reported_with_its_last_output() {
    let folder = tempfile::tempdir().unwrap();
    let output = call(
        folder.path(),
        &[
            "sweep",
            "--serve-cmd",
            "sh -c 'echo no GPU here; exit 3' --port 9",
            "--bench-cmd",
            "inferometer run",
            "-e",
            "x",
        ],
    );
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("no GPU here"),
        "{}",
        printed(&output)
    );
}

/// A foreign benchmark publishes no progress, but it writes a log.
#[cfg(target_os = "linux")]
#[test]
fn the_output_of_a_foreign_benchmark_is_shown_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let bench = "printf 'loading\\n 40%%|====\\r 80%%|======== epoch 7\\n'; sleep 1\n";
    fs::write(folder.path().join("bench.sh"), bench).unwrap();
    let this = INFEROMETER.path();
    // The full-screen view draws only the cells that change, so the text is broken up where it
    // repeats what was there before.
    for (ui, seen) in [("bar", " s · 80%|======== epoch 7"), ("tui", "80%|==")] {
        let command = format!(
            "stty cols 120 rows 40; '{this}' sweep --serve-cmd '{this} sim --port {port}' --bench-cmd 'sh bench.sh' \
             --num-runs 1 -e {ui} --ui {ui}"
        );
        let ran = std::process::Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .current_dir(folder.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout);
        assert!(shown.contains(seen), "{ui}: {shown}");
    }
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
fn runs_are_compared_as_files_and_as_folders() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let saving = |name: &str| {
        [
            "--save-result".to_owned(),
            "--result-filename".to_owned(),
            name.to_owned(),
        ]
    };
    let a = saving("config_a.json");
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &[&a[0], &a[1], &a[2], "--max-concurrency", "2"],
    );
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let first = run_folder(folder.path());
    let b = saving("config_b.json");
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &[
            &b[0],
            &b[1],
            &b[2],
            "--max-concurrency",
            "8",
            "--no-run-folder",
        ],
    );
    assert_eq!(code(&output), 0, "{}", printed(&output));
    server.stop().unwrap();

    let text = call(
        folder.path(),
        &["compare", "config_a.json", "config_b.json"],
    );
    assert_eq!(code(&text), 0, "{}", printed(&text));
    for word in [
        "config_a.json",
        "config_b.json",
        "max_concurrency",
        "request_throughput",
        "noise",
    ] {
        assert!(
            stdout(&text).contains(word),
            "no {word} in {}",
            printed(&text)
        );
    }
    let markdown = call(
        folder.path(),
        &["compare", "config_a.json", "config_b.json", "--markdown"],
    );
    assert!(stdout(&markdown).contains("| "), "{}", printed(&markdown));
    // A run's folder gives the same as its file.
    let json = call(
        folder.path(),
        &[
            "compare",
            "config_a.json",
            &first.display().to_string(),
            "--json",
        ],
    );
    assert_eq!(code(&json), 0, "{}", printed(&json));
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    let metrics = json["metrics"].as_array().unwrap();
    assert!(metrics.len() > 15);
    for metric in metrics {
        assert_eq!(metric["values"][0], metric["values"][1], "{metric}");
    }
    for setting in json["settings"].as_array().unwrap() {
        assert_eq!(setting["differs"], false, "{setting}");
    }
    let one = call(folder.path(), &["compare", "config_a.json"]);
    assert_eq!(code(&one), 2, "{}", printed(&one));
}

fn checked(server: &Server, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let url = server.url();
    let base = [
        "check",
        "--base-url",
        &url,
        "--tokenizer",
        "builtin",
        "--quick",
    ];
    call(folder.path(), &[&base[..], more].concat())
}

#[test]
fn a_good_server_passes_the_check() {
    let server = server(2.0, 1.0);
    let output = checked(&server, &[]);
    let chat = checked(&server, &["--backend", "openai-chat"]);
    server.stop().unwrap();
    assert_eq!(code(&output), 0, "{}", printed(&output));
    // The tokens of the chat template are no sign of a wrong tokenizer.
    assert_eq!(code(&chat), 0, "{}", printed(&chat));
    let text = stdout(&output);
    for word in [
        "ok     connection",
        "ok     plain request",
        "ok     streamed request",
        "ok     usage",
        "ok     rates",
    ] {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn a_check_names_what_is_wrong() {
    let broken = start(SimSettings {
        faults: vec!["http_500=1".parse().unwrap()],
        ..SimSettings::default()
    })
    .unwrap();
    let output = checked(&broken, &[]);
    broken.stop().unwrap();
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("FAILED plain request") && stdout(&output).contains("500"),
        "{}",
        printed(&output)
    );

    let server = server(1.0, 1.0);
    let output = checked(&server, &["--model", "other"]);
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("does not serve it"),
        "{}",
        printed(&output)
    );
    let locked = start(SimSettings {
        api_key: Some(inferometer_core::Secret::new("k")),
        ..SimSettings::default()
    })
    .unwrap();
    let output = checked(&locked, &[]);
    locked.stop().unwrap();
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("OPENAI_API_KEY"),
        "{}",
        printed(&output)
    );
    let url = server.url();
    server.stop().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = call(folder.path(), &["check", "--base-url", &url]);
    assert_eq!(code(&output), 1, "{}", printed(&output));
    assert!(
        stdout(&output).contains("FAILED connection"),
        "{}",
        printed(&output)
    );
}

#[test]
fn quickstart_needs_no_server_and_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let output = call(folder.path(), &["visualize", "--demo", "--report"]);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    assert!(
        folder
            .path()
            .join("figures/performance_report.md")
            .is_file()
    );
    assert_eq!(
        fs::read_dir(folder.path().join("figures")).unwrap().count(),
        3
    );
}

#[test]
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
