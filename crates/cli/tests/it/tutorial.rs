//! A tutorial for vLLM's old scripts, followed word for word through the shims. Model, tokenizer
//! and server are the reader's own; only sizes are smaller here, and rates higher.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use inferometer_sim::Server;
use inferometer_testkit::{Recorder, printed, server, stderr, stdout};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::INFEROMETER;

/// The reader's folder and server.
struct Desk {
    folder: TempDir,
    server: Server,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = INFEROMETER
            .command(folder.path())
            .args(["install-shims", "."])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        Self {
            folder,
            server: server(5.0, 1.0),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn python(&self, line: &str) -> Output {
        python(self.folder.path(), line)
    }

    /// `python3 benchmark_serving.py LINE`, against this desk's server.
    fn bench(&self, line: &str) -> String {
        let url = self.server.url();
        let output = self.python(&format!(
            "benchmark_serving.py {line} --base-url {url} --model sim --tokenizer builtin --disable-tqdm"
        ));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{line}: {}",
            printed(&output)
        );
        stdout(&output)
    }

    fn result(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn sharegpt(&self) -> &'static str {
        const NAME: &str = "ShareGPT_V3_unfiltered_cleaned_split.json";
        let talk = |n: usize| {
            let text = |from: &str, words: usize| json!({"from": from, "value": "some words here ".repeat(words)});
            json!({"id": n.to_string(), "conversations": [text("human", 3 + n % 5), text("gpt", 2 + n % 3)]})
        };
        let all: Vec<Value> = (0..40).map(talk).collect();
        fs::write(self.path(NAME), serde_json::to_string(&all).unwrap()).unwrap();
        NAME
    }
}

fn python(folder: &Path, line: &str) -> Output {
    let mut command = Command::new("python3");
    command
        .current_dir(folder)
        .args(line.split_whitespace())
        .env_remove("OPENAI_API_KEY");
    command
        .env("HF_HUB_OFFLINE", "1")
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[test]
fn steps_1_to_3_a_first_run_concurrencies_and_lengths() {
    let desk = Desk::new();
    let text = desk.bench(
        "--backend vllm --dataset-name random --num-prompts 10 --request-rate 100 --random-input-len 51 \
         --random-output-len 8",
    );
    assert!(
        text.contains("Successful requests:                     10        \n"),
        "{text}"
    );
    let file = desk.sharegpt();
    for c in [1, 4, 8] {
        desk.bench(&format!(
            "--backend vllm --max-concurrency {c} --num-prompts {} --request-rate inf --dataset-name sharegpt \
             --dataset-path {file} --save-result --result-filename concurrency_{c}.json",
            c * 3
        ));
        let result = desk.result(&format!("concurrency_{c}.json"));
        assert_eq!(
            (&result["max_concurrency"], &result["completed"]),
            (&json!(c), &json!(c * 3))
        );
    }
    let mut last = 0;
    for length in [16, 32, 64] {
        desk.bench(&format!(
            "--backend vllm --dataset-name random --random-input-len {length} --random-output-len 4 --num-prompts 5 \
             --request-rate 100 --save-result --result-filename input_len_{length}.json"
        ));
        // The server's own count is used, which differs from the client's.
        let total = desk.result(&format!("input_len_{length}.json"))["total_input_tokens"]
            .as_i64()
            .unwrap();
        assert!(total > last, "{length}: {total}");
        last = total;
    }
    desk.server.stop().unwrap();
}

#[test]
fn steps_4_and_5_a_production_like_load_and_limits() {
    let desk = Desk::new();
    let file = desk.sharegpt();
    desk.bench(&format!(
        "--backend vllm --dataset-name sharegpt --dataset-path {file} --num-prompts 20 --request-rate 100 \
         --burstiness 0.8 --max-concurrency 16 --save-result --result-filename p.json --metadata \
         environment=production load_test=true"
    ));
    let result = desk.result("p.json");
    assert_eq!(
        (&result["environment"], &result["load_test"]),
        (&json!("production"), &json!("true"))
    );
    assert_eq!(result["burstiness"], json!(0.8));
    let text = desk.bench(
        "--backend vllm --dataset-name random --random-input-len 16 --random-output-len 4 --num-prompts 10 \
         --goodput ttft:200 tpot:50 e2el:5000 --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles \
         50,90,95,99 --save-result --result-filename slo.json",
    );
    assert!(
        text.contains("Request goodput (req/s):") && text.contains("P95 E2EL (ms):"),
        "{text}"
    );
    assert!(desk.result("slo.json")["request_goodput"].as_f64().unwrap() > 0.0);
    desk.server.stop().unwrap();
}

#[test]
fn step_6_images_in_both_spellings_of_the_dataset() {
    let (desk, recorder) = (Desk::new(), Recorder::start());
    for dataset in ["lmms-lab/VisionArena", "lmarena-ai/VisionArena-Chat"] {
        let line = format!(
            "benchmark_serving.py --backend openai-chat --model m --tokenizer builtin --dataset-name hf \
             --dataset-path {dataset} --num-prompts 3 --request-rate 50 --save-result --save-detailed \
             --result-filename v.json --base-url {} --disable-tqdm",
            recorder.url
        );
        let mut command = Command::new("python3");
        command
            .current_dir(desk.folder.path())
            .args(line.split_whitespace())
            .env_remove("HF_HUB_OFFLINE");
        let output = command
            .env("HF_ENDPOINT", &recorder.url)
            .env("HF_HOME", desk.path("hf"))
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{dataset}: {}",
            printed(&output)
        );
        let asked = recorder.to("/v1/chat/completions").pop().unwrap();
        let content = &asked.body["messages"][0]["content"];
        assert_eq!(content[0]["text"], "What is this?");
        assert!(
            content[1]["image_url"]["url"]
                .as_str()
                .unwrap()
                .starts_with("data:image/jpeg;base64,")
        );
        assert_eq!(desk.result("v.json")["output_lens"], json!([2, 2, 2]));
    }
    desk.server.stop().unwrap();
}

