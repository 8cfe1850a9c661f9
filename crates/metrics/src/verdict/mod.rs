//! May the numbers be trusted?
//!
//! [`RULES`] has one row per reason: what is measured, its limits, and the words in both languages.
//! [`judge`] applies all of them.

mod details;
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
    /// Fraction of the prompt tokens that repeat prefixes of earlier requests of the same run, and
    /// that a prefix cache may therefore serve.
    #[serde(default)]
    pub predicted_cached: f64,
    /// Fraction of the prompt tokens that the server found in its prefix cache by its own counters, if
    /// it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_cached: Option<f64>,
    /// True when the run was stopped early.
    pub interrupted: bool,
    /// True when the records come from the log of a run that was killed, which lacks the run's last
    /// second: requests without a record may have been sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
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

impl Rule {
    /// The rule with this code.
    pub fn find(code: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.code == code)
    }

    /// The rules as a Markdown table, for the documentation.
    pub fn table() -> String {
        use std::fmt::Write as _;
        let mut text =
            String::from("| code | measure | CAUTION | INVALID | what it means | what to do |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for rule in RULES {
            let Self { code, quantity, .. } = rule;
            let Advice { meaning, remedy } = rule.en;
            let definition = rule
                .definition
                .map(|definition| format!(" ({definition})"))
                .unwrap_or_default();
            let (caution, invalid) = (rule.caution.show(rule.unit), rule.invalid.show(rule.unit));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| `{code}` | {quantity}{definition} | {caution} | {invalid} | {meaning} | {remedy} |"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use inferometer_core::Level;

    use super::Limit::Never;
    use super::*;

    #[test]
    fn codes_are_unique_and_an_invalid_limit_is_beyond_the_caution() {
        for rule in RULES {
            let same = RULES.iter().filter(|other| other.code == rule.code);
            assert_eq!(same.count(), 1, "{}", rule.code);
            assert!(
                rule.caution != Never || rule.invalid != Never,
                "{}",
                rule.code
            );
            if rule.caution != Never {
                assert!(
                    rule.invalid.value(100.0) > rule.caution.value(100.0),
                    "{}",
                    rule.code
                );
            }
        }
    }

    #[test]
    fn limits_are_met_at_their_value() {
        let late = Rule::find("late_sends").unwrap();
        assert_eq!(late.level(2.9, 100.0), Level::Valid);
        assert_eq!(late.level(3.0, 100.0), Level::Caution);
        assert_eq!(late.level(10.0, 100.0), Level::Invalid);
        assert_eq!(late.level(19.0, 1000.0), Level::Valid);
        assert_eq!(late.level(49.0, 1000.0), Level::Caution);
        let failures = Rule::find("failures").unwrap();
        assert_eq!(failures.level(0.0, 0.0), Level::Valid);
        assert_eq!(failures.level(0.001, 0.0), Level::Caution);
        assert_eq!(failures.level(0.05, 0.0), Level::Invalid);
    }
}
