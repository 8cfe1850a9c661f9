//! Ctrl-C: the first stops sending and waits 5 s, the second cancels the requests in flight. What
//! was measured is kept. While it is written, the first only warns, and one that follows more than a second
//! later ends the process. SIGTERM and SIGHUP (a
//! closed terminal) count as Ctrl-C. Signals that the process inherited as ignored (`nohup`, `trap '' INT`) stay
//! ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use inferometer_core::Nanos;
use inferometer_engine::{StopHandle, StopLevel};
use inferometer_os::clock;
use inferometer_os::process::{end_by_interrupt, ignores};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::output::Output;

/// Listens until dropped.
#[derive(Debug, Default)]
pub struct Interrupts {
    runtime: Option<tokio::runtime::Runtime>,
    saving: Arc<AtomicBool>,
}

/// An interrupt this soon after the warning is one more of an impatient series, and ends nothing.
const SERIES: Nanos = Nanos::from_millis(1_000);

/// Raises `stop` a level with each interrupt of a run.
pub fn on_interrupt(stop: StopHandle, output: &Output) -> Interrupts {
    let output = output.clone();
    let saving = Arc::new(AtomicBool::new(false));
    let is_saving = Arc::clone(&saving);
    let mut warned = None;
    // The run also works without signal handling, so an error is not returned.
    let listening = Interrupts::listen(move || {
        if is_saving.load(Ordering::Relaxed) {
            return interrupt_saving(&mut warned, &output);
        }
        match stop.escalate() {
            StopLevel::Drain => output.warn(
                "stopping: no more requests are sent, and those in flight have 5 s to finish; press \
                 Ctrl-C again to cancel them",
            ),
            StopLevel::Run | StopLevel::Abort => {
                output.warn("cancelling requests in flight; writing what was measured");
            }
        }
    });
    let mut listening = listening.unwrap_or_default();
    listening.saving = saving;
    listening
}

/// Warns, and ends the process at an interrupt after the warning.
fn interrupt_saving(warned: &mut Option<Nanos>, output: &Output) {
    let now = clock::now();
    match *warned {
        None => {
            output.warn(
                "what was measured is being written; press Ctrl-C again to end the process without it \
                 (inferometer recover reads the record log in the run folder)",
            );
            *warned = Some(now);
        }
        Some(then) if now.since(then) > SERIES => end_by_interrupt(),
        Some(_) => {}
    }
}

/// Counts the interrupts of a sweep.
///
/// # Errors
///
/// The signal handler cannot be installed.
pub fn count_interrupts(interrupts: Arc<AtomicUsize>, output: &Output) -> io::Result<Interrupts> {
    let output = output.clone();
    Interrupts::listen(move || count_interrupt(&interrupts, &output))
}

/// Counts one interrupt of a sweep and prints what it does.
pub fn count_interrupt(interrupts: &AtomicUsize, output: &Output) {
    match interrupts.fetch_add(1, Ordering::Relaxed) {
        0 => output.warn(
            "stopping: the current run sends no more requests, and those in flight have 5 s to finish; \
             completed runs are kept. Press Ctrl-C again to cancel the requests in flight",
        ),
        1 => output.warn("cancelling requests in flight; press Ctrl-C again to kill the run"),
        _ => output.warn("killing the run"),
    }
}

impl Interrupts {
    /// Calls `react` with each interrupt.
    fn listen(mut react: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        // The handlers are installed before this returns, so that no signal is missed.
        let mut signals = {
            let _entered = runtime.enter();
            Signals::new()?
        };
        runtime.spawn(async move {
            while signals.next().await {
                react();
            }
        });
        Ok(Self {
            runtime: Some(runtime),
            saving: Arc::default(),
        })
    }

    /// From now on what was measured is written, and nothing is in flight.
    pub fn saving(&self) {
        self.saving.store(true, Ordering::Relaxed);
    }
}

/// The signals that ask to stop; `None` for one that is ignored and stays so.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let of = |kind: SignalKind| {
            (!ignores(kind.as_raw_value()))
                .then(|| signal(kind))
                .transpose()
        };
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal; false if there will be no more.
    async fn next(&mut self) -> bool {
        let received = tokio::select! {
            received = next_of(&mut self.interrupt) => received,
            received = next_of(&mut self.terminate) => received,
            received = next_of(&mut self.hangup) => received,
        };
        received.is_some()
    }
}

async fn next_of(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
