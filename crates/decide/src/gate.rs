//! One decision for all metrics: a gate with margins, or a contrast of two servers.

use inferometer_metrics::CONFIDENCE;
use serde::{Deserialize, Serialize};

use crate::effect::{Design, NoEffect};
use crate::groups::Groups;
use crate::judge::{Decision, EACH_SIDE, Judgement, PASS, POWER, Tested, Values, WORSE};
use crate::looks::Looks;

/// What a gate says of all its metrics together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No metric is worse by more than its margin.
    Pass,
    /// At least one is.
    Worse,
    /// Neither is shown.
    CannotTell,
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// What it says of all metrics together.
    pub decision: Outcome,
    /// Each metric.
    pub metrics: Vec<Judgement>,
    /// Pairs, or runs on each side, that are still needed: the most of any undecided metric.
    pub pairs_needed: Option<usize>,
}

impl Gate {
    /// Withholds a "pass" where the candidate fails more requests than the baseline: its latencies are then those of
    /// the requests that survived.
    #[must_use]
    pub fn unless_more_fail(mut self, groups: &Groups) -> Self {
        if self.decision == Outcome::Pass && groups.failures.candidate_fails_more() {
            self.decision = Outcome::CannotTell;
            self.pairs_needed = None;
        }
        self
    }
}

/// Judges whether the candidate is worse than the baseline by more than the margins.
///
/// "Worse" says that at least one metric is worse by more than its margin: one-sided t tests at 2.5 %
/// together, by Holm's method (the ends of 95 % intervals, corrected for the number of metrics). "Pass" says
/// that none is: the upper 95 % bound of each is below its margin. Several looks share these probabilities.
pub fn gate(metrics: &[Values], design: Design, looks: &Looks) -> Gate {
    let pass_level = looks.level(PASS);
    let later = Later::of(looks, WORSE / metrics.len().max(1) as f64, PASS);
    let judge = |tested: &Tested<'_>, is_worse| gate_one(tested, is_worse, pass_level, &later);
    together(metrics, design, looks.level(WORSE), Tested::p_worse, judge)
}

/// Judges whether the candidate differs from the baseline at all: as
/// [`compare`](crate::compare), but of all metrics together, by Holm's method, at most 5 % are called better or worse that
/// did not change, over all looks. A metric is equivalent where the 90 % interval of its change is within its margin (two one-sided tests). "Pass" says that every metric is better or
/// equivalent.
pub fn contrast(metrics: &[Values], design: Design, looks: &Looks) -> Gate {
    let level = looks.level(PASS);
    let later = Later::of(looks, PASS / metrics.len().max(1) as f64 / 2.0, PASS);
    let judge = |tested: &Tested<'_>, differs| contrast_one(tested, differs, level, &later);
    together(metrics, design, level, Tested::p_differs, judge)
}

/// Judges all metrics together: `judge` is given each with whether Holm's method rejects, at this level, the hypothesis
/// of which `p_value` is the probability.
fn together<'a>(
    metrics: &'a [Values],
    design: Design,
    level: f64,
    p_value: impl Fn(&Tested<'a>) -> f64,
    judge: impl Fn(&Tested<'a>, bool) -> Judgement,
) -> Gate {
    let tested: Vec<Result<Tested<'a>, NoEffect>> = metrics
        .iter()
        .map(|values| Tested::of(values, design))
        .collect();
    let p_values: Vec<f64> = tested
        .iter()
        .map(|one| one.as_ref().map_or(1.0, &p_value))
        .collect();
    let rejected = holm(&p_values, level);
    let judgements =
        tested
            .iter()
            .zip(metrics)
            .zip(rejected)
            .map(|((tested, values), rejected)| match tested {
                Ok(tested) => judge(tested, rejected),
                Err(why) => values.without_interval(*why),
            });
    conclude(judgements.collect())
}

/// What is left for later looks, by which runs that are still needed and the detectable change are computed.
struct Later<'a> {
    looks: &'a Looks,
    /// Error probability of "worse" of one metric.
    worse: f64,
    /// Error probability of "pass", or of "equivalent".
    pass: f64,
}

impl<'a> Later<'a> {
    fn of(looks: &'a Looks, worse: f64, pass: f64) -> Self {
        Self {
            looks,
            worse: looks.remaining(worse),
            pass: looks.remaining(pass),
        }
    }

    /// `needed`, if it is within the plan.
    fn within(&self, needed: Option<usize>) -> Option<usize> {
        needed.filter(|more| self.looks.allows(*more))
    }
}

