//! The simulator as the server under test: in this process, or in one of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use inferometer_sim::engine::{EngineConfig, StepCost};
use inferometer_sim::{Server, SimSettings, start};
use serde_json::Value;

use crate::signal;

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
        let address = self.url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).unwrap();
        write!(socket, "GET /truth HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).unwrap();
        let lines = response
            .lines()
            .filter(|line| line.starts_with('{') && line.contains("\"events\""));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
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
