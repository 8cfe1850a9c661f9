//! The binary as a user meets it: arguments in; text, files and exit codes out.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_testkit::Binary;

mod bad_input;
mod before_the_run;
mod beside;
mod campaign;
mod chat_template;
mod compat;
mod connections;
mod destinations;
mod export;
mod files;
mod interrupted;
mod large;
mod limits;
mod memory;
mod outputs;
mod run_folders;
mod schemas;
mod secrets;
mod shell;
mod shims;
mod simulated;
mod tutorial;
mod workloads;

/// The binary under test.
const INFEROMETER: Binary = inferometer_testkit::binary!();
