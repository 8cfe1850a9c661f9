//! Runs that are cut off: nothing that was measured is lost.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use inferometer_os::clock;
use inferometer_sim::Server;
use inferometer_testkit::{
    printed, read_json, run_folder, server, signal, stdout, wait_for_in_flight, wait_until,
};
use serde_json::Value;

use crate::INFEROMETER;

/// Starts a run of 400 requests at 100 per second; 50 have been answered.
fn start_run(folder: &Path, server: &Server) -> Child {
    start_loaded_run(folder, server, &["--request-rate", "100"])
}

/// Starts a run of 400 requests that arrive as `load` says; 50 have been answered.
fn start_loaded_run(folder: &Path, server: &Server, load: &[&str]) -> Child {
    let child = INFEROMETER
        .command(folder)
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
    // The server's own log shows the progress, so no guess about time is needed.
    wait_for_answers(server, 50);
    child
}

/// Waits until the server has answered this many requests.
fn wait_for_answers(server: &Server, count: usize) {
    wait_until(&format!("{count} answers"), || {
        server.truth().len() >= count
    });
}

/// Interrupts a run, and again as soon as it says that it has received the first signal: two that
/// are pending at once would be merged.
fn interrupt_twice(mut child: Child) -> Output {
    let mut stream = BufReader::new(child.stderr.take().unwrap());
    let mut warnings = String::new();
    signal(child.id(), "-INT");
    while !warnings.contains("Ctrl-C") {
        assert!(stream.read_line(&mut warnings).unwrap() > 0, "{warnings}");
    }
    signal(child.id(), "-INT");
    stream.read_to_string(&mut warnings).unwrap();
    let mut output = child.wait_with_output().unwrap();
    output.stderr = warnings.into_bytes();
    output
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
    read_json(&run.join("manifest.json"))
}

#[test]
fn an_interrupt_lets_requests_in_flight_finish_and_marks_the_result_partial() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(100.0, 10.0);
    let child = start_run(folder.path(), &server);
    signal(child.id(), "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", printed(&output));
    let manifest = manifest(&run_folder(folder.path()));
    let (ok, unfinished, all) = outcomes(&manifest);
    assert_eq!((all, ok + unfinished), (400, 400), "{}", printed(&output));
    assert_eq!(
        ok,
        server.truth().len() as u64,
        "what the server completed was waited for"
    );
    assert_eq!(manifest["run"]["partial"], true);
    assert_eq!(
        manifest["verdict"]["level"],
        "INVALID",
        "{}",
        printed(&output)
    );
    let result = read_json(&folder.path().join("r.json"));
    assert_eq!(result["completed"].as_u64(), Some(ok));
    assert_eq!(result["inferometer"]["partial"], true);
    server.stop().unwrap();
}

#[test]
fn an_interrupt_during_warm_up_leaves_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(20.0, 100.0);
    let mut child = INFEROMETER
        .command(folder.path())
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
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    let mut words = String::new();
    while !words.contains("Warming up") {
        assert!(screen.read_line(&mut words).unwrap() > 0, "{words}");
    }
    let output = interrupt_twice(child);
    screen.read_to_string(&mut words).unwrap();
    assert_eq!(
        output.status.code(),
        Some(130),
        "{words}{}",
        printed(&output)
    );
    assert!(
        printed(&output).contains("nothing was measured"),
        "{words}{}",
        printed(&output)
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
fn a_second_interrupt_cancels_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    // Answers that take ten minutes.
    let server = server(20.0, 10.0);
    let child = INFEROMETER
        .command(folder.path())
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
    wait_for_in_flight(&server.url(), 10);
    let output = interrupt_twice(child);
    assert_eq!(
        output.status.code(),
        Some(130),
        "nothing was completed: {}",
        printed(&output)
    );
    let (ok, unfinished, all) = outcomes(&manifest(&run_folder(folder.path())));
    assert_eq!((ok, unfinished, all), (0, 10, 10), "{}", printed(&output));
    drop(server.stop());
}

