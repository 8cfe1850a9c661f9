//! Runs that are cut off: nothing that was measured is lost.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use inferometer_os::clock;
use inferometer_sim::Server;
use serde_json::Value;

use crate::support::{inferometer, run_folder, server, stdout, told};

/// A run of 400 requests at 100 a second, under way.
fn start_run(folder: &Path, server: &Server) -> Child {
    start_loaded_run(folder, server, &["--request-rate", "100"])
}

/// A run of 400 requests that arrive as `load` says, 50 of which have been answered.
fn start_loaded_run(folder: &Path, server: &Server, load: &[&str]) -> Child {
    let child = inferometer(folder)
        .args([
            "run",
            "--backend",
            "vllm",
            "--base-url",
            &server.url(),
            "--model",
            "sim",
            "--tokenizer",
            "builtin",
        ])
        .args([
            "--random-input-len",
            "8",
            "--random-output-len",
            "20",
            "--num-prompts",
            "400",
        ])
        .args([
            "--disable-tqdm",
            "--save-result",
            "--result-filename",
            "r.json",
        ])
        .args(load)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The server's own log says how far the run has come, so no guess about time is needed.
    while server.truth().len() < 50 {
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Outcome counts and their sum.
fn outcomes(manifest: &Value) -> (u64, u64, u64) {
    let counts = manifest["summary"]["extras"]["outcomes"]
        .as_object()
        .unwrap();
    let get = |name: &str| counts.get(name).and_then(Value::as_u64).unwrap_or(0);
    (
        get("ok"),
        get("unfinished"),
        counts.values().map(|count| count.as_u64().unwrap()).sum(),
    )
}

fn manifest(run: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(run.join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn an_interrupt_lets_requests_in_flight_end_and_marks_the_result_partial() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(100.0, 10.0);
    let child = start_run(folder.path(), &server);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let manifest = manifest(&run_folder(folder.path()));
    let (ok, unfinished, all) = outcomes(&manifest);
    assert_eq!((all, ok + unfinished), (400, 400), "{}", told(&output));
    assert_eq!(
        ok,
        server.truth().len() as u64,
        "what the server completed was waited for"
    );
    assert_eq!(manifest["run"]["partial"], true);
    assert_eq!(manifest["verdict"]["level"], "INVALID", "{}", told(&output));
    let result: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(result["completed"].as_u64(), Some(ok));
    assert_eq!(result["inferometer"]["partial"], true);
    server.stop().unwrap();
}

#[test]
fn an_interrupt_during_warm_up_leaves_no_result_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(20.0, 100.0);
    let mut child = inferometer(folder.path())
        .args([
            "run",
            "--backend",
            "vllm",
            "--base-url",
            &server.url(),
            "--model",
            "sim",
        ])
        .args([
            "--tokenizer",
            "builtin",
            "--random-input-len",
            "8",
            "--random-output-len",
            "600",
        ])
        .args([
            "--num-warmups",
            "2",
            "--num-prompts",
            "10",
            "--disable-tqdm",
        ])
        .args(["--save-result", "--result-filename", "r.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut words = String::new();
    while !words.contains("Warming up") {
        assert!(said.read_line(&mut words).unwrap() > 0, "{words}");
    }
    signal(&child, "-INT");
    // The second must not be merged with the first.
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, "-INT");
    said.read_to_string(&mut words).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}{}", told(&output));
    assert!(
        told(&output).contains("nothing was measured"),
        "{words}{}",
        told(&output)
    );
    assert!(!words.contains("Successful requests"), "{words}");
    assert!(!folder.path().join("r.json").exists());
    assert_eq!(
        fs::read_dir(folder.path().join("inferometer-runs")).map_or(0, Iterator::count),
        0
    );
    drop(server.stop());
}

#[test]
fn a_second_interrupt_gives_up_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    // Answers that take ten minutes, after a first batch of quick ones.
    let server = server(20.0, 10.0);
    let child = inferometer(folder.path())
        .args([
            "run",
            "--backend",
            "vllm",
            "--base-url",
            &server.url(),
            "--model",
            "sim",
            "--tokenizer",
            "builtin",
        ])
        .args([
            "--random-input-len",
            "8",
            "--random-output-len",
            "60000",
            "--num-prompts",
            "10",
        ])
        .args(["--disable-tqdm"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = || {
        fs::read_dir(folder.path().join("inferometer-runs"))
            .ok()
            .and_then(|mut runs| runs.next())
    };
    while log().is_none_or(|run| !run.unwrap().path().join("requests.arrows").exists()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "nothing was completed: {}",
        told(&output)
    );
    let (ok, unfinished, all) = outcomes(&manifest(&run_folder(folder.path())));
    assert_eq!((ok, unfinished, all), (0, 10, 10), "{}", told(&output));
    drop(server.stop());
}

#[test]
fn a_killed_run_is_recovered_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let server = server(20.0, 2.0);
    let mut child = start_run(folder.path(), &server);
    let run = run_folder(folder.path());
    while server.truth().len() < 250 {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.path().join("r.json").exists() && !run.join("requests.parquet").exists());
    let refused = inferometer(folder.path())
        .arg("report")
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        told(&refused).contains("inferometer recover"),
        "{}",
        told(&refused)
    );

    // From another folder: the result goes where the run would have put it.
    let output = inferometer(elsewhere.path())
        .arg("recover")
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let manifest = manifest(&run);
    let (ok, unfinished, all) = outcomes(&manifest);
    assert_eq!(all, 400, "{}", told(&output));
    // At most a second of the run, which is 100 requests, may be missing from the log.
    assert!(ok >= 100 && ok + unfinished == 400, "{}", told(&output));
    assert_eq!(
        (&manifest["run"]["partial"], &manifest["run"]["recovered"]),
        (&true.into(), &true.into())
    );
    // vLLM's file is there too, says what it is, and counts tokens as a run that ended would.
    let result: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(
        (result["completed"].as_u64(), result["num_prompts"].as_u64()),
        (Some(ok), Some(400))
    );
    assert_eq!(result["total_output_tokens"].as_u64(), Some(20 * ok));
    assert_eq!(
        (&result["request_rate"], &result["backend"]),
        (&100.0.into(), &"vllm".into())
    );
    assert!(result["mean_tpot_ms"].as_f64().unwrap() > 1.0 && result["date"].is_string());
    let own = &result["inferometer"];
    assert_eq!(
        (&own["partial"], &own["recovered"]),
        (&true.into(), &true.into())
    );
    let report = inferometer(folder.path())
        .arg("report")
        .arg(&run)
        .output()
        .unwrap();
    assert!(
        stdout(&report).contains("Successful requests:"),
        "{}",
        told(&report)
    );
    server.stop().unwrap();
}

#[test]
fn a_run_in_progress_cannot_be_recovered_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(20.0, 2.0);
    let mut child = start_run(folder.path(), &server);
    let run = run_folder(folder.path());
    let before = fs::metadata(run.join("requests.arrows")).unwrap().len();
    for command in ["recover", "report"] {
        let refused = inferometer(folder.path())
            .arg(command)
            .arg(&run)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        assert!(
            told(&refused).contains("still in progress"),
            "{}",
            told(&refused)
        );
    }
    assert!(fs::metadata(run.join("requests.arrows")).unwrap().len() >= before);
    assert!(!run.join("requests.parquet").exists());
    while server.truth().len() < 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    // A recovery that fails (its result has no place) can be repeated.
    fs::create_dir(folder.path().join("r.json")).unwrap();
    let failed = inferometer(folder.path())
        .arg("recover")
        .arg(&run)
        .output()
        .unwrap();
    assert_ne!(failed.status.code(), Some(0), "{}", told(&failed));
    assert!(run.join("requests.arrows").exists(), "{}", told(&failed));
    fs::remove_dir(folder.path().join("r.json")).unwrap();
    let output = inferometer(folder.path())
        .arg("recover")
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let (ok, unfinished, all) = outcomes(&manifest(&run));
    assert!(
        all == 400 && ok >= 80 && ok + unfinished == 400,
        "{}",
        told(&output)
    );
    assert!(!run.join("requests.arrows").exists());

    let again = inferometer(folder.path())
        .arg("recover")
        .arg(&run)
        .output()
        .unwrap();
    assert!(
        told(&again).contains("nothing to recover"),
        "{}",
        told(&again)
    );
    server.stop().unwrap();
}

