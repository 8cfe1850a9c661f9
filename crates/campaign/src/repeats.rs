//! Repeats folded: mean, spread and interval of each number.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use indexmap::{IndexMap, IndexSet};
use inferometer_metrics::{Estimate, has_answers, measured};
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

/// All settings of a run folder, as one word.
pub(crate) const PLAN: &str = "inferometer.plan";

/// Keys that may differ between repeats.
const NEITHER: [&str; 3] = ["date", "filename", "run_number"];

/// Repeats of one setting.
#[derive(Clone, Debug)]
pub struct Folded {
    /// The settings that they share; `filename` is the name that their files share.
    pub settings: IndexMap<String, Value>,
    /// Number of runs.
    pub runs: usize,
    /// Runs that are in the numbers: with answers, and not INVALID.
    pub used: usize,
    /// Runs whose verdict is INVALID.
    pub invalid: usize,
    /// Runs without a single answer, which may be INVALID too.
    pub unanswered: usize,
    /// The numbers of the runs that are used, by vLLM's key.
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
    // A run folder is named by its date; what it was asked to do is in its plan.
    if name.split(['-', '_']).take(2).map(str::len).eq([8, 6])
        && name.bytes().take(8).all(|b| b.is_ascii_digit())
    {
        let label = name.get(16..).unwrap_or_default();
        // A number is what a name gets that is taken.
        let label = if is_number(label) { "" } else { label };
        return (folder.to_owned(), label.to_owned());
    }
    let stem = text(file.file_stem());
    let stem = without_number(&stem);
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

/// `stem` without the number that a default name gets when it is taken: `…-20261124-040016-2` is a
/// result of the same second as `…-20261124-040016`.
fn without_number(stem: &str) -> &str {
    match stem.rsplit_once('-') {
        Some((rest, number))
            if number.len() < 6
                && number.bytes().all(|b| b.is_ascii_digit())
                && rest.len() > 15
                && rest.as_bytes()[rest.len() - 6..]
                    .iter()
                    .all(u8::is_ascii_digit) =>
        {
            rest
        }
        _ => stem,
    }
}

fn settings(row: &Row) -> IndexMap<String, Value> {
    let mut settings = IndexMap::new();
    for (key, value) in &row.values {
        let known = SETTINGS.contains(&key.as_str()) || key == PLAN;
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

/// A number of a row by its key, where it is one and finite.
fn number(row: &Row, key: &str) -> Option<f64> {
    row.values
        .get(key)?
        .as_f64()
        .filter(|value| value.is_finite())
}

fn is_invalid(row: &Row) -> bool {
    let level = row.values.get("inferometer.verdict.level");
    level.and_then(Value::as_str) == Some("INVALID")
}

fn folded(settings: IndexMap<String, Value>, rows: &[&Row]) -> Folded {
    let answered = |row: &Row| has_answers(|key| number(row, key));
    let rows_with = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let sound: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| answered(row) && !is_invalid(row))
        .collect();
    let mut keys = IndexSet::new();
    for row in &sound {
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
            let values: Vec<f64> = sound
                .iter()
                .filter_map(|row| measured(key, |key| number(row, key)))
                .collect();
            Some((key.to_owned(), Estimate::of(&values)?))
        })
        .collect();
    Folded {
        settings,
        runs: rows.len(),
        used: sound.len(),
        invalid: rows_with(&is_invalid),
        unanswered: rows_with(&|row| !answered(row)),
        numbers,
    }
}

/// The folded runs as a table: settings, `runs`, how many of them are INVALID or have no answer
/// (`invalid_runs`, `unanswered_runs`; a run can be both), and for each number its mean under its own key, then `.sd`, `.ci95_low`, `.ci95_high` and `.n`.
pub fn folded_table(groups: &[Folded]) -> Aggregate {
    let mut columns: IndexSet<String> = IndexSet::new();
    for group in groups {
        columns.extend(group.settings.keys().cloned());
    }
    columns.extend(["runs", "invalid_runs", "unanswered_runs"].map(str::to_owned));
    let mut rows = Vec::new();
    for group in groups {
        let mut values = group.settings.clone();
        values.insert("runs".to_owned(), group.runs.into());
        values.insert("invalid_runs".to_owned(), group.invalid.into());
        values.insert("unanswered_runs".to_owned(), group.unanswered.into());
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
        ..Aggregate::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repeat with these numbers and, where one is given, this verdict.
    fn repeat(values: Value) -> Row {
        let run = inferometer_results::ImportedRun {
            source: inferometer_results::Source::Inferometer,
            keys: IndexMap::new(),
            details: IndexMap::new(),
            file: "r/run1/x.json".into(),
            position: 0,
        };
        let values = serde_json::from_value(values).unwrap();
        Row { values, run }
    }

    /// Two good repeats at 20 and 22 ms; an INVALID one, and two without answers, one of them with
    /// a verdict of its own: the mean is 21 ms.
    #[test]
    fn numbers_are_those_of_runs_that_are_data() {
        let level = "inferometer.verdict.level";
        let rows = [
            serde_json::json!({"completed": 10, "failed": 0, "mean_ttft_ms": 20.0, "output_throughput": 50.0, level: "VALID"}),
            serde_json::json!({"completed": 10, "failed": 0, "mean_ttft_ms": 22.0, "output_throughput": 52.0, level: "CAUTION"}),
            serde_json::json!({"completed": 10, "failed": 0, "mean_ttft_ms": 9000.0, "output_throughput": 1.0, level: "INVALID"}),
            serde_json::json!({"completed": 0, "failed": 10, "mean_ttft_ms": 0.0, "output_throughput": 0.0, level: "INVALID"}),
            serde_json::json!({"completed": 0, "failed": 10, "mean_ttft_ms": 0.0, "output_throughput": 0.0}),
        ]
        .map(repeat);
        let table = Aggregate {
            rows: rows.to_vec(),
            ..Aggregate::default()
        };
        let [group] = &fold(&table)[..] else {
            panic!("one setting")
        };
        assert_eq!(
            (group.runs, group.used, group.invalid, group.unanswered),
            (5, 2, 2, 2)
        );
        let text = crate::overview(std::slice::from_ref(group), |rows| format!("{rows:?}\n"));
        assert!(
            text.contains("2 of 5 (2 INVALID, 2 without answers)"),
            "{text}"
        );
        assert_eq!(group.numbers["mean_ttft_ms"].mean, 21.0);
        assert_eq!(group.numbers["mean_ttft_ms"].n, 2);
        assert_eq!(group.numbers["output_throughput"].mean, 51.0);
        let folded = folded_table(std::slice::from_ref(group));
        assert_eq!(folded.rows[0].values["unanswered_runs"], 2);
    }

    #[test]
    fn repeats_are_recognised_by_their_names() {
        let same = |a: &str, b: &str| common_name(Path::new(a)) == common_name(Path::new(b));
        assert!(same("r/run1/x.json", "r/run12/x.json"));
        assert!(same("r/SERVE--a/run=0.json", "r/SERVE--a/run=1.json"));
        assert!(same(
            "r/vllm-infqps-m-20261124-040016.json",
            "r/vllm-infqps-m-20261125-111111.json"
        ));
        assert!(same(
            "r/vllm-infqps-m-20261124-040016.json",
            "r/vllm-infqps-m-20261124-040016-2.json"
        ));
        assert!(same("runs/20261124-040016", "runs/20261125-111111-2"));
        assert!(same("runs/20261124-040016-x", "runs/20261125-111111-x"));
        assert!(!same("runs/20261124-040016-x", "runs/20261124-040016-y"));
        for (a, b) in [
            ("r/config_a-1.json", "r/config_a-2.json"),
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
