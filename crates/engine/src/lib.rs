//! One run: hands due requests to the wire on worker threads, and gathers the records.
//!
//! Who sends next is decided in [`dispatch`], which knows no I/O; `worker` drives it with sockets
//! and the clock. The wire fills in the records, `collector` keeps them and the log.

pub mod calibrate;
mod collector;
pub mod dispatch;
mod pacer;
mod plan;
mod progress;
mod run;
mod simulate;
mod stop;
mod turns;
mod worker;

use std::io;

pub use plan::Plan;
pub use progress::{Progress, Recent, Snapshot};
pub use run::{Finished, run, send_once};
pub use simulate::{VirtualPlan, VirtualRequest, simulate};
pub use stop::{StopHandle, StopLevel};
pub use turns::{BrokenConversation, Conversations};

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No event loop for a worker.
    #[error("a worker's event loop could not be made")]
    Runtime(#[source] io::Error),
    /// A worker could not be tied to its processor.
    #[error("a worker could not be tied to processor {0}; leave --pin out")]
    Pin(usize),
    /// The timer of a worker failed.
    #[error("a worker's timer failed")]
    Timer(#[source] io::Error),
    /// Connections could not be prepared.
    #[error(transparent)]
    Wire(#[from] inferometer_wire::WireError),
    /// The engine model cannot be built.
    #[error("the engine model cannot be built: {0}")]
    Model(#[from] inferometer_sim::engine::EngineError),
    /// A simulated run breaks Little's law, which is a bug.
    #[error(
        "the simulation lost track of its requests ({occupied} ns in flight, {spent} ns spent by them); please report \
         this"
    )]
    LostTrack {
        /// Requests in flight summed up over the virtual time.
        occupied: u128,
        /// Time that the requests spent, by their records.
        spent: u128,
    },
    /// A worker thread panicked, which is a bug.
    #[error("a worker thread broke down; please report this")]
    WorkerGone,
    /// The collecting thread panicked, which is a bug.
    #[error("the collecting thread broke down; please report this")]
    CollectorGone,
}
