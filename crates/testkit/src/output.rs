//! What the binary prints and leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

/// The standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The status, the standard output and the standard error, for searches and for the message of a
/// failed test.
pub fn printed(output: &Output) -> String {
    format!("{}\n{}\n{}", output.status, stdout(output), stderr(output))
}

/// A file of JSON.
pub fn read_json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The only run folder in `folder`.
pub fn run_folder(folder: &Path) -> PathBuf {
    let runs: Vec<_> = fs::read_dir(folder.join("inferometer-runs"))
        .unwrap()
        .collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].as_ref().unwrap().path()
}

/// The codes of the verdict's reasons in a result file.
pub fn verdict_codes(result: &Value) -> Vec<String> {
    let reasons = result["inferometer"]["verdict"]["reasons"]
        .as_array()
        .unwrap();
    reasons
        .iter()
        .map(|reason| reason["code"].as_str().unwrap().to_owned())
        .collect()
}

/// Codes that a busy machine may add to any run.
pub const HOST_CODES: [&str; 5] = [
    "late_sends",
    "worker_stall",
    "receive_lag",
    "client_cpu",
    "offered_rate",
];

/// [`verdict_codes`] without [`HOST_CODES`].
pub fn verdict_codes_without_host(result: &Value) -> Vec<String> {
    verdict_codes(result)
        .into_iter()
        .filter(|code| !HOST_CODES.contains(&code.as_str()))
        .collect()
}
