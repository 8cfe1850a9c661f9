//! What a gate asks, from flags and from a file, and the file that counts its looks.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::gate::Outcome;
use crate::groups::{Asked, Groups, Member};
use crate::looks::Looks;
use crate::metric::Direction;

/// The settings of a gate in a file (TOML), which a team shares.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateFile {
    /// Metrics, each with the percentage by which it may be worse.
    pub max_regression: IndexMap<String, f64>,
    /// Settings that the groups need not share.
    pub may_differ: Vec<String>,
    /// The runs are pairs.
    pub paired: bool,
}

/// The looks at one experiment (JSON). Runs may be added until the decision is made; each look spends a part of the
/// error probability, so that looking again and again does not find something in noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionFile {
    /// 1.
    pub format_version: u32,
    /// Runs on each side, or pairs, at the last look.
    pub max_runs: usize,
    /// The question: metrics and margins in percent.
    pub max_regression: IndexMap<String, f64>,
    /// The looks so far.
    pub looks: Vec<Look>,
}

/// One look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Runs on each side, or pairs.
    pub runs: usize,
    /// Names of the baseline's runs.
    pub baseline: Vec<String>,
    /// Names of the candidate's runs.
    pub candidate: Vec<String>,
    /// What it said.
    pub decision: Outcome,
}

/// Why the question of a gate cannot be asked.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum GateError {
    /// A metric without a margin.
    #[error("invalid {0:?}: expected METRIC=PERCENT, such as p99_ttft_ms=5")]
    NoMargin(String),
    /// A margin that cannot be tested.
    #[error("invalid margin of {metric}, {percent}: expected a percentage from 0 to below {limit}")]
    Margin {
        /// The metric.
        metric: String,
        /// Its margin.
        percent: f64,
        /// What no regression can reach.
        limit: f64,
    },
    /// Nothing to judge.
    #[error(
        "expected at least one --max-regression METRIC=PERCENT, such as p99_ttft_ms=5 output_throughput=3"
    )]
    NoMetric,
    /// The file asks something else.
    #[error(
        "the decision file is of other metrics or margins: expected {expected}; use another file for another question"
    )]
    OtherQuestion {
        /// What the file asks.
        expected: String,
    },
    /// A decision file needs a last look.
    #[error(
        "a new decision file needs --max-runs, the number of runs on each side at the last look"
    )]
    NoPlan,
    /// The plan cannot be changed once looks were taken.
    #[error(
        "the decision file plans its last look at {planned} runs, not {asked}: the plan of an experiment cannot change"
    )]
    OtherPlan {
        /// What the file says.
        planned: usize,
        /// What the flag says.
        asked: usize,
    },
    /// More runs than planned.
    #[error("{runs} runs on each side, but the last look was planned at {planned}")]
    BeyondPlan {
        /// The runs.
        runs: usize,
        /// The plan.
        planned: usize,
    },
    /// Other runs.
    #[error(
        "the runs are not those of the earlier look and more on both sides: expected {expected} and others; use another \
         decision file for other runs"
    )]
    OtherRuns {
        /// Runs of the earlier look.
        expected: String,
    },
}

impl Asked {
    /// Reads `METRIC=PERCENT`.
    ///
    /// # Errors
    ///
    /// When it has another form, or the percentage cannot be tested.
    pub fn parse(text: &str) -> Result<Self, GateError> {
        let no_margin = || GateError::NoMargin(text.to_owned());
        let (metric, percent) = text.split_once('=').ok_or_else(no_margin)?;
        let percent: f64 = percent
            .trim_matches(|c: char| c.is_whitespace() || c == '%')
            .parse()
            .map_err(|_| no_margin())?;
        Self::new(metric.trim(), percent)
    }

    /// A metric and its margin in percent.
    ///
    /// # Errors
    ///
    /// When the margin cannot be tested: throughput cannot be worse by 100 %.
    pub fn new(metric: &str, margin_percent: f64) -> Result<Self, GateError> {
        let limit = match Direction::of(metric) {
            Some(Direction::Higher) => 100.0,
            _ => 10_000.0,
        };
        if !(0.0..limit).contains(&margin_percent) {
            return Err(GateError::Margin {
                metric: metric.to_owned(),
                percent: margin_percent,
                limit,
            });
        }
        Ok(Self {
            metric: metric.to_owned(),
            margin_percent,
        })
    }
}

