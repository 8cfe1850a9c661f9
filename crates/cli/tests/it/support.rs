//! Starting the binary and the server that it measures.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use inferometer_sim::{Server, SimSettings, start};

/// A server with fixed delays.
pub(crate) fn server(ttft_ms: f64, itl_ms: f64) -> Server {
    start(SimSettings {
        ttft: ttft_ms.to_string().parse().unwrap(),
        itl: itl_ms.to_string().parse().unwrap(),
        ..SimSettings::default()
    })
    .unwrap()
}

/// The binary, in a folder of its own, without the user's environment.
pub(crate) fn inferometer(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferometer"));
    command
        .current_dir(folder)
        .env_remove("OPENAI_API_KEY")
        .env("HF_HUB_OFFLINE", "1")
        .env("NO_COLOR", "1");
    command.env("HF_HOME", folder.join("hf"));
    command
}

/// A run against `url` with the built-in tokenizer and small random prompts.
pub(crate) fn run(folder: &Path, url: &str, more: &[&str]) -> Output {
    inferometer(folder)
        .args([
            "run",
            "--backend",
            "vllm",
            "--base-url",
            url,
            "--model",
            "sim",
            "--tokenizer",
            "builtin",
        ])
        .args([
            "--random-input-len",
            "16",
            "--random-output-len",
            "8",
            "--num-prompts",
            "20",
            "--disable-tqdm",
        ])
        .args(more)
        .output()
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Everything that the binary said, for the message of a failed test.
pub(crate) fn told(output: &Output) -> String {
    format!("{}\n{}\n{}", output.status, stdout(output), stderr(output))
}

/// The only run folder in `folder`.
pub(crate) fn run_folder(folder: &Path) -> PathBuf {
    let runs: Vec<_> = std::fs::read_dir(folder.join("inferometer-runs"))
        .unwrap()
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].as_ref().unwrap().path()
}
