//! Gathers finished records from the workers and keeps the crash-safe log.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use servebench_core::{Nanos, Record};
use servebench_os::clock;
use servebench_results::{RecordLog, ResultsError};
use servebench_telemetry::HostWatch;
use servebench_wire::Prepared;

/// The log and the host are looked at at least this often.
const LOOK: Duration = Duration::from_millis(200);

/// What came of collecting.
#[derive(Debug)]
pub(crate) struct Collected {
    /// One record a request, in order of the index; requests that were never sent are unfinished.
    pub(crate) records: Vec<Record>,
    /// Why the log could not be written, if so. The records are complete all the same.
    pub(crate) log_error: Option<ResultsError>,
}

/// Receives until every worker is done.
///
/// `start` gives the instant of the start of the run; it is known before the first record arrives.
pub(crate) fn collect(
    requests: &[Prepared],
    incoming: &Receiver<Vec<Record>>,
    mut log: Option<RecordLog>,
    watch: &mut HostWatch,
    start: impl Fn() -> Nanos,
) -> Collected {
    let mut records: Vec<Option<Record>> = vec![None; requests.len()];
    let mut log_error = None;
    loop {
        let batch = match incoming.recv_timeout(LOOK) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        watch.sample();
        for mut record in batch {
            record.rebase(start());
            if let Some(Err(error)) = log.as_mut().map(|log| log.push(&record)) {
                // Disk full, say: what was written stays, the run goes on in memory.
                log = None;
                log_error = Some(error);
            }
            let index = record.index;
            records[index] = Some(record);
        }
        if let Some(Err(error)) = log.as_mut().map(|log| log.maybe_flush(clock::now())) {
            log = None;
            log_error = Some(error);
        }
    }
    if let Some(Err(error)) = log.as_mut().map(RecordLog::flush) {
        log_error = Some(error);
    }
    let records = records
        .into_iter()
        .zip(requests)
        .map(|(record, prepared)| record.unwrap_or_else(|| prepared.record()))
        .collect();
    Collected { records, log_error }
}
