//! May the numbers be trusted?
//!
//! [`RULES`] has one row per reason: what is measured, its limits, and the words in both languages.
//! [`judge`] applies all of them.

mod findings;
mod rule;
mod rules;

use inferometer_core::{ClientHealth, Verdict};
use serde::{Deserialize, Serialize};

pub use rule::{Advice, Limit, Rule, Unit};
pub use rules::RULES;

use crate::{Extras, Summary};
use findings::Findings;

/// What the verdict needs besides the numbers and the client's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictSettings {
    /// True when the request rate is finite.
    pub finite_rate: bool,
    /// True when the rate rises on purpose, so that a growing backlog is expected.
    pub ramp: bool,
    /// True when every answer must have the requested length (`--ignore-eos`).
    pub ignore_eos: bool,
    /// True when the user named the percentiles (`--metric-percentiles`) instead of taking the
    /// default.
    pub explicit_percentiles: bool,
    /// Fraction of prompts that repeat an earlier one, if it was determined.
    pub duplicate_prompts: Option<f64>,
    /// True when prompts share prefixes on purpose, so that repetitions and cache hits are
    /// expected.
    pub cache_expected: bool,
    /// True when the run was stopped early.
    pub interrupted: bool,
    /// How much of this host's ceiling the run used, if the ceiling is known: the largest of the
    /// fractions of the request rate, the event rate and the open streams.
    pub ceiling_used: Option<f64>,
}

/// The verdict on a run: the reasons of every [`Rule`] whose limit its numbers reach.
pub fn judge(
    summary: &Summary,
    extras: &Extras,
    health: &ClientHealth,
    settings: &VerdictSettings,
) -> Verdict {
    let findings = Findings::new(summary, extras, health, settings);
    let reasons = RULES.iter().filter_map(|rule| rule.reason(&findings));
    Verdict::from_reasons(reasons.collect())
}
