//! What a run does beside its requests: the profiler, the server's counters, probes, plots.

use std::fs;

use inferometer_testkit::{Recorder, printed, run_folder, server, stderr, stdout};
use serde_json::Value;

use super::compat::recorded;
use crate::INFEROMETER;

#[test]
fn the_profiler_is_started_and_stopped_and_a_failed_cache_reset_ends_the_run() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let text = stdout(&recorded(&server, folder.path(), &["run"], &["--profile"]));
    let paths: Vec<_> = server
        .all()
        .into_iter()
        .map(|request| request.path)
        .collect();
    let start = paths
        .iter()
        .position(|path| path == "/start_profile")
        .unwrap();
    let first = paths
        .iter()
        .position(|path| path == "/v1/completions")
        .unwrap();
    assert!(
        start < first && paths.last().unwrap() == "/stop_profile",
        "{paths:?}"
    );
    for line in [
        "Starting profiler...\nProfiler started\n",
        "Stopping profiler...\nProfiler stopped\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let output = INFEROMETER
        .command(folder.path())
        .args([
            "run",
            "--base-url",
            &server.url,
            "--model=m",
            "--tokenizer=builtin",
            "--reset-prefix-cache",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("success: false"),
        "{}",
        printed(&output)
    );
}

#[test]
fn drafts_are_counted_from_the_servers_metrics_and_reported_again() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let more = ["--save-result", "--result-filename=r.json"];
    let text = stdout(&recorded(
        &server,
        folder.path(),
        &["bench", "serve"],
        &more,
    ));
    let section = "---------------Speculative Decoding---------------\n\
                   Acceptance rate (%):                     50.00     \n\
                   Acceptance length:                       2.00      \n\
                   Drafts:                                  4         \n\
                   Draft tokens:                            8         \n\
                   Accepted tokens:                         4         \n\
                   Per-position acceptance (%):\n\
                   \x20 Position 0:                            100.00    \n\
                   \x20 Position 1:                            0.00      \n\
                   ==================================================\n";
    assert!(text.contains(section), "{text}");
    let result: Value =
        serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(result["spec_decode_num_drafts"], 4);
    assert_eq!(
        result["spec_decode_per_position_acceptance_rates"],
        serde_json::json!([1.0, 0.0])
    );
    let again = INFEROMETER
        .command(folder.path())
        .arg("report")
        .arg(run_folder(folder.path()))
        .output()
        .unwrap();
    assert!(stdout(&again).contains(section), "{}", printed(&again));
}

#[test]
fn probes_bypass_the_slots_and_are_reported_separately() {
    let (server, folder) = (server(20.0, 1.0), tempfile::tempdir().unwrap());
    let output = INFEROMETER
        .command(folder.path())
        .args([
            "bench",
            "serve",
            "--base-url",
            &server.url(),
            "--model=sim",
            "--tokenizer=builtin",
        ])
        .args([
            "--num-prompts=6",
            "--random-input-len=8",
            "--random-output-len=5",
            "--max-concurrency=1",
        ])
        .args([
            "--probe-request-rate=100",
            "--save-result",
            "--result-filename=r.json",
            "--disable-tqdm",
        ])
        .output()
        .unwrap();
    let truth = server.truth();
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let text = stdout(&output);
    assert!(
        text.contains("\nProbe request rate: 100.0 req/s\n"),
        "{text}"
    );
    assert!(
        text.contains("------------------Probe Requests------------------\n"),
        "{text}"
    );
    let result: Value =
        serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    let probes = truth
        .iter()
        .filter(|truth| truth.id.is_none() && truth.output_tokens == 1)
        .count();
    assert!(
        probes >= 2 && result["probe_completed"] == probes,
        "{probes} against {result}"
    );
    assert_eq!(
        (&result["completed"], &result["probe_failed"]),
        (&Value::from(6), &Value::from(0))
    );
    assert!(
        result["probe_median_e2el_ms"].as_f64().unwrap() >= 20.0,
        "{result}"
    );
}

