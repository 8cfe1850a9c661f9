//! Tests that measure time, or need the machine for themselves: each holds [`alone`], so that they
//! run one after the other.
//!
//! [`alone`]: inferometer_testkit::alone

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use inferometer_testkit::Binary;

mod clean;
#[cfg(target_os = "linux")]
mod hosts;
mod instrument;
mod real_server;
mod truth;
mod verdicts;

/// The binary under test.
const INFEROMETER: Binary = inferometer_testkit::binary!();
