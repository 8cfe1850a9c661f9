//! Records whose events and texts are in the log, for runs with more of them than memory should
//! hold.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use inferometer_core::{Record, Records};

use crate::ResultsError;
use crate::log::visit_log;

/// Records in memory, joined on each visit with their events and texts from the run's log.
///
/// The log is in the order in which requests ended, a visit in the order in which they were sent.
/// A record that comes early waits for its turn, so a visit holds about as many records as were ever
/// in flight.
///
/// [`Records::visit`] cannot fail, so a read error ends the visit early and is kept for
/// [`SpilledRecords::check`], which must be called after the last visit.
#[derive(Debug)]
pub struct SpilledRecords<'a> {
    records: &'a [Record],
    log: PathBuf,
    failure: RefCell<Option<ResultsError>>,
}

impl<'a> SpilledRecords<'a> {
    /// `records` in order of their index, all but what [`Record::drop_events`] takes; records that have
    /// events are taken as they are, and so are those that were never sent.
    pub fn new(records: &'a [Record], log: &Path) -> Self {
        Self {
            records,
            log: log.to_owned(),
            failure: None.into(),
        }
    }

    /// The first error of any visit so far.
    ///
    /// # Errors
    ///
    /// That error.
    pub fn check(&self) -> Result<(), ResultsError> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn try_visit(&self, visitor: &mut dyn FnMut(&Record)) -> Result<(), ResultsError> {
        let mut turn = Turn {
            records: self.records,
            next: 0,
            waiting: BTreeMap::new(),
        };
        turn.advance(visitor);
        visit_log(&self.log, &mut |logged| {
            // What is in memory wins: only what was let go is taken from the log.
            if self
                .records
                .get(logged.index)
                .is_some_and(|record| record.events.is_empty())
            {
                turn.waiting.insert(logged.index, logged);
            }
            turn.advance(visitor);
        })?;
        turn.finish(visitor);
        Ok(())
    }
}

/// How far a visit has come.
struct Turn<'a> {
    records: &'a [Record],
    next: usize,
    waiting: BTreeMap<usize, Record>,
}

impl Turn<'_> {
    /// Visits all records whose turn it is.
    fn advance(&mut self, visitor: &mut dyn FnMut(&Record)) {
        while let Some(record) = self.records.get(self.next) {
            if record.dequeued.is_none() || !record.events.is_empty() {
                visitor(record);
            } else if let Some(logged) = self.waiting.remove(&self.next) {
                let Record {
                    events,
                    text,
                    other_text,
                    ..
                } = logged;
                visitor(&Record {
                    events,
                    text,
                    other_text,
                    ..record.clone()
                });
            } else {
                return;
            }
            self.next += 1;
        }
    }

    /// The log has ended: what it lacks has no events.
    fn finish(&mut self, visitor: &mut dyn FnMut(&Record)) {
        while let Some(record) = self.records.get(self.next) {
            self.waiting.insert(record.index, record.clone());
            self.advance(visitor);
        }
    }
}

impl Records for SpilledRecords<'_> {
    fn count(&self) -> usize {
        self.records.len()
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Record)) {
        if let Err(error) = self.try_visit(visitor) {
            self.failure.borrow_mut().get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use inferometer_core::{Event, EventKind, Nanos};
    use proptest::prelude::*;

    use super::*;
    use crate::RecordLog;

    fn record(index: usize, events: usize) -> Record {
        let at = |event: usize| {
            Event::new(
                Nanos((index * 100 + event) as u64),
                Nanos(3),
                EventKind::Text,
                false,
                true,
            )
        };
        let text = "word ".repeat(events);
        Record {
            index,
            dequeued: Some(Nanos(1)),
            events: (0..events).map(at).collect(),
            text,
            ..Record::default()
        }
    }

    proptest! {
        #[test]
        fn a_visit_gives_every_record_with_its_events_in_order(
            counts in prop::collection::vec(0_usize..5, 1..40),
            order in any::<prop::sample::Index>(),
            kept in any::<u64>(),
            unsent in any::<u64>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let mut log = RecordLog::create(&path).unwrap();
            let flag = |bits: u64, index: usize| bits >> (index % 64) & 1 == 1;
            let mut whole: Vec<_> = counts.iter().enumerate().map(|(index, &events)| record(index, events)).collect();
            for (index, record) in whole.iter_mut().enumerate() {
                if flag(unsent, index) {
                    *record = Record { index, ..Record::default() };
                }
            }
            let mut ended: Vec<_> = whole.iter().filter(|record| record.dequeued.is_some()).collect();
            if !ended.is_empty() {
                let middle = order.index(ended.len());
                ended.rotate_left(middle);
            }
            for record in ended {
                log.push(record).unwrap();
            }
            log.finish().unwrap();
            let memory: Vec<_> = whole
                .iter()
                .cloned()
                .map(|mut record| {
                    if !flag(kept, record.index) {
                        record.drop_events();
                    }
                    record
                })
                .collect();
            let spilled = SpilledRecords::new(&memory, &path);
            for _ in 0..2 {
                let mut seen = Vec::new();
                spilled.visit(&mut |record| seen.push(record.clone()));
                prop_assert_eq!(&seen, &whole);
            }
            prop_assert!(spilled.check().is_ok());
        }
    }
}
