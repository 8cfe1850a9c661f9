//! `compare` and `gate` for two groups of runs, and `ab`.

use std::fs;
use std::path::Path;

use inferometer_sim::{SimSettings, start};
use inferometer_testkit::{printed, read_json, snapshot, stderr, stdout, transcript_of};
use serde_json::{Value, json};

use super::{call, code};

/// Writes result files as vLLM's client writes them, with these mean TTFTs.
fn foreign(folder: &Path, name: &str, ttfts: &[f64], more: &Value) {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    for (index, ttft) in ttfts.iter().enumerate() {
        let mut result = json!({
            "date": format!("20261101-00000{index}"), "backend": "vllm", "model_id": "m", "tokenizer_id": "m",
            "num_prompts": 100, "request_rate": 5.0, "burstiness": 1.0, "max_concurrency": null,
            "duration": 20.0 + index as f64 / 1000.0, "completed": 100, "total_input_tokens": 51200,
            "total_output_tokens": 12800, "request_throughput": 5.0 + index as f64 / 1000.0,
            "output_throughput": 640.0, "mean_ttft_ms": ttft, "p99_ttft_ms": ttft * 3.0,
        });
        for (key, value) in more.as_object().unwrap() {
            result[key] = value.clone();
        }
        fs::write(folder.join(format!("{index}.json")), result.to_string()).unwrap();
    }
}

const BASE: [f64; 5] = [100.0, 101.0, 99.0, 100.5, 99.5];

fn scaled(factor: f64) -> Vec<f64> {
    BASE.iter().rev().map(|ttft| ttft * factor).collect()
}

fn gate(folder: &Path, more: &[&str]) -> std::process::Output {
    let mut arguments = vec!["gate", "--baseline", "a", "--candidate", "b/*.json"];
    arguments.extend(more);
    call(folder, &arguments)
}

#[test]
fn a_gate_has_three_answers_and_a_code_for_each() {
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), "a", &BASE, &json!({}));
    for (factor, expected, word) in [
        (1.0, 0, "PASS"),
        (1.10, 1, "WORSE"),
        (1.045, 4, "CANNOT TELL"),
    ] {
        foreign(folder.path(), "b", &scaled(factor), &json!({}));
        let output = gate(folder.path(), &["--max-regression", "mean_ttft_ms=5"]);
        assert_eq!(code(&output), expected, "{}", printed(&output));
        assert!(stdout(&output).contains(word), "{}", printed(&output));
    }
    let output = gate(
        folder.path(),
        &["--max-regression", "mean_ttft_ms=5", "--json"],
    );
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(found["decision"], "cannot_tell");
    let metric = &found["metrics"][0];
    for key in [
        "metric",
        "unit",
        "baseline",
        "candidate",
        "change_percent",
        "low_percent",
        "high_percent",
        "margin_percent",
        "detectable_percent",
        "decision",
        "pairs_needed",
    ] {
        assert!(!metric[key].is_null(), "no {key} in {metric}");
    }
}

#[test]
fn runs_of_another_workload_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), "a", &BASE, &json!({}));
    foreign(
        folder.path(),
        "b",
        &BASE,
        &json!({"total_input_tokens": 204_800}),
    );
    let output = gate(
        folder.path(),
        &["--max-regression", "mean_ttft_ms=5", "--json"],
    );
    assert_eq!(code(&output), 5, "{}", printed(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        found["not_comparable"]["reasons"][0]["field"],
        "input_tokens_per_request"
    );
    let allowed = [
        "--max-regression",
        "mean_ttft_ms=5",
        "--may-differ",
        "input_tokens_per_request",
    ];
    assert_eq!(code(&gate(folder.path(), &allowed)), 0);
}

