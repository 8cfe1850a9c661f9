//! Synthetic groups of runs.

#![allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "shared by tests and an example"
)]

use inferometer_decide::{Direction, Values};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

/// Runs of a server whose numbers vary from run to run by `cv` (a fraction), and of another whose numbers
/// are larger by `change` (a fraction).
pub struct Setup {
    /// Coefficient of variation of a metric from run to run.
    pub cv: f64,
    /// By which fraction the candidate's numbers are larger.
    pub change: f64,
    /// Runs on each side.
    pub runs: usize,
    /// Number of metrics.
    pub metrics: usize,
    /// The margin of each.
    pub margin_percent: f64,
    /// Correlation of the metrics of one run: a slow start of the server slows them all.
    pub correlation: f64,
}

impl Setup {
    /// The runs of one experiment.
    pub fn draw(&self, random: &mut ChaCha8Rng) -> Vec<Values> {
        let normal = Normal::standard();
        let mut draw = |_: usize| normal.inverse_cdf(random.random_range(1e-12..1.0));
        let common: Vec<f64> = (0..2 * self.runs).map(&mut draw).collect();
        (0..self.metrics)
            .map(|_| {
                let noise: Vec<f64> = (0..2 * self.runs)
                    .map(|run| {
                        let own = draw(run) * (1.0 - self.correlation).sqrt();
                        self.cv * (own + common[run] * self.correlation.sqrt())
                    })
                    .collect();
                let (a, b) = noise.split_at(self.runs);
                Values {
                    metric: "p99_ttft_ms".into(),
                    direction: Direction::Lower,
                    baseline: a.iter().map(|noise| 100.0 * noise.exp()).collect(),
                    candidate: b
                        .iter()
                        .map(|noise| 100.0 * (1.0 + self.change) * noise.exp())
                        .collect(),
                    margin_percent: self.margin_percent,
                }
            })
            .collect()
    }
}

/// The values of the first pairs.
pub fn first_pairs(metrics: &[Values], pairs: usize) -> Vec<Values> {
    let cut = |values: &Values| Values {
        baseline: values.baseline[..pairs].to_vec(),
        candidate: values.candidate[..pairs].to_vec(),
        ..values.clone()
    };
    metrics.iter().map(cut).collect()
}
