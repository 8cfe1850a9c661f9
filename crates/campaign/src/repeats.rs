//! Repeats folded: mean, spread and interval of each number.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use inferometer_metrics::Estimate;
use inferometer_results::{Aggregate, Row};
use serde_json::Value;

/// Settings that make runs repeats of one another when they are all the same; text under any other
/// key, which is metadata, counts too.
const SETTINGS: [&str; 14] = [
    "endpoint_type",
    "backend",
    "label",
    "model_id",
    "tokenizer_id",
    "num_prompts",
    "input_len",
    "output_len",
    "request_rate",
    "burstiness",
    "max_concurrency",
    "ramp_up_strategy",
    "ramp_up_start_rps",
    "ramp_up_end_rps",
];

/// Keys that may differ between repeats.
const NEITHER: [&str; 3] = ["date", "filename", "run_number"];

/// Repeats of one setting.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The settings that they share; `filename` is the name that their files share.
    pub settings: IndexMap<String, Value>,
    /// Number of runs.
    pub runs: usize,
    /// Runs whose verdict is INVALID.
    pub invalid: usize,
    /// Their numbers, by vLLM's key.
    pub numbers: IndexMap<String, Estimate>,
}

/// Folds the repeats in a table, in order of their first appearance.
///
/// Runs are repeats when all settings in their files are the same and their files are named
/// as repeats of one another: not every setting is in a file (a server's options, the temperature),
/// so that runs under different names may be different things.
pub fn fold(table: &Aggregate) -> Vec<Folded> {
    let mut groups: IndexMap<String, (IndexMap<String, Value>, Vec<&Row>)> = IndexMap::new();
    for row in &table.rows {
        let mut settings = settings(row);
        let (place, name) = common_name(&row.run.file);
        settings.insert("filename".to_owned(), name.into());
        let key = format!(
            "{}\n{}",
            place.display(),
            serde_json::to_string(&settings).unwrap_or_default()
        );
        groups
            .entry(key)
            .or_insert_with(|| (settings, Vec::new()))
            .1
            .push(row);
    }
    groups
        .into_values()
        .map(|(settings, rows)| folded(settings, &rows))
        .collect()
}

/// Folder and name of a file, as far as its repeats share them: `run3/x.json` is a
/// repeat of `run1/x.json`, `x/run=3.json` of `x/run=1.json`, and a date at the end of a name makes
/// no difference.
fn common_name(file: &Path) -> (PathBuf, String) {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let name = text(file.file_name());
    let folder = file.parent().unwrap_or(Path::new(""));
    let above = folder.parent().unwrap_or(Path::new(""));
    let folder_name = text(folder.file_name());
    if name.starts_with("run=") {
        return (above.to_owned(), folder_name);
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if folder_name.strip_prefix("run").is_some_and(is_number) {
        return (above.to_owned(), name);
    }
    let stem = text(file.file_stem());
    let parts: Vec<&str> = stem.rsplitn(3, '-').collect();
    if let [time, day, rest] = parts[..]
        && (time.len(), day.len()) == (6, 8)
        && is_number(time)
        && is_number(day)
    {
        return (folder.to_owned(), rest.to_owned());
    }
    (folder.to_owned(), name)
}

fn settings(row: &Row) -> IndexMap<String, Value> {
    let mut settings = IndexMap::new();
    for (key, value) in &row.values {
        let known = SETTINGS.contains(&key.as_str());
        let metadata = value.is_string()
            && !NEITHER.contains(&key.as_str())
            && !key.starts_with("inferometer");
        if (known || metadata) && !value.is_null() {
            settings.insert(key.clone(), value.clone());
        }
    }
    // The order in files must not make settings different.
    settings.sort_unstable_keys();
    settings
}

fn folded(settings: IndexMap<String, Value>, rows: &[&Row]) -> Folded {
    let mut keys = IndexSet::new();
    for row in rows {
        for (key, value) in &row.values {
            let ours = key.starts_with("inferometer");
            if value.is_number()
                && !ours
                && !settings.contains_key(key)
                && !NEITHER.contains(&key.as_str())
            {
                keys.insert(key.as_str());
            }
        }
    }
    let numbers = keys
        .into_iter()
        .filter_map(|key| {
            let values: Vec<f64> = rows
                .iter()
                .filter_map(|row| {
                    row.values
                        .get(key)?
                        .as_f64()
                        .filter(|value| value.is_finite())
                })
                .collect();
            Some((key.to_owned(), Estimate::of(&values)?))
        })
        .collect();
    let is_invalid = |row: &&&Row| {
        row.values
            .get("inferometer.verdict.level")
            .and_then(Value::as_str)
            == Some("INVALID")
    };
    Folded {
        settings,
        runs: rows.len(),
        invalid: rows.iter().filter(is_invalid).count(),
        numbers,
    }
}

/// The folded runs as a table: settings, `runs`, `invalid_runs`, and for each number its mean under
/// its own key, then `.sd`, `.ci95_low`, `.ci95_high` and `.n`.
pub fn folded_table(groups: &[Folded]) -> Aggregate {
    let mut columns: IndexSet<String> = IndexSet::new();
    for group in groups {
        columns.extend(group.settings.keys().cloned());
    }
    columns.extend(["runs", "invalid_runs"].map(str::to_owned));
    let mut rows = Vec::new();
    for group in groups {
        let mut values = group.settings.clone();
        values.insert("runs".to_owned(), group.runs.into());
        values.insert("invalid_runs".to_owned(), group.invalid.into());
        for (key, estimate) in &group.numbers {
            let mut add = |ending: &str, value: Option<Value>| {
                let name = format!("{key}{ending}");
                columns.insert(name.clone());
                if let Some(value) = value {
                    values.insert(name, value);
                }
            };
            add("", Some(estimate.mean.into()));
            add(".sd", estimate.sd.map(Value::from));
            add(".ci95_low", estimate.interval.map(|(low, _)| low.into()));
            add(".ci95_high", estimate.interval.map(|(_, high)| high.into()));
            add(".n", Some(estimate.n.into()));
        }
        let run = inferometer_results::ImportedRun {
            source: inferometer_results::Source::Inferometer,
            keys: IndexMap::new(),
            details: IndexMap::new(),
            file: PathBuf::new(),
            position: 0,
        };
        rows.push(Row { values, run });
    }
    Aggregate {
        columns: columns.into_iter().collect(),
        rows,
        broken: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_recognised_by_their_names() {
        let same = |a: &str, b: &str| common_name(Path::new(a)) == common_name(Path::new(b));
        assert!(same("r/run1/x.json", "r/run12/x.json"));
        assert!(same("r/SERVE--a/run=0.json", "r/SERVE--a/run=1.json"));
        assert!(same(
            "r/vllm-infqps-m-20261124-040016.json",
            "r/vllm-infqps-m-20261125-111111.json"
        ));
        for (a, b) in [
            ("r/config_a.json", "r/config_b.json"),
            ("r/run1/x.json", "r/run1/y.json"),
            ("a/run1/x.json", "b/run1/x.json"),
            ("r/SERVE--a/run=0.json", "r/SERVE--b/run=0.json"),
            ("r/x-20261124-040016.json", "r/y-20261124-040016.json"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
