//! When a campaign stops.

use std::fmt;
use std::str::FromStr;

use inferometer_core::suggest::meant;
use inferometer_results::ImportedRun;
use serde_json::Value;

use crate::flag_table::text;
use crate::lookup::{number_of, text_of, value_at};

/// When to stop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StopRules {
    /// After a run for which one of these holds, cells with the same settings and a higher load are
    /// skipped.
    pub when: Vec<Condition>,
    /// No cell is started after this many minutes.
    pub max_minutes: Option<f64>,
    /// Stop after this many failed cells.
    pub max_failed: Option<usize>,
}

/// A comparison of a key of the result file with a value, such as `p99_ttft_ms > 3000`,
/// `failed_share > 0.01` or `verdict == INVALID`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    key: String,
    operator: Operator,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
    NotEqual,
}

const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::MoreOrEqual),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    (">", Operator::More),
];

/// A text that cannot be read as a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid stop condition {0:?}: expected KEY OP VALUE, for example \"p99_ttft_ms > 3000\"; KEY is a key of the \
     result file, OP one of < <= > >= == !="
)]
pub struct ConditionError(String);

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let found = OPERATORS
            .iter()
            .filter_map(|(sign, operator)| Some((text.find(sign)?, sign, *operator)));
        // The first sign, and of two at one place the longer one, which comes first in the list.
        let (at, sign, operator) = found
            .min_by_key(|(at, ..)| *at)
            .ok_or_else(|| ConditionError(text.to_owned()))?;
        let (key, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let ordered = !matches!(operator, Operator::Equal | Operator::NotEqual);
        let value = match value.parse::<f64>() {
            Ok(number) => Value::from(number),
            Err(_) if ordered || value.is_empty() => return Err(ConditionError(text.to_owned())),
            Err(_) => Value::from(value.trim_matches(['"', '\''])),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(ConditionError(text.to_owned()));
        }
        Ok(Self {
            key: key.to_owned(),
            operator,
            value,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = OPERATORS
            .iter()
            .find(|(_, operator)| *operator == self.operator)
            .map_or("", |(sign, _)| sign);
        write!(f, "{} {sign} {}", self.key, text(&self.value))
    }
}

impl Condition {
    /// The key where the result has none of this name, with the one that was probably meant.
    pub(crate) fn unknown_key(&self, run: &ImportedRun) -> Option<String> {
        const OTHERS: [&str; 2] = ["failed_share", "verdict"];
        if OTHERS.contains(&self.key.as_str()) || value_at(run, &self.key).is_some() {
            return None;
        }
        let known = run.keys.keys().map(String::as_str).chain(OTHERS);
        Some(format!("{}{}", self.key, meant(&self.key, known)))
    }

    /// Does it hold for a result? A missing key never does.
    pub fn holds(&self, run: &ImportedRun) -> bool {
        if let Some(number) = self.value.as_f64() {
            let Some(found) = number_of(run, &self.key) else {
                return false;
            };
            return match self.operator {
                Operator::Less => found < number,
                Operator::LessOrEqual => found <= number,
                Operator::More => found > number,
                Operator::MoreOrEqual => found >= number,
                Operator::Equal => found == number,
                Operator::NotEqual => found != number,
            };
        }
        let Some(found) = text_of(run, &self.key) else {
            return false;
        };
        let same = self
            .value
            .as_str()
            .is_some_and(|value| value.eq_ignore_ascii_case(&found));
        same == (self.operator == Operator::Equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferometer_results::Source;
    use serde_json::json;

    fn run() -> ImportedRun {
        let keys = json!({
            "p99_ttft_ms": 300.5, "completed": 90, "failed": 10, "request_rate": "inf",
            "inferometer": {"verdict": {"level": "CAUTION"}},
        });
        ImportedRun {
            source: Source::Inferometer,
            keys: serde_json::from_value(keys).unwrap(),
            details: indexmap::IndexMap::new(),
            file: "x.json".into(),
            position: 0,
        }
    }

    #[test]
    fn conditions_are_read_and_evaluated() {
        for (text, holds) in [
            ("p99_ttft_ms > 300", true),
            ("p99_ttft_ms>=300.5", true),
            ("p99_ttft_ms < 300.5", false),
            ("failed_share == 0.1", true),
            ("request_rate > 100", true),
            ("verdict == INVALID", false),
            ("verdict != valid", true),
            ("no_such_key < 5", false),
        ] {
            assert_eq!(
                text.parse::<Condition>().unwrap().holds(&run()),
                holds,
                "{text}"
            );
        }
    }

    #[test]
    fn keys_that_a_result_lacks_are_named_with_the_nearest_one() {
        for (text, unknown) in [
            (
                "p99_ttft_m > 3",
                Some("p99_ttft_m (did you mean p99_ttft_ms?)"),
            ),
            (
                "verdikt == INVALID",
                Some("verdikt (did you mean verdict?)"),
            ),
            ("goodness > 1", Some("goodness")),
            ("p99_ttft_ms > 3", None),
            ("failed_share > 3", None),
            ("inferometer.verdict.level == CAUTION", None),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.unknown_key(&run()).as_deref(), unknown);
        }
    }

    /// vLLM's file says TTFT 0 where nothing was answered; that is not below 100 ms.
    #[test]
    fn a_run_without_answers_has_no_latency() {
        let mut run = run();
        for (key, value) in [("completed", 0), ("failed", 10), ("p99_ttft_ms", 0)] {
            run.keys.insert(key.to_owned(), value.into());
        }
        for (text, holds) in [
            ("p99_ttft_ms < 100", false),
            ("completed == 0", true),
            ("failed_share > 0.5", true),
        ] {
            assert_eq!(
                text.parse::<Condition>().unwrap().holds(&run),
                holds,
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_conditions_are_refused() {
        for text in ["", "p99", "> 5", "p99 > x", "a b > 5", "a =="] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
