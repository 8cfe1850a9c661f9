//! Gathers finished records from the workers and keeps the crash-safe log.

use std::borrow::Cow;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use inferometer_core::redact::redact_text;
use inferometer_core::{Nanos, Record};
use inferometer_os::clock;
use inferometer_results::{RecordLog, ResultsError};
use inferometer_telemetry::HostWatch;
use inferometer_wire::Prepared;

use crate::progress::Progress;

/// The log and the host are looked at at least this often.
const LOOK: Duration = Duration::from_millis(200);

/// What came of collecting.
#[derive(Debug)]
pub(crate) struct Collected {
    /// One record a request, in order of the index; requests that were never sent are unfinished.
    pub(crate) records: Vec<Record>,
    /// True when events were left in the log because memory should not hold them all.
    pub(crate) spilled: bool,
    /// True when the kernel stamped at least one answer.
    pub(crate) kernel_stamps: bool,
    /// Why the log could not be written, if so. The records are complete all the same.
    pub(crate) log_error: Option<ResultsError>,
}

/// Receives until every worker is done.
///
/// Up to `events_in_memory` events are kept; beyond that, what [`Record::let_go`] takes is let go
/// of records that are safely in the log. `start` gives the instant of the start of the run; it is
/// known before the first record arrives.
pub(crate) fn collect(
    requests: &[Prepared],
    incoming: &Receiver<Vec<Record>>,
    log: Option<RecordLog>,
    events_in_memory: usize,
    observers: (&mut HostWatch, &Progress),
    start: impl Fn() -> Nanos,
) -> Collected {
    let (watch, progress) = observers;
    let mut log = Log {
        log,
        unflushed: Vec::new(),
        error: None,
    };
    let mut store = Store {
        records: vec![None; requests.len()],
        events: 0,
        limit: events_in_memory,
        spilled: false,
        kernel_stamps: false,
    };
    loop {
        let batch = match incoming.recv_timeout(LOOK) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        watch.sample();
        let mut batch = batch;
        for record in &mut batch {
            record.rebase(start());
            // Before it is written anywhere: servers repeat the keys that they refuse.
            if let Some(error) = &mut record.error
                && let Cow::Owned(shown) = redact_text(error)
            {
                *error = shown;
            }
        }
        progress.finished(batch.iter());
        for record in batch {
            log.push(&record);
            store.keep(record);
        }
        if store.events > store.limit {
            for index in log.flush() {
                store.spill(index);
            }
        } else {
            log.maybe_flush();
        }
    }
    log.flush();
    // This way the list is turned in place; records of a million requests are half a gigabyte.
    let records = store
        .records
        .into_iter()
        .enumerate()
        .map(|(index, record)| record.unwrap_or_else(|| requests[index].record()))
        .collect();
    Collected {
        records,
        spilled: store.spilled,
        kernel_stamps: store.kernel_stamps,
        log_error: log.error,
    }
}

/// The log, until it fails: on a full disk, say, what was written stays, and the run goes on in
/// memory.
struct Log {
    log: Option<RecordLog>,
    /// Records that were pushed since the last flush of ours.
    unflushed: Vec<usize>,
    error: Option<ResultsError>,
}

impl Log {
    fn push(&mut self, record: &Record) {
        if let Some(log) = &mut self.log {
            let pushed = log.push(record);
            self.unflushed.push(record.index);
            self.note(pushed);
        }
    }

    fn maybe_flush(&mut self) {
        if let Some(log) = &mut self.log {
            let flushed = log.maybe_flush(clock::now());
            self.note(flushed);
        }
    }

    /// Flushes, and returns the records that are safe since the last call.
    fn flush(&mut self) -> Vec<usize> {
        let Some(log) = &mut self.log else {
            return Vec::new();
        };
        let flushed = log.flush();
        self.note(flushed);
        if self.log.is_some() {
            std::mem::take(&mut self.unflushed)
        } else {
            Vec::new()
        }
    }

    fn note(&mut self, result: Result<(), ResultsError>) {
        if let Err(error) = result {
            self.log = None;
            self.error = Some(error);
        }
    }
}

/// The records so far.
struct Store {
    records: Vec<Option<Record>>,
    /// Events in memory.
    events: usize,
    limit: usize,
    spilled: bool,
    kernel_stamps: bool,
}

impl Store {
    fn keep(&mut self, record: Record) {
        self.events += record.events.len();
        self.kernel_stamps |= record
            .events
            .first()
            .is_some_and(|event| event.kernel_stamped());
        let index = record.index;
        self.records[index] = Some(record);
    }

    /// Lets the events and texts of a record go.
    fn spill(&mut self, index: usize) {
        if let Some(record) = &mut self.records[index] {
            self.events -= record.events.len();
            record.let_go();
            self.spilled = true;
        }
    }
}
