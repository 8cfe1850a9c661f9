//! Tests that speak of time, or need the machine for themselves: they run one after the other.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_testkit::Binary;

#[cfg(target_os = "linux")]
mod hosts;
mod instrument;
mod real_server;
mod truth;
mod verdicts;

/// The binary under test.
const INFEROMETER: Binary = inferometer_testkit::binary!();
