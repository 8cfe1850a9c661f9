//! From the runs of two groups to a decision for each metric, and one for all.

use inferometer_metrics::{CONFIDENCE, t_quantile};
use serde::Serialize;

use crate::effect::{Design, Effect, NoEffect};
use crate::metric::{Direction, unit};
use crate::power::{needed_measured_errors, power, t_above};

/// The probability with which the detectable change is found.
pub const POWER: f64 = 0.8;
/// The same for each of the two sides of an equivalence, so that both are found with [`POWER`].
pub(crate) const EACH_SIDE: f64 = 0.9;
/// Error probability of "worse": that of one end of the interval that is shown.
pub(crate) const WORSE: f64 = (1.0 - CONFIDENCE) / 2.0;
/// Error probability of "pass", of each metric.
pub(crate) const PASS: f64 = 1.0 - CONFIDENCE;
/// More pairs than this are not advised.
const MOST_PAIRS: usize = 1_000;

/// What the runs say about a metric of the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is better than the baseline's.
    Better,
    /// It is worse; in a gate, by more than the margin.
    Worse,
    /// It differs by less than the margin; in a gate, it is not worse by more than that.
    Equivalent,
    /// The noise between runs is too large to tell.
    CannotTell,
}

/// The values of one metric in the runs of both groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Name of the metric.
    pub metric: String,
    /// Which direction is an improvement.
    pub direction: Direction,
    /// Values of the baseline's runs; those of pairs in the order of the pairs.
    pub baseline: Vec<f64>,
    /// Values of the candidate's runs.
    pub candidate: Vec<f64>,
    /// A change up to this many percent of the baseline does not matter.
    pub margin_percent: f64,
}

/// What is known about one metric. Percentages are of the baseline, positive where the candidate's number
/// is larger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Name of the metric.
    pub metric: String,
    /// Its unit; empty for a count.
    pub unit: &'static str,
    /// Geometric mean of the baseline's runs: the ratio of two of them is the change.
    pub baseline: f64,
    /// Geometric mean of the candidate's runs.
    pub candidate: f64,
    /// The change.
    pub change_percent: f64,
    /// Lower end of its interval; absent without two runs on each side.
    pub low_percent: Option<f64>,
    /// Upper end.
    pub high_percent: Option<f64>,
    /// A change up to this does not matter.
    pub margin_percent: f64,
    /// The smallest change for the worse, in percent, that this many runs with this noise find with a
    /// probability of 80 %.
    pub detectable_percent: Option<f64>,
    /// What the runs say.
    pub decision: Decision,
    /// Pairs, or runs on each side, that are still needed to decide with a probability of 80 % if the
    /// change is as it looks now; 0 where it is decided, absent where 1,000 are not enough or the noise is
    /// unknown.
    pub pairs_needed: Option<usize>,
    /// The reason for a missing interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A metric whose change has an interval, on a scale on which a positive number is harm.
pub(crate) struct Tested<'a> {
    pub(crate) values: &'a Values,
    pub(crate) effect: Effect,
    pub(crate) harm: f64,
    pub(crate) margin: f64,
}

impl<'a> Tested<'a> {
    pub(crate) fn of(values: &'a Values, design: Design) -> Result<Self, NoEffect> {
        let (a, b) = (&values.baseline, &values.candidate);
        let effect = match design {
            Design::Paired => Effect::paired(a, b)?,
            Design::Groups => Effect::of_groups(a, b)?,
        };
        let harm = values.direction.harm() * effect.log_ratio;
        Ok(Self {
            values,
            effect,
            harm,
            margin: values.direction.log_margin(values.margin_percent),
        })
    }

    /// How many standard errors `distance` is; noise-free runs tell every difference.
    fn errors(&self, distance: f64) -> f64 {
        if self.effect.standard_error > 0.0 {
            distance / self.effect.standard_error
        } else if distance == 0.0 {
            0.0
        } else {
            distance.signum() * f64::INFINITY
        }
    }

    /// The probability of a change at least this bad if the true one were exactly at the margin.
    pub(crate) fn p_worse(&self) -> f64 {
        t_above(self.errors(self.harm - self.margin), self.effect.freedom)
    }

    /// The probability of a change at least this good if the true one were exactly at the margin.
    pub(crate) fn p_pass(&self) -> f64 {
        t_above(self.errors(self.margin - self.harm), self.effect.freedom)
    }

    /// The probability of a change at least this bad if the true one were an improvement by the margin.
    pub(crate) fn p_no_gain(&self) -> f64 {
        t_above(self.errors(self.harm + self.margin), self.effect.freedom)
    }

    /// The probability of a change at least this far from none, in either direction, if there were none.
    pub(crate) fn p_differs(&self) -> f64 {
        (2.0 * t_above(self.errors(self.harm.abs()), self.effect.freedom)).min(1.0)
    }

    /// The change for the worse beyond `from` that a test at this level finds with a probability of 80 %.
    pub(crate) fn detectable(&self, from: f64, level: f64) -> Option<f64> {
        let critical = t_quantile(1.0 - level, self.effect.freedom);
        let needed = needed_measured_errors(critical, self.effect.freedom, POWER);
        let log = from + needed * self.effect.standard_error;
        Some(self.values.direction.margin_percent(log)).filter(|percent| percent.is_finite())
    }

