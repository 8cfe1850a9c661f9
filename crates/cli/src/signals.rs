//! Ctrl-C: once stops sending and waits a little, twice gives up what is in flight. Nothing is
//! lost.

use inferometer_engine::{StopHandle, StopLevel};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::Output;

/// Listens until dropped.
#[derive(Debug)]
pub(crate) struct Interrupts {
    runtime: Option<tokio::runtime::Runtime>,
}

/// Raises `stop` a level with each interrupt or termination signal.
pub(crate) fn on_interrupt(stop: StopHandle, output: &Output) -> Interrupts {
    let output = output.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .ok();
    if let Some(runtime) = &runtime {
        runtime.spawn(async move {
            // A lost terminal (SIGHUP) ends a run as gently as a Ctrl-C.
            let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
                signal(SignalKind::hangup()),
            ) else {
                return;
            };
            loop {
                let heard = tokio::select! {
                    heard = interrupt.recv() => heard,
                    heard = terminate.recv() => heard,
                    heard = hangup.recv() => heard,
                };
                if heard.is_none() {
                    return;
                }
                match stop.escalate() {
                    StopLevel::Drain => output.warn(
                        "stopping: nothing more is sent, requests in flight have 5 s; press Ctrl-C again to \
                         give them up",
                    ),
                    StopLevel::Run | StopLevel::Abort => {
                        output.warn("giving up requests in flight; what was measured is being written");
                    }
                }
            }
        });
    }
    Interrupts { runtime }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
