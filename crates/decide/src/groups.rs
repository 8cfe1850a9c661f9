//! Two groups of runs: who is in them, and whether they measured the same.

use std::collections::BTreeMap;

use inferometer_core::{Level, Verdict};
use serde::Serialize;

use crate::effect::Design;
use crate::judge::Values;
use crate::metric::{Direction, Row, number};
use crate::recipe::{Difference, Recipe, is_below};

/// A run in a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name: the path of its file or folder.
    pub name: String,
    /// The run in the keys of its result file.
    pub row: Row,
}

/// A run that is not data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A metric that somebody asks about.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its name: a key of the result file, or the path of one of ours with dots.
    pub metric: String,
    /// A change up to this many percent does not matter.
    pub margin_percent: f64,
}

/// Two groups of runs that measured the same.
#[derive(Debug)]
pub struct Groups {
    baseline: Vec<Member>,
    candidate: Vec<Member>,
    /// Whether the runs are pairs.
    pub design: Design,
    /// Runs that are not data.
    pub left_out: Vec<LeftOut>,
    /// Requests that failed.
    pub failures: Failures,
    /// True where some file does not hold all settings, so that not all could be compared.
    pub settings_unknown: bool,
    /// Settings that differ although they should not, which the user allowed.
    pub allowed: Vec<String>,
}

/// Requests that failed, as a fraction of those that ended, over all runs of a side; runs without an answer count as
/// failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Failures {
    /// Of the baseline.
    pub baseline: f64,
    /// Of the candidate.
    pub candidate: f64,
}

/// By how much more of its requests a candidate may fail before its latencies are taken to be those of survivors: a
/// percentile of 1 % of the requests moves with that many.
const MORE_FAILURES: f64 = 0.01;

impl Failures {
    /// True where the candidate fails more requests than the baseline, by a percentage point or more.
    pub fn candidate_fails_more(&self) -> bool {
        self.candidate - self.baseline >= MORE_FAILURES
    }

    fn of(baseline: &[Member], candidate: &[Member]) -> Self {
        let fraction = |members: &[Member]| {
            let (mut failed, mut all) = (0.0, 0.0);
            for member in members {
                let completed = number(&member.row, "completed");
                let lost = number(&member.row, "failed")
                    .or_else(|| Some((number(&member.row, "num_prompts")? - completed?).max(0.0)));
                if let (Some(completed), Some(lost)) = (completed, lost) {
                    failed += lost;
                    all += completed + lost;
                }
            }
            if all > 0.0 { failed / all } else { 0.0 }
        };
        Self {
            baseline: fraction(baseline),
            candidate: fraction(candidate),
        }
    }
}

/// The groups did not measure the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotComparable {
    /// The settings that differ.
    pub reasons: Vec<Difference>,
}

/// Why two groups cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// A group has no run that is data.
    #[error("the {side} has no run that is data: {}", named(.left_out))]
    NoRuns {
        /// `baseline` or `candidate`.
        side: &'static str,
        /// Its runs.
        left_out: Vec<LeftOut>,
    },
    /// The groups did not measure the same.
    #[error("not comparable: {}", differences(.0))]
    NotComparable(NotComparable),
    /// A run cannot be compared with itself.
    #[error("{0} is in both groups: expected different runs")]
    InBoth(String),
    /// Pairs need two members each.
    #[error(
        "pairs need as many runs in the baseline as in the candidate: got {baseline} and {candidate}"
    )]
    Unpaired {
        /// Runs of the baseline.
        baseline: usize,
        /// Runs of the candidate.
        candidate: usize,
    },
    /// A run does not have a metric.
    #[error("{run}: no metric {metric}: {hint}")]
    NoMetric {
        /// The run.
        run: String,
        /// The metric.
        metric: String,
        /// What to do.
        hint: String,
    },
    /// A latency of 0, which tools write where there was no sample.
    #[error("{run}: {metric} is 0, which means that it was not measured")]
    NotMeasured {
        /// The run.
        run: String,
        /// The metric.
        metric: String,
    },
    /// Neither direction of a number is an improvement.
    #[error(
        "invalid metric {0}: expected a latency, throughput or goodput, of which one direction is better"
    )]
    NoDirection(String),
}

fn named(left_out: &[LeftOut]) -> String {
    let named: Vec<String> = left_out
        .iter()
        .map(|one| format!("{} ({})", one.name, one.reason))
        .collect();
    named.join(", ")
}

fn differences(found: &NotComparable) -> String {
    let named: Vec<String> = found
        .reasons
        .iter()
        .map(|one| {
            let [baseline, candidate] = &one.runs;
            format!(
                "{} is {} in {baseline} and {} in {candidate}",
                one.field, one.baseline, one.candidate
            )
        })
        .collect();
    named.join("; ")
}

