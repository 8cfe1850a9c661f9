//! From plan to records.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Barrier};
use std::thread::ScopedJoinHandle;

use inferometer_core::{ClientHealth, Nanos, Record, Schedule, WorkerHealth};
use inferometer_os::clock::{self, Anchor};
use inferometer_os::{stamps, thread};
use inferometer_results::{RecordLog, ResultsError};
use inferometer_telemetry::{HostWatch, cpu_quota};
use inferometer_wire::{Client, ConnectPolicy, Live, Prepared};

use crate::EngineError;
use crate::collector::{Collected, collect};
use crate::dispatch::{Dispatcher, FORESIGHT, Source};
use crate::pacer::Pacer;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::stop::{StopHandle, StopLevel};
use crate::turns::Talks;
use crate::worker::{LOOK_AHEAD, Orders, drive};

/// Time between the moment at which all workers are ready and the start of the run.
const LEAD: Nanos = Nanos::from_millis(1);
/// Batches of records that may be on the way to the collector.
const CHANNEL_DEPTH: usize = 256;
/// Connections opened ahead of an open loop at least, whose need is not known beforehand.
const AHEAD_OF_OPEN_LOOP: usize = 8;

/// What a run leaves.
#[derive(Debug)]
pub struct Finished {
    /// One record a request, in order of the index; their sum over outcomes is the number of
    /// requests.
    pub records: Vec<Record>,
    /// True when events were left in the log: join them with `results::SpilledRecords`.
    pub spilled: bool,
    /// The client's own state during the run.
    pub health: ClientHealth,
    /// The start of the run on both clocks.
    pub start: Anchor,
    /// How far the run was asked to stop before its end.
    pub stopped: StopLevel,
    /// Why the record log could not be written, if so.
    pub log_error: Option<ResultsError>,
}

/// Runs a plan to its end, or until `stop` is raised.
///
/// `log` receives the records while the run is on. `progress` may be read from another thread
/// meanwhile.
pub fn run(
    plan: &Plan,
    log: Option<RecordLog>,
    stop: &StopHandle,
    progress: &Progress,
) -> Result<Finished, EngineError> {
    let limits = plan
        .max_concurrency
        .into_iter()
        .chain(plan.most_conversations());
    let slots = limits.min().unwrap_or(usize::MAX);
    let workers = plan.workers.clamp(1, slots.min(u16::MAX as usize));
    let starting_line = StartingLine::new(workers);
    let counter = Arc::new(AtomicUsize::new(0));
    let lives: Vec<Arc<Live>> = (0..workers).map(|_| Arc::default()).collect();
    progress.attach(plan.requests.len(), &lives);
    // Held until the end, so that the kernel goes on stamping.
    let _stamping = stamps::warm_up();
    let mut watch = HostWatch::start();
    let (sender, receiver) = sync_channel(CHANNEL_DEPTH);

    let (collected, outcomes) = std::thread::scope(|scope| {
        let handles: Vec<_> = lives
            .iter()
            .enumerate()
            .map(|(number, live)| {
                let place = Place {
                    number,
                    workers,
                    counter: Arc::clone(&counter),
                    live: Arc::clone(live),
                };
                let (sender, line) = (sender.clone(), &starting_line);
                scope.spawn(move || work(plan, &place, line, stop, sender))
            })
            .collect();
        drop(sender);
        let line = &starting_line;
        let watch = &mut watch;
        let collector = scope.spawn(move || {
            collect(
                &plan.requests,
                &receiver,
                log,
                plan.events_in_memory,
                (watch, progress),
                || line.start(),
            )
        });
        let outcomes: Vec<_> = handles.into_iter().map(ScopedJoinHandle::join).collect();
        (collector.join(), outcomes)
    });
    let Collected {
        mut records,
        spilled,
        kernel_stamps,
        log_error,
    } = collected.map_err(|_panic| EngineError::CollectorGone)?;
    let mut health = ClientHealth::default();
    watch.finish().fill(&mut health);
    for outcome in outcomes {
        let report = outcome.map_err(|_panic| EngineError::WorkerGone)??;
        report.merge_into(&mut health);
    }
    for (record, &due) in records.iter_mut().zip(plan.schedule.as_slice()) {
        // A request that was sent knows better: of later turns the schedule holds the
        // conversation's start.
        if record.dequeued.is_none() {
            record.due = due;
        }
    }
    let start = starting_line.start();
    health.wall = records
        .iter()
        .filter_map(|record| record.end)
        .max()
        .unwrap_or_default();
    health.connections_opened = progress.snapshot().connections_opened;
    health.in_flight_peak = most_in_flight(&records);
    health.kernel_stamps = kernel_stamps;
    let now = Anchor::sample();
    let wall = Nanos(now.wall.0.saturating_sub(now.monotonic.since(start).0));
    let start = Anchor {
        monotonic: start,
        wall,
        uncertainty: now.uncertainty,
    };
    Ok(Finished {
        records,
        spilled,
        health,
        start,
        stopped: stop.level(),
        log_error,
    })
}

/// The most requests that were in flight at once. (The progress display knows only of those it
/// saw.)
fn most_in_flight(records: &[Record]) -> u64 {
    let mut changes: Vec<(Nanos, i64)> = records
        .iter()
        .filter_map(|record| record.send_start.zip(record.end))
        .flat_map(|(start, end)| [(start, 1), (end, -1)])
        .collect();
    // At one instant, ends come before starts.
    changes.sort_unstable();
    let running = changes.iter().scan(0_i64, |now, (_, change)| {
        *now += change;
        Some(*now)
    });
    running.max().unwrap_or(0).unsigned_abs()
}