#[test]
fn a_password_in_the_url_is_kept_out_of_everything() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let url = server.url.replace("http://", "http://user:sesame@");
    let output = INFEROMETER
        .command(folder.path())
        .args([
            "bench",
            "serve",
            "--base-url",
            &url,
            "--model=m",
            "--tokenizer=builtin",
            "--num-prompts=2",
        ])
        .args([
            "--random-input-len=8",
            "--save-result",
            "--result-filename=r.json",
        ])
        .env("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(!printed(&output).contains("sesame"), "{}", printed(&output));
    let run = run_folder(folder.path());
    let files = [
        run.join("manifest.json"),
        folder.path().join("r.json"),
        folder.path().join("r.pytorch.json"),
    ];
    for file in files {
        assert!(
            !fs::read_to_string(&file).unwrap().contains("sesame"),
            "{}",
            file.display()
        );
    }
}

#[test]
fn vllm_uses_the_last_of_two_urls_and_native_mode_both() {
    let (server, other, folder) = (
        Recorder::start(),
        Recorder::start(),
        tempfile::tempdir().unwrap(),
    );
    recorded(
        &server,
        folder.path(),
        &["run"],
        &["--base-url", &other.url],
    );
    assert_eq!(
        (
            server.to("/completions").len(),
            other.to("/completions").len()
        ),
        (2, 2)
    );
    let output = recorded(
        &server,
        folder.path(),
        &["bench", "serve"],
        &["--base-url", &other.url],
    );
    assert_eq!(
        (
            server.to("/completions").len(),
            other.to("/completions").len()
        ),
        (2, 6)
    );
    assert!(
        stderr(&output).contains("--base-url is given more than once"),
        "{}",
        printed(&output)
    );
}

#[test]
fn plots_and_the_pytorch_file_are_written_beside_the_result() {
    let (server, folder) = (server(1.0, 0.5), tempfile::tempdir().unwrap());
    let output = INFEROMETER
        .command(folder.path())
        .args([
            "bench",
            "serve",
            "--base-url",
            &server.url(),
            "--model=sim",
            "--tokenizer=builtin",
        ])
        .args([
            "--num-prompts=5",
            "--random-input-len=8",
            "--random-output-len=4",
            "--disable-tqdm",
        ])
        .args([
            "--plot-timeline",
            "--plot-dataset-stats",
            "--save-result",
            "--result-filename=r.json",
        ])
        .args(["--metadata", "tensor_parallel_size=2"])
        .env("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "1")
        .output()
        .unwrap();
    server.stop().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(
        String::from_utf8(read("r.timeline.html"))
            .unwrap()
            .contains("</html>")
    );
    assert!(read("r.dataset_stats.png").starts_with(b"\x89PNG"));
    let form: Value = serde_json::from_slice(&read("r.pytorch.json")).unwrap();
    let args = &form[0]["benchmark"]["extra_info"]["args"];
    assert_eq!(
        (&args["num_prompts"], &args["tensor_parallel_size"]),
        (&Value::from(5), &Value::from("2"))
    );
    assert_eq!(form.as_array().unwrap().len(), 12);
}

#[test]
fn a_tokenizer_is_not_needed_for_custom_prompts() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("p.jsonl"), "{\"prompt\": \"hello\"}\n").unwrap();
    let output = INFEROMETER
        .command(folder.path())
        .args([
            "bench",
            "serve",
            "--base-url",
            &server.url,
            "--model=m",
            "--skip-tokenizer-init",
        ])
        .args([
            "--dataset-name=custom",
            "--dataset-path=p.jsonl",
            "--num-prompts=2",
            "--disable-tqdm",
        ])
        .args([
            "--skip-chat-template",
            "--save-result",
            "--result-filename=r.json",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(
        !stdout(&output).contains("TTFT (ms)"),
        "{}",
        printed(&output)
    );
    // vLLM asks for one token then, whatever the row says, and the client means no length of a prompt.
    assert!(
        stderr(&output).contains("--skip-tokenizer-init: every request asks for 1 output token"),
        "{}",
        printed(&output)
    );
    let result: Value =
        serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(result["tokenizer_id"], Value::Null);
    assert_eq!(
        result["inferometer"]["extras"]["tokens"]["prompts"],
        Value::Null
    );
}
