//! The simulator as clients see it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

mod client;
mod endpoints;
mod faults;
mod model;
mod protocol;
mod truth;

use inferometer_sim::{Delay, Server, SimSettings, start};

/// A fast server: first token after 4 ms, then one each millisecond.
fn fast() -> SimSettings {
    SimSettings {
        ttft: Delay::fixed(4.0),
        itl: Delay::fixed(1.0),
        ..SimSettings::default()
    }
}

fn serve(settings: SimSettings) -> Server {
    start(settings).unwrap()
}
