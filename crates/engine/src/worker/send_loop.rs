//! The loop that sends due requests, and waits between them.

use std::rc::Rc;

use inferometer_core::Nanos;
use inferometer_os::{PreciseTimer, clock};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::exchange::{StartedRequest, start_request};
use super::state::WorkerState;
use crate::dispatch::{Dispatcher, Step};
use crate::error::EngineError;
use crate::pacer::Pacer;
use crate::stop::StopLevel;

/// When nothing else is due, the loop wakes up this long before a due instant and opens the
/// connections that are missing for what is due until this long after it, so that they are opened
/// 20 to 40 ms beforehand. That is long enough for the round trips of TCP and TLS within a region,
/// and too short for servers to close an idle connection again. Chosen, not measured.
pub(crate) const OPEN_AHEAD: Nanos = Nanos::from_millis(20);
/// No connection is opened when something is due within this time, so that no request waits for
/// another one's connection. Chosen, not measured.
const OPEN_MARGIN: Nanos = Nanos::from_millis(1);
/// What it takes to make one request ready, some 10 to 20 µs: the work begins this much earlier for
/// each further request that is due at the same time.
const PREPARATION_TIME: Nanos = Nanos::from_micros(15);

/// The send loop of one worker.
pub(super) struct SendLoop<'a> {
    pub(super) state: Rc<WorkerState>,
    pub(super) dispatcher: Dispatcher<'a>,
    pub(super) pacer: &'a Pacer,
    pub(super) drain_timer: PreciseTimer,
    /// How long to wait for requests in flight after a stop was requested.
    pub(super) drain: Nanos,
    /// Open connections a little before the requests that need them are due.
    pub(super) opens_ahead: bool,
    pub(super) stop: watch::Receiver<StopLevel>,
    pub(super) stop_seen: StopLevel,
    /// When what is in flight is cancelled; `Nanos::MAX` until a stop was requested.
    pub(super) deadline: Nanos,
    /// The task that opens connections.
    pub(super) opening: Option<JoinHandle<()>>,
    /// How long before its due instant a request is taken from the dispatcher.
    pub(super) lead: Nanos,
}

impl SendLoop<'_> {
    /// Sends until nothing is left, and returns when the last request has ended.
    pub(super) async fn run(&mut self) -> Result<(), EngineError> {
        // What is due at once is due at the start, not before it: a record cannot hold an instant
        // before the start.
        self.pacer
            .wait_until(self.state.start)
            .await
            .map_err(EngineError::Timer)?;
        loop {
            self.note_completions();
            self.note_stop();
            if clock::now() >= self.deadline {
                self.state.cancel_in_flight().await;
                return Ok(());
            }
            let now = clock::now().since(self.state.start);
            match self.dispatcher.step(now + self.lead) {
                Step::Send(index) => {
                    self.send_together(index).await;
                    self.lead = self.pacer.guard();
                }
                Step::WaitUntil(due) => self.wait_until(due, now).await?,
                Step::Finished if self.dispatcher.in_flight() == 0 => return Ok(()),
                Step::Finished | Step::WaitForSlot => self.wait_for_completion().await?,
            }
        }
    }

    /// Tells the dispatcher what has ended, and which turns have become due by it.
    fn note_completions(&mut self) {
        for _ in 0..self.state.take_completions() {
            self.dispatcher.completed();
        }
        for _ in 0..self.state.take_ended_conversations() {
            self.dispatcher.conversation_ended();
        }
        if self.state.conversations.is_some() {
            for turn in self.state.take_follow_ups() {
                let due = turn.at.since(self.state.start);
                self.dispatcher.follow_up(turn.index, due);
            }
        }
    }

    /// Stops sending, and sets the deadline, when the stop level has risen.
    fn note_stop(&mut self) {
        let level = *self.stop.borrow_and_update();
        if level <= self.stop_seen {
            return;
        }
        self.stop_seen = level;
        self.dispatcher.stop();
        let now = clock::now();
        self.deadline = if level == StopLevel::Abort {
            now
        } else {
            now + self.drain
        };
    }

    /// Sleeps until shortly before `due`, and opens connections beforehand. `now` and `due` count
    /// from the start of the run.
    async fn wait_until(&mut self, due: Nanos, now: Nanos) -> Result<(), EngineError> {
        self.lead = self.time_to_prepare(due);
        let mut wake_up = (self.state.start + due).since(self.lead);
        if self.opens_ahead && due > now + OPEN_AHEAD + self.lead {
            wake_up = wake_up.since(OPEN_AHEAD);
        } else if self.opens_ahead && due > now + OPEN_MARGIN {
            self.open_missing(self.dispatcher.due_before(due + OPEN_AHEAD));
        }
        tokio::select! {
            woken = self.pacer.sleep_until(wake_up) => woken.map_err(EngineError::Timer)?,
            _ = self.stop.changed() => {}
            // An answer may make a turn due before that.
            () = self.state.completed.notified(), if self.state.conversations.is_some() => {}
        }
        Ok(())
    }

    /// Waits until a request ends, the stop level rises, or the deadline comes.
    async fn wait_for_completion(&mut self) -> Result<(), EngineError> {
        let deadline = self.deadline;
        tokio::select! {
            () = self.state.completed.notified() => {}
            _ = self.stop.changed(), if self.stop_seen < StopLevel::Abort => {}
            woken = self.drain_timer.sleep_until(deadline), if deadline != Nanos::MAX => {
                woken.map_err(EngineError::Timer)?;
            }
        }
        Ok(())
    }

    /// How long before `due` the work for it begins.
    fn time_to_prepare(&self, due: Nanos) -> Nanos {
        let guard = self.pacer.guard();
        if guard == Nanos::ZERO {
            return guard;
        }
        let others = self.dispatcher.due_before(due + guard).saturating_sub(1);
        Nanos(guard.0 + PREPARATION_TIME.0 * others as u64)
    }

    /// Opens connections until the next `requests` find one each, unless an earlier call is still
    /// at work.
    fn open_missing(&mut self, requests: usize) {
        if requests > 0 && self.opening.as_ref().is_none_or(JoinHandle::is_finished) {
            let state = Rc::clone(&self.state);
            self.opening = Some(tokio::task::spawn_local(async move {
                state.client.open_missing(requests).await;
            }));
        }
    }

    /// Sends request `first`, which is due within the lead. If it is not due yet, the others that
    /// are due by then are made ready too, so that each leaves at its instant. When the first
    /// instant comes before all are ready, the others follow one by one.
    async fn send_together(&mut self, first: usize) {
        let first_due = self.state.start + self.dispatcher.sent_due();
        let is_early = first_due > clock::now();
        self.state.client.shut_gates(is_early);
        let mut started: Vec<StartedRequest> = self.start(first).await.into_iter().collect();
        if is_early {
            while clock::now() < first_due
                && let Step::Send(index) = self.step_ahead()
            {
                started.extend(self.start(index).await);
            }
            self.state.client.shut_gates(false);
            // A later turn of a conversation may have been taken before a request that is due
            // earlier.
            started.sort_by_key(|request| request.due);
        }
        for mut request in started {
            if is_early && request.poll_once().await {
                continue;
            }
            request.spawn(&self.state);
        }
    }

    /// What is due within the lead.
    fn step_ahead(&mut self) -> Step {
        let now = clock::now().since(self.state.start);
        self.dispatcher.step(now + self.lead)
    }

    /// Starts the request that the dispatcher has just named.
    async fn start(&self, index: usize) -> Option<StartedRequest> {
        start_request(&self.state, index, self.dispatcher.sent_due()).await
    }
}
