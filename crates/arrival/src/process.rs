//! The arrival process: due instants drawn from a rate and a burstiness.

use inferometer_core::random::NumpyLegacy;
use inferometer_core::{Nanos, Schedule};
use serde::{Deserialize, Serialize};

use crate::{ArrivalError, ArrivalSettings, Rate};

/// No request is due later than this: about three hundred years, well within 64 bits of
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
///
/// # Errors
///
/// Settings that [`ArrivalSettings::check`] refuses.
pub fn schedule(n: usize, settings: &ArrivalSettings) -> Result<Schedule, ArrivalError> {
    let due = schedule_seconds(n, settings)?
        .into_iter()
        .map(Nanos::from_secs_f64)
        .collect();
    let schedule = Schedule::new(due);
    // Sums of gaps ≥ 0, scaled and rounded by monotone operations, cannot go backwards.
    Ok(schedule.expect("due instants never decrease"))
}

/// The due instants in seconds before they are rounded to nanoseconds: vLLM's numbers, bit for bit.
///
/// # Errors
///
/// As [`schedule`].
pub fn schedule_seconds(n: usize, settings: &ArrivalSettings) -> Result<Vec<f64>, ArrivalError> {
    settings.check()?;
    // Where nothing is drawn, a seed beyond 32 bits is accepted and does not matter.
    let seed = u32::try_from(settings.seed).unwrap_or_default();
    let mut seconds = draw(n, settings, &mut NumpyLegacy::new(seed));
    // As vLLM does: a constant rate is met exactly over the whole run, so that two seeds offer the
    // same load. A ramp is not rescaled, since it has no one rate to meet.
    if let Rate::PerSecond(rate) = settings.rate
        && let Some(last) = seconds.last().copied().filter(|&last| last != 0.0)
    {
        let factor = n as f64 / rate / last;
        for instant in &mut seconds {
            *instant *= factor;
        }
    }
    match seconds
        .iter()
        .position(|instant| instant.is_nan() || *instant > FURTHEST_SECONDS)
    {
        None => Ok(seconds),
        Some(index) => Err(ArrivalError::TooFar {
            index,
            seconds: seconds[index],
            flag: if matches!(settings.rate, Rate::Ramp { .. }) {
                "--ramp-up-start-rps"
            } else {
                "--request-rate"
            },
        }),
    }
}

/// Sums of `n` gaps. Every operation and its order is NumPy's, as vLLM calls it.
fn draw(n: usize, settings: &ArrivalSettings, random: &mut NumpyLegacy) -> Vec<f64> {
    let shape = settings.burstiness;
    let mut at = 0.0;
    (0..n)
        .map(|index| {
            let rate = settings.rate.at(index, n);
            at += if rate == f64::INFINITY {
                0.0
            } else if shape == f64::INFINITY {
                1.0 / rate
            } else {
                random.gamma(shape, 1.0 / (rate * shape))
            };
            at
        })
        .collect()
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
