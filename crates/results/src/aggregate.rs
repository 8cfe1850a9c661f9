//! Many result files as one table.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use indexmap::{IndexMap, IndexSet};
use inferometer_core::python::{float_repr, write_json};
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;
use serde_json::Value;

use crate::atomic::{Links, write_atomically};
use crate::duplicates::{Duplicate, take_duplicates};
use crate::import::{ImportedRun, ReadError, read_whole_lines};
use crate::{ExportForm, Manifest, ResultsError};

/// Maximum depth of folders that are searched below a results folder.
const MAX_DEPTH: usize = 8;
/// Rows whose text is made on one processor at a time.
const CSV_CHUNK: usize = 64;
/// Last columns of every table.
const LAST_COLUMNS: [&str; 3] = ["input_len", "output_len", "filename"];

/// Many results as one table: one row per run, one column per key.
#[derive(Debug, Default)]
pub struct Aggregate {
    /// All keys in order of their first appearance, then `input_len`, `output_len`, `filename`.
    pub columns: Vec<String>,
    /// The runs, in order of their files' names.
    pub rows: Vec<Row>,
    /// Files that could not be read, with the reason.
    pub broken: Vec<ReadError>,
    /// Files of several lines whose last line is cut off: their other runs are rows.
    pub cut_off: Vec<ReadError>,
    /// Copies of runs that other files hold; they are in no row.
    pub duplicates: Vec<Duplicate>,
}

/// One run of an [`Aggregate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Scalars by column name; what is missing is empty.
    pub values: IndexMap<String, Value>,
    /// The run that the row was made of.
    pub run: ImportedRun,
}

/// The result files in a folder and the folders below it, sorted by path.
///
/// Files that other files summarise or that are not results are left out by name: manifests, sweep
/// summaries and failures, `.pytorch.json`, warm-up runs, and our own tables.
///
/// # Errors
///
/// A folder that cannot be read.
pub fn find_result_files(folder: &Path) -> Result<Vec<PathBuf>, ResultsError> {
    let mut files = Vec::new();
    collect(folder, MAX_DEPTH, &mut files)?;
    files.sort();
    Ok(files)
}

