//! Command lines and scripts for vLLM's benchmark keep working.

use std::fs;
use std::path::Path;
use std::process::Output;

use inferometer_testkit::{Recorder, printed, stderr, stdout};
use serde_json::Value;

use crate::INFEROMETER;

const FLAGS_0_33: &str = include_str!("../../../argparse/data/vllm_0.33_flags.txt");
const LEGACY_FLAGS: &str = include_str!("../../../argparse/data/legacy_script_flags.txt");

/// Flags that are refused, each with a word of its reason.
const REFUSED: [(&str, &str); 3] = [
    ("best-of", "--extra-body"),
    ("use-beam-search", "never had an effect"),
    ("tokenizer-mode slow", "tokenizer.json"),
];

/// Flags that another flag needs beside it.
fn companions(line: &str) -> &'static [&'static str] {
    match line.trim_start_matches('-').split(' ').next().unwrap() {
        "dataset-name" if line.ends_with("sharegpt") => &["--dataset-path=f.json"],
        "ramp-up-strategy" => &["--ramp-up-start-rps=1", "--ramp-up-end-rps=9"],
        "ramp-up-start-rps" => &["--ramp-up-strategy=linear", "--ramp-up-end-rps=9"],
        "ramp-up-end-rps" => &["--ramp-up-strategy=linear", "--ramp-up-start-rps=1"],
        "self-timed" | "no-self-timed" => &["--dataset-name=timed_trace", "--dataset-path=t.jsonl"],
        "dataset-path" => &["--dataset-name=sharegpt"],
        _ => &[],
    }
}

fn try_flag(folder: &Path, line: &str) -> Output {
    let mut command = INFEROMETER.command(folder);
    command.args(["run", "--backend=vllm", "--tokenizer=builtin", "--model=m"]);
    command
        .args(["--base-url=http://127.0.0.1:1"])
        .args(companions(line))
        .args(line.split(' '));
    command.output().unwrap()
}

#[test]
fn every_flag_of_vllm_is_supported_or_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file.yaml"), "seed: 3\n").unwrap();
    let lines = FLAGS_0_33
        .lines()
        .chain(LEGACY_FLAGS.lines())
        .filter(|line| line.starts_with("--"));
    for line in lines {
        let output = try_flag(folder.path(), line);
        let message = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{line}: {}",
            printed(&output)
        );
        match REFUSED.iter().find(|(flag, _)| line[2..].starts_with(flag)) {
            Some((flag, reason)) => {
                let flag = flag.split(' ').next().unwrap();
                assert!(
                    message.contains(&format!("--{flag}")) && message.contains(reason),
                    "{line}: {message}"
                );
            }
            // The flags were understood: the next step is to ask the server, and there is none.
            None => assert!(
                message.contains("Nothing answers at http://"),
                "{line}: {message}"
            ),
        }
    }
}

#[test]
fn the_frozen_flag_lists_are_complete() {
    let names = |list: &str| list.lines().filter(|line| line.starts_with("--")).count();
    assert_eq!((names(FLAGS_0_33), names(LEGACY_FLAGS)), (103, 61));
}

/// A small run against a recording server.
pub(crate) fn recorded(
    server: &Recorder,
    folder: &Path,
    command: &[&str],
    more: &[&str],
) -> Output {
    let output = INFEROMETER
        .command(folder)
        .args(command)
        .args([
            "--base-url",
            &server.url,
            "--model",
            "m",
            "--tokenizer",
            "builtin",
            "--disable-tqdm",
        ])
        .args([
            "--random-input-len",
            "8",
            "--random-output-len",
            "2",
            "--num-prompts",
            "4",
        ])
        .args(more)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    output
}

fn position(text: &str, part: &str) -> usize {
    text.find(part)
        .unwrap_or_else(|| panic!("no {part:?} in {text}"))
}