#[test]
fn step_7_the_profiler() {
    let (desk, recorder) = (Desk::new(), Recorder::start());
    let line = format!(
        "benchmark_serving.py --backend vllm --model m --tokenizer builtin --dataset-name random --num-prompts 3 \
         --random-input-len 8 --random-output-len 2 --profile --save-result --save-detailed --result-filename \
         profile.json --base-url {}",
        recorder.url
    );
    let mut command = Command::new("python3");
    command
        .current_dir(desk.folder.path())
        .args(line.split_whitespace());
    let output = command
        .env("VLLM_TORCH_PROFILER_DIR", "./profiles")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert_eq!(
        (
            recorder.to("/start_profile").len(),
            recorder.to("/stop_profile").len()
        ),
        (1, 1)
    );
    assert_eq!(
        desk.result("profile.json")["ttfts"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    desk.server.stop().unwrap();
}

#[test]
fn steps_8_and_9_a_sweep_its_table_and_its_figures() {
    let desk = Desk::new();
    let text = format!(
        "model: sim\nbase_url: {}\ntokenizer: builtin\ninput_output:\n  - [16, 4]\n  - [32, 4]\n\
         concurrency_prompts:\n  - [1, 3]\n  - [2, 4]\n",
        desk.server.url()
    );
    fs::write(desk.path("combos.yaml"), text).unwrap();
    for script in ["run_sweep.py", "aggregate_result.py", "visualize.py --all"] {
        let output = desk.python(script);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{script}: {}",
            printed(&output)
        );
    }
    // Running the tutorial twice loses nothing.
    let again = desk.python("run_sweep.py");
    assert_eq!(again.status.code(), Some(0), "{}", printed(&again));
    assert!(
        stderr(&again)
            .contains("note: earlier results of the same names in results were moved to results-")
    );
    let kept: Vec<_> = fs::read_dir(desk.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("results-")
        })
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].join("bench_io16x4_mc1_np3.json").is_file());
    assert!(desk.path("results/bench_io16x4_mc1_np3.json").is_file());
    let figures = [
        "throughput_analysis.png",
        "latency_analysis.png",
        "interactive_dashboard.html",
    ];
    for name in figures.iter().chain(&["performance_report.txt"]) {
        assert!(desk.path("figures").join(name).is_file(), "{name}");
    }
    fs::copy(
        desk.path("results/aggregate_results.csv"),
        desk.path("custom_results.csv"),
    )
    .unwrap();
    for flag in ["--throughput", "--latency", "--interactive", "--report"] {
        let output = desk.python(&format!(
            "visualize.py {flag} --csv custom_results.csv --output custom_analysis/"
        ));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{flag}: {}",
            printed(&output)
        );
    }
    for name in figures.iter().chain(&["performance_report.txt"]) {
        assert!(desk.path("custom_analysis").join(name).is_file(), "{name}");
    }
    desk.server.stop().unwrap();
}