impl Groups {
    /// The groups of these runs. Runs that are INVALID or have no answer are left out. Names in `may_differ`
    /// are settings that runs need not share; the beginning of a name with dots covers all below it.
    ///
    /// # Errors
    ///
    /// When a group has no run that is data, when runs differ in another setting, within a group or between
    /// the two, or when pairs are incomplete.
    pub fn new(
        baseline: Vec<Member>,
        candidate: Vec<Member>,
        design: Design,
        may_differ: &[String],
    ) -> Result<Self, DecideError> {
        if let Some(both) = baseline
            .iter()
            .find(|one| candidate.iter().any(|other| other.name == one.name))
        {
            return Err(DecideError::InBoth(both.name.clone()));
        }
        let failures = Failures::of(&baseline, &candidate);
        let mut left_out = Vec::new();
        let (baseline, candidate) = match design {
            Design::Paired => whole_pairs(baseline, candidate, &mut left_out)?,
            Design::Groups => (baseline, candidate),
        };
        let baseline = sound(baseline, "baseline", &mut left_out)?;
        let candidate = sound(candidate, "candidate", &mut left_out)?;
        let mut groups = Self {
            baseline,
            candidate,
            design,
            left_out,
            failures,
            settings_unknown: false,
            allowed: Vec::new(),
        };
        groups.check_recipes(may_differ)?;
        Ok(groups)
    }

    /// Compares the recipe of each run with that of the first.
    fn check_recipes(&mut self, may_differ: &[String]) -> Result<(), DecideError> {
        let first = Recipe::of(&self.baseline[0].row);
        let mut found: BTreeMap<String, Difference> = BTreeMap::new();
        let mut unknown = !first.is_complete();
        for member in self.baseline.iter().skip(1).chain(&self.candidate) {
            let recipe = Recipe::of(&member.row);
            unknown |= !recipe.is_complete();
            for (field, baseline, candidate) in first.differences(&recipe) {
                found.entry(field.clone()).or_insert_with(|| Difference {
                    field,
                    baseline,
                    candidate,
                    runs: [self.baseline[0].name.clone(), member.name.clone()],
                });
            }
        }
        let is_allowed = |field: &str| may_differ.iter().any(|name| is_below(field, name));
        let (allowed, refused): (Vec<Difference>, Vec<Difference>) =
            found.into_values().partition(|one| is_allowed(&one.field));
        self.settings_unknown = unknown;
        self.allowed = allowed.into_iter().map(|one| one.field).collect();
        if refused.is_empty() {
            Ok(())
        } else {
            Err(DecideError::NotComparable(NotComparable {
                reasons: refused,
            }))
        }
    }

    /// The names that no run has as a setting, as after a typing error.
    pub fn unknown_settings(&self, names: &[String]) -> Vec<String> {
        let everyone = self.baseline.iter().chain(&self.candidate);
        let recipes: Vec<Recipe> = everyone.map(|member| Recipe::of(&member.row)).collect();
        let is_unknown = |name: &&String| !recipes.iter().any(|recipe| recipe.has(name));
        names.iter().filter(is_unknown).cloned().collect()
    }

    /// The runs of the baseline that are data.
    pub fn baseline(&self) -> &[Member] {
        &self.baseline
    }

    /// The runs of the candidate that are data.
    pub fn candidate(&self) -> &[Member] {
        &self.candidate
    }

    /// Pairs, or the runs of the smaller side.
    pub fn replicates(&self) -> usize {
        self.baseline.len().min(self.candidate.len())
    }

    /// The values of the metrics in all runs.
    ///
    /// # Errors
    ///
    /// When a run does not have one of them, or neither direction of one is an improvement.
    pub fn values(&self, asked: &[Asked]) -> Result<Vec<Values>, DecideError> {
        asked
            .iter()
            .map(|one| {
                let key = one.metric.as_str();
                let direction =
                    Direction::of(key).ok_or_else(|| DecideError::NoDirection(key.to_owned()))?;
                let of = |members: &[Member]| {
                    members
                        .iter()
                        .map(|member| {
                            measured(&member.row, key).ok_or_else(|| self.missing(member, key))
                        })
                        .collect::<Result<Vec<f64>, DecideError>>()
                };
                Ok(Values {
                    metric: key.to_owned(),
                    direction,
                    baseline: of(&self.baseline)?,
                    candidate: of(&self.candidate)?,
                    margin_percent: one.margin_percent,
                })
            })
            .collect()
    }