/// Where all workers wait for one another, and learn when the run starts.
struct StartingLine {
    ready: Barrier,
    set: Barrier,
    start: AtomicU64,
}

impl StartingLine {
    fn new(workers: usize) -> Self {
        Self {
            ready: Barrier::new(workers),
            set: Barrier::new(workers),
            start: AtomicU64::new(0),
        }
    }

    /// Blocks until every worker is here; returns the start of the run.
    fn wait(&self) -> Nanos {
        if self.ready.wait().is_leader() {
            self.start.store((clock::now() + LEAD).0, Ordering::Release);
        }
        self.set.wait();
        self.start()
    }

    fn start(&self) -> Nanos {
        Nanos(self.start.load(Ordering::Acquire))
    }
}

struct Place {
    number: usize,
    workers: usize,
    counter: Arc<AtomicUsize>,
    live: Arc<Live>,
}

struct WorkerReport {
    health: WorkerHealth,
    clock_steps: (u32, Nanos),
}

impl WorkerReport {
    fn merge_into(self, health: &mut ClientHealth) {
        // Every worker sees the same steps of the one wall clock.
        health.clock_steps = health.clock_steps.max(self.clock_steps.0);
        health.largest_clock_step = health.largest_clock_step.max(self.clock_steps.1);
        health.workers.push(self.health);
    }
}

/// The body of a worker thread.
///
/// A worker that fails before the start must still come to the starting line, or the others would
/// wait for ever: hence the two stages.
fn work(
    plan: &Plan,
    place: &Place,
    line: &StartingLine,
    stop: &StopHandle,
    records: SyncSender<Vec<Record>>,
) -> Result<WorkerReport, EngineError> {
    let pinned = plan
        .pin
        .map(|first| first + place.number)
        .map_or(Ok(()), |cpu| {
            if thread::pin_to_cpu(cpu) {
                Ok(())
            } else {
                Err(EngineError::Pin(cpu))
            }
        });
    thread::minimise_timer_slack();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EngineError::Runtime);
    // One for preparation and run: HTTP/2 connections are tasks in it, and end with it.
    let local = tokio::task::LocalSet::new();
    let prepared = pinned.and(runtime).and_then(|runtime| {
        let ready = local.block_on(&runtime, prepare(plan, place))?;
        Ok((runtime, ready))
    });
    let start = line.wait();
    let (runtime, (client, pacer)) = prepared?;

    let slots = plan.max_concurrency.map(|cap| share(cap, place));
    let most_talks = plan.most_conversations();
    let source = match slots.or(most_talks) {
        Some(_) => Source::Shared(Arc::clone(&place.counter)),
        None => Source::Shard {
            next: place.number,
            stride: place.workers,
        },
    };
    let mut dispatcher = Dispatcher::new(&plan.schedule, source, slots);
    if let Some(conversations) = &plan.conversations {
        let most_talks = most_talks.map(|most| share(most, place));
        dispatcher = dispatcher
            .with_starts(conversations.starts())
            .with_conversations(most_talks);
    }
    let orders = Orders {
        requests: Arc::clone(&plan.requests),
        dispatcher,
        talks: plan
            .conversations
            .as_ref()
            .map(|all| Talks::new(all, &plan.wire)),
        number: place.number as u16,
        start,
        drain: plan.drain,
        opens_ahead: plan.wire.settings().connect == ConnectPolicy::Ahead && slots.is_none(),
        stop: stop.watch(),
        records,
    };
    let health = local.block_on(&runtime, drive(orders, Rc::clone(&client), &pacer))?;
    Ok(WorkerReport {
        health,
        clock_steps: client.clock_steps(),
    })
}

/// This worker's part of `whole`, so that the parts add up.
fn share(whole: usize, place: &Place) -> usize {
    whole / place.workers + usize::from(place.number < whole % place.workers)
}

async fn prepare(plan: &Plan, place: &Place) -> Result<(Rc<Client>, Pacer), EngineError> {
    let client = Client::new(&plan.wire, place.number as u16, Arc::clone(&place.live));
    if plan.wire.settings().connect == ConnectPolicy::Ahead {
        let most = plan
            .conversations
            .as_ref()
            .map_or(plan.requests.len(), |all| all.starts().len());
        let wanted = match plan.max_concurrency {
            Some(cap) => cap.min(most),
            None if plan.schedule.is_at_once() => most,
            None => {
                let first = plan
                    .schedule
                    .as_slice()
                    .partition_point(|&due| due <= LOOK_AHEAD);
                most.min(first.clamp(AHEAD_OF_OPEN_LOOP, FORESIGHT))
            }
        };
        client.open_ahead(share(wanted, place)).await?;
    }
    let may_spin = thread::may_spin() && cpu_quota().is_none_or(|processors| processors > 1.0);
    let pacer = Pacer::calibrated(may_spin)
        .await
        .map_err(EngineError::Timer)?;
    Ok((Rc::new(client), pacer))
}

/// Sends `requests` once, at most `slots` at a time, and returns their records: for the ready check
/// and for warm-up. Nothing of it is kept.
pub fn send_once(
    plan: &Plan,
    requests: &[Prepared],
    slots: usize,
    stop: &StopHandle,
) -> Result<Vec<Record>, EngineError> {
    let plan = Plan {
        schedule: Arc::new(Schedule::at_once(requests.len())),
        max_concurrency: Some(slots.max(1)),
        workers: 1,
        conversations: None,
        requests: requests.into(),
        ..plan.clone()
    };
    run(&plan, None, stop, &Progress::default()).map(|finished| finished.records)
}