impl DecisionFile {
    /// The looks with one more at the runs of `groups`: of the experiment in `earlier`, or of a new one that ends at
    /// `max_runs`. A look at the same runs as before is the same look.
    ///
    /// # Errors
    ///
    /// When the question, the plan or the runs are not those of the earlier looks.
    pub fn looks(
        earlier: Option<&Self>,
        asked: &[Asked],
        max_runs: Option<usize>,
        groups: &Groups,
    ) -> Result<Looks, GateError> {
        let runs = groups.replicates();
        let Some(earlier) = earlier else {
            let planned = max_runs.ok_or(GateError::NoPlan)?;
            return check_plan(planned, runs, Vec::new());
        };
        let same = earlier.max_regression.len() == asked.len()
            && asked
                .iter()
                .all(|one| earlier.max_regression.get(&one.metric) == Some(&one.margin_percent));
        if !same {
            let named = earlier.max_regression.iter();
            let named = named.map(|(metric, percent)| format!("{metric}={percent}"));
            return Err(GateError::OtherQuestion {
                expected: named.collect::<Vec<_>>().join(" "),
            });
        }
        if let Some(asked) = max_runs.filter(|asked| *asked != earlier.max_runs) {
            return Err(GateError::OtherPlan {
                planned: earlier.max_runs,
                asked,
            });
        }
        let mut taken: Vec<usize> = earlier.looks.iter().map(|look| look.runs).collect();
        if let Some(last) = earlier.looks.last() {
            let (baseline, candidate) = (names(groups.baseline()), names(groups.candidate()));
            if last.baseline == baseline && last.candidate == candidate {
                taken.pop();
            } else if runs <= last.runs
                || !contains(&baseline, &last.baseline)
                || !contains(&candidate, &last.candidate)
            {
                let expected: Vec<&str> = last
                    .baseline
                    .iter()
                    .chain(&last.candidate)
                    .map(String::as_str)
                    .collect();
                return Err(GateError::OtherRuns {
                    expected: expected.join(", "),
                });
            }
        }
        check_plan(earlier.max_runs, runs, taken)
    }

    /// The file after the present look.
    pub fn after(
        looks: &Looks,
        earlier: Option<Self>,
        asked: &[Asked],
        groups: &Groups,
        decision: Outcome,
    ) -> Self {
        let mut file = earlier.unwrap_or_else(|| Self {
            format_version: 1,
            max_runs: looks.planned,
            max_regression: asked
                .iter()
                .map(|one| (one.metric.clone(), one.margin_percent))
                .collect(),
            looks: Vec::new(),
        });
        file.looks.truncate(looks.taken.len().saturating_sub(1));
        file.looks.push(Look {
            runs: groups.replicates(),
            baseline: names(groups.baseline()),
            candidate: names(groups.candidate()),
            decision,
        });
        file
    }
}

fn names(members: &[Member]) -> Vec<String> {
    members.iter().map(|member| member.name.clone()).collect()
}

fn contains(all: &[String], some: &[String]) -> bool {
    some.iter().all(|one| all.contains(one))
}

fn check_plan(planned: usize, runs: usize, mut taken: Vec<usize>) -> Result<Looks, GateError> {
    if runs > planned {
        return Err(GateError::BeyondPlan { runs, planned });
    }
    taken.push(runs);
    Ok(Looks { planned, taken })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Design;

    fn asked() -> Vec<Asked> {
        vec![Asked::parse("p99_ttft_ms=5").unwrap()]
    }

    #[test]
    fn a_margin_is_a_percentage_that_can_be_tested() {
        let found = Asked::parse("output_throughput = 3 %").unwrap();
        assert_eq!(
            (found.metric.as_str(), found.margin_percent),
            ("output_throughput", 3.0)
        );
        for text in [
            "p99_ttft_ms",
            "p99_ttft_ms=",
            "p99_ttft_ms=x",
            "p99_ttft_ms=-1",
            "output_throughput=100",
            "x=nan",
        ] {
            assert!(Asked::parse(text).is_err(), "{text}");
        }
    }

    fn groups(runs: std::ops::Range<usize>) -> Groups {
        let side = |name: &str| {
            let member = |index: usize| Member {
                name: format!("{name}/{index}"),
                row: [("completed".to_owned(), 1.into())].into_iter().collect(),
            };
            runs.clone().map(member).collect()
        };
        Groups::new(side("a"), side("b"), Design::Groups, &[]).unwrap()
    }

    #[test]
    fn an_experiment_keeps_its_question_its_plan_and_its_runs() {
        assert_eq!(
            DecisionFile::looks(None, &asked(), None, &groups(0..4)),
            Err(GateError::NoPlan)
        );
        let first = DecisionFile::looks(None, &asked(), Some(10), &groups(0..4)).unwrap();
        let file = DecisionFile::after(&first, None, &asked(), &groups(0..4), Outcome::CannotTell);
        let next = |asked: &[Asked], max: Option<usize>, runs: std::ops::Range<usize>| {
            DecisionFile::looks(Some(&file), asked, max, &groups(runs))
        };
        assert_eq!(next(&asked(), None, 0..7).unwrap().taken, [4, 7]);
        assert_eq!(
            next(&asked(), Some(10), 0..4).unwrap().taken,
            [4],
            "the same look again"
        );
        assert!(matches!(
            next(&asked(), Some(12), 0..7),
            Err(GateError::OtherPlan { .. })
        ));
        assert!(matches!(
            next(&asked(), None, 0..11),
            Err(GateError::BeyondPlan { .. })
        ));
        assert!(matches!(
            next(&asked(), None, 0..3),
            Err(GateError::OtherRuns { .. })
        ));
        assert!(matches!(
            next(&asked(), None, 1..5),
            Err(GateError::OtherRuns { .. })
        ));
        assert!(matches!(
            next(&asked(), None, 1..9),
            Err(GateError::OtherRuns { .. })
        ));
        let other = [Asked::parse("p99_ttft_ms=6").unwrap()];
        assert!(matches!(
            next(&other, None, 0..7),
            Err(GateError::OtherQuestion { .. })
        ));
    }
}
