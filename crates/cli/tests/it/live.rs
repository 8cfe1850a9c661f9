//! Server and run as processes of their own, for tests that stop or hurry one of them. Such tests
//! speak of time, so they are programs of their own and run one after the other.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::support::{inferometer, told};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Held by the test that runs.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The simulator in a process of its own, so that it can be stopped without stopping us.
pub(crate) struct Sim {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Sim {
    pub(crate) fn start(folder: &Path, flags: &[&str]) -> Self {
        let mut child = inferometer(folder)
            .args(["sim", "--port", "0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap()
            .to_owned();
        Self { child, url }
    }
}

impl Sim {
    /// The server's own log of the requests that it answered.
    pub(crate) fn truth(&self) -> Vec<Value> {
        let address = self.url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "GET /truth HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let lines = answer
            .lines()
            .filter(|line| line.starts_with('{') && line.contains("\"events\""));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        signal(self.child.id(), "-CONT");
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal such as `-STOP`.
pub(crate) fn signal(process: u32, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Begins a run that leaves `r.json`.
pub(crate) fn start_run(folder: &Path, url: &str, more: &[&str]) -> Child {
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
            "8",
            "--disable-tqdm",
            "--save-result",
            "--save-detailed",
        ])
        .args([
            "--result-filename",
            "r.json",
            "--percentile-metrics",
            "ttft,tpot,itl,e2el",
        ])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The result of a run that ends well.
pub(crate) fn finish(child: Child, folder: &Path) -> Value {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    serde_json::from_str(&fs::read_to_string(folder.join("r.json")).unwrap()).unwrap()
}

/// The codes of the verdict's reasons.
pub(crate) fn codes(result: &Value) -> Vec<String> {
    let reasons = result["inferometer"]["verdict"]["reasons"]
        .as_array()
        .unwrap();
    reasons
        .iter()
        .map(|reason| reason["code"].as_str().unwrap().to_owned())
        .collect()
}

/// What a busy machine may add of its own.
const HOST: [&str; 5] = [
    "late_sends",
    "worker_stall",
    "receive_lag",
    "client_cpu",
    "offered_rate",
];

/// The codes without those that a busy machine brings.
pub(crate) fn own_codes(result: &Value) -> Vec<String> {
    codes(result)
        .into_iter()
        .filter(|code| !HOST.contains(&code.as_str()))
        .collect()
}
