//! Synthetic values for the unit tests.

use crate::judge::Values;
use crate::metric::Direction;

const NOISE: [f64; 5] = [-0.02, 0.01, 0.0, 0.015, -0.005];

/// Values of a latency.
pub(crate) fn latency(baseline: &[f64], candidate: &[f64], margin_percent: f64) -> Values {
    Values {
        metric: "p99_ttft_ms".into(),
        direction: Direction::Lower,
        baseline: baseline.to_vec(),
        candidate: candidate.to_vec(),
        margin_percent,
    }
}

/// Runs around `center` with a spread of 1.4 %.
pub(crate) fn runs(center: f64, sign: f64) -> Vec<f64> {
    NOISE
        .iter()
        .map(|noise| center * (sign * noise).exp())
        .collect()
}
