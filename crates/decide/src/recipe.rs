//! What a run was to measure: the settings that two runs must share to be compared.
//!
//! A result file of this program has a *recipe*: all settings that decide what is measured, without seeds,
//! addresses, and what only concerns the client or the report. Files of other tools have some keys of vLLM's
//! result file; of these, the ones below are compared, and everything else is unknown.

use std::collections::BTreeMap;

use inferometer_core::FIRST_MEANING;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::metric::{Row, number};

/// Keys of a result file that say what was measured, under the names that messages use.
const KEYS: [(&str, &[&str]); 7] = [
    ("model", &["model_id"]),
    ("backend", &["backend", "endpoint_type"]),
    ("num_prompts", &["num_prompts"]),
    ("request_rate", &["request_rate"]),
    ("burstiness", &["burstiness"]),
    ("max_concurrency", &["max_concurrency"]),
    ("tokenizer", &["tokenizer_id"]),
];

/// The key of the cap, and what it is called where there is none.
const CAP: &str = "max_concurrency";
const NO_CAP: &str = "none";

/// Means per request, under the name that messages use: the total, divided by the completed requests.
const LENGTHS: [(&str, &str); 2] = [
    ("input_tokens_per_request", "total_input_tokens"),
    ("output_tokens_per_request", "total_output_tokens"),
];

/// Mean lengths may differ by this factor: seeds draw other lengths, and answers that stop by themselves
/// vary. What measures another workload differs by more.
const LENGTH_FACTOR: f64 = 1.05;

/// What a run was to measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// Settings by name.
    settings: BTreeMap<String, Value>,
    /// Mean lengths by name, in tokens.
    lengths: BTreeMap<&'static str, f64>,
    /// True where the settings are complete: the run has a recipe of ours.
    complete: bool,
}

/// A setting that two runs do not share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its name, which `--may-differ` takes.
    pub field: String,
    /// Its value in a run of the baseline.
    pub baseline: String,
    /// Its value in a run that differs from that one.
    pub candidate: String,
    /// Names of the two runs.
    pub runs: [String; 2],
}

impl Recipe {
    /// Reads the recipe of a run from its result.
    pub fn of(row: &Row) -> Self {
        let mut settings = BTreeMap::new();
        for (name, keys) in KEYS {
            let value = keys
                .iter()
                .find_map(|key| row.get(*key).filter(|value| !value.is_null()));
            if let Some(value) = value {
                settings.insert(name.to_owned(), plain(value));
            } else if name == CAP && row.contains_key(CAP) {
                // vLLM writes null for a run without a cap.
                settings.insert(name.to_owned(), NO_CAP.into());
            }
        }
        let ours = row.get("inferometer").filter(|ours| ours.is_object());
        let meaning = ours.map_or_else(
            || Value::from("that of the tool that wrote the file"),
            |ours| {
                ours.get("meaning")
                    .cloned()
                    .unwrap_or_else(|| FIRST_MEANING.into())
            },
        );
        settings.insert("meaning".to_owned(), meaning);
        let own = ours.and_then(|ours| ours.get("recipe")?.get("settings")?.as_object());
        for (path, value) in own.into_iter().flatten() {
            settings.insert(path.clone(), plain(value));
        }
        let completed = number(row, "completed").filter(|completed| *completed > 0.0);
        let lengths = LENGTHS
            .into_iter()
            .filter_map(|(name, total)| Some((name, number(row, total)? / completed?)))
            .collect();
        Self {
            settings,
            lengths,
            complete: own.is_some(),
        }
    }

