//! Sweeps in the words of vLLM's tools, with servers and benchmarks that are other programs.

use std::fs;

use inferometer_testkit::{printed, read_json, stdout, wait_until};

use super::{call, code};
use crate::INFEROMETER;

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

/// Otherwise the flag would be found once the server has started.
#[test]
fn an_unknown_flag_of_our_own_benchmark_is_refused_before_the_server_starts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("bench.json"),
        r#"[{"max_concurrency": 1}, {"max_concurency": 2}]"#,
    )
    .unwrap();
    let mut arguments = vec![
        "sweep",
        "--serve-cmd",
        "touch started",
        "--bench-cmd",
        "inferometer run --model sim --tokenizer builtin",
        "--bench-params",
        "bench.json",
        "-e",
        "x",
    ];
    for _ in 0..2 {
        let output = call(folder.path(), &arguments);
        assert_eq!(code(&output), 2, "{}", printed(&output));
        assert!(
            printed(&output).contains("--max-concurency"),
            "{}",
            printed(&output)
        );
        assert!(!folder.path().join("started").exists());
        arguments.push("--dry-run");
    }
}

/// The server has a session of its own, so that no signal to the sweep's group reaches it.
#[cfg(target_os = "linux")]
#[test]
fn a_sweep_that_is_killed_leaves_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (this, port) = (INFEROMETER.path(), address.port());
    fs::write(folder.path().join("bench.sh"), "exec sleep 600\n").unwrap();
    for signal in ["-KILL", "-TERM"] {
        let mut sweep = INFEROMETER
            .command(folder.path())
            .args([
                "sweep",
                "--num-runs",
                "1",
                "-e",
                signal.trim_start_matches('-'),
            ])
            .args([
                "--serve-cmd",
                &format!("sh -c \"setsid '{this}' sim --port {port} & wait\""),
            ])
            .args([
                "--bench-cmd",
                &format!("sh bench.sh --base-url http://{address}"),
            ])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let listens = || std::net::TcpStream::connect(address).is_ok();
        wait_until("the server", listens);
        inferometer_testkit::signal(sweep.id(), signal);
        sweep.wait().unwrap();
        wait_until("the end of the server", || !listens());
    }
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