/// The run folders below a folder, also those of runs that were killed, sorted by path.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn find_run_folders(folder: &Path) -> Result<Vec<PathBuf>, ResultsError> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), MAX_DEPTH)];
    while let Some((folder, depth)) = open.pop() {
        if is_run_folder(&folder) {
            found.push(folder);
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(ResultsError::io("read", &folder))? {
            let entry = entry.map_err(ResultsError::io("read", &folder))?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && depth > 0 {
                open.push((entry.path(), depth - 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// True for the folder of a run, also of one that was killed or has lost its records. Other tools have a
/// `manifest.json` too; it is ours if it can be read as one.
pub fn is_run_folder(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    if !has("manifest.json") {
        return has("requests.arrows");
    }
    has("requests.parquet")
        || has("requests.arrows")
        || Manifest::read(&folder.join("manifest.json")).is_ok()
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), ResultsError> {
    let in_run_folder = folder.join("manifest.json").is_file();
    for entry in fs::read_dir(folder).map_err(ResultsError::io("read", folder))? {
        let entry = entry.map_err(ResultsError::io("read", folder))?;
        let kind = entry
            .file_type()
            .map_err(ResultsError::io("read", folder))?;
        let path = entry.path();
        if kind.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, files)?;
            }
            continue;
        }
        // A name that is not UTF-8 is one of a result as well.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.as_ref();
        // What a run was exported as is that run again.
        let exported = in_run_folder
            && (name == "schedule.json"
                || ExportForm::ALL.iter().any(|form| form.file_name() == name));
        if is_result_name(name) && !exported {
            files.push(path);
        }
    }
    Ok(())
}

/// True for the name of a file that [`find_result_files`] takes for a result.
pub fn is_result_name(name: &str) -> bool {
    const OTHERS: [&str; 4] = [
        "manifest.json",
        "summary.json",
        "warmup.json",
        "outputs.jsonl",
    ];
    let is_json = [".json", ".jsonl"]
        .iter()
        .any(|ending| name.ends_with(ending));
    is_json
        && !OTHERS.contains(&name)
        && !name.ends_with(".pytorch.json")
        && !name.ends_with(".failure.json")
        && name != ExportForm::LlmD.file_name()
        && !name.starts_with("aggregate_results")
        && !name.starts_with('.')
}

/// Reads result files on all processors and lines their keys up. A file that cannot be read is put
/// into [`Aggregate::broken`] and does not keep the others from being read.
pub fn aggregate(files: &[PathBuf]) -> Aggregate {
    aggregate_with(files, Vec::new())
}

/// As [`aggregate`], with runs that were read otherwise, such as from run folders, after those of
/// the files. A run that is there in several forms is one row, and its copies are in
/// [`Aggregate::duplicates`]. Where file names alone do not distinguish the runs, `filename` holds
/// the path below the folder that all of them share.
pub fn aggregate_with(files: &[PathBuf], more: Vec<ImportedRun>) -> Aggregate {
    let rows_of = |file: &PathBuf| -> Result<(Vec<Row>, Option<ReadError>), ReadError> {
        let (runs, cut_off) = read_whole_lines(file)?;
        Ok((runs.into_iter().map(Row::of).collect(), cut_off))
    };
    let results: Vec<_> = files.par_iter().map(rows_of).collect();
    let mut table = Aggregate::default();
    let mut columns = IndexSet::new();
    for result in results {
        match result {
            Ok((rows, cut_off)) => {
                table.rows.extend(rows);
                table.cut_off.extend(cut_off);
            }
            Err(error) => table.broken.push(error),
        }
    }
    table.rows.extend(more.into_iter().map(Row::of));
    table.duplicates = take_duplicates(&mut table.rows);
    tell_names_apart(&mut table.rows);
    let mut last: Option<&Row> = None;
    for row in &table.rows {
        // Neighbours mostly have the same keys, and comparing is cheaper than looking up.
        if last
            .replace(row)
            .is_some_and(|last| last.values.keys().eq(row.values.keys()))
        {
            continue;
        }
        for key in row.values.keys() {
            if !columns.contains(key) {
                columns.insert(key.clone());
            }
        }
    }
    for last in LAST_COLUMNS {
        columns.shift_remove(last);
    }
    table.columns = columns
        .into_iter()
        .chain(LAST_COLUMNS.map(str::to_owned))
        .collect();
    table
}

/// Where files in different folders have one name, names all files by their paths below the folder
/// that they share.
fn tell_names_apart(rows: &mut [Row]) {
    let mut by_name: HashMap<&OsStr, &Path> = HashMap::new();
    let clash = rows.iter().any(|row| {
        let file = row.run.file.as_path();
        let name = file.file_name().unwrap_or_default();
        *by_name.entry(name).or_insert(file) != file
    });
    if !clash {
        return;
    }
    let folders = rows.iter().filter_map(|row| row.run.file.parent());
    let shared = folders
        .map(Path::to_owned)
        .reduce(|a, b| {
            let both = a.components().zip(b.components());
            both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
        })
        .unwrap_or_default();
    for row in rows {
        let file = &row.run.file;
        let name = file.strip_prefix(&shared).unwrap_or(file);
        let name = name.to_string_lossy().into_owned();
        row.values.insert("filename".to_owned(), name.into());
    }
}

impl Row {
    fn of(run: ImportedRun) -> Self {
        let mut values = IndexMap::with_capacity(run.keys.len() + 3);
        for (key, value) in &run.keys {
            flatten(&mut values, key, value);
        }
        let name = run
            .file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if let Some(bench) = BenchName::parse(&name) {
            values.insert("input_len".to_owned(), bench.input_len.into());
            values.insert("output_len".to_owned(), bench.output_len.into());
        }
        values.insert("filename".to_owned(), name.into());
        Self { values, run }
    }
}

/// Objects become one column per leaf, parts joined by dots; lists become JSON text.
fn flatten(values: &mut IndexMap<String, Value>, name: &str, value: &Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                flatten(values, &format!("{name}.{key}"), value);
            }
        }
        Value::Array(_) => {
            let mut text = Vec::new();
            if write_json(&mut text, value).is_ok() {
                values.insert(name.to_owned(), String::from_utf8_lossy(&text).into());
            }
        }
        scalar => {
            values.insert(name.to_owned(), scalar.clone());
        }
    }
}

