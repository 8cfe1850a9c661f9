//! Against a real inference engine: llama.cpp's own server, with a tiny model of random weights.
//!
//! Needs a Python with the packages xllamacpp, gguf and numpy, named by
//! `INFEROMETER_LLAMACPP_PYTHON`; `.ci/run` makes one. The server is worth a test because it
//! announces keep-alive and closes each connection after its stream all the same.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use inferometer_testkit::{alone, or_skip, printed, project_root, read_json};
use serde_json::Value;

use crate::INFEROMETER;

struct LlamaCpp {
    child: Child,
    url: String,
}

impl LlamaCpp {
    fn start(folder: &Path) -> Option<Self> {
        let python = or_skip(
            std::env::var_os("INFEROMETER_LLAMACPP_PYTHON"),
            "a Python with xllamacpp (INFEROMETER_LLAMACPP_PYTHON)",
        )?;
        let root = project_root();
        let mut child = Command::new(python)
            .arg(root.join("crates/cli/tests/real/llamacpp.py"))
            .arg(root.join("crates/workload/data/builtin/merges.txt"))
            .arg(folder.join("tiny.gguf"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .find_map(|line| line.ok().filter(|line| line.starts_with("http")))
            .unwrap();
        Some(Self { child, url })
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// Makes a run, checks what must hold for each, and returns its result.
fn run(folder: &Path, url: &str, more: &[&str]) -> Value {
    let output = INFEROMETER
        .command(folder)
        .args([
            "run",
            "--base-url",
            url,
            "--model",
            "tiny",
            "--tokenizer",
            "builtin",
            "--num-prompts",
            "60",
        ])
        .args([
            "--disable-tqdm",
            "--save-result",
            "--save-detailed",
            "--result-filename",
            "r.json",
        ])
        .args(more)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let result = read_json(&folder.join("r.json"));
    assert_eq!(
        (&result["completed"], &result["failed"]),
        (&60.into(), &0.into()),
        "{}",
        printed(&output)
    );
    assert_eq!(
        result["inferometer"]["extras"]["tokens"]["from_usage"],
        60,
        "{}",
        printed(&output)
    );
    result
}

#[test]
fn llama_cpp_is_measured_without_a_lost_request() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = LlamaCpp::start(folder.path()) else {
        return;
    };
    let random = [
        "--random-input-len",
        "48",
        "--random-output-len",
        "12",
        "--ignore-eos",
    ];
    for backend in ["vllm", "openai-chat"] {
        let load = ["--backend", backend, "--request-rate", "20"];
        let result = run(
            folder.path(),
            &server.url,
            &[&load[..], &random[..]].concat(),
        );
        assert_eq!(result["total_output_tokens"], 60 * 12, "{backend}");
        if backend == "vllm" {
            assert_eq!(
                result["total_input_tokens"],
                60 * 48,
                "the prompt lengths are exact for the server too"
            );
        }
    }
    // Under a cap connections are reused, and the server closes them without notice.
    let cap = ["--backend", "vllm", "--max-concurrency", "4"];
    let result = run(
        folder.path(),
        &server.url,
        &[&cap[..], &random[..]].concat(),
    );
    let lens: Vec<u64> = serde_json::from_value(result["output_lens"].clone()).unwrap();
    assert!(lens.iter().all(|&len| len == 12), "{lens:?}");
}
