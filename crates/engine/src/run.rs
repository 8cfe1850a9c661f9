//! One run on the real clock: worker threads, the collector, and their results.

use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::{Builder, ScopedJoinHandle};

use inferometer_core::{ClientHealth, Nanos, Record, Schedule, WorkerHealth};
use inferometer_os::clock::{self, Anchor};
use inferometer_os::{stamps, thread};
use inferometer_results::{RecordLog, ResultsError};
use inferometer_telemetry::{HostWatch, cpu_quota};
use inferometer_wire::{Client, ConnectPolicy, Live, Prepared};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::collector::{Collected, Collector};
use crate::conversations::ConversationState;
use crate::dispatch::{Dispatcher, LOOKAHEAD_REQUESTS, Source};
use crate::error::EngineError;
use crate::pacer::Pacer;
use crate::progress::Progress;
use crate::run_input::RunInput;
use crate::stop::{StopHandle, StopLevel};
use crate::worker::{OPEN_AHEAD, WorkerConfig, run_worker};

/// Time between the moment at which all workers are ready and the start of the run. Every worker
/// must have left the barrier by then; a wake-up takes some 50 µs where a CPU is free.
const LEAD: Nanos = Nanos::from_millis(1);
/// Batches of records that may be on the way to the collector, of at most some hundred records
/// each. A full channel blocks no worker: it keeps its records and tries again later.
const CHANNEL_DEPTH: usize = 256;
/// Connections that are opened before the start of a run at a request rate at least, although the
/// schedule may need fewer in its first [`OPEN_AHEAD`]: how many overlap is not known beforehand.
const AHEAD_OF_OPEN_LOOP: usize = 8;

/// What a run leaves.
#[derive(Debug)]
pub struct Finished {
    /// One record per request, in order of the index; their sum over outcomes is the number of
    /// requests.
    pub records: Vec<Record>,
    /// True when events were left in the log: join them with `results::SpilledRecords`.
    pub spilled: bool,
    /// The client's own state during the run.
    pub health: ClientHealth,
    /// The start of the run on both clocks.
    pub start: Anchor,
    /// The stop level that was requested before the end.
    pub stopped: StopLevel,
    /// Why the record log could not be written, if so.
    pub log_error: Option<ResultsError>,
}

/// Runs a input to its end, or until `stop` is raised.
///
/// `log` receives the records during the run. `progress` may be read from another thread
/// meanwhile.
///
/// # Errors
///
/// A worker that cannot be started or that panicked. Requests that fail are records, and a log
/// that fails is part of [`Finished`].
pub fn run(
    input: &RunInput,
    log: Option<RecordLog>,
    stop: &StopHandle,
    progress: &Progress,
) -> Result<Finished, EngineError> {
    let team = Team::new(input);
    progress.attach(input.requests.len(), &team.lives);
    // Held until the end, so that the kernel continues to stamp.
    let _stamping = stamps::warm_up();
    let mut watch = HostWatch::start();
    let collector = Collector {
        requests: &input.requests,
        log,
        events_in_memory: input.events_in_memory,
        watch: &mut watch,
        progress,
    };
    let (collected, reports) = team.run(input, stop, collector)?;
    let Collected {
        mut records,
        spilled,
        kernel_stamps,
        log_error,
    } = collected;
    fill_due(&mut records, &input.schedule);
    let mut health = ClientHealth::default();
    watch.finish().fill(&mut health);
    for report in reports {
        report.merge_into(&mut health);
    }
    health.wall = last_end(&records);
    health.connections_opened = progress.snapshot().connections_opened;
    health.in_flight_peak = most_in_flight(&records);
    health.kernel_stamps = kernel_stamps;
    Ok(Finished {
        records,
        spilled,
        health,
        start: anchor_of(team.line.start()),
        stopped: stop.level(),
        log_error,
    })
}

/// Sends `requests` once, at most `slots` at a time, and returns their records: for the ready check
/// and for warm-up. Nothing else is kept.
///
/// # Errors
///
/// A worker that cannot be started or that panicked. A request that fails is a record, not an
/// error.
pub fn send_once(
    input: &RunInput,
    requests: &[Prepared],
    slots: usize,
    stop: &StopHandle,
) -> Result<Vec<Record>, EngineError> {
    let input = RunInput {
        schedule: Arc::new(Schedule::at_once(requests.len())),
        max_concurrency: Some(slots.max(1)),
        workers: 1,
        conversations: None,
        requests: requests.into(),
        ..input.clone()
    };
    run(&input, None, stop, &Progress::default()).map(|finished| finished.records)
}

