//! What a comparison calls its numbers, and what it says about a difference.

use serde_json::Value;

use crate::Lang;
use crate::format::significant;
use crate::visualize::Run;

/// Which direction is an improvement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Higher,
    Lower,
    Neither,
}

/// Latencies from the due instant, in our own part of a result.
pub(super) const RESPONSE: &str = "inferometer.extras.response";
/// Latencies from the send.
pub(super) const SERVICE: &str = "inferometer.extras.service";

/// A number of a run: by vLLM's key as far as it was measured, or by the path of one of ours.
pub(super) fn number(run: &Run, key: &str) -> Option<f64> {
    if key.starts_with("inferometer.") {
        run.own_number(key)
    } else {
        run.measured(key)
    }
}

/// How a number is called: our own latencies by what they are.
pub(super) fn label(key: &str) -> String {
    for (prefix, name) in [(RESPONSE, "response "), (SERVICE, "")] {
        if let Some((metric, stat)) = key
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('.')?.split_once('.'))
        {
            return format!("{name}{stat}_{metric}");
        }
    }
    key.to_owned()
}

/// What the runs say about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Better,
    Worse,
    CannotTell,
    /// Neither direction is an improvement, or a number is missing.
    Nothing,
}

impl Decision {
    pub(super) const fn of(better: bool) -> Self {
        if better { Self::Better } else { Self::Worse }
    }

    const fn word(self, lang: Lang) -> &'static str {
        match self {
            Self::Better => lang.pick("better", "更好"),
            Self::Worse => lang.pick("worse", "更差"),
            Self::CannotTell => lang.pick("cannot tell", "无法判断"),
            Self::Nothing => "",
        }
    }
}

impl From<Decision> for Value {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Nothing => Self::Null,
            Decision::CannotTell => "cannot_tell".into(),
            decided => decided.word(Lang::En).into(),
        }
    }
}

pub(super) fn letter(index: usize) -> String {
    let name = char::from(b'A' + (index % 26) as u8);
    if index < 26 {
        name.to_string()
    } else {
        format!("{name}{}", index / 26)
    }
}

pub(super) fn differs(values: &[Value]) -> bool {
    values
        .iter()
        .any(|value| setting_text(value) != setting_text(&values[0]))
}

/// A setting as text; `8` and `8.0` (as in some CSV files) are the same.
pub(super) fn setting_text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text
            .parse::<f64>()
            .map_or_else(|_| text.clone(), |number| number.to_string()),
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    }
}

/// The direction of a number. A number of samples follows from the plan, and
/// says nothing about the server.
pub(super) fn better(key: &str) -> Better {
    if key.ends_with(".samples") {
        Better::Neither
    } else if key.contains("throughput") || key.contains("goodput") || key.contains("per_s") {
        Better::Higher
    } else if key.ends_with("_ms") || key.contains("_ms.") || key == "failed" {
        Better::Lower
    } else {
        Better::Neither
    }
}

pub(super) fn signed(value: Option<f64>, unit: &str) -> String {
    value.map_or("–".to_owned(), |value| {
        let sign = if value > 0.0 { "+" } else { "" };
        format!("{sign}{}{unit}", significant(value, 3))
    })
}

/// The relative difference, with what can be said about it.
pub(super) fn relative_text(percent: Option<f64>, decision: Decision, lang: Lang) -> String {
    let Some(value) = percent else {
        return "–".to_owned();
    };
    let sign = if value > 0.0 { "+" } else { "" };
    format!("{sign}{value:.1} % {}", decision.word(lang))
        .trim_end()
        .to_owned()
}
