//! When to send: rates, burstiness and ramps become a [`Schedule`](inferometer_core::Schedule).
//!
//! Pure functions of (number of requests, settings): no clock, no I/O. The instants are those of
//! vLLM's benchmark to the last bit for the same seed, because they come from the same generator by
//! the same operations in the same order:
//!
//! 1. the rate at request `i` of `n` is constant, or follows a ramp over `p = i / max(n − 1, 1)`:
//!    linear `s + (e − s)·p`, exponential `s·(e / s)^p`;
//! 2. the gap before request `i` is a gamma draw with shape = burstiness and mean = 1 / rate
//!    (burstiness 1 is a Poisson process), or exactly 1 / rate for an infinite burstiness; the
//!    first request waits for its own gap too;
//! 3. without a ramp all instants are scaled so that the last one falls on `n / rate`. The realised
//!    rate therefore has no variance; in exchange the process is not exactly Poisson, since its end
//!    is pinned.

mod error;
mod process;
mod settings;

pub use error::ArrivalError;
pub use process::{RpsChange, rps_change_events, schedule, schedule_seconds};
pub use settings::{ArrivalSettings, RampStrategy, Rate};
