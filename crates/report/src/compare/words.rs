//! What a comparison calls its numbers, and what it says about a difference.

use serde_json::Value;

use inferometer_decide::{Decision, Direction};

use crate::Lang;
use crate::decision::word;
use crate::format::significant;
use crate::visualize::Run;

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

/// The direction of a number. Failures have one here, where no ratio is needed.
pub(super) fn better(key: &str) -> Option<Direction> {
    match key {
        "failed" => Some(Direction::Lower),
        _ => Direction::of(key),
    }
}

pub(super) fn signed(value: Option<f64>, unit: &str) -> String {
    value.map_or("–".to_owned(), |value| {
        let sign = if value > 0.0 { "+" } else { "" };
        format!("{sign}{}{unit}", significant(value, 3))
    })
}

/// The relative difference, with what can be said about it.
pub(super) fn relative_text(
    percent: Option<f64>,
    decision: Option<Decision>,
    lang: Lang,
) -> String {
    let Some(value) = percent else {
        return "–".to_owned();
    };
    let sign = if value > 0.0 { "+" } else { "" };
    let word = decision.map_or("", |decision| word(decision, lang));
    format!("{sign}{value:.1} % {word}").trim_end().to_owned()
}