#[test]
fn invalid_runs_are_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), "a", &BASE, &json!({}));
    let reason = json!({"code": "offered_rate", "level": "INVALID", "message": "m", "remedy": "r"});
    let invalid = json!({"inferometer": {"meaning": 2, "verdict": {"level": "INVALID", "reasons": [reason]}}});
    foreign(folder.path(), "b", &BASE[..2], &invalid);
    let output = gate(folder.path(), &["--max-regression", "mean_ttft_ms=5"]);
    assert_eq!(code(&output), 3, "{}", printed(&output));
    assert!(
        stderr(&output).contains("b/0.json (INVALID: offered_rate)"),
        "{}",
        printed(&output)
    );
}

/// The requests that a server does not fail are the easy ones.
#[test]
fn a_candidate_that_fails_requests_is_not_passed() {
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), "a", &BASE, &json!({}));
    let half = json!({"completed": 50, "failed": 50, "total_input_tokens": 25_600, "total_output_tokens": 6_400});
    foreign(folder.path(), "b", &scaled(1.0), &half);
    let output = gate(folder.path(), &["--max-regression", "mean_ttft_ms=5"]);
    assert_eq!(code(&output), 4, "{}", printed(&output));
    assert!(
        stdout(&output).contains("50.0 % of the candidate's requests failed"),
        "{}",
        printed(&output)
    );
}

#[test]
fn bad_questions_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), "a", &BASE, &json!({}));
    foreign(folder.path(), "b", &scaled(1.0), &json!({}));
    let cases: [(&[&str], &str); 8] = [
        (&["--max-regression", "failed=5"], "invalid metric failed"),
        (
            &[
                "--max-regression",
                "mean_ttft_ms=5",
                "--may-differ",
                "modle",
            ],
            "--may-differ modle: no run has a setting of this name",
        ),
        (&[], "--max-regression METRIC=PERCENT"),
        (
            &["--max-regression", "p50_ttft_ms=5"],
            "no metric p50_ttft_ms: expected one that all runs have, such as",
        ),
        (
            &["--max-regression", "duration=5"],
            "of which one direction is better",
        ),
        (
            &["--max-regression", "mean_ttft_ms"],
            "expected METRIC=PERCENT",
        ),
        (
            &["--max-regression", "output_throughput=100"],
            "expected a percentage from 0 to below 100",
        ),
        (
            &[
                "--max-regression",
                "mean_ttft_ms=5",
                "--decision-file",
                "d.json",
            ],
            "needs --max-runs",
        ),
    ];
    for (more, expected) in cases {
        let output = gate(folder.path(), more);
        assert_eq!(code(&output), 2, "{}", printed(&output));
        assert!(stderr(&output).contains(expected), "{}", printed(&output));
    }
    let output = call(
        folder.path(),
        &[
            "gate",
            "--baseline",
            "a",
            "--candidate",
            "c*",
            "--max-regression",
            "mean_ttft_ms=5",
        ],
    );
    assert!(
        stderr(&output).contains("c*: no file or folder has this name"),
        "{}",
        printed(&output)
    );
}