/// Recovers `run` from the folder `elsewhere`, makes sure that nothing outside of the run folder changes,
/// and undoes it.
fn recovers_within_the_folder(run: &Path, folder: &Path, elsewhere: &Path) {
    // A manifest may come from anywhere, so nothing is written where it points unless that is asked for.
    let (manifest, log) = (run.join("manifest.json"), run.join("requests.arrows"));
    let before = [fs::read(&manifest).unwrap(), fs::read(&log).unwrap()];
    let output = INFEROMETER
        .command(elsewhere)
        .arg("recover")
        .arg(run)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(!folder.join("r.json").exists(), "{}", printed(&output));
    says_not_in_the_log(&output);
    let words = printed(&output);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("copy it there if it is needed"), "{words}");
    let inside = read_json(&run.join("result.json"));
    assert_eq!(inside["inferometer"]["recovered"], true);
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    let [old_manifest, old_log] = before;
    fs::write(&manifest, old_manifest).unwrap();
    fs::write(&log, old_log).unwrap();
}

/// Some of the requests that the log of a killed run lacks were sent.
fn says_not_in_the_log(output: &Output) {
    let words = printed(output);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("are not in the log: not sent, in flight, or in its last second")
            && words.contains("· not in the log (not sent, in flight, or in its last second)")
            && !words.contains("· not sent"),
        "{words}"
    );
}

/// A run that was killed has no row, and a table without it says so.
fn is_named_by_what_reads_folders(folder: &Path, run: &Path) {
    let runs = run.parent().unwrap();
    // A second run, so that there is something to show.
    let finished = INFEROMETER
        .command(folder)
        .args(["simulate", "--model", "sim", "--tokenizer", "builtin"])
        .args([
            "--random-input-len",
            "8",
            "--random-output-len",
            "4",
            "--num-prompts",
            "5",
        ])
        .output()
        .unwrap();
    assert!(finished.status.success(), "{}", printed(&finished));
    for (command, times) in [("aggregate", 1), ("visualize", 1), ("compare", 2)] {
        let output = INFEROMETER
            .command(folder)
            .arg(command)
            .args(std::iter::repeat_n(runs, times))
            .output()
            .unwrap();
        assert!(
            printed(&output).contains("inferometer recover"),
            "{command}: {}",
            printed(&output)
        );
        assert_eq!(
            output.status.code(),
            Some(1),
            "{command}: {}",
            printed(&output)
        );
    }
    let all = fs::read_dir(runs).unwrap().flatten();
    for run in all.map(|entry| entry.path()) {
        if run.join("requests.parquet").is_file() {
            fs::remove_dir_all(run).unwrap();
        }
    }
}

