//! One worker: a thread with its own event loop, connections and record buffer.
//!
//! Nothing is shared with other workers but the counter of the next request (under a cap) and the
//! channel to the collector, which is touched a few times a second.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::task::Poll;

use inferometer_core::{Nanos, Record, WorkerHealth};
use inferometer_os::{PreciseTimer, clock, thread};
use inferometer_wire::{Client, Prepared};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::EngineError;
use crate::dispatch::{Dispatcher, Step};
use crate::pacer::Pacer;
use crate::stop::StopLevel;
use crate::turns::{Sequel, Talks};

/// Distance between two looks at the event loop: a stall longer than this is seen.
const HEARTBEAT: Nanos = Nanos::from_millis(5);
/// Finished records leave for the collector at least this often.
const HAND_OVER: Nanos = Nanos::from_millis(100);
/// … or when there are this many.
const BATCH: usize = 512;
/// Connections for what is due in this time are opened beforehand…
pub(crate) const LOOK_AHEAD: Nanos = Nanos::from_millis(20);
/// … when nothing is due in this time, so that no request waits for another one's connection.
const LEISURE: Nanos = Nanos::from_millis(1);
/// What it takes to make one request ready: so much earlier begins the work for each further one
/// that is due at the same time.
const PREPARATION: Nanos = Nanos::from_micros(15);

/// What a worker is given.
pub(crate) struct Orders<'a> {
    pub(crate) requests: Arc<[Prepared]>,
    pub(crate) dispatcher: Dispatcher<'a>,
    /// The conversations, where there are any.
    pub(crate) talks: Option<Talks>,
    pub(crate) number: u16,
    pub(crate) start: Nanos,
    pub(crate) drain: Nanos,
    /// Open connections a little before the requests that need them are due.
    pub(crate) opens_ahead: bool,
    pub(crate) stop: watch::Receiver<StopLevel>,
    pub(crate) records: SyncSender<Vec<Record>>,
}

/// Requests in flight, each with the record that its task writes to.
type InFlight = Rc<RefCell<BTreeMap<usize, (JoinHandle<()>, Rc<RefCell<Record>>)>>>;

/// What the tasks of a worker share, all on one thread.
struct Desk {
    client: Rc<Client>,
    requests: Arc<[Prepared]>,
    talks: Option<Talks>,
    /// Later turns that have become due by an answer, with their instants on the monotonic clock.
    follow_ups: RefCell<Vec<(usize, Nanos)>>,
    finished: RefCell<Vec<Record>>,
    completions: Cell<usize>,
    /// Conversations that are over, until the dispatcher knows.
    talks_over: Cell<usize>,
    completed: Notify,
    stall: Cell<Nanos>,
    records: SyncSender<Vec<Record>>,
}

impl Desk {
    fn finish(&self, record: Record) {
        if let Some(talks) = &self.talks {
            self.go_on(talks, &record);
        }
        self.finished.borrow_mut().push(record);
        self.completions.set(self.completions.get() + 1);
        self.completed.notify_one();
        if self.finished.borrow().len() >= BATCH {
            self.hand_over();
        }
    }

    /// What comes after a turn of a conversation.
    fn go_on(&self, talks: &Talks, record: &Record) {
        match talks.ended(record) {
            Sequel::End => self.talks_over.set(self.talks_over.get() + 1),
            Sequel::Next(index, due) => self.follow_ups.borrow_mut().push((index, due)),
            Sequel::Abandoned(rest) => {
                self.talks_over.set(self.talks_over.get() + 1);
                let given_up = rest.into_iter().map(|index| {
                    let mut never_sent = self.requests[index].record();
                    never_sent.index = index;
                    never_sent.error =
                        Some("not sent: an earlier turn of its conversation failed".to_owned());
                    never_sent
                });
                self.finished.borrow_mut().extend(given_up);
            }
        }
    }