#[test]
fn a_recovered_result_is_on_the_clock_that_a_finished_one_is_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let (before, wall) = (clock::now(), clock::wall());
    let ramp = [
        "--ramp-up-strategy",
        "linear",
        "--ramp-up-start-rps",
        "60",
        "--ramp-up-end-rps",
        "120",
    ];
    let load = [&ramp[..], &["--save-detailed"]].concat();
    let mut child = start_loaded_run(folder.path(), &server, &load);
    while server.truth().len() < 150 {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let after = clock::now();
    let run = run_folder(folder.path());
    let output = inferometer(folder.path())
        .arg("recover")
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let result: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("r.json")).unwrap()).unwrap();
    let errors = result["errors"].as_array().unwrap();
    let starts = result["start_times"].as_array().unwrap();
    let sent: Vec<f64> = starts
        .iter()
        .zip(errors)
        .filter(|(_, error)| error.as_str() == Some(""))
        .map(|(start, _)| start.as_f64().unwrap())
        .collect();
    assert!(sent.len() > 10, "{}", told(&output));
    let within = before.as_secs_f64()..after.as_secs_f64();
    assert!(
        sent.iter().all(|start| within.contains(start)),
        "{within:?}: {sent:?}"
    );
    let changes = result["rps_change_events"].as_array().unwrap();
    assert!(changes.len() > 1 && changes[0]["rps"] == 60, "{changes:?}");
    // Local time without a zone: the manifest says which instant that is.
    let started = manifest(&run)["run"]["started_wall_ns"].as_u64().unwrap();
    assert!((wall.0..clock::wall().0).contains(&started), "{started}");
    server.stop().unwrap();
}