/// When the last request ended.
pub(crate) fn last_end(records: &[Record]) -> Nanos {
    records
        .iter()
        .filter_map(|record| record.end)
        .max()
        .unwrap_or_default()
}

/// Gives requests that were never sent their due instants. One that was sent has its own already:
/// of a later turn the schedule holds the conversation's start.
fn fill_due(records: &mut [Record], schedule: &Schedule) {
    for (record, &due) in records.iter_mut().zip(schedule.as_slice()) {
        if record.dequeued.is_none() {
            record.due = due;
        }
    }
}

/// The wall-clock time of the instant `start` of this run.
fn anchor_of(start: Nanos) -> Anchor {
    let now = Anchor::sample();
    Anchor {
        monotonic: start,
        wall: Nanos(now.wall.0.saturating_sub(now.monotonic.since(start).0)),
        uncertainty: now.uncertainty,
    }
}

/// The most requests that were in flight at once. (Observers know only the moments they saw.)
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

/// What the workers of a run share.
struct Team {
    line: StartingLine,
    /// The next request, where the workers take them from one counter.
    counter: Arc<AtomicUsize>,
    /// The counters of each worker, for observers.
    lives: Vec<Arc<Live>>,
}

impl Team {
    /// As many workers as the input wants, but none that could never have a slot.
    fn new(input: &RunInput) -> Self {
        let limits = input
            .max_concurrency
            .into_iter()
            .chain(input.max_conversations());
        let slots = limits.min().unwrap_or(usize::MAX);
        let workers = input.workers.clamp(1, slots.min(u16::MAX as usize));
        Self {
            line: StartingLine::new(workers),
            counter: Arc::new(AtomicUsize::new(0)),
            lives: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    /// Runs the worker threads and the collector's thread to their ends.
    fn run(
        &self,
        input: &RunInput,
        stop: &StopHandle,
        collector: Collector<'_>,
    ) -> Result<(Collected, Vec<WorkerReport>), EngineError> {
        let (sender, receiver) = sync_channel(CHANNEL_DEPTH);
        // Whether all threads were started: workers wait for one another, and for one that is missing
        // for ever.
        let complete = &OnceLock::<bool>::new();
        let (collected, outcomes) = std::thread::scope(|scope| {
            let worker = |number| {
                let slot = self.slot(number);
                let sender = sender.clone();
                Builder::new().spawn_scoped(scope, move || {
                    if !*complete.wait() {
                        return Err(EngineError::Thread(io::ErrorKind::Interrupted.into()));
                    }
                    work(input, &slot, &self.line, stop, sender)
                })
            };
            let workers: Result<Vec<_>, _> = (0..self.lives.len()).map(worker).collect();
            // The collector ends when the last sender is gone.
            drop(sender);
            let collector = move || collector.collect(&receiver, || self.line.start());
            let started = workers
                .and_then(|workers| Ok((workers, Builder::new().spawn_scoped(scope, collector)?)));
            // Nothing else sets it.
            let _ = complete.set(started.is_ok());
            let (workers, collector) = started.map_err(EngineError::Thread)?;
            let outcomes: Vec<_> = workers.into_iter().map(ScopedJoinHandle::join).collect();
            Ok::<_, EngineError>((collector.join(), outcomes))
        })?;
        let collected = collected.map_err(|_panic| EngineError::CollectorPanicked)?;
        let reports = outcomes
            .into_iter()
            .map(|outcome| outcome.map_err(|_panic| EngineError::WorkerPanicked)?)
            .collect::<Result<_, _>>()?;
        Ok((collected, reports))
    }

    fn slot(&self, number: usize) -> WorkerSlot {
        WorkerSlot {
            number,
            workers: self.lives.len(),
            counter: Arc::clone(&self.counter),
            live: Arc::clone(&self.lives[number]),
        }
    }
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

/// The place of one worker among all workers of the run.
struct WorkerSlot {
    number: usize,
    workers: usize,
    counter: Arc<AtomicUsize>,
    live: Arc<Live>,
}

impl WorkerSlot {
    /// This worker's part of `whole`; the parts add up.
    fn part_of(&self, whole: usize) -> usize {
        whole / self.workers + usize::from(self.number < whole % self.workers)
    }

    /// The dispatcher of this worker. Under a limit all workers take their requests from one
    /// counter, for a request must not wait for a full worker while another one is idle.
    fn dispatcher<'a>(&self, input: &'a RunInput) -> Dispatcher<'a> {
        let slots = input.max_concurrency.map(|cap| self.part_of(cap));
        let max_conversations = input.max_conversations();
        let source = match slots.or(max_conversations) {
            Some(_) => Source::Shared(Arc::clone(&self.counter)),
            None => Source::Strided {
                next: self.number,
                stride: self.workers,
            },
        };
        let dispatcher = Dispatcher::new(&input.schedule, source, slots);
        match &input.conversations {
            None => dispatcher,
            Some(conversations) => dispatcher
                .with_starts(conversations.starts())
                .with_max_conversations(max_conversations.map(|most| self.part_of(most))),
        }
    }
}

/// What a worker says at its end.
struct WorkerReport {
    health: WorkerHealth,
    clock_steps: u32,
    largest_clock_step: Nanos,
}

impl WorkerReport {
    fn merge_into(self, health: &mut ClientHealth) {
        // Every worker sees the same steps of the one wall clock.
        health.clock_steps = health.clock_steps.max(self.clock_steps);
        health.largest_clock_step = health.largest_clock_step.max(self.largest_clock_step);
        health.workers.push(self.health);
    }
}

/// The body of a worker thread.
///
/// A worker that fails before the start must still come to the starting line, or the others would
/// wait for ever: hence the two stages.
fn work(
    input: &RunInput,
    slot: &WorkerSlot,
    line: &StartingLine,
    stop: &StopHandle,
    records: SyncSender<Vec<Record>>,
) -> Result<WorkerReport, EngineError> {
    // One for preparation and run: HTTP/2 connections are tasks in it, and end with it.
    let local = LocalSet::new();
    let prepared = prepare_thread(input, slot).and_then(|runtime| {
        let ready = local.block_on(&runtime, prepare_client(input, slot, stop))?;
        Ok((runtime, ready))
    });
    let start = line.wait();
    let (runtime, (client, pacer)) = prepared?;
    let opens_ahead = input.wire.settings().connect == ConnectPolicy::Ahead;
    let config = WorkerConfig {
        requests: Arc::clone(&input.requests),
        dispatcher: slot.dispatcher(input),
        conversations: input
            .conversations
            .as_ref()
            .map(|all| ConversationState::new(all, &input.wire)),
        number: slot.number as u16,
        start,
        drain: input.drain,
        opens_ahead: opens_ahead && input.max_concurrency.is_none(),
        stop: stop.watch(),
        records,
    };
    let health = local.block_on(&runtime, run_worker(config, Rc::clone(&client), &pacer))?;
    let (clock_steps, largest_clock_step) = client.clock_steps();
    Ok(WorkerReport {
        health,
        clock_steps,
        largest_clock_step,
    })
}

/// Pins the calling thread if the input says so, and makes its event loop.
fn prepare_thread(input: &RunInput, slot: &WorkerSlot) -> Result<Runtime, EngineError> {
    if let Some(first) = input.pin {
        let cpu = first + slot.number;
        if !thread::pin_to_cpu(cpu) {
            return Err(EngineError::Pin(cpu));
        }
    }
    thread::minimise_timer_slack();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EngineError::Runtime)
}