    /// How many more replicates a test at this level needs to find `distance` with this probability.
    pub(crate) fn more(&self, distance: f64, level: f64, wanted: f64) -> Option<usize> {
        let have = self.effect.replicates;
        let enough = |replicates: usize| {
            let then = self.effect.with_replicates(replicates);
            let critical = t_quantile(1.0 - level, then.freedom);
            power(critical, distance / then.standard_error, then.freedom) >= wanted
        };
        if distance <= 0.0 || !enough(MOST_PAIRS) {
            return None;
        }
        let (mut low, mut high) = (have, MOST_PAIRS);
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high - have)
    }

    pub(crate) fn judgement(
        &self,
        decision: Decision,
        detectable: Option<f64>,
        needed: Option<usize>,
    ) -> Judgement {
        let percent = |log: f64| log.exp_m1() * 100.0;
        let interval = self.effect.interval(CONFIDENCE);
        Judgement {
            low_percent: Some(percent(interval.low)),
            high_percent: Some(percent(interval.high)),
            change_percent: percent(self.effect.log_ratio),
            detectable_percent: detectable,
            decision,
            pairs_needed: needed,
            reason: None,
            ..self.values.plain()
        }
    }
}

impl Values {
    /// What is known without an interval.
    fn plain(&self) -> Judgement {
        let (baseline, candidate) = (middle(&self.baseline), middle(&self.candidate));
        Judgement {
            metric: self.metric.clone(),
            unit: unit(&self.metric),
            baseline,
            candidate,
            change_percent: (candidate / baseline - 1.0) * 100.0,
            low_percent: None,
            high_percent: None,
            margin_percent: self.margin_percent,
            detectable_percent: None,
            decision: Decision::CannotTell,
            pairs_needed: None,
            reason: None,
        }
    }

    pub(crate) fn without_interval(&self, why: NoEffect) -> Judgement {
        Judgement {
            reason: Some(why.to_string()),
            ..self.plain()
        }
    }
}

/// The geometric mean, or where a value has no logarithm, the arithmetic one.
fn middle(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if let [only] = values {
        *only
    } else if values.iter().all(|value| *value > 0.0) {
        (values.iter().map(|value| value.ln()).sum::<f64>() / n).exp()
    } else {
        values.iter().sum::<f64>() / n
    }
}

/// Judges each metric by itself: better or worse where its interval does not contain 0, equivalent where the
/// interval is within the margin. With k metrics that did not change, one of them is called better or worse
/// with a probability of up to k × 5 %.
pub fn compare(metrics: &[Values], design: Design) -> Vec<Judgement> {
    metrics
        .iter()
        .map(|values| match Tested::of(values, design) {
            Ok(tested) => compare_one(&tested),
            Err(why) => values.without_interval(why),
        })
        .collect()
}

fn compare_one(tested: &Tested<'_>) -> Judgement {
    let half = tested.effect.half(CONFIDENCE);
    let (harm, margin) = (tested.harm, tested.margin);
    let decision = if harm.abs() + half < margin {
        Decision::Equivalent
    } else if harm - half > 0.0 {
        Decision::Worse
    } else if harm + half < 0.0 {
        Decision::Better
    } else {
        Decision::CannotTell
    };
    let needed = match decision {
        // Whichever needs fewer: a difference from 0, or equivalence within the margin.
        Decision::CannotTell => {
            let within = tested.more(margin - harm.abs(), WORSE, EACH_SIDE);
            let apart = tested.more(harm.abs(), WORSE, POWER);
            within.into_iter().chain(apart).min()
        }
        _ => Some(0),
    };
    tested.judgement(decision, tested.detectable(0.0, WORSE), needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{latency, runs};

    #[test]
    fn a_comparison_has_four_answers() {
        let decide = |factor: f64, margin: f64| {
            let values = latency(&runs(100.0, 1.0), &runs(100.0 * factor, -1.0), margin);
            compare(&[values], Design::Groups).remove(0)
        };
        assert_eq!(decide(1.05, 2.0).decision, Decision::Worse);
        assert_eq!(decide(0.95, 2.0).decision, Decision::Better);
        assert_eq!(decide(1.0, 5.0).decision, Decision::Equivalent);
        let open = decide(1.01, 2.0);
        assert_eq!(open.decision, Decision::CannotTell);
        assert!(
            open.pairs_needed.is_some_and(|needed| needed > 0),
            "{open:?}"
        );
        assert!(open.low_percent.unwrap() < 0.0 && open.high_percent.unwrap() > 2.0);
        // More throughput is better.
        let more = Values {
            metric: "output_throughput".into(),
            direction: Direction::Higher,
            ..latency(&runs(100.0, 1.0), &runs(105.0, -1.0), 2.0)
        };
        assert_eq!(
            compare(&[more], Design::Groups)[0].decision,
            Decision::Better
        );
    }
}
