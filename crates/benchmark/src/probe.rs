//! `--probe-request-rate`: one-token requests besides the load, outside its slots.
//!
//! They show the latency of a small request under the load. As in vLLM, the next one is sent a fixed
//! time after the answer to the last one, so that a slow server has at most one at a time.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use inferometer_core::{Prompt, Record, Request};
use inferometer_metrics::{Kind, Times, numpy};
use inferometer_report::console::Section;
use inferometer_results::VllmProbe;
use inferometer_wire::{Client, Live, Prepared, Wire};
use serde::{Deserialize, Serialize};

use crate::error::{Error, OrError};
use crate::threads::not_started;

/// Latencies of the probe requests; kept in the manifest, because they are not records of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeNumbers {
    /// Successful requests.
    pub completed: u64,
    /// Failed requests.
    pub failed: u64,
    /// Median end-to-end latency in milliseconds.
    pub median_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// Maximum in milliseconds.
    pub max_ms: f64,
}

impl ProbeNumbers {
    /// `None` without a successful request, as in vLLM.
    fn of(records: &[Record], kind: Kind) -> Option<Self> {
        let good = records.iter().filter(|record| record.is_ok());
        let mut latencies: Vec<f64> = good
            .map(|record| Times::of(record, kind).latency * 1e3)
            .collect();
        numpy::sort(&mut latencies);
        Some(Self {
            completed: latencies.len() as u64,
            failed: (records.len() - latencies.len()) as u64,
            median_ms: numpy::median(&latencies),
            p99_ms: numpy::percentile(&latencies, 99.0),
            max_ms: *latencies.last()?,
        })
    }

    /// The section for the table.
    pub fn section(&self) -> Section {
        Section::probes(
            self.completed,
            self.failed,
            self.median_ms,
            self.p99_ms,
            self.max_ms,
        )
    }

    /// The form in vLLM's result.
    pub fn form(&self) -> VllmProbe {
        VllmProbe {
            completed: self.completed,
            failed: self.failed,
            median_e2el_ms: self.median_ms,
            p99_e2el_ms: self.p99_ms,
            max_e2el_ms: self.max_ms,
        }
    }
}

/// The running probe requests.
#[derive(Debug)]
pub(crate) struct Probe {
    stop: SyncSender<()>,
    thread: JoinHandle<Vec<Record>>,
    kind: Kind,
}

impl Probe {
    /// Starts to probe with up to `rate` requests per second on a connection of its own.
    pub(crate) fn start(wire: &Arc<Wire>, rate: f64, kind: Kind) -> Result<Self, Error> {
        let request = Request {
            prompt: Prompt::Text("Hi".into()),
            prompt_tokens: 1,
            output_tokens: Some(1),
            ..Request::default()
        };
        let prepared = wire.prepare(&request).or_usage()?;
        let pause = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        let (stop, stopped) = sync_channel(1);
        let wire = Arc::clone(wire);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .or_failure()?;
        let work = move || {
            let client = Rc::new(Client::new(&wire, 0, Arc::new(Live::default())));
            let local = tokio::task::LocalSet::new();
            let mut records = Vec::new();
            loop {
                // As a task, like those of the run: only then does it get the turns of the event loop
                // that its stamps need.
                let asking = tokio::task::LocalSet::spawn_local(
                    &local,
                    ask(Rc::clone(&client), prepared.clone()),
                );
                records.extend(local.block_on(&runtime, asking));
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return records;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .spawn(work)
            .map_err(|error| not_started(&error))?;
        Ok(Self { stop, thread, kind })
    }

    /// Stops after the answer to the request in flight.
    pub(crate) fn finish(self) -> Option<ProbeNumbers> {
        drop(self.stop);
        let records = self.thread.join().unwrap_or_default();
        ProbeNumbers::of(&records, self.kind)
    }
}

async fn ask(client: Rc<Client>, prepared: Prepared) -> Record {
    let mut record = prepared.record();
    client.exchange(&prepared, &mut record).await;
    if let Some(start) = record.send_start {
        record.rebase(start);
    }
    record
}
