//! The load generator. One run hands due requests to the wire on worker threads and gathers the
//! records.
//!
//! "Engine" is this load generator; the simulated *inference* engine is `inferometer_sim::engine`.
//!
//! [`dispatch`] decides which request is sent next, and when, and does no I/O; `worker` drives it
//! with sockets and the clock, [`simulate`] with the engine model on a virtual clock. The wire
//! fills in the records, `collector` keeps them and the log.

pub mod calibrate;
mod collector;
mod conversations;
pub mod dispatch;
mod error;
mod pacer;
mod progress;
mod run;
mod run_input;
mod simulate;
mod stop;
mod worker;

pub use conversations::{BrokenConversation, Conversations};
pub use error::EngineError;
pub use progress::{Failure, Progress, Recent, Snapshot};
pub use run::{Finished, run, send_once};
pub use run_input::RunInput;
pub use simulate::{VirtualRequest, VirtualRun, simulate};
pub use stop::{StopHandle, StopLevel};
