//! Several looks at one experiment: how much of the error probability each may spend.
//!
//! Who looks after each pair and stops at the first "worse" finds something in noise sooner or later. The
//! looks are therefore planned, and share one error probability: α*(t) = 2 − 2 Φ(z(1 − α/2) / √t) of it is
//! spent when a fraction t of the planned pairs is there (Lan and DeMets 1983, in the form of O'Brien and
//! Fleming: little at first, so that the last look has nearly all of it). Each look tests at what is spent
//! since the one before. That ignores how much successive looks have in common, so that the total error
//! is below α.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// The looks at an experiment, each by the number of pairs (or of runs a side) that it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// The number of pairs at the last look.
    pub planned: usize,
    /// The numbers of pairs at the looks so far, in ascending order; the present one is the last.
    pub taken: Vec<usize>,
}

impl Looks {
    /// A single look at everything.
    pub fn single(pairs: usize) -> Self {
        Self {
            planned: pairs,
            taken: vec![pairs],
        }
    }

    /// What of an error probability `alpha` is left for a later look, or for the present one if it is the last.
    pub(crate) fn remaining(&self, alpha: f64) -> f64 {
        match self.taken.last() {
            Some(&present) if present < self.planned => {
                alpha - spent(alpha, present as f64 / self.planned as f64)
            }
            _ => self.level(alpha),
        }
    }

    /// True where this many more pairs are within the plan. A single look has none.
    pub(crate) fn allows(&self, more: usize) -> bool {
        let present = self.taken.last().copied().unwrap_or_default();
        present >= self.planned || present + more <= self.planned
    }

    /// The fraction of an error probability `alpha` that the present look may spend, times `alpha`.
    pub(crate) fn level(&self, alpha: f64) -> f64 {
        let spent = |pairs: usize| {
            let fraction = pairs as f64 / self.planned.max(1) as f64;
            spent(alpha, fraction)
        };
        match self.taken.as_slice() {
            [] => 0.0,
            [only] => spent(*only),
            [.., before, present] => spent(*present) - spent(*before),
        }
    }
}

/// The error probability that is spent when a fraction of the pairs is there.
fn spent(alpha: f64, fraction: f64) -> f64 {
    if fraction >= 1.0 {
        return alpha;
    }
    let normal = Normal::standard();
    2.0 * normal.sf(normal.inverse_cdf(1.0 - alpha / 2.0) / fraction.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `2 * scipy.stats.norm.sf(scipy.stats.norm.isf(0.0125) / sqrt(t))` for t = 0.4 and 0.7.
    #[test]
    fn early_looks_spend_little_and_all_together_alpha() {
        let at = |taken: &[usize]| {
            let looks = Looks {
                planned: 10,
                taken: taken.to_vec(),
            };
            looks.level(0.025)
        };
        assert!(
            (at(&[4]) - 0.000_394_151_756_691_186_35).abs() < 1e-12,
            "{}",
            at(&[4])
        );
        assert!(
            (at(&[4, 7]) - 0.006_990_337_601_003_271).abs() < 1e-12,
            "{}",
            at(&[4, 7])
        );
        assert!((at(&[4]) + at(&[4, 7]) + at(&[4, 7, 10]) - 0.025).abs() < 1e-12);
        assert_eq!(Looks::single(5).level(0.025), 0.025);
        assert_eq!(at(&[4, 4]), 0.0, "the same pairs again");
    }
}
