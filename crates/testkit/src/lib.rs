//! Fixtures for tests only: the binary under test, servers for it to measure, what it leaves
//! behind, snapshots of its output, and parts that not every machine has.

#![expect(clippy::unwrap_used, reason = "a fixture that fails is a failed test")]

mod binary;
mod machine;
mod output;
mod process;
mod recorder;
mod sim;
mod snapshot;

pub use binary::Binary;
pub use machine::{MUST_RUN, or_skip, program, project_root};
pub use output::{
    HOST_CODES, printed, read_json, run_folder, stderr, stdout, verdict_codes,
    verdict_codes_without_host,
};
pub use process::{alone, finish, signal, wait_until};
pub use recorder::{Received, Recorder};
pub use sim::{SimProcess, request_index, server, slow_engine, wait_for_in_flight};
pub use snapshot::{MEASURED, Redaction, snapshot_settings, transcript, transcript_of};

#[doc(hidden)]
pub use insta;
