//! The state that the tasks of a worker share, all on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use inferometer_core::{Nanos, Record};
use inferometer_os::clock;
use inferometer_wire::{Client, Prepared};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::conversations::{ConversationState, EARLIER_TURN_FAILED, NextTurn};
use crate::error::EngineError;

/// Finished records go to the collector when there are this many: about what one hand-over interval
/// (100 ms) brings at 5,000 requests per second, the rate that is planned for one worker.
const BATCH_RECORDS: usize = 512;

/// What the tasks of a worker share.
pub(super) struct WorkerState {
    pub(super) client: Rc<Client>,
    pub(super) requests: Arc<[Prepared]>,
    pub(super) conversations: Option<ConversationState>,
    /// Number of the worker.
    pub(super) number: u16,
    /// Start of the run on the monotonic clock.
    pub(super) start: Nanos,
    /// Wakes the send loop when a request has ended.
    pub(super) completed: Notify,
    in_flight: RefCell<BTreeMap<usize, InFlight>>,
    follow_ups: RefCell<Vec<FollowUp>>,
    finished: RefCell<Vec<Record>>,
    /// Requests that have ended, until the dispatcher knows.
    completions: Cell<usize>,
    /// Conversations that are over, until the dispatcher knows.
    conversations_ended: Cell<usize>,
    stall: Cell<Nanos>,
    records: SyncSender<Vec<Record>>,
}

/// A request in flight with the record that its task writes to.
struct InFlight {
    task: JoinHandle<()>,
    record: Rc<RefCell<Record>>,
}

/// A later turn that an answer has made due.
pub(super) struct FollowUp {
    pub(super) index: usize,
    /// When it is due, on the monotonic clock.
    pub(super) at: Nanos,
}

impl WorkerState {
    pub(super) fn new(
        client: Rc<Client>,
        requests: Arc<[Prepared]>,
        conversations: Option<ConversationState>,
        number: u16,
        start: Nanos,
        records: SyncSender<Vec<Record>>,
    ) -> Self {
        Self {
            client,
            requests,
            conversations,
            number,
            start,
            completed: Notify::new(),
            in_flight: RefCell::default(),
            follow_ups: RefCell::default(),
            finished: RefCell::default(),
            completions: Cell::new(0),
            conversations_ended: Cell::new(0),
            stall: Cell::new(Nanos::ZERO),
            records,
        }
    }

    /// Takes in a request whose task has been spawned.
    pub(super) fn spawned(&self, index: usize, task: JoinHandle<()>, record: Rc<RefCell<Record>>) {
        let request = InFlight { task, record };
        self.in_flight.borrow_mut().insert(index, request);
    }

    /// Takes in a request whose task has done its work.
    pub(super) fn ended(&self, index: usize, record: Record) {
        self.in_flight.borrow_mut().remove(&index);
        self.finish(record);
    }

    /// Takes in the final record of a request.
    pub(super) fn finish(&self, record: Record) {
        if let Some(conversations) = &self.conversations {
            self.advance_conversation(conversations, &record);
        }
        self.finished.borrow_mut().push(record);
        self.completions.set(self.completions.get() + 1);
        self.completed.notify_one();
        if self.finished.borrow().len() >= BATCH_RECORDS {
            self.hand_over();
        }
    }

    /// Does what follows from the end of a turn.
    fn advance_conversation(&self, conversations: &ConversationState, record: &Record) {
        match conversations.turn_ended(record) {
            NextTurn::None => self.note_conversation_end(),
            NextTurn::Due { index, at } => {
                self.follow_ups.borrow_mut().push(FollowUp { index, at });
            }
            NextTurn::Cancelled(rest) => {
                self.note_conversation_end();
                let never_sent = rest.into_iter().map(|index| {
                    let mut record = self.requests[index].record();
                    record.index = index;
                    record.error = Some(EARLIER_TURN_FAILED.to_owned());
                    record
                });
                self.finished.borrow_mut().extend(never_sent);
            }
        }
    }

    fn note_conversation_end(&self) {
        self.conversations_ended
            .set(self.conversations_ended.get() + 1);
    }

    /// Requests that have ended since the last call.
    pub(super) fn take_completions(&self) -> usize {
        self.completions.take()
    }

    /// Conversations that have ended since the last call.
    pub(super) fn take_ended_conversations(&self) -> usize {
        self.conversations_ended.take()
    }

    /// Turns that have become due by an answer since the last call.
    pub(super) fn take_follow_ups(&self) -> Vec<FollowUp> {
        self.follow_ups.take()
    }

    /// Cancels what is in flight; the records keep what is known, as unfinished.
    pub(super) async fn cancel_in_flight(&self) {
        let cancelled = std::mem::take(&mut *self.in_flight.borrow_mut());
        for request in cancelled.values() {
            request.task.abort();
        }
        for InFlight { task, record } in cancelled.into_values() {
            // Only after this has the task released its record; that it was cancelled is known.
            drop(task.await);
            let mut record = record.take();
            record.end = Some(clock::now());
            self.finish(record);
        }
    }

    /// Passes finished records on, unless the collector is behind: then they wait here.
    pub(super) fn hand_over(&self) {
        let batch = std::mem::take(&mut *self.finished.borrow_mut());
        if batch.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.records.try_send(batch)
        {
            let mut finished = self.finished.borrow_mut();
            let newer = std::mem::replace(&mut *finished, batch);
            finished.extend(newer);
        }
    }

    /// Passes the last records on, and waits for the collector if it is behind.
    pub(super) fn hand_over_rest(&self) -> Result<(), EngineError> {
        let rest = std::mem::take(&mut *self.finished.borrow_mut());
        if rest.is_empty() {
            return Ok(());
        }
        // The collector lives until every sender is gone, so this can only wait, not fail.
        self.records
            .send(rest)
            .map_err(|_lost| EngineError::CollectorPanicked)
    }

    /// Notes that the event loop ran late by `stall`.
    pub(super) fn note_stall(&self, stall: Nanos) {
        self.stall.set(self.stall.get().max(stall));
    }

    /// The longest stall so far.
    pub(super) fn largest_stall(&self) -> Nanos {
        self.stall.get()
    }
}
