//! From settings to instants.

use inferometer_core::random::NumpyLegacy;
use inferometer_core::{Nanos, Schedule};
use serde::{Deserialize, Serialize};

use crate::{ArrivalError, ArrivalSettings, Rate};

/// Nothing is planned for longer than this: about three hundred years, well within 64 bits of
/// nanoseconds.
const FURTHEST_SECONDS: f64 = 1e10;

/// One step of a ramp for vLLM's `rps_change_events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpsChange {
    /// The whole number of requests per second that is reached.
    pub rps: i64,
    /// When it is reached, from the start of the run.
    pub at: Nanos,
}

/// The schedule of `n` requests.
pub fn schedule(n: usize, settings: &ArrivalSettings) -> Result<Schedule, ArrivalError> {
    schedule_seconds(n, settings).map(|seconds| to_schedule(&seconds))
}

/// Like [`schedule`], drawing from a generator that has been used before, for datasets whose
/// sampling shares NumPy's global state with the arrivals. The settings' seed is not looked at.
pub fn schedule_with(
    n: usize,
    settings: &ArrivalSettings,
    random: &mut NumpyLegacy,
) -> Result<Schedule, ArrivalError> {
    schedule_seconds_with(n, settings, random).map(|seconds| to_schedule(&seconds))
}

/// The due instants in seconds before they are rounded to nanoseconds: vLLM's numbers, bit for bit.
pub fn schedule_seconds(n: usize, settings: &ArrivalSettings) -> Result<Vec<f64>, ArrivalError> {
    settings.check()?;
    // Where nothing is drawn, a seed beyond 32 bits has been let through and does not matter.
    let seed = u32::try_from(settings.seed).unwrap_or_default();
    schedule_seconds_with(n, settings, &mut NumpyLegacy::new(seed))
}

/// Like [`schedule_seconds`] with a generator that has been used before.
pub fn schedule_seconds_with(
    n: usize,
    settings: &ArrivalSettings,
    random: &mut NumpyLegacy,
) -> Result<Vec<f64>, ArrivalError> {
    // A seed that is too large does not matter here, since the generator is given.
    ArrivalSettings {
        seed: 0,
        ..settings.clone()
    }
    .check()?;
    let shape = settings.burstiness;
    let mut at = 0.0;
    let mut seconds: Vec<f64> = (0..n)
        .map(|index| {
            let rate = settings.rate.at(index, n);
            let gap = if rate == f64::INFINITY {
                0.0
            } else if shape == f64::INFINITY {
                1.0 / rate
            } else {
                random.gamma(shape, 1.0 / (rate * shape))
            };
            at += gap;
            at
        })
        .collect();
    if let Rate::PerSecond(rate) = settings.rate
        && at != 0.0
    {
        let factor = n as f64 / rate / at;
        for instant in &mut seconds {
            *instant *= factor;
        }
    }
    match seconds
        .iter()
        .position(|instant| instant.is_nan() || *instant > FURTHEST_SECONDS)
    {
        None => Ok(seconds),
        Some(index) => {
            let flag = if matches!(settings.rate, Rate::Ramp { .. }) {
                "--ramp-up-start-rps"
            } else {
                "--request-rate"
            };
            Err(ArrivalError::TooFar {
                index,
                seconds: seconds[index],
                flag,
            })
        }
    }
}

/// The steps of a ramp: the start rate at once, then each whole number that the rate passes, at the
/// due instant of the first request beyond it. Empty without a ramp.
pub fn rps_change_events(settings: &ArrivalSettings, schedule: &Schedule) -> Vec<RpsChange> {
    let Rate::Ramp { start_rps, .. } = settings.rate else {
        return Vec::new();
    };
    let mut reached = start_rps as i64;
    let mut changes = vec![RpsChange {
        rps: reached,
        at: Nanos::ZERO,
    }];
    let n = schedule.len();
    for (index, &at) in schedule.as_slice().iter().enumerate() {
        let now = settings.rate.at(index, n) as i64;
        changes.extend((reached + 1..=now).map(|rps| RpsChange { rps, at }));
        reached = reached.max(now);
    }
    changes
}

fn to_schedule(seconds: &[f64]) -> Schedule {
    let due = seconds
        .iter()
        .map(|&instant| Nanos::from_secs_f64(instant))
        .collect();
    // Sums of gaps ≥ 0, scaled and rounded by monotone operations, cannot go backwards.
    Schedule::new(due).unwrap_or_default()
}
