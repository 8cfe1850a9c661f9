//! Gathers finished records from the workers and keeps the crash-safe log.

use std::borrow::Cow;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use inferometer_core::redact::{redact_text, without_secrets};
use inferometer_core::{Ending, Nanos, Record, ending};
use inferometer_os::clock;
use inferometer_results::{RecordLog, ResultsError};
use inferometer_telemetry::HostWatch;
use inferometer_wire::Prepared;

use crate::progress::Progress;

/// Longest wait for records before the log and the host are polled again. Much shorter than the
/// second after which the log is flushed, so that a quiet run is flushed in time, and long enough
/// to cost nothing: a poll counts the entries of `/proc/self/fd`.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What collecting yields.
#[derive(Debug)]
pub(crate) struct Collected {
    /// One record per request, in order of the index; requests that were never sent are unfinished.
    pub(crate) records: Vec<Record>,
    /// True when events were left in the log because memory should not hold them all.
    pub(crate) spilled: bool,
    /// True when the kernel stamped at least one answer.
    pub(crate) kernel_stamps: bool,
    /// Why the log could not be written, if so. The records are complete all the same.
    pub(crate) log_error: Option<ResultsError>,
}

/// What becomes of records.
pub(crate) struct Collector<'a> {
    /// The requests of the run.
    pub(crate) requests: &'a [Prepared],
    /// The crash-safe log, if one is kept.
    pub(crate) log: Option<RecordLog>,
    /// Events to keep in memory. Beyond that, records that are safely in the log drop theirs
    /// ([`Record::drop_events`]).
    pub(crate) events_in_memory: usize,
    /// Polled while records come in.
    pub(crate) watch: &'a mut HostWatch,
    /// Notified of each finished record.
    pub(crate) progress: &'a Progress,
}

impl Collector<'_> {
    /// Receives until every worker is done.
    ///
    /// `start` gives the instant of the start of the run; it is known before the first record
    /// arrives.
    pub(crate) fn collect(
        self,
        incoming: &Receiver<Vec<Record>>,
        start: impl Fn() -> Nanos,
    ) -> Collected {
        let mut log = Log::new(self.log);
        let mut store = Store::new(self.requests.len(), self.events_in_memory);
        loop {
            let mut batch = match incoming.recv_timeout(POLL_INTERVAL) {
                Ok(batch) => batch,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.watch.sample();
            for record in &mut batch {
                record.rebase(start());
                redact(record);
            }
            self.progress.finished(batch.iter());
            for record in batch {
                log.push(&record);
                store.keep(record);
            }
            if store.is_full() {
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
            .map(|(index, record)| record.unwrap_or_else(|| self.requests[index].record()))
            .collect();
        Collected {
            records,
            spilled: store.spilled,
            kernel_stamps: store.kernel_stamps,
            log_error: log.error,
        }
    }
}

/// Takes secrets out of a record before it is written anywhere: servers repeat the keys that they
/// refuse, and some answer with the request that they were sent.
fn redact(record: &mut Record) {
    for text in [&mut record.text, &mut record.other_text] {
        if let Some(redacted) = without_secrets(text) {
            *text = redacted;
        }
    }
    if let Some(error) = &mut record.error
        && let Cow::Owned(redacted) = redact_text(error)
    {
        *error = redacted;
    }
    // Nearly all reasons are words that are known.
    if let Some(reason) = &mut record.finish_reason
        && ending(reason) == Ending::Unknown
        && let Cow::Owned(redacted) = redact_text(reason)
    {
        *reason = redacted;
    }
}

/// The log, until it fails: on a full disk, say, what was written stays, and the run continues in
/// memory.
struct Log {
    log: Option<RecordLog>,
    /// Records that were pushed since the last flush of ours.
    unflushed: Vec<usize>,
    error: Option<ResultsError>,
}

impl Log {
    fn new(log: Option<RecordLog>) -> Self {
        Self {
            log,
            unflushed: Vec::new(),
            error: None,
        }
    }

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

    /// Flushes, and returns the records that have become safe since the last call.
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
    fn new(requests: usize, events_in_memory: usize) -> Self {
        Self {
            records: vec![None; requests],
            events: 0,
            limit: events_in_memory,
            spilled: false,
            kernel_stamps: false,
        }
    }

    /// True when memory holds more events than it should.
    fn is_full(&self) -> bool {
        self.events > self.limit
    }

    fn keep(&mut self, record: Record) {
        self.events += record.events.len();
        self.kernel_stamps |= record
            .events
            .first()
            .is_some_and(|event| event.kernel_stamped());
        let index = record.index;
        self.records[index] = Some(record);
    }

    /// Drops the events and texts of a record that is in the log.
    fn spill(&mut self, index: usize) {
        if let Some(record) = &mut self.records[index] {
            self.events -= record.events.len();
            record.drop_events();
            self.spilled = true;
        }
    }
}
