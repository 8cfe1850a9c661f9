//! `inferometer simulate` and `inferometer calibrate`: runs without a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use inferometer_os::clock;
use inferometer_sim::engine::PresetFile;
use inferometer_sim::{SimSettings, start};
use inferometer_testkit::{printed, read_json, slow_engine, snapshot, transcript};
use serde_json::Value;

use crate::INFEROMETER;

fn inferometer(folder: &Path, arguments: &[&str]) -> Output {
    INFEROMETER
        .command(folder)
        .args(arguments)
        .output()
        .unwrap()
}

/// Everything that a command prints; it must succeed.
fn good(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", printed(output));
    printed(output)
}

/// The only run folder with this label.
fn run_folder(folder: &Path, label: &str) -> PathBuf {
    let runs = fs::read_dir(folder.join("inferometer-runs"))
        .unwrap()
        .map(|run| run.unwrap().path());
    let mut runs: Vec<_> = runs
        .filter(|run| run.display().to_string().ends_with(label))
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.remove(0)
}

/// A command with every source of randomness: lengths, arrivals, the engine's jitter, the router.
fn simulation<'a>(seed: &'a str, label: &'a str) -> Vec<&'a str> {
    let fixed = "simulate --num-prompts 300 --request-rate 40 --random-input-len 200 --random-output-len 60 \
                 --random-range-ratio 0.5 --replicas 2 --router power-of-two --save-result --save-detailed";
    let mut arguments: Vec<&str> = fixed.split_whitespace().collect();
    arguments.extend(["--seed", seed, "--label", label, "--result-filename"]);
    arguments.push(match label {
        "a" => "a.json",
        "b" => "b.json",
        _ => "c.json",
    });
    arguments
}

#[test]
fn the_same_seed_gives_the_same_bytes_marked_as_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = good(&inferometer(folder, &simulation("7", "a")));
    assert!(
        text.contains("Simulated: 2 × llama-3.1-8b@h100 (power-of-two)"),
        "{text}"
    );
    assert!(text.contains("No server was measured."), "{text}");
    // No kernel has stamped what no server has sent.
    assert!(text.contains("times of a virtual clock"), "{text}");
    assert!(!text.contains("by the kernel"), "{text}");
    good(&inferometer(folder, &simulation("7", "b")));
    good(&inferometer(folder, &simulation("8", "c")));

    // The label is part of the result; everything else must be identical.
    let result = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(
        result("a.json"),
        result("b.json").replace("\"label\": \"b\"", "\"label\": \"a\"")
    );
    let records =
        |label: &str| fs::read(run_folder(folder, label).join("requests.parquet")).unwrap();
    assert_eq!(records("a"), records("b"));
    assert_ne!(records("a"), records("c"));

    let manifest = read_json(&run_folder(folder, "a").join("manifest.json"));
    assert_eq!(manifest["run"]["simulated"], true);
    assert_eq!(manifest["engine_model"]["replicas"], 2);
    let result = read_json(&folder.join("a.json"));
    assert_eq!(result["completed"], 300);
    let counters = &result["inferometer"]["simulated"]["counters"];
    assert_eq!(counters["finished"], 300);
    // Conservation: each requested token is computed or found in the cache.
    let count = |key: &str| counters[key].as_u64().unwrap();
    let needed = count("prompt_tokens") + count("generated_tokens") - 300 + count("lost_tokens");
    assert_eq!(count("computed_tokens") + count("prefix_hits"), needed);

    let again = good(&inferometer(
        folder,
        &["report", &run_folder(folder, "a").display().to_string()],
    ));
    assert!(
        again.contains("Simulated: no server was measured."),
        "{again}"
    );
    assert!(!again.contains("by the kernel"), "{again}");

    let chinese = [&simulation("9", "c")[..], &["--lang", "zh"]].concat();
    let text = good(&inferometer(folder, &chinese));
    assert!(text.contains("模拟：2 × llama-3.1-8b@h100"), "{text}");
    assert!(!text.contains("Simulated"), "{text}");
}

