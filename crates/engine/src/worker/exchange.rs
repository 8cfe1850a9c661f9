//! The start of one request: from the dispatcher's word to a task that follows the answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use inferometer_core::{Nanos, Record};
use inferometer_os::clock;

use super::state::WorkerState;

/// A request that has been started and has not ended.
pub(super) struct StartedRequest {
    index: usize,
    /// When it is due, on the monotonic clock.
    pub(super) due: Nanos,
    exchange: Pin<Box<dyn Future<Output = ()>>>,
    record: Rc<RefCell<Record>>,
}

impl StartedRequest {
    /// Polls the exchange once; true when it has ended.
    ///
    /// Without the runtime's budget for one turn, which some tens of requests together would use
    /// up.
    pub(super) async fn poll_once(&mut self) -> bool {
        let step = poll_fn(|context| Poll::Ready(self.exchange.as_mut().poll(context).is_ready()));
        tokio::task::unconstrained(step).await
    }

    /// Lets a task of its own follow the exchange to its end.
    pub(super) fn spawn(self, state: &WorkerState) {
        let task = tokio::task::spawn_local(self.exchange);
        state.spawned(self.index, task, self.record);
    }
}

/// Starts request `index`, which is due at `due` from the start of the run; `None` when it ended at
/// once.
///
/// Its first step, which makes it ready and, where the gates are open, writes it to the socket, is
/// made right here: a spawned task would first wait for its turn behind everything that is
/// arriving.
#[expect(
    clippy::await_holding_refcell_ref,
    reason = "only the task itself touches the record until it ends or is aborted"
)]
pub(super) async fn start_request(
    state: &Rc<WorkerState>,
    index: usize,
    due: Nanos,
) -> Option<StartedRequest> {
    let mut facts = state.requests[index].record();
    facts.index = index;
    facts.due = due;
    let due = state.start + due;
    // A request that is made ready ahead of time does not leave earlier for it.
    facts.dequeued = Some(due.max(clock::now()));
    facts.worker = state.number;
    let conversations = state.conversations.as_ref();
    let own = match conversations.and_then(|all| all.prepare(index)) {
        None => None,
        Some(Ok(mut turn)) => {
            turn.cancel_after = state.requests[index].cancel_after;
            facts.prompt_tokens = turn.record().prompt_tokens;
            Some(turn)
        }
        Some(Err(error)) => {
            facts.error = Some(format!("cannot write the turn for this backend: {error}"));
            state.finish(facts);
            return None;
        }
    };
    let record = Rc::new(RefCell::new(facts));
    let exchange = {
        let (state, record) = (Rc::clone(state), Rc::clone(&record));
        Box::pin(async move {
            let prepared = own.as_ref().unwrap_or(&state.requests[index]);
            state
                .client
                .exchange_at(due, prepared, &mut record.borrow_mut())
                .await;
            state.ended(index, record.take());
        })
    };
    let mut started = StartedRequest {
        index,
        due,
        exchange,
        record,
    };
    if started.poll_once().await {
        None
    } else {
        Some(started)
    }
}
