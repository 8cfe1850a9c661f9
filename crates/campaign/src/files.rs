//! Files that describe campaigns, and tables.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use inferometer_core::{names, with_exact_integers};
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_results::{json_duplicate, parse_yaml_strict, unquoted_cell};
use serde_json::{Map, Value};

use crate::error::CampaignError;
use crate::hidden_values::plain_value;
use crate::journal::JOURNAL_NAME;
use inferometer_core::suggest::hint;

/// Reads a YAML, TOML or JSON file, by its extension; anything else is read as YAML, of which
/// JSON is a part. A key that is set twice is refused.
pub(crate) fn document(path: &Path) -> Result<Value, CampaignError> {
    match document_with_note(path)? {
        (value, None) => Ok(value),
        (_, Some(problem)) => Err(CampaignError::file(path, problem)),
    }
}

/// The same, where a key that a JSON file sets twice is only noted: Python keeps the last value.
pub(crate) fn document_with_note(path: &Path) -> Result<(Value, Option<String>), CampaignError> {
    let text = files::text(path, SMALL_FILE).map_err(CampaignError::io("read", path))?;
    // Editors on Windows put a byte-order mark in front.
    let text = text.trim_start_matches('\u{feff}');
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    match extension {
        // The error's own text shows the line, which may hold a key.
        "toml" => toml::from_str(text)
            .map(|value| (value, None))
            .map_err(|error| {
                let start = error.span().map_or(0, |span| span.start);
                let line = 1 + text[..start.min(text.len())].matches('\n').count();
                CampaignError::file(path, format!("line {line}: {}", error.message()))
            }),
        "json" => serde_json::from_str(&with_exact_integers(text))
            .map(|value| (value, json_duplicate(text)))
            .map_err(|error| CampaignError::file(path, error.to_string())),
        _ => parse_yaml_strict(text)
            .map(|value| (value, None))
            .map_err(|error| CampaignError::file(path, error)),
    }
}

/// The document as a map of settings.
pub(crate) fn map(path: &Path) -> Result<Map<String, Value>, CampaignError> {
    match document(path)? {
        Value::Object(map) => Ok(map),
        Value::Null => Err(CampaignError::file(path, "the file is empty")),
        _ => Err(CampaignError::file(
            path,
            "expected keys with values, such as \"model: NAME\"",
        )),
    }
}

/// Takes keys out of a map one by one; what remains at the end is unknown.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    path: &'a Path,
    /// What the map is called in messages; empty for the file itself.
    place: &'a str,
    map: Map<String, Value>,
    known: Vec<&'a str>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(path: &'a Path, place: &'a str, map: Map<String, Value>) -> Self {
        Self {
            path,
            place,
            map,
            known: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, key: &'a str) -> Option<Value> {
        self.known.push(key);
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, key: &'a str) -> Result<Option<String>, CampaignError> {
        self.typed(key, "text", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    pub(crate) fn whole(&mut self, key: &'a str) -> Result<Option<u64>, CampaignError> {
        self.typed(key, "a whole number", Value::as_u64)
    }

    pub(crate) fn number(&mut self, key: &'a str) -> Result<Option<f64>, CampaignError> {
        let number = |value: &Value| {
            value
                .as_f64()
                .filter(|number| number.is_finite() && *number >= 0.0)
        };
        self.typed(key, "a number, zero or more", number)
    }

    fn typed<T>(
        &mut self,
        key: &'a str,
        kind: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, CampaignError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match read(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.invalid(key, &value, kind)),
        }
    }

    /// An error about the value of a key.
    pub(crate) fn invalid(&self, key: &str, value: &Value, kind: &str) -> CampaignError {
        let place = self.place;
        let value = plain_value(key, value);
        at(
            self.path,
            key,
            format!("{place}{key}: invalid value {value}: expected {kind}"),
        )
    }

    /// An error about the whole file.
    pub(crate) fn problem(&self, problem: impl Into<String>) -> CampaignError {
        CampaignError::file(self.path, problem)
    }

    /// Refuses what was not taken. Before what is missing is refused: a misspelt key is both.
    pub(crate) fn end(&self) -> Result<(), CampaignError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => {
                let full = format!("{}{key}", self.place);
                let problem = format!("unknown key {full:?}: {}", hint(key, &self.known));
                Err(at(self.path, key, problem))
            }
        }
    }
}

/// An error about the value at `key`, with its line.
pub(crate) fn at(path: &Path, key: &str, problem: impl AsRef<str>) -> CampaignError {
    CampaignError::file(path, format!("{}{}", line_of(path, key), problem.as_ref()))
}