#[test]
fn shared_prefixes_hit_the_cache_and_lower_the_ttft() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let base = "simulate --num-prompts 100 --request-rate 10 --dataset-name prefix_repetition \
                --prefix-repetition-prefix-len 1600 --prefix-repetition-suffix-len 64 \
                --prefix-repetition-num-prefixes 4 --prefix-repetition-output-len 16 --save-result \
                --percentile-metrics ttft --no-run-folder --result-filename";
    let base: Vec<&str> = base.split_whitespace().collect();
    good(&inferometer(folder, &[&base[..], &["with.json"]].concat()));
    good(&inferometer(
        folder,
        &[&base[..], &["without.json", "--no-prefix-caching"]].concat(),
    ));
    let (with, without) = (
        read_json(&folder.join("with.json")),
        read_json(&folder.join("without.json")),
    );
    let hits = |result: &Value| {
        result["inferometer"]["simulated"]["counters"]["prefix_hits"]
            .as_u64()
            .unwrap()
    };
    // 96 of 100 prompts repeat one of four prefixes of 1600 tokens, which are 100 full blocks.
    assert_eq!((hits(&with), hits(&without)), (96 * 1600, 0));
    let ttft = |result: &Value| result["mean_ttft_ms"].as_f64().unwrap();
    assert!(
        ttft(&with) < 0.5 * ttft(&without),
        "{} {}",
        ttft(&with),
        ttft(&without)
    );
}

#[test]
fn later_turns_find_the_conversation_so_far_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arguments = "simulate --backend openai-chat --multi-turn --num-prompts 40 --request-rate 2 \
                     --save-result --save-detailed --result-filename r.json";
    good(&inferometer(
        folder,
        &arguments.split_whitespace().collect::<Vec<_>>(),
    ));
    let result = read_json(&folder.join("r.json"));
    assert_eq!(result["failed"], 0);
    let counters = &result["inferometer"]["simulated"]["counters"];
    let share =
        counters["prefix_hits"].as_f64().unwrap() / counters["prefix_queries"].as_f64().unwrap();
    assert!(share > 0.3, "{counters}");
}

#[test]
fn the_rate_that_meets_a_limit_is_found_and_the_next_one_misses_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let base = "simulate --num-prompts 400 --random-input-len 500 --random-output-len 50 --find-rate p99_ttft<300 \
                --find-seeds 3 --find-precision 0.05 --find-duration 20";
    let base: Vec<&str> = base.split_whitespace().collect();
    let answer = |more: &[&str]| -> f64 {
        let text = good(&inferometer(folder, &[&base[..], more].concat()));
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Answer: "))
            .unwrap();
        assert!(line.contains("3 of 3 runs did"), "{line}");
        line.split(' ').next().unwrap().parse().unwrap()
    };
    let (one, two) = (answer(&[]), answer(&["--replicas", "2"]));
    assert!(two / one > 1.7 && two / one < 2.5, "{one} {two}");

    // No limit on latency is broken here: TPOT does not see the queue. The engine decides, whose 4 slots
    // serve in a closed loop what they can.
    let capped = "simulate --num-prompts 1000 --random-input-len 100 --random-output-len 8 --max-concurrency 4";
    let capped: Vec<&str> = capped.split_whitespace().collect();
    good(&inferometer(
        folder,
        &[
            &capped[..],
            &["--save-result", "--result-filename", "loop.json"],
        ]
        .concat(),
    ));
    let capacity = read_json(&folder.join("loop.json"))["request_throughput"]
        .as_f64()
        .unwrap();
    for (limits, lowest) in [
        ("mean_tpot<1000", 0.9),
        ("p99_ttft<1000", 0.85),
        ("p99_ttft<100", 0.3),
    ] {
        let text = good(&inferometer(
            folder,
            &[
                &capped[..],
                &[
                    "--find-rate",
                    limits,
                    "--find-seeds",
                    "2",
                    "--find-precision",
                    "0.05",
                ],
            ]
            .concat(),
        ));
        let line = text.lines().find_map(|line| line.strip_prefix("Answer: "));
        let found: f64 = line.unwrap().split(' ').next().unwrap().parse().unwrap();
        let fraction = found / capacity;
        assert!(
            fraction > lowest && fraction < 1.03,
            "{limits}: {found} req/s, {capacity} req/s in a closed loop:\n{text}"
        );
    }

    let hopeless = inferometer(
        folder,
        &[
            "simulate",
            "--num-prompts",
            "5",
            "--find-rate",
            "p99_ttft<0.1",
        ],
    );
    assert_eq!(hopeless.status.code(), Some(1), "{}", printed(&hopeless));
    assert!(
        printed(&hopeless).contains("No rate meets p99_ttft<0.1"),
        "{}",
        printed(&hopeless)
    );
}