impl Aggregate {
    /// The files that were read for the table or could not be.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        let rows = self.rows.iter().map(|row| row.run.file.as_path());
        let copies = self.duplicates.iter().map(|copy| copy.file.as_path());
        rows.chain(copies)
            .chain(self.broken.iter().map(ReadError::path))
    }

    /// Writes the table as CSV with a header line. Numbers are printed as Python prints them; what
    /// a run does not have stays empty.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_csv(&self, path: &Path, links: Links) -> Result<(), ResultsError> {
        write_atomically(path, links, |out| {
            self.csv_to(out).map_err(ResultsError::io("write", path))
        })
    }

    fn csv_to(&self, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
        let mut head = csv::Writer::from_writer(&mut *out);
        let names = self.columns.iter();
        head.write_record(names.map(|name| csv_cell(&Value::from(name.as_str()))))?;
        head.flush()?;
        drop(head);
        let text = |rows: &[Row]| -> std::io::Result<Vec<u8>> {
            let mut csv = csv::Writer::from_writer(Vec::new());
            for cells in self.cells(rows) {
                csv.write_record(
                    cells
                        .iter()
                        .map(|value| value.map_or_else(String::new, csv_cell)),
                )?;
            }
            csv.into_inner().map_err(csv::IntoInnerError::into_error)
        };
        // A few thousand rows at a time, so that the text of a huge table is never there at once.
        for some in self.rows.chunks(64 * CSV_CHUNK) {
            let parts: Vec<_> = some.par_chunks(CSV_CHUNK).map(text).collect();
            parts
                .into_iter()
                .try_for_each(|part| out.write_all(&part?))?;
        }
        out.flush()
    }

    /// Writes the table as Parquet. A column of whole numbers is `int64`, of numbers `double`, of
    /// truth values `bool`, and of anything else text; `"inf"` among numbers is infinity.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_parquet(&self, path: &Path, links: Links) -> Result<(), ResultsError> {
        let cells: Vec<_> = self
            .rows
            .par_chunks(CSV_CHUNK)
            .map(|rows| self.cells(rows))
            .collect::<Vec<_>>()
            .concat();
        let (fields, arrays): (Vec<_>, Vec<_>) = self
            .columns
            .par_iter()
            .enumerate()
            .map(|(place, name)| {
                let values: Vec<_> = cells
                    .iter()
                    .map(|row| row[place].filter(|value| !value.is_null()))
                    .collect();
                column(name, &values)
            })
            .unzip();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)
            .map_err(|error| ResultsError::format(path, error.to_string()))?;
        write_atomically(path, links, |out| {
            let write = || {
                let mut writer = ArrowWriter::try_new(out, schema, None)?;
                writer.write(&batch)?;
                writer.close()
            };
            write()
                .map(|_| ())
                .map_err(crate::table::parquet_error("write", path))
        })
    }

    /// The values of some rows in the order of the columns. Row by row, because the values of a row
    /// are next to one another in memory and those of a column are not.
    fn cells<'a>(&self, rows: &'a [Row]) -> Vec<Vec<Option<&'a Value>>> {
        let places: HashMap<&str, usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, name)| (name.as_str(), place))
            .collect();
        let cells = |row: &'a Row| {
            let mut cells = vec![None; self.columns.len()];
            for (name, value) in &row.values {
                if let Some(&place) = places.get(name.as_str()) {
                    cells[place] = Some(value);
                }
            }
            cells
        };
        rows.iter().map(cells).collect()
    }
}