#[test]
fn a_killed_run_is_recovered_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let server = server(20.0, 2.0);
    let mut child = start_run(folder.path(), &server);
    let run = run_folder(folder.path());
    wait_for_answers(&server, 250);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.path().join("r.json").exists() && !run.join("requests.parquet").exists());
    crate::schemas::assert_manifest(&run);
    let refused = INFEROMETER.call(folder.path(), &["report", run.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        printed(&refused).contains("inferometer recover"),
        "{}",
        printed(&refused)
    );

    is_named_by_what_reads_folders(folder.path(), &run);
    recovers_within_the_folder(&run, folder.path(), elsewhere.path());

    // From another folder: the result is written where the run would have written it.
    let output = INFEROMETER
        .command(elsewhere.path())
        .args(["recover", "--save-result"])
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let manifest = manifest(&run);
    let (ok, unfinished, all) = outcomes(&manifest);
    assert_eq!(all, 400, "{}", printed(&output));
    // At most a second of the run, which is 100 requests, may be missing from the log.
    assert!(ok >= 100 && ok + unfinished == 400, "{}", printed(&output));
    assert_eq!(
        (&manifest["run"]["partial"], &manifest["run"]["recovered"]),
        (&true.into(), &true.into())
    );
    // vLLM's file is there too, is marked, and counts tokens as a finished run does.
    let result = read_json(&folder.path().join("r.json"));
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
    // The log has the kernel's stamps, and the requests that were never sent did not fail.
    let by_kernel = own["extras"]["receive"]["kernel_stamped_share"].as_f64();
    assert_eq!(
        by_kernel == Some(1.0),
        own["client"]["kernel_stamps"] == true
    );
    let text = stdout(&output);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(
        words.join(" ").contains("stamps by the kernel"),
        by_kernel == Some(1.0),
        "{}",
        printed(&output)
    );
    let not_sent = own["extras"]["not_sent"].as_u64().unwrap();
    assert_eq!(result["failed"].as_u64(), Some(unfinished - not_sent));
    assert_eq!(
        (&own["partial"], &own["recovered"]),
        (&true.into(), &true.into())
    );
    let report = INFEROMETER
        .command(folder.path())
        .arg("report")
        .arg(&run)
        .output()
        .unwrap();
    assert!(
        stdout(&report).contains("Successful requests:"),
        "{}",
        printed(&report)
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
        let refused = INFEROMETER
            .command(folder.path())
            .arg(command)
            .arg(&run)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", printed(&refused));
        assert!(
            printed(&refused).contains("still in progress"),
            "{}",
            printed(&refused)
        );
    }
    assert!(fs::metadata(run.join("requests.arrows")).unwrap().len() >= before);
    assert!(!run.join("requests.parquet").exists());
    wait_for_answers(&server, 200);
    child.kill().unwrap();
    child.wait().unwrap();

    // A recovery that fails (its result cannot be written) can be repeated.
    fs::create_dir(folder.path().join("r.json")).unwrap();
    let failed = INFEROMETER
        .command(folder.path())
        .args(["recover", "--save-result"])
        .arg(&run)
        .output()
        .unwrap();
    assert_ne!(failed.status.code(), Some(0), "{}", printed(&failed));
    assert!(run.join("requests.arrows").exists(), "{}", printed(&failed));
    fs::remove_dir(folder.path().join("r.json")).unwrap();
    let output = INFEROMETER
        .command(folder.path())
        .args(["recover", "--save-result"])
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let (ok, unfinished, all) = outcomes(&manifest(&run));
    assert!(
        all == 400 && ok >= 80 && ok + unfinished == 400,
        "{}",
        printed(&output)
    );
    assert!(!run.join("requests.arrows").exists());

    let again = INFEROMETER
        .command(folder.path())
        .arg("recover")
        .arg(&run)
        .output()
        .unwrap();
    assert!(
        printed(&again).contains("nothing to recover: the run was recovered before"),
        "{}",
        printed(&again)
    );
    server.stop().unwrap();
}

#[test]
fn a_recovered_result_uses_the_clock_of_a_finished_one() {
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
    wait_for_answers(&server, 150);
    child.kill().unwrap();
    child.wait().unwrap();
    let after = clock::now();
    let run = run_folder(folder.path());
    let output = INFEROMETER
        .command(folder.path())
        .args(["recover", "--save-result"])
        .arg(&run)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let result = read_json(&folder.path().join("r.json"));
    let errors = result["errors"].as_array().unwrap();
    let starts = result["start_times"].as_array().unwrap();
    let sent: Vec<f64> = starts
        .iter()
        .zip(errors)
        .filter(|(_, error)| error.as_str() == Some(""))
        .map(|(start, _)| start.as_f64().unwrap())
        .collect();
    assert!(sent.len() > 10, "{}", printed(&output));
    let within = before.as_secs_f64()..after.as_secs_f64();
    assert!(
        sent.iter().all(|start| within.contains(start)),
        "{within:?}: {sent:?}"
    );
    let changes = result["rps_change_events"].as_array().unwrap();
    assert!(changes.len() > 1 && changes[0]["rps"] == 60, "{changes:?}");
    // vLLM's date is local time without a zone; the manifest has the instant.
    let started = manifest(&run)["run"]["started_wall_ns"].as_u64().unwrap();
    assert!((wall.0..clock::wall().0).contains(&started), "{started}");
    server.stop().unwrap();
}

/// Under `nohup` a closed terminal must not end the run.
#[test]
fn a_hangup_that_the_process_was_started_to_ignore_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(5.0, 1.0);
    let mut run = INFEROMETER.command(folder.path());
    run.args([
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
        "20",
    ])
    .args([
        "--num-prompts",
        "150",
        "--request-rate",
        "100",
        "--disable-tqdm",
    ]);
    let mut nohup = Command::new("nohup");
    nohup
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(folder.path());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => nohup.env(name, value),
            None => nohup.env_remove(name),
        };
    }
    let child = nohup
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    wait_for_answers(&server, 30);
    signal(child.id(), "-HUP");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let (ok, unfinished, all) = outcomes(&manifest(&run_folder(folder.path())));
    assert_eq!((ok, unfinished, all), (150, 0, 150), "{}", printed(&output));
    server.stop().unwrap();
}