    /// The metrics that all runs have and of which one direction is an improvement: what users wait first.
    pub fn metrics(&self) -> Vec<String> {
        let first = &self.baseline[0].row;
        let mut names: Vec<String> = Vec::new();
        for metric in ["e2el_ms", "ttft_ms"] {
            for stat in ["mean", "p50", "p99"] {
                names.push(format!("extras.response.{metric}.{stat}"));
            }
        }
        let has_e2el = first.contains_key("mean_e2el_ms");
        if !has_e2el && number(first, "extras.response.e2el_ms.mean").is_none() {
            names.extend(
                ["mean", "p50", "p99"].map(|stat| format!("extras.service.e2el_ms.{stat}")),
            );
        }
        let (e2el, others): (Vec<&String>, Vec<&String>) =
            first.keys().partition(|key| key.ends_with("_e2el_ms"));
        let is_spread = |key: &str| key.starts_with("std_");
        names.extend(
            e2el.into_iter()
                .chain(others)
                .filter(|key| !is_spread(key))
                .cloned(),
        );
        let everyone = || self.baseline.iter().chain(&self.candidate);
        names.retain(|key| {
            Direction::of(key).is_some()
                && everyone().all(|member| measured(&member.row, key).is_some())
        });
        names
    }

    fn missing(&self, member: &Member, key: &str) -> DecideError {
        if number(&member.row, key).is_some() {
            return DecideError::NotMeasured {
                run: member.name.clone(),
                metric: key.to_owned(),
            };
        }
        let near = self.metrics().into_iter().filter(|name| {
            let stem = |name: &str| name.split_once('_').map(|(_, rest)| rest.to_owned());
            stem(name) == stem(key)
        });
        let near: Vec<String> = near.collect();
        let hint = if near.is_empty() {
            format!("these runs have {}", self.metrics().join(", "))
        } else {
            format!(
                "expected one that all runs have, such as {}",
                near.join(", ")
            )
        };
        DecideError::NoMetric {
            run: member.name.clone(),
            metric: key.to_owned(),
            hint,
        }
    }
}

/// A number that was measured: vLLM writes 0 for a latency without samples.
fn measured(row: &Row, key: &str) -> Option<f64> {
    let value = number(row, key)?;
    let is_unmeasured = value == 0.0 && Direction::of(key) == Some(Direction::Lower);
    (!is_unmeasured).then_some(value)
}

/// The pairs of which both runs are data, or all if there are none.
fn whole_pairs(
    baseline: Vec<Member>,
    candidate: Vec<Member>,
    left_out: &mut Vec<LeftOut>,
) -> Result<(Vec<Member>, Vec<Member>), DecideError> {
    if baseline.len() != candidate.len() {
        return Err(DecideError::Unpaired {
            baseline: baseline.len(),
            candidate: candidate.len(),
        });
    }
    let (whole, broken): (Vec<_>, Vec<_>) = baseline
        .into_iter()
        .zip(candidate)
        .partition(|(a, b)| unsound(&a.row).is_none() && unsound(&b.row).is_none());
    if whole.is_empty() {
        return Ok(broken.into_iter().unzip());
    }
    for (a, b) in broken {
        let why = unsound(&a.row)
            .or_else(|| unsound(&b.row))
            .unwrap_or_default();
        left_out.push(LeftOut {
            name: format!("{} and {}", a.name, b.name),
            reason: why,
        });
    }
    Ok(whole.into_iter().unzip())
}

/// The members that are data.
fn sound(
    members: Vec<Member>,
    side: &'static str,
    left_out: &mut Vec<LeftOut>,
) -> Result<Vec<Member>, DecideError> {
    let mut kept = Vec::new();
    let mut removed = Vec::new();
    for member in members {
        match unsound(&member.row) {
            None => kept.push(member),
            Some(reason) => removed.push(LeftOut {
                name: member.name,
                reason,
            }),
        }
    }
    if kept.is_empty() {
        return Err(DecideError::NoRuns {
            side,
            left_out: removed,
        });
    }
    left_out.extend(removed);
    Ok(kept)
}

/// Why a run is not data.
fn unsound(row: &Row) -> Option<String> {
    let verdict = row
        .get("inferometer")
        .and_then(|ours| ours.get("verdict"))
        .and_then(|verdict| serde_json::from_value::<Verdict>(verdict.clone()).ok());
    if let Some(verdict) = verdict.filter(|verdict| verdict.level == Level::Invalid) {
        let codes: Vec<&str> = verdict
            .reasons
            .iter()
            .filter(|reason| reason.level == Level::Invalid)
            .map(|reason| reason.code.as_str())
            .collect();
        return Some(format!("INVALID: {}", codes.join(", ")));
    }
    (number(row, "completed") == Some(0.0)).then(|| "no request was answered".to_owned())
}
