//! Short runs without a fault: their verdicts have no reason.

use inferometer_testkit::{alone, printed, read_json, verdict_codes_without_host};

use crate::INFEROMETER;

/// Loads of well under a second, of one request and more: open and closed loops, bursts, prompts that
/// share prefixes, conversations, a trace that starts at 0, and answers as long as the run.
const LOADS: [&[&str]; 12] = [
    &[
        "--random-input-len=8",
        "--random-output-len=8",
        "--num-prompts=1",
    ],
    &[
        "--random-input-len=8",
        "--random-output-len=8",
        "--num-prompts=3",
        "--request-rate=5000",
    ],
    &[
        "--random-input-len=40",
        "--random-output-len=8",
        "--num-prompts=12",
        "--max-concurrency=4",
    ],
    &[
        "--random-input-len=40",
        "--random-output-len=8",
        "--num-prompts=60",
        "--request-rate=120",
    ],
    &[
        "--random-input-len=40",
        "--random-output-len=8",
        "--num-prompts=40",
        "--request-rate=80",
        "--burstiness=0.5",
    ],
    &[
        "--random-input-len=8",
        "--random-output-len=90",
        "--num-prompts=20",
        "--request-rate=50",
    ],
    &[
        "--random-input-len=8",
        "--random-output-len=8",
        "--num-prompts=30",
        "--max-concurrency=6",
        "--random-prefix-len=48",
    ],
    &[
        "--backend=openai-chat",
        "--random-input-len=8",
        "--random-output-len=8",
        "--num-prompts=20",
        "--max-concurrency=4",
    ],
    &[
        "--dataset-name=prefix_repetition",
        "--num-prompts=24",
        "--request-rate=60",
        "--prefix-repetition-prefix-len=64",
        "--prefix-repetition-suffix-len=32",
        "--prefix-repetition-num-prefixes=3",
        "--prefix-repetition-output-len=8",
    ],
    &[
        "--mix=1:60/8,1:20/4",
        "--num-prompts=30",
        "--request-rate=60",
    ],
    &[
        "--multi-turn",
        "--backend=openai-chat",
        "--num-prompts=6",
        "--multi-turn-min-turns=2",
        "--multi-turn-max-turns=3",
        "--multi-turn-first-len=20",
        "--multi-turn-output-len=8",
    ],
    &[
        "--dataset-name=timed_trace",
        "--dataset-path=trace.jsonl",
        "--num-prompts=0",
    ],
];

/// Ten requests, of which the first is due at 0.
fn trace() -> String {
    let row = |index: u32| {
        let at = 0.04 * f64::from(index);
        format!(
            "{{\"timestamp\": {at}, \"input_length\": 64, \"output_length\": 6, \"hash_ids\": [{index}]}}\n"
        )
    };
    (0..10).map(row).collect()
}

#[test]
fn clean_runs_on_the_wire_have_no_reason() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("trace.jsonl"), trace()).unwrap();
    let sim = INFEROMETER.sim(
        folder.path(),
        &["--preset", "llama-3.1-8b@h100", "--tokenizer", "builtin"],
    );
    for load in LOADS {
        for seed in ["0", "1", "2", "3"] {
            let fixed = ["--ignore-eos", "--reset-prefix-cache", "--disable-tqdm"];
            let saved = [
                "--save-result",
                "--result-filename=r.json",
                "--no-run-folder",
            ];
            let server = ["--base-url", &sim.url, "--model=sim", "--tokenizer=builtin"];
            let flags = [&["run", "--seed", seed], &server[..], &fixed, &saved, load].concat();
            let output = INFEROMETER.call(folder.path(), &flags);
            assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
            let result = read_json(&folder.path().join("r.json"));
            let codes = verdict_codes_without_host(&result);
            let verdict = &result["inferometer"]["verdict"];
            assert!(codes.is_empty(), "{load:?} {seed}: {verdict:#}");
        }
    }
}
