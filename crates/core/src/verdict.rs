//! Whether the numbers of a run can be trusted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far the numbers of a run can be trusted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// The load was as requested, and the client's own error is within its limits.
    #[default]
    Valid,
    /// The numbers are right but need the reader's attention.
    Caution,
    /// The numbers must not be used as they are.
    Invalid,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Valid => "VALID",
            Self::Caution => "CAUTION",
            Self::Invalid => "INVALID",
        })
    }
}

/// One finding about a run: a stable code for machines, two sentences for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable snake_case code, such as `late_sends`.
    pub code: String,
    /// What this finding alone makes of the run.
    pub level: Level,
    /// What was found, with the numbers.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The numbers and names that `message` has in parentheses, in every language of the reports.
    /// Absent where the message has none, and in files of versions before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Bilingual>,
}

/// A text in the languages of the reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bilingual {
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
}

/// The judgement on a run: the worst level of its reasons, or valid when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The worst level among the reasons.
    pub level: Level,
    /// All findings, the worst first.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Joins findings into a verdict; equal levels keep their order.
    pub fn from_reasons(mut reasons: Vec<Reason>) -> Self {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.level));
        Self {
            level: reasons.first().map_or(Level::Valid, |worst| worst.level),
            reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str, level: Level) -> Reason {
        Reason {
            code: code.into(),
            level,
            message: String::new(),
            remedy: String::new(),
            detail: None,
        }
    }

    #[test]
    fn the_worst_reason_decides() {
        let verdict = Verdict::from_reasons(vec![
            reason("a", Level::Caution),
            reason("b", Level::Invalid),
        ]);
        assert_eq!(verdict.level, Level::Invalid);
        assert_eq!(verdict.reasons[0].code, "b");
        assert_eq!(Verdict::from_reasons(vec![]).level, Level::Valid);
    }
}