#[test]
fn vllms_metric_names_print_vllms_lines_in_vllms_order() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let more = [
        "--backend=vllm",
        "--request-rate=200",
        "--max-concurrency=3",
        "--header",
        "x-key=sesame",
    ];
    let output = recorded(&server, folder.path(), &["vllm", "bench", "serve"], &more);
    let text = stdout(&output);
    let lines = [
        "Namespace(subparser='bench', bench_type='serve', ",
        "header='***', max_concurrency=3, model='m', ",
        "WARNING: /tokenize unavailable (404 Not Found: either this server has no /tokenize route, or it does not serve \
         a model named `m` (its served names are listed by GET /v1/models)), skipping alignment.\n",
        "WARNING: vllm bench serve no longer sets temperature==0 (greedy) in requests by default. ",
        "Starting initial single prompt test run...\nSkipping endpoint ready check.\n",
        "Starting main benchmark run...\nTraffic request rate: 200.0\nBurstiness factor: 1.0 (Poisson process)\n",
        "Maximum request concurrency: 3\n",
        "============ Serving Benchmark Result ============\n",
        "Total token throughput (tok/s):",
        "\nVerdict: ",
    ];
    let at: Vec<usize> = lines.iter().map(|line| position(&text, line)).collect();
    assert!(at.is_sorted(), "{at:?} in {text}");
    assert!(!text.contains("sesame") && !stderr(&output).contains("sesame"));
    let ours = recorded(&server, folder.path(), &["run"], &["--backend=vllm"]);
    assert!(!stdout(&ours).contains("Namespace("), "{}", printed(&ours));
}

#[test]
fn old_versions_keep_their_behaviour() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    // Without a file the prompts are random.
    let more = ["--compat=vllm-0.10", "--num-warmups=1"];
    let output = recorded(&server, folder.path(), &["bench", "serve"], &more);
    let text = stdout(&output);
    assert!(
        text.contains("Waiting for endpoint to become up in 600 seconds"),
        "{text}"
    );
    assert!(text.contains("Total Token throughput (tok/s):"), "{text}");
    let asked = server.to("/v1/completions");
    assert!(
        asked
            .iter()
            .all(|request| request.body["temperature"] == 0.0),
        "{asked:?}"
    );
    // Ready check and warm-up repeat the first request, without its id.
    let anonymous: Vec<_> = asked
        .iter()
        .filter(|request| request.id.is_none())
        .collect();
    let first = asked
        .iter()
        .find(|request| request.id.as_deref().is_some_and(|id| id.ends_with("-0")))
        .unwrap();
    assert_eq!(anonymous.len(), 2);
    assert!(anonymous.iter().all(|request| request.body == first.body));
    // A file without a name is read as that script reads it.
    fs::write(folder.path().join("rows.json"), "[{}]").unwrap();
    let refused = INFEROMETER
        .command(folder.path())
        .args(["bench", "serve", "--compat=vllm-0.10", "--model=m"])
        .args(["--tokenizer=builtin", "--dataset-path=rows.json"])
        .args(["--base-url", &server.url])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", printed(&refused));
    assert!(
        stderr(&refused).contains("conversations"),
        "{}",
        printed(&refused)
    );
}

#[test]
fn the_endpoint_follows_the_backend_and_the_model_comes_from_the_server() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let output = INFEROMETER
        .command(folder.path())
        .args([
            "bench",
            "serve",
            "--backend=openai-chat",
            "--base-url",
            &server.url,
            "--num-prompts=2",
        ])
        .args(["--random-input-len=8", "--disable-tqdm"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let text = stdout(&output);
    assert!(
        text.contains("Model not specified, fetching first model from server...\n"),
        "{text}"
    );
    assert!(
        text.contains("First model name: served, first model id: builtin\n"),
        "{text}"
    );
    let chats = server.to("/v1/chat/completions");
    assert_eq!(
        (chats.len(), chats[0].body["model"].as_str()),
        (2, Some("served"))
    );
}

#[test]
fn adapters_token_ids_dotted_options_and_a_config_reach_the_wire() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    fs::write(
        folder.path().join("c.yaml"),
        "lora_modules: [one, two]\nlora-assignment: round-robin\nrequest-id-prefix: conf-\ntop-k: 9\n",
    )
    .unwrap();
    let more = [
        "--prompt-token-ids",
        "--config",
        "c.yaml",
        "--extra-body.a.b",
        "1",
        "--top_k=7",
    ];
    recorded(&server, folder.path(), &["run"], &more);
    let mut asked = server.to("/v1/completions");
    asked.sort_by(|a, b| a.id.cmp(&b.id));
    let models: Vec<_> = asked
        .iter()
        .map(|request| request.body["model"].as_str().unwrap())
        .collect();
    assert_eq!(models, ["one", "two", "one", "two"]);
    assert_eq!(asked[0].id.as_deref(), Some("conf-0"));
    let body = &asked[0].body;
    assert_eq!(
        (&body["a"]["b"], &body["top_k"]),
        (&Value::from(1), &Value::from(7))
    );
    assert!(
        body["prompt"]
            .as_array()
            .is_some_and(|ids| !ids.is_empty() && ids[0].is_u64()),
        "{body}"
    );
}

