//! Counts of spans in bins of equal ratio: percentiles of a hundred million gaps in little memory.

/// Each bin is 2 % wider than the one before, so a percentile is off by at most 1 %.
const RATIO: f64 = 1.02;
/// Lower end of the first bin in milliseconds: a tenth of a microsecond.
const FLOOR: f64 = 1e-4;
/// Bins up to about three hours.
const BINS: usize = 1300;

/// Counts by size.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    least: f64,
    most: f64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            counts: Vec::new(),
            total: 0,
            least: f64::INFINITY,
            most: 0.0,
        }
    }

    pub(super) fn add(&mut self, ms: f64) {
        let bin = ((ms.max(FLOOR) / FLOOR).ln() / RATIO.ln()) as usize;
        let bin = bin.min(BINS - 1);
        if self.counts.len() <= bin {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] = self.counts[bin].saturating_add(1);
        self.total += 1;
        self.least = self.least.min(ms);
        self.most = self.most.max(ms);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn most(&self) -> f64 {
        self.most
    }

    /// The value with this fraction of the samples at or below it, to within 1 %.
    pub(super) fn quantile(&self, fraction: f64) -> Option<f64> {
        let wanted = (fraction * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bin, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Some((FLOOR * RATIO.powf(bin as f64 + 0.5)).clamp(self.least, self.most));
            }
        }
        None
    }

    /// (value, fraction at or below) of each bin that holds samples, ending with the largest value.
    pub(super) fn cumulative(&self) -> Vec<(f64, f64)> {
        let mut seen = 0;
        let mut steps = vec![(self.least, 0.0)];
        for (bin, count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            seen += u64::from(*count);
            let upper = (FLOOR * RATIO.powf(bin as f64 + 1.0)).min(self.most);
            steps.push((upper, seen as f64 / self.total as f64));
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_per_cent() {
        let mut histogram = Histogram::new();
        for i in 1..=10_000 {
            histogram.add(f64::from(i) / 100.0);
        }
        for fraction in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let found = histogram.quantile(fraction).unwrap();
            assert!(
                (found / (fraction * 100.0) - 1.0).abs() < 0.011,
                "{fraction}: {found}"
            );
        }
        assert_eq!(Histogram::new().quantile(0.5), None);
        assert_eq!(histogram.cumulative().last(), Some(&(100.0, 1.0)));
    }
}
