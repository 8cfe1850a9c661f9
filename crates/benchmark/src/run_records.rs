//! The records of a run: in memory, or with their events and texts in the run's log.

use std::path::{Path, PathBuf};

use inferometer_core::{Record, Records, TokenSource};
use inferometer_engine::{Finished, RunInput};
use inferometer_results::{RecordLog, RunFolder, SpilledRecords};
use inferometer_workload::{Tokenizer, count_output_tokens};
use rayon::prelude::*;
use tempfile::TempDir;

use crate::error::{Error, OrError};

/// Environment variable: how many events to hold in memory before they are kept in the log only.
const VARIABLE: &str = "INFEROMETER_EVENTS_IN_MEMORY";
/// Events held in memory by default: 128 MiB, since an event has 16 bytes. Chosen, not measured.
const EVENTS: usize = 8 << 20;
/// Assumed number of events of an answer of unknown length. Chosen, not measured.
const UNKNOWN_LENGTH: usize = 4_096;
/// Answers that are encoded at a time. Chosen, not measured.
const BATCH: usize = 4_096;

/// How many events a run may hold in memory.
pub(crate) fn events_in_memory() -> Result<usize, Error> {
    match std::env::var(VARIABLE) {
        Err(_) => Ok(EVENTS),
        Ok(text) => text.trim().parse().map_err(|_| {
            Error::usage(format!(
                "{VARIABLE}={text}: expected a whole number of events (16 bytes each)"
            ))
        }),
    }
}

/// Where the log of a run is: in its folder, or in a temporary folder if the run has no folder but may
/// have more events than memory should hold.
#[derive(Debug)]
pub(crate) struct LogPlace {
    path: PathBuf,
    _scratch: Option<TempDir>,
}

impl LogPlace {
    /// The place for a run of `plan`; `None` where the run needs no log.
    pub(crate) fn of(folder: Option<&RunFolder>, plan: &RunInput) -> Result<Option<Self>, Error> {
        if let Some(folder) = folder {
            return Ok(Some(Self {
                path: folder.log_path(),
                _scratch: None,
            }));
        }
        let asked = |record: Record| {
            record
                .asked_output_tokens
                .map_or(UNKNOWN_LENGTH, |tokens| tokens as usize)
        };
        let events: usize = plan
            .requests
            .iter()
            .map(|request| asked(request.record()))
            .sum();
        if events <= plan.events_in_memory {
            return Ok(None);
        }
        let scratch = tempfile::tempdir().or_failure()?;
        Ok(Some(Self {
            path: scratch.path().join("requests.arrows"),
            _scratch: Some(scratch),
        }))
    }

    /// Creates the log.
    pub(crate) fn begin(&self) -> Result<RecordLog, Error> {
        RecordLog::create(&self.path).or_usage()
    }
}

/// The complete records of a finished run.
#[derive(Debug)]
pub(crate) enum RunRecords<'a> {
    /// Everything is in memory.
    Memory(&'a [Record]),
    /// Events and texts are read from the log on each visit.
    Spilled(SpilledRecords<'a>),
}

impl<'a> RunRecords<'a> {
    /// The records of `finished`, whose log is at `log`.
    pub(crate) fn of(finished: &'a Finished, log: Option<&LogPlace>) -> Self {
        match log.filter(|_| finished.spilled) {
            Some(log) => Self::Spilled(SpilledRecords::new(&finished.records, &log.path)),
            None => Self::Memory(&finished.records),
        }
    }

    /// An error if a visit so far did not see everything.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Spilled(spilled) => spilled.check().or_failure(),
        }
    }
}

impl Records for RunRecords<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Memory(records) => records.count(),
            Self::Spilled(records) => records.count(),
        }
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Record)) {
        match self {
            Self::Memory(records) => records.visit(visitor),
            Self::Spilled(records) => records.visit(visitor),
        }
    }
}

/// Determines how many tokens each answer had: by the server's usage, else by encoding the text, else
/// by the number of events. Encoding waits until now because it must not disturb the run.
pub(crate) fn count_tokens(
    finished: &mut Finished,
    log: Option<&LogPlace>,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), Error> {
    if finished.spilled
        && let (Some(tokenizer), Some(log)) = (tokenizer, log)
    {
        let counts = count_in_log(&finished.records, &log.path, tokenizer)?;
        for (index, counted) in counts {
            finished.records[index].tokenizer_output_tokens = Some(counted);
        }
    }
    count_in_memory(&mut finished.records, tokenizer);
    Ok(())
}

/// Determines how many output tokens each successful record has, for records whose texts are in
/// memory or were counted already: by the server's usage, else by `tokenizer`, else by the number of
/// events.
pub fn count_in_memory(records: &mut [Record], tokenizer: Option<&Tokenizer>) {
    records
        .par_iter_mut()
        .filter(|record| record.is_ok())
        .for_each(|record| {
            if let Some(tokenizer) = tokenizer
                && has_text(record)
            {
                record.tokenizer_output_tokens = Some(count(tokenizer, record));
            }
            settle(record);
        });
}

/// The tokens of the answers whose text is in the log only, with their indices.
fn count_in_log(
    records: &[Record],
    log: &Path,
    tokenizer: &Tokenizer,
) -> Result<Vec<(usize, u32)>, Error> {
    let spilled = SpilledRecords::new(records, log);
    let (mut counts, mut batch) = (Vec::new(), Vec::with_capacity(BATCH));
    let mut count_batch = |batch: &mut Vec<Record>| {
        counts.par_extend(
            batch
                .par_drain(..)
                .map(|record| (record.index, count(tokenizer, &record))),
        );
    };
    spilled.visit(&mut |record| {
        if record.is_ok() && has_text(record) {
            let (text, other_text) = (record.text.clone(), record.other_text.clone());
            batch.push(Record {
                index: record.index,
                text,
                other_text,
                ..Record::default()
            });
        }
        if batch.len() == BATCH {
            count_batch(&mut batch);
        }
    });
    count_batch(&mut batch);
    spilled.check().or_failure()?;
    Ok(counts)
}

fn has_text(record: &Record) -> bool {
    !(record.text.is_empty() && record.other_text.is_empty())
}

fn count(tokenizer: &Tokenizer, record: &Record) -> u32 {
    let counted = count_output_tokens(tokenizer, &record.text)
        + count_output_tokens(tokenizer, &record.other_text);
    u32::try_from(counted).unwrap_or(u32::MAX)
}

fn settle(record: &mut Record) {
    let reported = record.reported_output_tokens().filter(|&tokens| tokens > 0);
    let counted = record
        .tokenizer_output_tokens
        .filter(|&counted| counted > 0);
    let events = u32::try_from(record.events.len()).unwrap_or(u32::MAX);
    (record.output_tokens, record.token_source) = match (reported, counted) {
        (Some(reported), _) => (reported, TokenSource::Usage),
        (None, Some(counted)) => (counted, TokenSource::Tokenizer),
        (None, None) if events > 0 => (events, TokenSource::Events),
        // Its events were dropped and their number was kept, or it has none.
        (None, None) => return,
    };
}