fn contrast_one(
    tested: &Tested<'_>,
    differs: bool,
    equivalence_level: f64,
    later: &Later<'_>,
) -> Judgement {
    let decision = if tested.p_pass().max(tested.p_no_gain()) < equivalence_level {
        Decision::Equivalent
    } else if differs && tested.harm > 0.0 {
        Decision::Worse
    } else if differs {
        Decision::Better
    } else {
        Decision::CannotTell
    };
    let needed = match decision {
        Decision::CannotTell => {
            let room = tested.margin - tested.harm.abs();
            let within = tested.more(room, later.pass, EACH_SIDE);
            let apart = tested.more(tested.harm.abs(), later.worse, POWER);
            later.within(within.into_iter().chain(apart).min())
        }
        _ => Some(0),
    };
    tested.judgement(decision, tested.detectable(0.0, later.worse), needed)
}

/// What the metrics say together.
fn conclude(metrics: Vec<Judgement>) -> Gate {
    let has = |decision: Decision| metrics.iter().any(|one| one.decision == decision);
    let decision = if has(Decision::Worse) {
        Outcome::Worse
    } else if has(Decision::CannotTell) || metrics.is_empty() {
        Outcome::CannotTell
    } else {
        Outcome::Pass
    };
    let pairs_needed = match decision {
        Outcome::CannotTell => {
            let needs: Option<Vec<usize>> = metrics.iter().map(|one| one.pairs_needed).collect();
            needs.and_then(|needs| needs.into_iter().max())
        }
        Outcome::Pass | Outcome::Worse => Some(0),
    };
    Gate {
        decision,
        metrics,
        pairs_needed,
    }
}

fn gate_one(tested: &Tested<'_>, is_worse: bool, pass_level: f64, later: &Later<'_>) -> Judgement {
    let half = tested.effect.half(CONFIDENCE);
    let decision = if is_worse {
        Decision::Worse
    } else if tested.p_pass() < pass_level {
        if tested.harm + half < 0.0 {
            Decision::Better
        } else {
            Decision::Equivalent
        }
    } else {
        Decision::CannotTell
    };
    let distance = tested.harm - tested.margin;
    let needed = match decision {
        Decision::CannotTell if distance < 0.0 => {
            later.within(tested.more(-distance, later.pass, POWER))
        }
        Decision::CannotTell => later.within(tested.more(distance, later.worse, POWER)),
        _ => Some(0),
    };
    tested.judgement(
        decision,
        tested.detectable(tested.margin, later.worse),
        needed,
    )
}

/// Which hypotheses Holm's method rejects, so that the probability of one false rejection or more is at most
/// `level` (Holm 1979).
fn holm(p_values: &[f64], level: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut rejected = vec![false; p_values.len()];
    for (rank, index) in order.iter().enumerate() {
        if p_values[*index] >= level / (p_values.len() - rank) as f64 {
            break;
        }
        rejected[*index] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{latency, runs};

    #[test]
    fn holm_is_that_of_statsmodels() {
        // statsmodels.stats.multitest.multipletests([.01, .04, .03, .005], .05, "holm")
        assert_eq!(
            holm(&[0.01, 0.04, 0.03, 0.005], 0.05),
            [true, false, false, true]
        );
        assert_eq!(holm(&[], 0.05), [false; 0]);
    }

    #[test]
    fn a_gate_asks_about_the_margin_and_not_about_zero() {
        let decide = |factor: f64| {
            let values = latency(&runs(100.0, 1.0), &runs(100.0 * factor, -1.0), 5.0);
            gate(&[values], Design::Groups, &Looks::single(5))
        };
        assert_eq!(
            decide(1.02).decision,
            Outcome::Pass,
            "worse than 0, but within the margin"
        );
        assert_eq!(decide(1.05).decision, Outcome::CannotTell);
        let worse = decide(1.10);
        assert_eq!(worse.decision, Outcome::Worse);
        let detectable = worse.metrics[0].detectable_percent.unwrap();
        assert!((7.0..9.0).contains(&detectable), "{detectable}");
    }

    #[test]
    fn one_run_a_side_cannot_tell_and_says_why() {
        let gate = gate(
            &[latency(&[100.0], &[150.0], 5.0)],
            Design::Groups,
            &Looks::single(1),
        );
        assert_eq!(gate.decision, Outcome::CannotTell);
        let metric = &gate.metrics[0];
        assert_eq!(metric.change_percent, 50.0);
        assert!(
            metric
                .reason
                .as_deref()
                .unwrap()
                .contains("noise between runs"),
            "{metric:?}"
        );
    }

    #[test]
    fn runs_without_noise_tell_every_difference() {
        let values = latency(&[100.0, 100.0], &[106.0, 106.0], 5.0);
        let found = gate(
            std::slice::from_ref(&values),
            Design::Groups,
            &Looks::single(2),
        );
        assert_eq!(found.decision, Outcome::Worse);
        let same = latency(&[100.0, 100.0], &[100.0, 100.0], 5.0);
        assert_eq!(
            gate(&[same], Design::Groups, &Looks::single(2)).decision,
            Outcome::Pass
        );
    }
}
