//! Campaigns from their description to their files, with a synthetic world.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod descriptions;
mod execution;
mod journals;
mod rerun;
mod serve_descriptions;
mod world;
