//! Campaigns from their description to their files, with a world that is made up.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod again;
mod execution;
mod journals;
mod plans;
mod world;