#[test]
fn a_team_shares_a_gate_and_its_looks_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), "a", &BASE[..3], &json!({}));
    foreign(folder.path(), "b", &scaled(1.05)[..3], &json!({}));
    fs::write(
        folder.path().join("gate.toml"),
        "[max_regression]\nmean_ttft_ms = 5\n",
    )
    .unwrap();
    let flags = [
        "--config",
        "gate.toml",
        "--decision-file",
        "d.json",
        "--junit",
        "j.xml",
        "--github",
        "--markdown",
    ];
    let first: Vec<&str> = flags.into_iter().chain(["--max-runs", "5"]).collect();
    let output = gate(folder.path(), &first);
    assert_eq!(code(&output), 4, "{}", printed(&output));
    assert!(
        stdout(&output).contains("::warning title=inferometer gate::mean_ttft_ms"),
        "{}",
        printed(&output)
    );
    foreign(folder.path(), "a", &BASE, &json!({}));
    foreign(folder.path(), "b", &scaled(1.0), &json!({}));
    let output = gate(folder.path(), &flags);
    assert_eq!(code(&output), 0, "{}", printed(&output));
    let decisions = read_json(&folder.path().join("d.json"));
    let looks = decisions["looks"].as_array().unwrap();
    let looks: Vec<(&Value, &Value)> = looks
        .iter()
        .map(|look| (&look["runs"], &look["decision"]))
        .collect();
    assert_eq!(
        looks,
        [
            (&json!(3), &json!("cannot_tell")),
            (&json!(5), &json!("pass"))
        ]
    );
    fs::rename(
        folder.path().join("b/0.json"),
        folder.path().join("b/9.json"),
    )
    .unwrap();
    let output = gate(folder.path(), &flags);
    assert_eq!(code(&output), 2, "{}", printed(&output));
    assert!(
        stderr(&output).contains("the runs are not those of the earlier look"),
        "{}",
        printed(&output)
    );
    let junit = fs::read_to_string(folder.path().join("j.xml")).unwrap();
    assert!(junit.contains("failures=\"0\" skipped=\"0\""), "{junit}");
    fs::write(
        folder.path().join("gate.toml"),
        "[max_regresion]\nmean_ttft_ms = 5\n",
    )
    .unwrap();
    let output = gate(folder.path(), &["--config", "gate.toml"]);
    assert!(
        stderr(&output).contains("max_regresion"),
        "{}",
        printed(&output)
    );
}

#[test]
fn a_comparison_of_groups_names_interval_and_decision() {
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), "a", &BASE, &json!({}));
    foreign(folder.path(), "b", &scaled(1.10), &json!({}));
    let flags = [
        "compare",
        "--baseline",
        "a",
        "--candidate",
        "b",
        "--metric",
        "mean_ttft_ms",
        "output_throughput",
    ];
    let output = call(folder.path(), &flags);
    snapshot!("compare_groups", transcript_of(&flags, &output));
    let chinese: Vec<&str> = flags
        .into_iter()
        .chain(["--lang", "zh", "--markdown"])
        .collect();
    snapshot!(
        "compare_groups_zh",
        transcript_of(&chinese, &call(folder.path(), &chinese))
    );
}

/// 20 ms and 24 ms between tokens, three pairs.
#[test]
fn two_servers_in_turn_are_told_apart_and_an_experiment_continues() {
    let folder = tempfile::tempdir().unwrap();
    let server = |itl: &str| {
        start(SimSettings {
            itl: itl.parse().unwrap(),
            ..SimSettings::default()
        })
        .unwrap()
    };
    let (a, b) = (server("20"), server("24"));
    let (a_url, b_url) = (a.url(), b.url());
    let mut flags = vec![
        "ab",
        "--a",
        &a_url,
        "--b",
        &b_url,
        "--metric",
        "mean_tpot_ms",
        "--warmup",
        "0",
        "--pairs",
    ];
    let run = [
        "--",
        "--model=sim",
        "--tokenizer=builtin",
        "--random-output-len=8",
        "--num-prompts=4",
    ];
    let two: Vec<&str> = flags.iter().copied().chain(["2"]).chain(run).collect();
    call(folder.path(), &two);
    flags.extend(["3", "--resume"]);
    let three: Vec<&str> = flags.iter().copied().chain(run).collect();
    let output = call(folder.path(), &three);
    assert_eq!(code(&output), 1, "{}", printed(&output));
    let decision = read_json(&folder.path().join("ab/decision.json"));
    assert_eq!(decision["metrics"][0]["decision"], "worse");
    assert_eq!(
        decision["baseline"]["runs"].as_array().map(Vec::len),
        Some(3)
    );
    let refused: Vec<&str> = two.iter().copied().chain(["--seed=3"]).collect();
    let output = call(folder.path(), &refused);
    assert!(
        stderr(&output).contains("--seed after -- contradicts"),
        "{}",
        printed(&output)
    );
}
