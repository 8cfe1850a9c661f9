//! How much larger one group's number is than the other's, with an interval.
//!
//! Runs are the replicates: the requests of one run share a server start, a cache and a machine's mood, so
//! that their number says little about what another run would show. The effect is the logarithm of a ratio,
//! because noise from run to run is a percentage of the number, and because the ratio that is found does
//! not depend on which side is named first.

use inferometer_metrics::{Estimate, Welch, two_sided_t};
use serde::Serialize;

/// How the runs of the two groups belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Each run of one side was made right beside one of the other, with the same workload.
    Paired,
    /// Two groups of runs that are repeats of one another.
    Groups,
}

/// The logarithm of the ratio candidate / baseline, with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Mean of the logarithms of the candidate's runs − that of the baseline's.
    pub log_ratio: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error.
    pub freedom: f64,
    /// Whether the runs are pairs.
    pub design: Design,
    /// Pairs, or the runs of the smaller side.
    pub replicates: usize,
}

/// Why two groups have no effect with an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEffect {
    /// A number that is 0 or less has no ratio.
    #[error("a value of 0 or less has no ratio")]
    NotPositive,
    /// One run says nothing about the noise between runs.
    #[error("the noise between runs is unknown with a single run on a side")]
    SingleRun,
}

/// An interval of logarithms of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Effect {
    /// The effect between pairs of runs, in the order of the pairs: Student's t interval on the differences
    /// of the logarithms.
    ///
    /// # Errors
    ///
    /// When there is one pair only, or a number without a logarithm.
    ///
    /// # Panics
    ///
    /// When the sides differ in length.
    pub fn paired(baseline: &[f64], candidate: &[f64]) -> Result<Self, NoEffect> {
        assert_eq!(baseline.len(), candidate.len(), "pairs have two members");
        let (baseline, candidate) = (logarithms(baseline)?, logarithms(candidate)?);
        let differences: Vec<f64> = baseline
            .iter()
            .zip(&candidate)
            .map(|(baseline, candidate)| candidate - baseline)
            .collect();
        let single = NoEffect::SingleRun;
        let sample = Estimate::of(&differences).ok_or(single)?;
        Ok(Self {
            log_ratio: sample.mean,
            standard_error: sample.squared_error().ok_or(single)?.sqrt(),
            freedom: sample.n as f64 - 1.0,
            design: Design::Paired,
            replicates: differences.len(),
        })
    }

    /// The effect between groups of runs: Welch's t interval, which lets the two sides have different noise.
    ///
    /// # Errors
    ///
    /// When a side has one run only, or a number without a logarithm.
    pub fn of_groups(baseline: &[f64], candidate: &[f64]) -> Result<Self, NoEffect> {
        let single = NoEffect::SingleRun;
        let sample = |values| Estimate::of(&logarithms(values)?).ok_or(single);
        let (a, b) = (sample(baseline)?, sample(candidate)?);
        let Welch {
            standard_error,
            freedom,
        } = b.welch(&a).ok_or(single)?;
        Ok(Self {
            log_ratio: b.mean - a.mean,
            standard_error,
            freedom,
            design: Design::Groups,
            replicates: baseline.len().min(candidate.len()),
        })
    }

    /// Half the width of [`Effect::interval`].
    pub(crate) fn half(&self, confidence: f64) -> f64 {
        two_sided_t(confidence, self.freedom) * self.standard_error
    }

    /// The two-sided interval that contains the true effect with this probability.
    pub fn interval(&self, confidence: f64) -> Interval {
        let half = self.half(confidence);
        Interval {
            low: self.log_ratio - half,
            high: self.log_ratio + half,
        }
    }

    /// The effect as it would be with `replicates` pairs, or runs a side, of the same noise: its standard
    /// error and its degrees of freedom, from two on.
    pub(crate) fn with_replicates(&self, replicates: usize) -> Self {
        let (have, want) = (self.replicates as f64, replicates as f64);
        let freedom = match self.design {
            Design::Paired => want - 1.0,
            // Welch's is between the smaller side's and the sum of both: it keeps its place.
            Design::Groups => self.freedom * (want - 1.0) / (have - 1.0),
        };
        Self {
            standard_error: self.standard_error * (have / want).sqrt(),
            freedom,
            replicates,
            ..*self
        }
    }
}

fn logarithms(values: &[f64]) -> Result<Vec<f64>, NoEffect> {
    if values.iter().all(|value| *value > 0.0) {
        Ok(values.iter().map(|value| value.ln()).collect())
    } else {
        Err(NoEffect::NotPositive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASELINE: [f64; 5] = [100.0, 103.0, 98.5, 101.0, 99.0];
    const CANDIDATE: [f64; 5] = [105.0, 104.2, 107.0, 103.0, 109.0];

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    /// `scipy.stats.ttest_rel(log b, log a).confidence_interval(0.95)`.
    #[test]
    fn the_interval_of_pairs_is_that_of_scipy() {
        let effect = Effect::paired(&BASELINE, &CANDIDATE).unwrap();
        let interval = effect.interval(0.95);
        assert_near(effect.log_ratio, 0.051_796_419_005_170_87);
        assert_near(interval.low, 0.005_354_691_946_286_252);
        assert_near(interval.high, 0.098_238_146_064_055_48);
    }

    /// `scipy.stats.ttest_ind(log b, log a, equal_var=False).confidence_interval(0.95)`.
    #[test]
    fn the_interval_of_groups_is_that_of_scipy() {
        let effect = Effect::of_groups(&BASELINE, &CANDIDATE).unwrap();
        let interval = effect.interval(0.95);
        assert_near(effect.freedom, 7.601_761_345_973_887);
        assert_near(interval.low, 0.022_036_427_089_814_466);
        assert_near(interval.high, 0.081_556_410_920_528_34);
    }

    #[test]
    fn one_run_and_numbers_without_a_logarithm_have_no_effect() {
        assert_eq!(
            Effect::of_groups(&[1.0], &[1.0, 2.0]),
            Err(NoEffect::SingleRun)
        );
        assert_eq!(Effect::paired(&[1.0], &[1.0]), Err(NoEffect::SingleRun));
        assert_eq!(
            Effect::of_groups(&[1.0, 0.0], &[1.0, 2.0]),
            Err(NoEffect::NotPositive)
        );
        assert_eq!(
            Effect::paired(&[1.0, f64::NAN], &[1.0, 2.0]),
            Err(NoEffect::NotPositive)
        );
    }
}
