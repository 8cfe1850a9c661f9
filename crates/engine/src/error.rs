//! Why a run failed.

use std::io;

use inferometer_sim::engine::ModelError;
use inferometer_wire::WireError;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No event loop for a worker.
    #[error("cannot start a worker's event loop")]
    Runtime(#[source] io::Error),
    /// A thread of the run could not be started.
    #[error(
        "cannot start a thread of the run; {}",
        inferometer_os::threads::remedy()
    )]
    Thread(#[source] io::Error),
    /// A worker could not be pinned to its CPU.
    #[error("cannot pin a worker to CPU {0}; leave out --pin")]
    Pin(usize),
    /// The timer of a worker failed.
    #[error("a worker's timer failed")]
    Timer(#[source] io::Error),
    /// Connections could not be prepared.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The engine model cannot be built.
    #[error("invalid engine model: {0}")]
    Model(#[from] ModelError),
    /// A simulated run breaks Little's law, which is a bug.
    #[error(
        "the simulation lost requests ({occupied} ns in flight, {spent} ns spent by them); please report this bug"
    )]
    LostRequests {
        /// Requests in flight, summed up over the virtual time in nanoseconds.
        occupied: u128,
        /// Time that the requests spent by their records, in nanoseconds.
        spent: u128,
    },
    /// A worker thread panicked, which is a bug.
    #[error("a worker thread panicked; please report this bug")]
    WorkerPanicked,
    /// The collector's thread panicked, which is a bug.
    #[error("the collector thread panicked; please report this bug")]
    CollectorPanicked,
}