#[test]
fn steps_10_to_12_stress_stability_and_two_configurations() {
    let desk = Desk::new();
    desk.bench(
        "--backend vllm --dataset-name random --num-prompts 100 --random-input-len 64 --random-output-len 16 \
         --max-concurrency 64 --request-rate inf --save-result --result-filename stress.json",
    );
    assert_eq!(desk.result("stress.json")["completed"], json!(100));
    desk.bench(
        "--backend vllm --dataset-name random --num-prompts 40 --random-input-len 16 --random-output-len 4 \
         --request-rate 100 --max-concurrency 8 --metadata test_type=stability duration=long --save-result \
         --result-filename stability.json",
    );
    let result = desk.result("stability.json");
    // As in vLLM, the run's own `duration` takes the place of the metadata of that name.
    assert_eq!(result["test_type"], json!("stability"));
    assert!(result["duration"].is_f64());
    for name in ["config_a.json", "config_b.json"] {
        desk.bench(&format!(
            "--backend vllm --dataset-name random --num-prompts 10 --random-input-len 16 --random-output-len 4 \
             --seed 42 --save-result --result-filename {name}"
        ));
    }
    assert_eq!(
        desk.result("config_a.json")["total_input_tokens"],
        desk.result("config_b.json")["total_input_tokens"]
    );
    desk.server.stop().unwrap();
}

#[test]
fn steps_13_and_14_the_table_line_by_line_and_the_smallest_runs() {
    let desk = Desk::new();
    let text = desk.bench(
        "--backend vllm --dataset-name random --num-prompts 30 --random-input-len 16 --random-output-len 4 \
         --request-rate 200",
    );
    let rows = [
        "============ Serving Benchmark Result ============",
        "Successful requests:                     30",
        "Failed requests:                         0",
        "Request rate configured (RPS):           200.00",
        "Benchmark duration (s):                  ",
        "Total input tokens:                      ",
        "Total generated tokens:                  120",
        "Request throughput (req/s):              ",
        "Output token throughput (tok/s):         ",
        "Peak output token throughput (tok/s):    ",
        "Peak concurrent requests:                ",
        // The words of vLLM 0.10, the last version with a script of this name.
        "Total Token throughput (tok/s):          ",
        "---------------Time to First Token----------------",
        "Mean TTFT (ms):                          ",
        "Median TTFT (ms):                        ",
        "P99 TTFT (ms):                           ",
        "-----Time per Output Token (excl. 1st token)------",
        "Mean TPOT (ms):                          ",
        "Median TPOT (ms):                        ",
        "P99 TPOT (ms):                           ",
        "---------------Inter-token Latency----------------",
        "Mean ITL (ms):                           ",
        "Median ITL (ms):                         ",
        "P99 ITL (ms):                            ",
        "==================================================",
    ];
    let table = text
        .lines()
        .skip_while(|line| !line.starts_with("============ Serving"))
        .take(rows.len());
    for (line, row) in table.zip(rows) {
        assert!(line.starts_with(row), "{line:?} is not {row:?}");
    }
    desk.bench("--backend vllm --num-prompts 1 --random-input-len 10 --random-output-len 5");
    for rate in [20, 50, 100] {
        desk.bench(&format!(
            "--backend vllm --num-prompts 5 --random-input-len 10 --random-output-len 5 --request-rate {rate}"
        ));
    }
    desk.server.stop().unwrap();
}