    /// True where all settings are known.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// True for the name of a setting or a length that the run has, or the beginning of one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lengths.contains_key(name) || self.settings.keys().any(|path| is_below(path, name))
    }

    /// The settings that both have and that differ, each with both values.
    pub(crate) fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let mut found: Vec<(String, String, String)> = Vec::new();
        let both_complete = self.complete && other.complete;
        let names: std::collections::BTreeSet<&String> =
            self.settings.keys().chain(other.settings.keys()).collect();
        for name in names {
            let (one, two) = (self.settings.get(name), other.settings.get(name));
            let is_known = both_complete || one.is_some() && two.is_some();
            if is_known && one != two {
                found.push((name.clone(), text(one), text(two)));
            }
        }
        for (name, one) in &self.lengths {
            let Some(two) = other.lengths.get(name) else {
                continue;
            };
            if one.max(*two) > one.min(*two) * LENGTH_FACTOR {
                found.push(((*name).to_owned(), format!("{one:.1}"), format!("{two:.1}")));
            }
        }
        found
    }
}

/// True for a setting that `name` covers: itself, or all below it.
pub fn is_below(path: &str, name: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A value as all files write it: tables keep numbers as text, Python writes infinity as a text, and `8` and
/// `8.0` are the same.
fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => number.into(),
            _ => value.clone(),
        },
        Value::Number(number) => number.as_f64().map_or_else(|| value.clone(), Value::from),
        other => other.clone(),
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "not set".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |n| n.to_string()),
        Some(other) => other.to_string(),
    }
}

/// A JSON value as paths with dots and single values, which is the form of a recipe. Nulls and empty
/// lists and objects are left out, so that a setting that a later version adds does not change the recipe of
/// those who do not use it.
pub fn flatten(value: &Value) -> Map<String, Value> {
    let mut flat = Map::new();
    add_flat(value, String::new(), &mut flat);
    flat
}

fn add_flat(value: &Value, path: String, flat: &mut Map<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                add_flat(value, path, flat);
            }
        }
        Value::Array(list) if list.is_empty() => {}
        other => {
            flat.insert(path, other.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: &Value) -> Row {
        value.as_object().unwrap().clone().into_iter().collect()
    }

    fn fields(one: &Value, two: &Value) -> Vec<String> {
        let differences = Recipe::of(&row(one)).differences(&Recipe::of(&row(two)));
        differences.into_iter().map(|(field, ..)| field).collect()
    }

    #[test]
    fn foreign_files_are_compared_by_the_keys_that_both_hold() {
        let one = json!({"model_id": "m", "max_concurrency": 8, "request_rate": "inf", "completed": 10,
            "total_input_tokens": 5120});
        let two = json!({"model_id": "m", "max_concurrency": "8.0", "completed": "10",
            "total_input_tokens": "20480"});
        assert_eq!(fields(&one, &two), ["input_tokens_per_request"]);
        let other = json!({"model_id": "n", "max_concurrency": 16});
        assert_eq!(fields(&one, &other), ["max_concurrency", "model"]);
        let without_a_cap = json!({"model_id": "m", "max_concurrency": null});
        assert_eq!(fields(&one, &without_a_cap), ["max_concurrency"]);
        assert_eq!(
            fields(&without_a_cap, &json!({"model_id": "m"})),
            [""; 0],
            "unknown"
        );
    }

    #[test]
    fn recipes_of_ours_are_compared_in_every_setting() {
        let with = |settings: &Value| json!({"inferometer": {"meaning": 2, "recipe": {"settings": settings}}});
        let one = with(&json!({"content.ignore_eos": true}));
        assert_eq!(
            fields(&one, &with(&json!({"content.ignore_eos": false}))),
            ["content.ignore_eos"]
        );
        assert_eq!(fields(&one, &with(&json!({}))), ["content.ignore_eos"]);
        assert_eq!(
            fields(&one, &json!({"inferometer": {"meaning": 1}})),
            ["meaning"]
        );
        assert_eq!(
            fields(&one, &json!({"inferometer": {"meaning": 2}})),
            [""; 0]
        );
        assert_eq!(fields(&one, &json!({"model_id": "m"})), ["meaning"]);
    }

    #[test]
    fn a_flat_recipe_has_no_nulls() {
        let flat = flatten(&json!({"a": {"b": 1, "c": null}, "d": [], "e": [1]}));
        assert_eq!(Value::Object(flat), json!({"a.b": 1, "e": [1]}));
    }
}
