//! The simulator as the server under test: in this process, or in one of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use inferometer_sim::engine::{EngineConfig, StepCost};
use inferometer_sim::{Server, SimSettings, start};
use serde_json::Value;

use crate::{signal, wait_until};

/// A server in this process with fixed delays, in milliseconds.
pub fn server(ttft_ms: f64, itl_ms: f64) -> Server {
    start(SimSettings {
        ttft: ttft_ms.to_string().parse().unwrap(),
        itl: itl_ms.to_string().parse().unwrap(),
        ..SimSettings::default()
    })
    .unwrap()
}

/// An engine model with steps long enough that the noise of a busy host does not hide them.
pub fn slow_engine() -> EngineConfig {
    EngineConfig {
        max_num_seqs: 8,
        cost: StepCost {
            base: 20e6,
            prefill: 100_000.0,
            decode: 1e6,
            kv: 1_000.0,
            jitter: 0.0,
        },
        ..EngineConfig::default()
    }
}

/// The answer of the server at `url` to a GET, with its head.
fn get(url: &str, path: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    response
}

/// Index in the workload of the request with this id, whose last part it is.
pub fn request_index(id: &str) -> usize {
    id.rsplit('-').next().unwrap().parse().unwrap()
}

/// Waits until exactly this many requests are in flight at the simulator at `url`.
pub fn wait_for_in_flight(url: &str, count: u32) {
    wait_until(&format!("{count} requests in flight"), || {
        let page = get(url, "/metrics");
        let line = page
            .lines()
            .find(|line| line.starts_with("vllm:num_requests_running"));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value == Some(f64::from(count))
    });
}

/// The simulator in a process of its own, which ends with this value; see
/// [`Binary::sim`](crate::Binary::sim).
#[derive(Debug)]
pub struct SimProcess {
    child: Child,
    /// Where it listens.
    pub url: String,
}

impl SimProcess {
    /// Starts `command` and waits until it prints where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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

    /// Its process, for [`signal`].
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The server's own log of the requests that it answered.
    pub fn truth(&self) -> Vec<Value> {
        let response = get(&self.url, "/truth");
        let lines = response
            .lines()
            .filter(|line| line.starts_with('{') && line.contains("\"events\""));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until it has answered this many requests: a run is well under way then.
    pub fn wait_for_answers(&self, count: usize) {
        wait_until(&format!("{count} answers"), || self.truth().len() >= count);
    }
}

impl Drop for SimProcess {
    fn drop(&mut self) {
        // A stopped process does not end before it continues.
        signal(self.child.id(), "-CONT");
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