/// An engine of 4 slots: a search that ends within the tolerance of its capacity answers what its own table
/// says is served.
#[test]
fn the_rate_that_is_found_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let text = good(&inferometer(
        folder.path(),
        &[
            "simulate --preset llama-3.1-8b@h100 --num-prompts 1500 --random-input-len 100 --random-output-len 10"
                .split(' ')
                .collect::<Vec<_>>(),
            "--max-num-seqs 4 --find-seeds 2 --find-rate p99_ttft<100000000"
                .split(' ')
                .collect(),
        ]
        .concat(),
    ));
    let line = text.lines().find_map(|line| line.strip_prefix("Answer: "));
    let found: f64 = line.unwrap().split(' ').next().unwrap().parse().unwrap();
    let row = |line: &str| -> Option<(f64, f64)> {
        let mut cells = line.split_whitespace().map(str::parse::<f64>);
        Some((cells.next()?.ok()?, cells.nth(1)?.ok()?))
    };
    let served = text.lines().filter_map(row).map(|(_, served)| served);
    let most = served.fold(0.0, f64::max);
    assert!(
        found < most + 0.01 && found > 0.97 * most,
        "{found} {most}\n{text}"
    );
}

#[test]
fn bad_arguments_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for arguments in [
        "simulate --preset gpt@h100",
        "simulate --backend openai-embeddings",
        "simulate --find-rate p99_ttft",
        "simulate --find-rate p99_ttft<5 --save-result",
        "simulate --find-rate p99_ttft<5 --find-duration 0",
        "simulate --speculation 0.5,2",
        "simulate --draft-time 1",
        "simulate --transfer 5",
        "sim --replicas 2",
        "calibrate nothing.json",
    ] {
        let mut command = INFEROMETER.command(folder.path());
        let shown = transcript(command.args(arguments.split(' ')));
        assert!(shown.contains("\nexit code 2\n"), "{shown}");
        text += &shown;
        text.push('\n');
    }
    snapshot!("refused_simulation", text);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn a_calibrated_preset_predicts_the_load_that_it_was_fitted_to() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(
        folder.join("truth.json"),
        PresetFile::new("truth", slow_engine()).to_json().unwrap(),
    )
    .unwrap();
    let base = "simulate --preset truth.json --num-prompts 60 --random-input-len 200 --random-output-len 30 \
                --random-range-ratio 0.8 --save-result --save-detailed --result-filename";
    let base: Vec<&str> = base.split_whitespace().collect();
    for (name, load) in [
        ("a.json", ["--max-concurrency", "1"]),
        ("b.json", ["--request-rate", "4"]),
        ("c.json", ["--max-concurrency", "6"]),
        ("d.json", ["--request-rate", "6"]),
    ] {
        good(&inferometer(
            folder,
            &[&base[..], &[name, "--label", &name[..1]], &load].concat(),
        ));
    }
    // One load from its run folder, the others from result files.
    let from_folder = run_folder(folder, "a").display().to_string();
    let calibrate = [
        "calibrate",
        &from_folder,
        "b.json",
        "c.json",
        "--check",
        "d.json",
        "--max-num-seqs",
        "8",
    ];
    let text = good(&inferometer(
        folder,
        &[&calibrate[..], &["-o", "fitted.json", "--plot", "f.svg"]].concat(),
    ));
    assert!(text.contains("d (check)"), "{text}");
    assert!(
        fs::read_to_string(folder.join("f.svg"))
            .unwrap()
            .starts_with("<svg")
    );
    let fitted = read_json(&folder.join("fitted.json"));
    let base_ns = fitted["engine"]["cost"]["base"].as_f64().unwrap();
    assert!((base_ns / 20e6 - 1.0).abs() < 0.2, "{text}");
    for entry in fitted["origin"]["relative_differences"].as_array().unwrap() {
        assert!(
            entry["mean"].as_f64().unwrap().abs() < 0.05,
            "{entry}\n{text}"
        );
    }
    let used = [
        "simulate",
        "--preset",
        "fitted.json",
        "--num-prompts",
        "20",
        "--no-run-folder",
    ];
    good(&inferometer(folder, &used));
}

#[test]
fn a_server_that_is_still_loading_refuses_connections_and_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let wait = std::time::Duration::from_millis(1_500);
    let began = clock::now();
    let server = start(SimSettings {
        listen_after: wait,
        ..SimSettings::default()
    })
    .unwrap();
    let refused = std::net::TcpStream::connect(server.addr()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let url = server.url();
    let run = "run --backend vllm --model sim --tokenizer builtin --num-prompts 3 --random-input-len 8 \
               --random-output-len 4 --disable-tqdm --no-run-folder --ready-check-timeout-sec 30 --base-url";
    let run: Vec<&str> = run.split_whitespace().collect();
    good(&inferometer(folder.path(), &[&run[..], &[&url]].concat()));
    assert!(clock::now().since(began) >= wait.into());
    server.stop().unwrap();
}
