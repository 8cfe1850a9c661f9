//! The truth log: what the server did for each request, and when, on the host's monotonic clock.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use inferometer_core::Nanos;
use serde::{Deserialize, Serialize};

/// What the server did for one request.
///
/// Instants are readings of `CLOCK_MONOTONIC` in nanoseconds: every process of the host shares that
/// axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// Order of arrival, counted from 0.
    pub index: u64,
    /// The request's `x-request-id`, if it had one.
    pub id: Option<String>,
    /// Path of the request.
    pub path: String,
    /// Number of the connection, counted from 0.
    pub connection: u64,
    /// Place of the request on its connection, counted from 0.
    pub on_connection: u32,
    /// When the server had accepted the connection.
    pub accepted: Nanos,
    /// When the first bytes of the request had been read.
    pub first_byte: Nanos,
    /// When the last byte of the request had reached this host's kernel; left out where the kernel
    /// does not stamp what arrives. `body` is later by what the server took to wake up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_arrived: Option<Nanos>,
    /// When the last byte of the request had been read.
    pub body: Nanos,
    /// When the request was valid and had been taken on.
    pub admitted: Option<Nanos>,
    /// When the engine first worked for it; without an engine model, the same as `admitted`.
    pub first_schedule: Option<Nanos>,
    /// When each token event was handed to the kernel: the clock was read just before the write.
    pub events: Vec<Nanos>,
    /// When the kernel passed each event on to the network device, `null` where it had not said so
    /// by the end of the answer; left out unless kernel stamps were asked for and the platform has
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_sent: Option<Vec<Option<Nanos>>>,
    /// Tokens of each event; left out when every event carried exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// When the end of the answer had been handed over.
    pub end: Option<Nanos>,
    /// HTTP status sent, 0 for none.
    pub status: u16,
    /// True when the answer was a stream of events.
    pub streamed: bool,
    /// How it ended for the server.
    pub outcome: TruthOutcome,
    /// The fault that was injected.
    pub fault: Option<String>,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Prompt tokens found in the prefix cache.
    pub cached_tokens: u32,
    /// Output tokens handed over.
    pub output_tokens: u32,
    /// Input sequences in the request.
    pub sequences: u32,
    /// Writes that the kernel did not take at once because the client was slow to read.
    pub blocked_writes: u32,
    /// Lateness of the latest event against the moment when it was due.
    pub max_late: Nanos,
    /// Replica that served it.
    pub replica: u32,
    /// Times that the engine preempted it.
    pub preemptions: u32,
}

/// How a request ended for the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruthOutcome {
    /// The answer was handed over as meant, fault included.
    #[default]
    Done,
    /// The request was refused with an error status.
    Refused,
    /// The client went away first.
    ClientGone,
    /// The server was stopped first.
    Stopped,
}

/// How far events were behind the moments when they were due, over all requests since the last
/// reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// Events counted.
    pub events: u64,
    /// Half of the events were no later than this.
    pub p50: Nanos,
    /// 99 % of the events were no later than this.
    pub p99: Nanos,
    /// 99.9 % of the events were no later than this.
    pub p999: Nanos,
    /// The latest event.
    pub max: Nanos,
}

/// Buckets of [`LatenessHistogram`]: 16 per power of two of nanoseconds, from 16 ns to 2⁴⁸ ns (78
/// hours).
const BUCKETS: usize = 16 * 44;

/// Counts of event lateness in buckets 6 % wide: one counter increment per event.
#[derive(Debug)]
pub(crate) struct LatenessHistogram {
    counts: Box<[u64]>,
    max: u64,
}

impl Default for LatenessHistogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
            max: 0,
        }
    }
}

impl LatenessHistogram {
    pub(crate) fn add(&mut self, late: Nanos) {
        let value = late.0.max(16);
        let power = 63 - value.leading_zeros() as usize;
        let bucket = (power - 4) * 16 + ((value >> (power - 4)) & 15) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.max = self.max.max(late.0);
    }

    /// Adds the counts of another.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts.iter()) {
            *sum += count;
        }
        self.max = self.max.max(other.max);
    }

    /// The upper edge of the bucket that holds the `fraction` quantile.
    fn quantile(&self, fraction: f64) -> Nanos {
        let events: u64 = self.counts.iter().sum();
        let wanted = ((events as f64 * fraction).ceil() as u64).max(1);
        let mut passed = 0;
        let bucket = self.counts.iter().position(|count| {
            passed += count;
            passed >= wanted
        });
        bucket.map_or(Nanos::ZERO, |bucket| {
            let edge = (17 + (bucket % 16) as u64) << (bucket / 16);
            Nanos(edge.min(self.max))
        })
    }

    pub(crate) fn summary(&self) -> Lateness {
        Lateness {
            events: self.counts.iter().sum(),
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: Nanos(self.max),
        }
    }
}

/// Event stamps that the log keeps at most, 320 MB; the oldest records are dropped (and counted)
/// beyond it. Documented in docs/simulator.md.
const KEPT_EVENTS: usize = 40_000_000;
/// Records that the log keeps at most. Documented in docs/simulator.md.
const KEPT_RECORDS: usize = 2_000_000;
/// Records that may wait for the log file's writer.
const FILE_QUEUE: usize = 65_536;

/// All records of a server, shared by its threads.
#[derive(Debug)]
pub(crate) struct TruthLog {
    inner: Mutex<Inner>,
    dropped: AtomicU64,
    kept_events: usize,
    file: Option<SyncSender<Option<TruthRecord>>>,
    file_lost: AtomicU64,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

#[derive(Debug, Default)]
struct Inner {
    records: std::collections::VecDeque<TruthRecord>,
    events: usize,
}

/// Records that a truth log lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Dropped from memory to make room for newer ones.
    pub(crate) dropped: u64,
    /// Not written to the file because its writer was behind.
    pub(crate) lost_to_file: u64,
}