/// Opens the connections that are needed first, and calibrates the pacer.
async fn prepare_client(
    input: &RunInput,
    slot: &WorkerSlot,
    stop: &StopHandle,
) -> Result<(Rc<Client>, Pacer), EngineError> {
    let client = Client::new(&input.wire, slot.number as u16, Arc::clone(&slot.live));
    if input.wire.settings().connect == ConnectPolicy::Ahead {
        let opening = client.open_ahead(slot.part_of(first_connections(input)));
        tokio::select! {
            biased;
            opened = opening => opened?,
            // Nothing will be sent: a server that does not answer need not be waited for.
            () = stop.raised() => {}
        }
    }
    let may_spin = thread::may_spin() && cpu_quota().is_none_or(|cpus| cpus > 1.0);
    let pacer = Pacer::calibrated(may_spin)
        .await
        .map_err(EngineError::Timer)?;
    Ok((Rc::new(client), pacer))
}

/// Connections that all workers together open before the start.
fn first_connections(input: &RunInput) -> usize {
    let most = input
        .conversations
        .as_ref()
        .map_or(input.requests.len(), |all| all.starts().len());
    match input.max_concurrency {
        Some(cap) => cap.min(most),
        None if input.schedule.is_at_once() => most,
        None => {
            let first = input
                .schedule
                .as_slice()
                .partition_point(|&due| due <= OPEN_AHEAD);
            most.min(first.clamp(AHEAD_OF_OPEN_LOOP, LOOKAHEAD_REQUESTS))
        }
    }
}