/// "line N: " of the first flag that `problem` names, in a file that sets flags by their names; else
/// nothing.
pub fn line_of_flag(path: &Path, problem: &str) -> String {
    let name = |rest: &str| -> String {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            .collect()
    };
    let found = problem
        .match_indices("--")
        .map(|(start, _)| name(&problem[start + 2..]));
    found
        .flat_map(|flag| [flag.replace('-', "_"), flag])
        .filter(|key| !key.is_empty())
        .map(|key| line_of(path, &key))
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

/// "line N: " of the key, or nothing if it is in no line or in several.
fn line_of(path: &Path, key: &str) -> String {
    let text = files::text(path, SMALL_FILE).unwrap_or_default();
    let quotes = ['"', '\''];
    let is_key = |line: &str, start: usize| {
        let before = line[..start].trim_end_matches(quotes);
        let after = line[start + key.len()..]
            .trim_start_matches(quotes)
            .trim_start();
        // Keys begin a line, or follow a brace, a comma or the dash of a list.
        (before.is_empty() || before.ends_with([' ', '\t', '-', '{', ',']))
            && after.starts_with([':', '='])
    };
    let names = |line: &str| {
        line.match_indices(key)
            .any(|(start, _)| is_key(line, start))
    };
    let mut lines = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| names(line))
        .map(|(_, number)| number);
    match (lines.next(), lines.next()) {
        (Some(number), None) => format!("line {number}: "),
        _ => String::new(),
    }
}

/// The result files in a folder and the folders below it, without the journals of campaigns.
///
/// # Errors
///
/// A folder that cannot be read.
pub fn result_files(folder: &Path) -> Result<Vec<PathBuf>, CampaignError> {
    let mut files = inferometer_results::find_result_files(folder)?;
    files.retain(|file| file.file_name().is_none_or(|name| name != JOURNAL_NAME));
    Ok(files)
}

/// Reads a CSV file with a header line; every value is text, and empty cells are left out.
///
/// # Errors
///
/// A file that cannot be read or is not CSV.
pub fn read_table(path: &Path) -> Result<Vec<IndexMap<String, Value>>, CampaignError> {
    let broken = |error: csv::Error| CampaignError::file(path, error.to_string());
    let file = files::open(path).map_err(CampaignError::io("read", path))?;
    let mut reader = csv::Reader::from_reader(file);
    let columns: Vec<String> = reader
        .headers()
        .map_err(broken)?
        .iter()
        .map(|column| names::current(column.trim_start_matches('\u{feff}')).into_owned())
        .collect();
    check_columns(path, &columns)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let cells = columns
            .iter()
            .zip(record.iter())
            .filter(|(column, cell)| !column.is_empty() && !cell.is_empty());
        rows.push(
            cells
                .map(|(column, cell)| (column.clone(), Value::from(unquoted_cell(cell))))
                .collect(),
        );
    }
    Ok(rows)
}

/// Columns of which a table of results has at least one.
const COLUMNS: [&str; 5] = [
    "filename",
    "completed",
    "duration",
    "request_throughput",
    "output_throughput",
];

/// Refuses a table that is none of results.
fn check_columns(path: &Path, columns: &[String]) -> Result<(), CampaignError> {
    if columns
        .iter()
        .any(|column| COLUMNS.contains(&column.as_str()))
    {
        return Ok(());
    }
    let is_split_otherwise = columns.iter().any(|column| column.contains([';', '\t']));
    let remedy = if is_split_otherwise {
        "its columns are separated by semicolons or tabs: expected commas"
    } else {
        "expected a table that inferometer aggregate wrote"
    };
    let shown: String = columns.join(", ").chars().take(200).collect();
    Err(CampaignError::file(
        path,
        format!("no table of results: its columns are {shown}; {remedy}"),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tables_with_the_programs_old_name_are_read_under_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aggregate_results.csv");
        fs::write(
            &path,
            "\u{feff}filename,servebench.verdict.level\na.json,INVALID\n",
        )
        .unwrap();
        let rows = read_table(&path).unwrap();
        assert_eq!(rows[0]["inferometer.verdict.level"], "INVALID");
        assert_eq!(rows[0]["filename"], "a.json");
    }

    #[test]
    fn a_table_of_something_else_is_refused_with_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        for (text, words) in [
            ("a,b\n1,2\n", "its columns are a, b; expected a table"),
            ("filename;completed\nx;1\n", "semicolons"),
        ] {
            fs::write(&path, text).unwrap();
            let message = read_table(&path).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
