//! Journals that are on disk already can be resumed: the stored commands and their hash stay what
//! they were.

use std::fs;
use std::path::Path;

use inferometer_campaign::{
    Campaign, Claim, Journal, ServeOptions, Start, SweepOptions, serve_campaign,
};
use serde_json::{Map, Value, json};

use crate::world::campaign_of;

const COMBOS: &str = "\
model: m/one
base_url: http://me:pw@127.0.0.1:8000/
tokenizer: m/tok
input_output: [[256, 128], [512, 64]]
concurrency_prompts: [[1, 10], [8, 80]]
";

const EXPERIMENT: &str = "
run:
  model: m
  base_url: http://h:1
  ignore_eos: true
  goodput: [ttft:200, tpot:50]
  extra_body: {api_key: secret-value, top: [1, 2.5]}
  burstiness: -0.5
  request_rate: [1, 2.50, \"inf\"]
rows:
  - {num_prompts: 10, ignore_eos: false}
  - {num_prompts: 20, label: mine, seed: 7, goodput: []}
repeats: 2
warmup_num_prompts: 3
";

const SIMULATED: &str = "
run: {num_prompts: 10}
rows: [{backend: vllm}, {backend: sim, preset: a}, {backend: \"sim:openai-chat\", preset: b}]
";

/// Name, description, further arguments, whether run folders are kept.
const CASES: [(&str, &str, &str, bool); 12] = [
    ("combos", COMBOS, "", true),
    ("combos without run folders", COMBOS, "", false),
    (
        "combos with a seed",
        COMBOS,
        "--seed 5 --save-detailed",
        true,
    ),
    (
        "combos with seed=",
        COMBOS,
        "--seed=5 --temperature -1",
        true,
    ),
    (
        "combos with places",
        COMBOS,
        "--runs-dir x --metadata token=t a=b",
        true,
    ),
    (
        "combos with another place",
        COMBOS,
        "--runs-dir=x --request_rate 3",
        true,
    ),
    ("combos simulated", COMBOS, "--backend sim --preset p", true),
    (
        "combos of chats simulated",
        COMBOS,
        "--backend sim:openai-chat --preset p",
        true,
    ),
    ("experiment", EXPERIMENT, "", true),
    (
        "experiment with more",
        EXPERIMENT,
        "--header A=b C=d --insecure --tempe 1",
        false,
    ),
    ("simulated", SIMULATED, "", true),
    (
        "simulated by flag",
        EXPERIMENT,
        "--backend openai --backend=sim",
        true,
    ),
];

fn campaign(folder: &Path, text: &str, extra: &str, run_folders: bool) -> Campaign {
    let extra = extra.split_whitespace().map(str::to_owned).collect();
    let options = SweepOptions {
        extra,
        run_folders,
        ..SweepOptions::default()
    };
    campaign_of(folder, "sweep.yaml", text, options).unwrap()
}

fn vllms_form(folder: &Path) -> Campaign {
    let bench = folder.join("bench.json");
    fs::write(
        &bench,
        r#"{"a": {"random_input_len": 16}, "b": {"max_concurrency": 4, "x": [1, 2], "y": false}}"#,
    )
    .unwrap();
    serve_campaign(&ServeOptions {
        serve_cmd: "vllm serve m --port 8001 --api-key k".to_owned(),
        bench_cmd: "servebench run --header A=b --model=m --result-dir x --num-prompts 5"
            .to_owned(),
        bench_params: Some(bench),
        num_runs: 1,
        output: folder.join("results"),
        ..ServeOptions::default()
    })
    .unwrap()
}

fn stored(campaign: &Campaign) -> Value {
    let commands: Vec<String> = campaign
        .cells
        .iter()
        .map(|cell| cell.stored_command().join("\n"))
        .collect();
    json!({"settings_sha256": campaign.settings_sha256(), "commands": commands})
}

/// What was stored before the settings of a run had types. Never renewed: it is what users have.
fn earlier() -> Map<String, Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/stored_commands.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn stored_commands_and_their_hash_are_those_of_earlier_versions() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = earlier();
    for (name, text, extra, run_folders) in CASES {
        let campaign = campaign(folder.path(), text, extra, run_folders);
        assert_eq!(Some(&stored(&campaign)), earlier.get(name), "{name}");
    }
    // The commands got the address of the server, which listens at another port than the client's
    // own default: earlier runs measured whatever was at port 8000, and are not resumed.
    let commands = |stored: &Value| -> Vec<String> {
        let commands = stored["commands"].as_array().unwrap().iter();
        commands
            .map(|words| words.as_str().unwrap().to_owned())
            .collect()
    };
    let now = stored(&vllms_form(folder.path()));
    let without_address: Vec<String> = commands(&now)
        .iter()
        .map(|words| words.replacen("\n--base-url\nhttp://127.0.0.1:8001", "", 1))
        .collect();
    assert_ne!(commands(&now), without_address);
    assert_eq!(without_address, commands(&earlier["vllm's form"]));
    assert_ne!(
        now["settings_sha256"],
        earlier["vllm's form"]["settings_sha256"]
    );
}

/// A result in vLLM's keys.
const RESULT: &str = r#"{"backend": "vllm", "duration": 1.0, "completed": 1, "total_input_tokens": 1,
    "total_output_tokens": 1, "request_throughput": 1.0, "mean_ttft_ms": 1.0}"#;

#[test]
fn a_journal_of_an_earlier_version_is_resumed() {
    let earlier = earlier();
    for (name, text, extra, run_folders) in CASES {
        let folder = tempfile::tempdir().unwrap();
        let campaign = campaign(folder.path(), text, extra, run_folders);
        let commands = earlier[name]["commands"].as_array().unwrap();
        let mut cells = Vec::new();
        for (cell, command) in campaign.cells.iter().zip(commands) {
            let result = campaign.result_path(cell);
            fs::create_dir_all(result.parent().unwrap()).unwrap();
            fs::write(result, RESULT).unwrap();
            let command: Vec<&str> = command.as_str().unwrap().split('\n').collect();
            cells.push(json!({
                "name": cell.name, "result": cell.result, "command": command, "status": "done", "attempts": 1,
            }));
        }
        // With another hash, as after cells were added, the commands themselves are compared.
        for hash in [&earlier[name]["settings_sha256"], &Value::from("another")] {
            let journal = json!({
                "format_version": 1, "form": "combos", "created": "then", "settings_sha256": hash, "cells": cells,
            });
            let file = campaign.output.join("campaign.json");
            fs::write(file, journal.to_string()).unwrap();
            let claim = Claim::take(&campaign, Start::Resume).unwrap();
            let journal = Journal::begin(&campaign, claim, Start::Resume, "now").unwrap();
            let all_done = (0..campaign.cells.len()).all(|index| journal.is_done(index));
            assert!(all_done, "{name}");
        }
        // A result that is cut off is made again, as a missing one is.
        fs::write(campaign.result_path(&campaign.cells[0]), "{").unwrap();
        let claim = Claim::take(&campaign, Start::Resume).unwrap();
        let journal = Journal::begin(&campaign, claim, Start::Resume, "now").unwrap();
        assert!(!journal.is_done(0) && journal.is_done(1), "{name}");
    }
}
