//! The binary as a user meets it: arguments in; text, files and exit codes out.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bad_input;
mod campaign;
mod chat_template;
mod compat;
mod connections;
mod export;
mod files;
mod interrupted;
mod large;
mod memory;
mod recorder;
mod secrets;
mod shims;
mod support;
mod truth;
mod tutorial;
