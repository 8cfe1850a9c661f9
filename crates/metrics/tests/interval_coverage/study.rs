//! How often the intervals of synthetic runs contain the true value.

use inferometer_metrics::analyse;

use crate::runs::{Scenario, truth};

/// The numbers whose coverage is measured, in the order of the table.
pub(crate) const METRICS: [&str; 10] = [
    "mean_ttft_ms",
    "median_ttft_ms",
    "p90_ttft_ms",
    "p99_ttft_ms",
    "mean_itl_ms",
    "p99_itl_ms",
    "mean_tpot_ms",
    "request_throughput",
    "request_goodput",
    "output_throughput",
];

/// One interval of one run.
#[derive(Clone, Copy, Debug)]
struct Seen {
    value: f64,
    bounds: Option<[f64; 2]>,
}

/// What the runs of one kind showed of one number.
#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    pub(crate) metric: &'static str,
    pub(crate) runs: usize,
    /// Runs with an interval.
    pub(crate) shown: usize,
    /// Those whose interval contains the true value.
    pub(crate) covered: usize,
    /// Mean half width of the intervals, relative to the value.
    pub(crate) half_width: f64,
}

impl Coverage {
    /// Fraction of the intervals that contain the true value.
    pub(crate) fn fraction(&self) -> f64 {
        self.covered as f64 / self.shown as f64
    }
}

/// Evaluates this many runs, the first with `seed`.
pub(crate) fn study(scenario: &Scenario, runs: usize, seed: u64) -> Vec<Coverage> {
    let settings = scenario.settings();
    let mut seen: Vec<Vec<Seen>> = vec![Vec::with_capacity(runs); METRICS.len()];
    for run in 0..runs as u64 {
        let records = scenario.run(seed * 1_000_000 + run);
        let analysis = analyse(&records, &settings);
        for (metric, seen) in METRICS.iter().zip(&mut seen) {
            let entries = &analysis.intervals.metrics;
            if let Some(entry) = entries.iter().find(|entry| entry.metric == *metric) {
                seen.push(Seen {
                    value: entry.value,
                    bounds: entry.bounds.map(|bounds| [bounds.low, bounds.high]),
                });
            }
        }
    }
    METRICS
        .iter()
        .zip(&seen)
        .map(|(metric, seen)| coverage(metric, seen))
        .collect()
}

fn coverage(metric: &'static str, seen: &[Seen]) -> Coverage {
    let mean = seen.iter().map(|one| one.value).sum::<f64>() / seen.len() as f64;
    let value = truth(metric).unwrap_or(mean);
    let mut found = Coverage {
        metric,
        runs: seen.len(),
        shown: 0,
        covered: 0,
        half_width: 0.0,
    };
    for one in seen {
        let Some([low, high]) = one.bounds else {
            continue;
        };
        found.shown += 1;
        found.covered += usize::from(low <= value && value <= high);
        found.half_width += (high - low) / 2.0 / one.value;
    }
    found.half_width /= found.shown as f64;
    found
}
