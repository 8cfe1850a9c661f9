//! One worker: a thread with its own event loop, connections and record buffer.
//!
//! Nothing is shared with other workers but the counter of the next request (under a cap), the memory
//! budget for large answers, and the channel to the collector, which is used up to ten times per second.

mod exchange;
mod send_loop;
mod state;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use inferometer_core::{Nanos, Record, WorkerHealth};
use inferometer_os::{PreciseTimer, clock, thread};
use inferometer_wire::{Client, Prepared};
use tokio::sync::watch;

use crate::conversations::ConversationState;
use crate::dispatch::Dispatcher;
use crate::error::EngineError;
use crate::pacer::Pacer;
use crate::stop::StopLevel;

use send_loop::SendLoop;
use state::WorkerState;

pub(crate) use send_loop::OPEN_AHEAD;

/// The event loop is checked for stalls at this interval, and a stall is seen as far as it is
/// longer. This is a quarter of the 20 ms from which the verdict reports a stall (`worker_stall`).
const HEARTBEAT_INTERVAL: Nanos = Nanos::from_millis(5);
/// Finished records go to the collector at least this often: as often as observers take snapshots
/// (ten times per second), and ten times as often as the log is flushed.
const HAND_OVER_INTERVAL: Nanos = Nanos::from_millis(100);

/// What a worker is given.
pub(crate) struct WorkerConfig<'a> {
    pub(crate) requests: Arc<[Prepared]>,
    pub(crate) dispatcher: Dispatcher<'a>,
    /// The conversations, where there are any.
    pub(crate) conversations: Option<ConversationState>,
    pub(crate) number: u16,
    pub(crate) start: Nanos,
    pub(crate) drain: Nanos,
    /// Open connections a little before the requests that need them are due.
    pub(crate) opens_ahead: bool,
    pub(crate) stop: watch::Receiver<StopLevel>,
    pub(crate) records: SyncSender<Vec<Record>>,
}

/// Sends what the dispatcher says when it says (in a `LocalSet`), and returns when the last request
/// has ended.
pub(crate) async fn run_worker(
    config: WorkerConfig<'_>,
    client: Rc<Client>,
    pacer: &Pacer,
) -> Result<WorkerHealth, EngineError> {
    let cpu_before = clock::thread_cpu();
    let delay_before = thread::run_queue_delay();
    let state = Rc::new(WorkerState::new(
        client,
        config.requests,
        config.conversations,
        config.number,
        config.start,
        config.records,
    ));
    let heartbeat = tokio::task::spawn_local(heartbeat(Rc::clone(&state)));
    let mut send_loop = SendLoop {
        state: Rc::clone(&state),
        dispatcher: config.dispatcher,
        pacer,
        drain_timer: PreciseTimer::new().map_err(EngineError::Timer)?,
        drain: config.drain,
        opens_ahead: config.opens_ahead,
        stop: config.stop,
        stop_seen: StopLevel::Run,
        deadline: Nanos::MAX,
        opening: None,
        lead: pacer.guard(),
    };
    let sent = send_loop.run().await;
    heartbeat.abort();
    sent?;
    state.hand_over_rest()?;
    Ok(WorkerHealth {
        cpu: clock::thread_cpu().since(cpu_before),
        spin: pacer.spun() + state.client.spun(),
        guard: pacer.guard(),
        largest_stall: state.largest_stall(),
        run_queue_delay: thread::run_queue_delay()
            .zip(delay_before)
            .map(|(after, before)| after.since(before)),
    })
}

/// Notes how late the event loop is, and hands finished records over.
async fn heartbeat(state: Rc<WorkerState>) {
    let Ok(timer) = PreciseTimer::new() else {
        return;
    };
    let mut next_hand_over = state.start + HAND_OVER_INTERVAL;
    let mut due = state.start;
    loop {
        due = (due + HEARTBEAT_INTERVAL).max(clock::now());
        if timer.sleep_until(due).await.is_err() {
            return;
        }
        let now = clock::now();
        state.note_stall(now.since(due));
        if now >= next_hand_over {
            state.hand_over();
            next_hand_over = now + HAND_OVER_INTERVAL;
        }
    }
}
