//! What a rule of the verdict is: a quantity, its limits, and the words about it.

use std::fmt;

use inferometer_core::{Bilingual, Level, Reason};

use super::findings::Findings;

/// One rule: what is measured, from which value on it is a finding, and what to do.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable code of the finding.
    pub code: &'static str,
    /// What is measured, as the subject of a sentence: "… is 3.59 ms".
    pub quantity: &'static str,
    /// How it is computed, where its name leaves that open.
    pub definition: Option<&'static str>,
    /// Unit of the quantity.
    pub unit: Unit,
    /// From where on it is a caution.
    pub caution: Limit,
    /// From where on the run is invalid.
    pub invalid: Limit,
    /// The words in English.
    pub en: Advice,
    /// The words in Chinese.
    pub zh: Advice,
    /// The value in a run; `None` where the run has no such quantity.
    pub(super) measure: fn(&Findings<'_>) -> Option<f64>,
    /// Numbers that belong to the value; the message shows them in place of the definition.
    pub(super) detail: Option<fn(&Findings<'_>) -> Option<Bilingual>>,
}

/// What a finding means and what to do about it, in one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What it means for the numbers.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Unit of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// A fraction, shown in percent.
    Fraction,
    /// A plain number.
    Count,
}

/// From which value on a quantity is a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Never.
    Never,
    /// As soon as it is above zero.
    Any,
    /// From this value on.
    From(f64),
    /// From this fraction of the median TTFT on (of the median E2EL without tokens), but at least
    /// from this many milliseconds: lateness matters in proportion to what is measured.
    OfTtft {
        /// Fraction of the median.
        fraction: f64,
        /// Smallest limit in milliseconds, whatever the median.
        at_least_ms: f64,
    },
}

use Limit::{Any, From, Never, OfTtft};

impl Rule {
    /// The level of a run with this `value`; `median_ms` is the median that [`Limit::OfTtft`]
    /// refers to.
    pub fn level(&self, value: f64, median_ms: f64) -> Level {
        if self.invalid.is_reached(value, median_ms) {
            Level::Invalid
        } else if self.caution.is_reached(value, median_ms) {
            Level::Caution
        } else {
            Level::Valid
        }
    }

    /// True when a run has this finding.
    pub(super) fn applies(&self, run: &Findings<'_>) -> bool {
        let value = (self.measure)(run);
        value.is_some_and(|value| self.level(value, run.median_ms) != Level::Valid)
    }

    /// The finding, where a run reaches a limit.
    pub(super) fn reason(&self, run: &Findings<'_>) -> Option<Reason> {
        let value = (self.measure)(run)?;
        let level = self.level(value, run.median_ms);
        (level != Level::Valid).then(|| {
            let detail = self.detail.and_then(|detail| detail(run));
            Reason {
                code: self.code.into(),
                level,
                message: self.message(run, value, level, detail.as_ref()),
                remedy: self.en.remedy.into(),
                detail,
            }
        })
    }

    fn message(
        &self,
        run: &Findings<'_>,
        value: f64,
        level: Level,
        detail: Option<&Bilingual>,
    ) -> String {
        let limit = if level == Level::Invalid {
            self.invalid
        } else {
            self.caution
        };
        let limit = self.unit.show(limit.value(run.median_ms));
        let aside = detail
            .map(|detail| detail.en.as_str())
            .or(self.definition)
            .map(|text| format!(" ({text})"))
            .unwrap_or_default();
        self.sentence(&self.unit.show(value), &aside, &limit)
    }

    /// The form of a message, which [`Rule::numbers`] reads.
    fn sentence(&self, value: &str, aside: &str, limit: &str) -> String {
        let (quantity, meaning) = (self.quantity, self.en.meaning);
        format!("{quantity} is {value}{aside}, limit {limit}: {meaning}")
    }

    /// Value and limit in a message of this rule, for texts in another language; `None` in messages
    /// of versions with other words.
    pub fn numbers<'m>(&self, message: &'m str) -> Option<(&'m str, &'m str)> {
        let rest = message.strip_prefix(self.quantity)?.strip_prefix(" is ")?;
        let (value, _) = rest.split_once([',', '('])?;
        let (_, limit) = rest.split_once(", limit ")?;
        let (limit, _) = limit.split_once(": ")?;
        Some((value.trim(), limit))
    }
}

impl Limit {
    fn is_reached(self, value: f64, median_ms: f64) -> bool {
        match self {
            Never => false,
            Any => value > 0.0,
            From(limit) => value >= limit,
            OfTtft { .. } => value >= self.value(median_ms),
        }
    }

    /// The smallest value that is a finding.
    pub(super) fn value(self, median_ms: f64) -> f64 {
        match self {
            Never => f64::INFINITY,
            Any => 0.0,
            From(limit) => limit,
            OfTtft {
                fraction,
                at_least_ms,
            } => (fraction * median_ms).max(at_least_ms),
        }
    }

    pub(super) fn show(self, unit: Unit) -> String {
        match self {
            Never => "–".into(),
            Any => "above 0".into(),
            From(limit) => format!("from {}", unit.show(limit)),
            OfTtft {
                fraction,
                at_least_ms,
            } => {
                format!(
                    "from {} of the median TTFT, at least {}",
                    Unit::Fraction.show(fraction),
                    Unit::Ms.show(at_least_ms)
                )
            }
        }
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Ms => format!("{} ms", Rounded(value)),
            Self::Fraction => format!("{} %", Rounded(value * 100.0)),
            Self::Count => format!("{}", Rounded(value)),
        }
    }
}

/// A number with three significant digits and no trailing zeros.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = if self.0 == 0.0 {
            0.0
        } else {
            self.0.abs().log10().floor()
        };
        let scale = 10_f64.powi((2.0 - magnitude).clamp(0.0, 6.0) as i32);
        write!(f, "{}", (self.0 * scale).round() / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_three_digits() {
        assert_eq!(Unit::Ms.show(12.345), "12.3 ms");
        assert_eq!(Unit::Fraction.show(0.05), "5 %");
        assert_eq!(Unit::Fraction.show(0.000_123_4), "0.0123 %");
        assert_eq!(Unit::Ms.show(1234.5), "1235 ms");
        assert_eq!(Unit::Count.show(0.0), "0");
    }

    /// Other languages read value and limit out of the English message, so every row must keep its form.
    #[test]
    fn every_rule_finds_its_numbers_in_its_own_message() {
        for rule in super::super::RULES {
            for aside in ["", " (mean 3.2, of 4 limit)"] {
                let message = rule.sentence("12.5 ms", aside, "3 ms");
                assert_eq!(
                    rule.numbers(&message),
                    Some(("12.5 ms", "3 ms")),
                    "{message}"
                );
            }
        }
    }
}
