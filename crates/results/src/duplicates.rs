//! Runs that are in a folder more than once, in several forms.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::{ImportedRun, Row};

/// Numbers that two runs have in common only if they are one run: times to the nanosecond.
const SIGNATURE: [&str; 5] = [
    "duration",
    "completed",
    "request_throughput",
    "total_output_tokens",
    "mean_ttft_ms",
];

/// A copy of a run that is in no table, because another file has the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The copy.
    pub file: PathBuf,
    /// The file that has the run.
    pub of: PathBuf,
}

/// How original a row is. Only a copy is ever a duplicate: two results of a benchmark count as two
/// runs, even if they look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// The file of the program that measured.
    Result,
    /// The folder of a run, whose result may be saved elsewhere as well.
    Folder,
    /// A result that was converted or written from another file.
    Copy,
}

fn form(run: &ImportedRun) -> Form {
    let ours = run.keys.get("inferometer");
    let has = |key: &str| ours.is_some_and(|ours| ours.get(key).is_some());
    if has("imported_from") || has("written_from") {
        Form::Copy
    } else if run.file.is_dir() {
        Form::Folder
    } else {
        Form::Result
    }
}

/// The numbers by which a run is recognised; `None` for a run without a duration.
fn signature(row: &Row) -> Option<String> {
    row.values
        .get("duration")
        .and_then(Value::as_f64)
        .filter(|duration| *duration > 0.0)?;
    let numbers = SIGNATURE.map(|key| row.values.get(key).map_or(Value::Null, Value::clone));
    Some(format!("{:?}", numbers.map(|number| number.as_f64())))
}

/// Takes the copies of runs out of `rows`, keeping each run's most original form.
pub(crate) fn take_duplicates(rows: &mut Vec<Row>) -> Vec<Duplicate> {
    let mut kept: HashMap<String, (Form, usize)> = HashMap::new();
    let mut copies: Vec<Option<usize>> = vec![None; rows.len()];
    let mut order: Vec<(Form, usize)> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| (form(&row.run), index))
        .collect();
    order.sort();
    for (form, index) in order {
        let Some(signature) = signature(&rows[index]) else {
            continue;
        };
        match kept.get(&signature) {
            Some(&(first, of)) if form > first || form == Form::Copy => copies[index] = Some(of),
            Some(_) => {}
            None => drop(kept.insert(signature, (form, index))),
        }
    }
    let duplicates = copies
        .iter()
        .enumerate()
        .filter_map(|(index, of)| {
            Some(Duplicate {
                file: rows[index].run.file.clone(),
                of: rows[(*of)?].run.file.clone(),
            })
        })
        .collect();
    let mut copies = copies.iter();
    rows.retain(|_| copies.next().is_some_and(Option::is_none));
    duplicates
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use serde_json::json;

    use super::*;
    use crate::Source;

    fn row(file: &str, ours: &Value, duration: f64) -> Row {
        let keys: IndexMap<String, Value> = [
            ("duration".to_owned(), duration.into()),
            ("completed".to_owned(), 10.into()),
            ("inferometer".to_owned(), ours.clone()),
        ]
        .into();
        Row {
            values: keys.clone(),
            run: ImportedRun {
                source: Source::Inferometer,
                keys,
                details: IndexMap::new(),
                file: file.into(),
                position: 0,
            },
        }
    }

    #[test]
    fn only_copies_are_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_string_lossy().into_owned();
        let imported = json!({"imported_from": {"file": "a.json"}});
        let own = json!({});
        let mut rows = vec![
            row("out/a.json", &imported, 1.5),
            row("a.json", &own, 1.5),
            row(&path, &own, 1.5),
            // As alike as they are, nothing says that these are one run.
            row("b.json", &own, 2.5),
            row("c.json", &own, 2.5),
            // Imported twice, and the original is elsewhere.
            row("out/d.json", &imported, 3.5),
            row("out/d-1.json", &imported, 3.5),
        ];
        let duplicates = take_duplicates(&mut rows);
        let left: Vec<_> = rows.iter().map(|row| row.run.file.clone()).collect();
        assert_eq!(
            left,
            ["a.json", "b.json", "c.json", "out/d.json"].map(PathBuf::from)
        );
        let gone: Vec<_> = duplicates.iter().map(|one| one.of.clone()).collect();
        assert_eq!(gone, ["a.json", "a.json", "out/d.json"].map(PathBuf::from));
    }
}