/// One column of what is not null, in the type that fits all of it.
fn column(name: &str, values: &[Option<&Value>]) -> (Field, ArrayRef) {
    let all = |test: fn(&Value) -> bool| values.iter().flatten().all(|value| test(value));
    let (data_type, array): (_, ArrayRef) = if values.iter().flatten().next().is_none() {
        (
            DataType::Utf8,
            Arc::new(StringArray::from(vec![None::<&str>; values.len()])),
        )
    } else if all(Value::is_i64) {
        let numbers = values.iter().map(|value| value.and_then(Value::as_i64));
        (DataType::Int64, Arc::new(numbers.collect::<Int64Array>()))
    } else if all(|value| float(value).is_some()) {
        let numbers = values.iter().map(|value| value.and_then(float));
        (
            DataType::Float64,
            Arc::new(numbers.collect::<Float64Array>()),
        )
    } else if all(Value::is_boolean) {
        let truths = values.iter().map(|value| value.and_then(Value::as_bool));
        (
            DataType::Boolean,
            Arc::new(truths.collect::<BooleanArray>()),
        )
    } else {
        let texts = values.iter().map(|value| value.map(cell));
        (DataType::Utf8, Arc::new(texts.collect::<StringArray>()))
    };
    (Field::new(name, data_type, true), array)
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) if text == "inf" => Some(f64::INFINITY),
        Value::String(text) if text == "-inf" => Some(f64::NEG_INFINITY),
        other => other.as_f64(),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(truth) => if *truth { "True" } else { "False" }.to_owned(),
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(float)) => float_repr(float),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// What a formula of a spreadsheet starts with.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A cell of a CSV file. Text that a spreadsheet would run as a formula gets an apostrophe in front,
/// by which spreadsheets mark text; numbers, also negative ones and those that a tool wrote as text,
/// stay as they are.
fn csv_cell(value: &Value) -> String {
    let mut text = cell(value);
    // A terminal obeys the control characters of a file that is shown in it.
    if text.contains(is_unprintable) {
        text = text
            .chars()
            .map(|c| {
                if is_unprintable(c) {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
    }
    let is_formula =
        value.is_string() && text.starts_with(FORMULA) && text.trim().parse::<f64>().is_err();
    if is_formula { format!("'{text}") } else { text }
}

/// True for control characters but those of white space.
fn is_unprintable(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// A cell of our CSV files without the apostrophe that keeps spreadsheets from running it as a
/// formula.
pub fn unquoted_cell(cell: &str) -> &str {
    cell.strip_prefix('\'')
        .filter(|text| text.starts_with(FORMULA))
        .unwrap_or(cell)
}

/// The settings in a sweep's file name, `bench_io{I}x{O}_mc{C}_np{N}.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchName {
    /// Input length in tokens.
    pub input_len: u64,
    /// Output length in tokens.
    pub output_len: u64,
    /// Concurrency cap.
    pub concurrency: u64,
    /// Number of requests.
    pub num_prompts: u64,
}

impl BenchName {
    /// Reads the settings out of a file name.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_suffix(".json")?.strip_prefix("bench_io")?;
        let (lengths, rest) = rest.split_once("_mc")?;
        let (concurrency, num_prompts) = rest.split_once("_np")?;
        let (input_len, output_len) = lengths.split_once('x')?;
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        Some(Self {
            input_len: number(input_len)?,
            output_len: number(output_len)?,
            concurrency: number(concurrency)?,
            num_prompts: number(num_prompts)?,
        })
    }
}

impl std::fmt::Display for BenchName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            input_len,
            output_len,
            concurrency,
            num_prompts,
        } = self;
        write!(
            f,
            "bench_io{input_len}x{output_len}_mc{concurrency}_np{num_prompts}.json"
        )
    }
}