#[test]
fn without_streaming_only_the_end_is_measured() {
    let (server, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
    let text = stdout(&recorded(
        &server,
        folder.path(),
        &["run"],
        &["--no-streaming"],
    ));
    assert!(
        text.contains("Mean E2EL (ms):") && !text.contains("TTFT (ms)"),
        "{text}"
    );
    let refused = INFEROMETER
        .command(folder.path())
        .args([
            "run",
            "--model=m",
            "--no-streaming",
            "--percentile-metrics=ttft",
        ])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("--no-streaming"),
        "{}",
        printed(&refused)
    );
}

#[test]
fn help_can_be_requested_by_group_and_by_word() {
    let folder = tempfile::tempdir().unwrap();
    let help = |word: &str| {
        let output = INFEROMETER
            .command(folder.path())
            .args(["bench", "serve", word])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        stdout(&output)
    };
    assert!(help("--help=all").contains("--random-input-len"));
    let (group, word) = (help("--help=connections"), help("--help=burst"));
    assert!(
        group.contains("--http2") && !group.contains("--request-rate"),
        "{group}"
    );
    assert!(
        word.contains("--burstiness") && !word.contains("--http2"),
        "{word}"
    );
}

/// vLLM's first line for these arguments; no server is needed for it.
fn namespace(typed: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = INFEROMETER.command(folder.path());
    let output = command
        .args(["run", "--compat=vllm"])
        .args(typed)
        .output()
        .unwrap();
    let line = stdout(&output).lines().next().map(str::to_owned);
    line.unwrap_or_else(|| panic!("{}", printed(&output)))
}

/// From the output of vLLM 0.32 for these arguments, without its logging options and the names
/// of its functions.
#[test]
fn the_line_is_the_one_vllm_prints() {
    let line = namespace(&[
        "--backend=vllm",
        "--base-url=http://127.0.0.1:1",
        "--model=truth-model",
        "--tokenizer=builtin",
        "--random-input-len=64",
        "--request-rate=15",
        "--burstiness=0.8",
        "--goodput",
        "ttft:200",
        "tpot:50",
        "--header",
        "authorization=Bearer sesame",
    ]);
    for part in [
        "Namespace(subparser='bench', bench_type='serve', trust_remote_code=False, seed=0, num_prompts=1000, \
         dataset_name='random', no_stream=False, dataset_path=None, ",
        "timed_trace_sec_multiplier=1, ",
        "asr_max_audio_len_sec=inf, asr_min_audio_len_sec=0.0, random_input_len=64, random_output_len=128, \
         random_range_ratio='0.0', ",
        "random_mm_limit_mm_per_prompt={'image': 255, 'video': 1}, random_mm_bucket_config={(256, 256, 1): \
         0.5, (720, 1280, 1): 0.5, (720, 1280, 16): 0.0}, hf_subset=None, ",
        "label=None, backend='vllm', base_url='http://127.0.0.1:1', host='127.0.0.1', port=8000, \
         endpoint='/v1/completions', header='***', max_concurrency=None, model='truth-model', ",
        "request_rate=15.0, burstiness=0.8, probe_request_rate=0.0, disable_tqdm=False, num_warmups=0, ",
        "goodput=['ttft:200', 'tpot:50'], request_id_prefix='bench-",
        "timeline_itl_thresholds='25,50', plot_dataset_stats=False)",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert!(!line.contains("sesame"));
}

#[test]
fn texts_are_quoted_as_python_quotes_them() {
    let line = namespace(&[
        "--model=it's",
        "--label=a\\b\n\"'",
        "--base-url=http://u:secret@127.0.0.1:1/x",
    ]);
    assert!(line.contains(r#"model="it's""#), "{line}");
    assert!(line.contains(r#"label='a\\b\n"\'', "#), "{line}");
    assert!(
        line.contains("base_url='http://***@127.0.0.1:1/x'"),
        "{line}"
    );
}