    /// Passes finished records on, unless the collector is behind: then they wait here.
    fn hand_over(&self) {
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
}

/// Sends what the dispatcher says when it says (in a `LocalSet`), and returns when the last request
/// has ended.
pub(crate) async fn drive(
    mut orders: Orders<'_>,
    client: Rc<Client>,
    pacer: &Pacer,
) -> Result<WorkerHealth, EngineError> {
    let cpu_before = clock::thread_cpu();
    let delay_before = thread::run_queue_delay();
    let desk = Rc::new(Desk {
        client,
        requests: Arc::clone(&orders.requests),
        talks: orders.talks.take(),
        follow_ups: RefCell::default(),
        finished: RefCell::default(),
        completions: Cell::new(0),
        talks_over: Cell::new(0),
        completed: Notify::new(),
        stall: Cell::new(Nanos::ZERO),
        records: orders.records.clone(),
    });
    let in_flight = InFlight::default();
    let heartbeat = tokio::task::spawn_local(heartbeat(Rc::clone(&desk), orders.start));
    let sent = send_all(&mut orders, &desk, &in_flight, pacer).await;
    heartbeat.abort();
    sent?;
    let left = std::mem::take(&mut *desk.finished.borrow_mut());
    if !left.is_empty() {
        // The collector lives until every sender is gone, so this can only wait, not fail.
        orders
            .records
            .send(left)
            .map_err(|_lost| EngineError::CollectorGone)?;
    }
    Ok(WorkerHealth {
        cpu: clock::thread_cpu().since(cpu_before),
        spin: pacer.spun() + desk.client.spun(),
        guard: pacer.guard(),
        largest_stall: desk.stall.get(),
        run_queue_delay: thread::run_queue_delay()
            .zip(delay_before)
            .map(|(after, before)| after.since(before)),
    })
}

async fn send_all(
    orders: &mut Orders<'_>,
    desk: &Rc<Desk>,
    in_flight: &InFlight,
    pacer: &Pacer,
) -> Result<(), EngineError> {
    let drain_timer = PreciseTimer::new().map_err(EngineError::Timer)?;
    let mut give_up_at = Nanos::MAX;
    let mut stop_seen = StopLevel::Run;
    let mut opening = None;
    let mut ahead = pacer.guard();
    // What is due at once is due at the start, not before it: instants before the start cannot be
    // told.
    pacer
        .wait_until(orders.start)
        .await
        .map_err(EngineError::Timer)?;
    loop {
        for _ in 0..desk.completions.take() {
            orders.dispatcher.completed();
        }
        for _ in 0..desk.talks_over.take() {
            orders.dispatcher.conversation_ended();
        }
        if desk.talks.is_some() {
            for (index, due) in desk.follow_ups.take() {
                orders.dispatcher.follow_up(index, due.since(orders.start));
            }
        }
        let level = *orders.stop.borrow_and_update();
        if level > stop_seen {
            stop_seen = level;
            orders.dispatcher.stop();
            let now = clock::now();
            give_up_at = if level == StopLevel::Abort {
                now
            } else {
                now + orders.drain
            };
        }
        if clock::now() >= give_up_at {
            give_up(in_flight, desk).await;
            return Ok(());
        }
        let now = clock::now().since(orders.start);
        match orders.dispatcher.step(now + ahead) {
            Step::Send(index) => {
                send_together(orders, index, ahead, desk, in_flight).await;
                ahead = pacer.guard();
            }
            Step::WaitUntil(due) => {
                ahead = time_to_prepare(&orders.dispatcher, due, pacer.guard());
                let mut wake_up = (orders.start + due).since(ahead);
                if orders.opens_ahead && due > now + LOOK_AHEAD + ahead {
                    wake_up = wake_up.since(LOOK_AHEAD);
                } else if orders.opens_ahead && due > now + LEISURE {
                    open_missing(
                        orders.dispatcher.due_before(due + LOOK_AHEAD),
                        desk,
                        &mut opening,
                    );
                }
                tokio::select! {
                    woken = pacer.sleep_until(wake_up) => woken.map_err(EngineError::Timer)?,
                    _ = orders.stop.changed() => {}
                    // An answer may make a turn due before that.
                    () = desk.completed.notified(), if desk.talks.is_some() => {}
                }
            }
            Step::Finished if orders.dispatcher.in_flight() == 0 => return Ok(()),
            Step::Finished | Step::WaitForSlot => {
                tokio::select! {
                    () = desk.completed.notified() => {}
                    _ = orders.stop.changed(), if stop_seen < StopLevel::Abort => {}
                    woken = drain_timer.sleep_until(give_up_at), if give_up_at != Nanos::MAX => {
                        woken.map_err(EngineError::Timer)?;
                    }
                }
            }
        }
    }
}

/// Sees to it that the next `requests` find connections, unless an earlier call is still at it.
fn open_missing(requests: usize, desk: &Rc<Desk>, opening: &mut Option<JoinHandle<()>>) {
    if requests > 0 && opening.as_ref().is_none_or(JoinHandle::is_finished) {
        let desk = Rc::clone(desk);
        *opening = Some(tokio::task::spawn_local(async move {
            desk.client.open_missing(requests).await;
        }));
    }
}

/// How long before `due` the work for it begins.
fn time_to_prepare(dispatcher: &Dispatcher<'_>, due: Nanos, guard: Nanos) -> Nanos {
    if guard == Nanos::ZERO {
        return guard;
    }
    let others = dispatcher.due_before(due + guard).saturating_sub(1);
    Nanos(guard.0 + PREPARATION.0 * others as u64)
}

/// Sends request `first`, which is due in `ahead` at the latest. If it is not due yet, the others
/// that are due by then are made ready too, so that each leaves at its instant. When the first
/// instant comes before all are ready, the others follow one by one.
async fn send_together(
    orders: &mut Orders<'_>,
    first: usize,
    ahead: Nanos,
    desk: &Rc<Desk>,
    in_flight: &InFlight,
) {
    let first_due = orders.start + orders.dispatcher.sent_due();
    let is_early = first_due > clock::now();
    desk.client.shut_gates(is_early);
    let mut begun: Vec<Begun> = begin(orders, first, desk, in_flight)
        .await
        .into_iter()
        .collect();
    if is_early {
        while clock::now() < first_due
            && let Step::Send(index) = orders
                .dispatcher
                .step(clock::now().since(orders.start) + ahead)
        {
            begun.extend(begin(orders, index, desk, in_flight).await);
        }
        desk.client.shut_gates(false);
        // A later turn of a conversation may have been taken before a request that is due earlier.
        begun.sort_by_key(|request| request.due);
    }
    for mut request in begun {
        if is_early && request.has_ended().await {
            continue;
        }
        let task = tokio::task::spawn_local(request.exchange);
        in_flight
            .borrow_mut()
            .insert(request.index, (task, request.record));
    }
}

/// A request that has been begun and has not ended.
struct Begun {
    index: usize,
    due: Nanos,
    exchange: Pin<Box<dyn Future<Output = ()>>>,
    record: Rc<RefCell<Record>>,
}

impl Begun {
    /// Goes on as far as it goes at once; true when that is the end.
    ///
    /// Without the runtime's budget for one turn, which some tens of requests together would use
    /// up.
    async fn has_ended(&mut self) -> bool {
        let step = poll_fn(|context| Poll::Ready(self.exchange.as_mut().poll(context).is_ready()));
        tokio::task::unconstrained(step).await
    }
}

/// Starts one request. Its first step, which makes it ready and, where the gates are open, writes
/// it to the socket, is made right here: a spawned task would first wait for its turn behind
/// everything that is arriving.
#[expect(
    clippy::await_holding_refcell_ref,
    reason = "only the task itself touches the record until it ends or is aborted"
)]
async fn begin(
    orders: &Orders<'_>,
    index: usize,
    desk: &Rc<Desk>,
    in_flight: &InFlight,
) -> Option<Begun> {
    let mut facts = orders.requests[index].record();
    facts.index = index;
    facts.due = orders.dispatcher.sent_due();
    let due = orders.start + facts.due;
    // What is made ready ahead is no earlier for it.
    facts.dequeued = Some(due.max(clock::now()));
    facts.worker = orders.number;
    let own = match desk.talks.as_ref().and_then(|talks| talks.prepare(index)) {
        None => None,
        Some(Ok(mut turn)) => {
            turn.cancel_after = orders.requests[index].cancel_after;
            facts.prompt_tokens = turn.record().prompt_tokens;
            Some(turn)
        }
        Some(Err(error)) => {
            facts.error = Some(format!(
                "the turn cannot be written for this backend: {error}"
            ));
            desk.finish(facts);
            return None;
        }
    };
    let record = Rc::new(RefCell::new(facts));
    let exchange = {
        let (desk, record, in_flight) = (Rc::clone(desk), Rc::clone(&record), Rc::clone(in_flight));
        let requests = Arc::clone(&orders.requests);
        Box::pin(async move {
            let prepared = own.as_ref().unwrap_or(&requests[index]);
            desk.client
                .exchange_at(due, prepared, &mut record.borrow_mut())
                .await;
            in_flight.borrow_mut().remove(&index);
            desk.finish(record.take());
        })
    };
    let mut begun = Begun {
        index,
        due,
        exchange,
        record,
    };
    if begun.has_ended().await {
        None
    } else {
        Some(begun)
    }
}

/// Ends what is in flight; the records keep what is known, as unfinished.
async fn give_up(in_flight: &InFlight, desk: &Desk) {
    let abandoned = std::mem::take(&mut *in_flight.borrow_mut());
    for (task, _) in abandoned.values() {
        task.abort();
    }
    for (_, (task, record)) in abandoned {
        // Only after this has the task let go of its record; that it was cancelled is no news.
        drop(task.await);
        let mut record = record.take();
        record.end = Some(clock::now());
        desk.finish(record);
    }
}

/// Notes how late the event loop is, and hands finished records over.
async fn heartbeat(desk: Rc<Desk>, start: Nanos) {
    let Ok(timer) = PreciseTimer::new() else {
        return;
    };
    let mut next_hand_over = start + HAND_OVER;
    let mut due = start;
    loop {
        due = (due + HEARTBEAT).max(clock::now());
        if timer.sleep_until(due).await.is_err() {
            return;
        }
        let now = clock::now();
        desk.stall.set(desk.stall.get().max(now.since(due)));
        if now >= next_hand_over {
            desk.hand_over();
            next_hand_over = now + HAND_OVER;
        }
    }
}
