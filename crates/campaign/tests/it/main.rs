//! Campaigns from their description to their files, with a synthetic world.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod execution;
mod journals;
mod plans;
mod rerun;
mod world;