impl TruthLog {
    /// A log that also goes to `file`, if given.
    pub(crate) fn new(file: Option<&Path>) -> io::Result<Self> {
        let (sender, writer) = match file {
            None => (None, None),
            Some(path) => {
                let file = BufWriter::new(File::create(path)?);
                let (sender, receiver) = sync_channel(FILE_QUEUE);
                let writer = std::thread::Builder::new()
                    .name("sim-truth".into())
                    .spawn(move || write_file(file, &receiver))?;
                (Some(sender), Some(writer))
            }
        };
        Ok(Self {
            inner: Mutex::default(),
            dropped: AtomicU64::new(0),
            kept_events: KEPT_EVENTS,
            file: sender,
            file_lost: AtomicU64::new(0),
            writer: Mutex::new(writer),
        })
    }

    /// Takes in the record of a request that has ended.
    pub(crate) fn push(&self, record: TruthRecord) {
        if let Some(file) = &self.file
            && file.try_send(Some(record.clone())).is_err()
        {
            self.file_lost.fetch_add(1, Ordering::Relaxed);
        }
        let mut inner = self.lock();
        inner.events += record.events.len();
        inner.records.push_back(record);
        while inner.events > self.kept_events || inner.records.len() > KEPT_RECORDS {
            let Some(oldest) = inner.records.pop_front() else {
                break;
            };
            inner.events -= oldest.events.len();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The records with index `since` or later, in order of their end.
    pub(crate) fn since(&self, since: u64) -> Vec<TruthRecord> {
        self.lock()
            .records
            .iter()
            .filter(|record| record.index >= since)
            .cloned()
            .collect()
    }

    /// The same as JSON lines.
    pub(crate) fn lines(&self, since: u64) -> Vec<u8> {
        let records = self.since(since);
        let mut text = Vec::new();
        for record in &records {
            write_line(&mut text, record);
        }
        text
    }

    /// Forgets all records.
    pub(crate) fn reset(&self) {
        *self.lock() = Inner::default();
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// The records that are missing.
    pub(crate) fn losses(&self) -> Losses {
        Losses {
            dropped: self.dropped.load(Ordering::Relaxed),
            lost_to_file: self.file_lost.load(Ordering::Relaxed),
        }
    }

    /// Writes out the file and closes it.
    pub(crate) fn close(&self) -> io::Result<()> {
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(writer) = writer else { return Ok(()) };
        if let Some(file) = &self.file {
            // The writer may be gone already after a failed write; joining it returns the error.
            let _ = file.send(None);
        }
        writer
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the truth file's writer panicked")))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_file(
    mut file: BufWriter<File>,
    records: &Receiver<Option<TruthRecord>>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while let Ok(Some(record)) = records.recv() {
        line.clear();
        write_line(&mut line, &record);
        file.write_all(&line)?;
    }
    file.flush()
}

/// Appends a record as one line of JSON.
fn write_line(out: &mut Vec<u8>, record: &TruthRecord) {
    let written = serde_json::to_writer(&mut *out, record);
    debug_assert!(written.is_ok(), "a record is plain data");
    out.push(b'\n');
}

/// Lateness and losses as a JSON object.
pub(crate) fn summary_json(lateness: &Lateness, losses: Losses) -> String {
    let Losses {
        dropped,
        lost_to_file,
    } = losses;
    let mut text = String::new();
    let _ = write!(
        text,
        "{{\"events\":{},\"late_p50_ns\":{},\"late_p99_ns\":{},\"late_p999_ns\":{},\"late_max_ns\":{},\
         \"records_dropped\":{dropped},\"records_lost_to_file\":{lost_to_file}}}",
        lateness.events, lateness.p50.0, lateness.p99.0, lateness.p999.0, lateness.max.0
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_lateness_are_exact_to_six_percent() {
        let mut histogram = LatenessHistogram::default();
        for us in 1..=1000 {
            histogram.add(Nanos::from_micros(us));
        }
        let summary = histogram.summary();
        assert_eq!(summary.events, 1000);
        assert_eq!(summary.max, Nanos::from_micros(1000));
        for (found, truth) in [(summary.p50, 500_000.0), (summary.p99, 990_000.0)] {
            let ratio = found.0 as f64 / truth;
            assert!((1.0..1.07).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn the_log_drops_the_oldest_records_and_counts_them() {
        let log = TruthLog {
            kept_events: 200,
            ..TruthLog::new(None).unwrap()
        };
        for index in 0..3 {
            let record = TruthRecord {
                index,
                events: vec![Nanos::ZERO; 100],
                ..Default::default()
            };
            log.push(record);
        }
        assert_eq!(
            log.since(0)
                .iter()
                .map(|record| record.index)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(log.since(2).len(), 1);
        assert_eq!(log.losses().dropped, 1);
        log.reset();
        assert!(log.since(0).is_empty());
    }

    #[test]
    fn the_file_holds_every_record_after_closing() {
        let path =
            std::env::temp_dir().join(format!("inferometer-truth-{}.jsonl", std::process::id()));
        let log = TruthLog::new(Some(&path)).unwrap();
        for index in 0..100 {
            log.push(TruthRecord {
                index,
                ..Default::default()
            });
        }
        log.close().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let records: Vec<TruthRecord> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(records, log.since(0));
        assert_eq!(records.len(), 100);
    }
}
