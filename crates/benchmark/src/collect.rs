//! Many runs from result files and run folders, as one table.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use inferometer_os::files;
use inferometer_report::visualize::Row as Keys;
use inferometer_results::{
    Aggregate, BenchName, ImportedRun, MAX_RESULT_BYTES, ReadError, RunFolder, Source,
    aggregate_with, read_result, read_result_summary,
};
use rayon::prelude::*;
use serde_json::Value;

use crate::error::Error;
use crate::report::FolderRun;

/// Reads result files and run folders into one table. What cannot be read, such as the folder of a run
/// that was killed, is in [`Aggregate::broken`] and does not keep the others from being read.
pub fn collect_runs(files: &[PathBuf], folders: &[PathBuf]) -> Aggregate {
    let mut runs = Vec::new();
    let mut broken = Vec::new();
    for folder in folders {
        match folder_run(folder) {
            Ok(run) => runs.push(run),
            Err(error) => broken.push(ReadError::Folder {
                path: folder.clone(),
                problem: error.report(),
            }),
        }
    }
    let mut table = aggregate_with(files, runs);
    table.broken.extend(broken);
    table
}

/// True for the folder of a run that was finished before its planned end, such as a sweep leaves of the
/// run in which it was interrupted.
pub fn was_stopped(folder: &Path) -> bool {
    let Ok(folder) = RunFolder::open(folder) else {
        return false;
    };
    let manifest = folder.read_manifest();
    folder.records_path().is_file() && manifest.is_ok_and(|manifest| manifest.run.partial)
}

/// A run folder in the keys of a result file, without lists.
fn folder_run(folder: &Path) -> Result<ImportedRun, Error> {
    let run = FolderRun::open(folder)?;
    let mut keys: Keys = run.row()?.filter(|(_, value)| !value.is_array()).collect();
    if let Some(ours) = keys.get_mut("inferometer") {
        ours["plan"] = run.plan().into();
    }
    Ok(ImportedRun {
        source: Source::Inferometer,
        keys,
        details: Keys::new(),
        file: folder.to_owned(),
        position: 0,
    })
}

/// Reads the lists of single requests into the rows of `table` whose file or folder has them, or a copy of it; returns
/// how many do.
pub fn read_details(table: &mut Aggregate) -> usize {
    let copies: HashMap<&Path, &Path> = table
        .duplicates
        .iter()
        .map(|copy| (copy.of.as_path(), copy.file.as_path()))
        .collect();
    let of_copy = |run: &ImportedRun| folder_details(copies.get(run.file.as_path())?);
    let has_requests = |details: &Keys| details.contains_key("ttfts");
    let details: Vec<Keys> = table
        .rows
        .par_iter()
        .map(|row| {
            let own = details(&row.run).filter(has_requests);
            own.or_else(|| of_copy(&row.run)).unwrap_or_default()
        })
        .collect();
    let mut found = 0;
    for (row, details) in table.rows.iter_mut().zip(details) {
        found += usize::from(has_requests(&details));
        row.values.extend(details);
    }
    found
}

fn details(run: &ImportedRun) -> Option<Keys> {
    if run.file.is_dir() {
        return folder_details(&run.file);
    }
    let mut runs = read_result(&run.file).ok()?;
    (run.position < runs.len()).then(|| runs.swap_remove(run.position).details)
}

/// The lists of single requests of a run folder, as far as figures use them; `None` where they
/// cannot be read.
fn folder_details(folder: &Path) -> Option<Keys> {
    let row = FolderRun::open(folder).ok()?.detailed_row().ok()?;
    let is_used = |key: &str| key != "generated_texts";
    Some(
        row.filter(|(key, value)| value.is_array() && is_used(key))
            .collect(),
    )
}

/// Numbers by which a result is recognised as that of a run: the duration is known to the nanosecond.
const SIGNATURE: [&str; 3] = ["duration", "completed", "total_output_tokens"];

/// The numbers of [`SIGNATURE`] in a row, whose cells are texts if it is from a table.
fn signature(row: &Keys) -> Option<[f64; 3]> {
    let number = |key: &str| {
        let value = row.get(key)?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    };
    let [duration, completed, tokens] = SIGNATURE.map(number);
    Some([duration?, completed?, tokens?])
}

/// Run folders by the numbers of their runs.
struct FoldersBySignature<'a>(Vec<([f64; 3], &'a Path)>);

impl<'a> FoldersBySignature<'a> {
    fn of(folders: &'a [PathBuf]) -> Self {
        let of = |folder: &'a PathBuf| {
            let manifest = RunFolder::open(folder).and_then(|folder| folder.read_manifest());
            let summary = manifest.ok()?.summary;
            let number = |key: &str| summary.get("summary")?.get(key)?.as_f64();
            let numbers = ["duration_s", "completed", "total_output_tokens"].map(number);
            let [duration, completed, tokens] = numbers;
            Some(([duration?, completed?, tokens?], folder.as_path()))
        };
        Self(folders.par_iter().filter_map(of).collect())
    }

    /// The only folder of the run that wrote the result in `row`.
    fn find(&self, row: &Keys) -> Option<&'a Path> {
        let wanted = signature(row)?;
        let mut found = self.0.iter().filter(|(numbers, _)| *numbers == wanted);
        let (_, folder) = found.next()?;
        found.next().is_none().then_some(*folder)
    }
}

fn date_of(row: &Keys) -> Option<&str> {
    row.get("date").and_then(Value::as_str)
}

/// Adds the lists of single requests to the rows of a table: from the result in `files` that their `filename` names, or
/// from the run folder of that name or of the run that wrote that result. Returns the number of rows with them.
pub fn add_details(rows: &mut [Keys], files: &[PathBuf], folders: &[PathBuf]) -> usize {
    let runs: Vec<ImportedRun> = files
        .par_iter()
        .filter(|file| {
            files::bytes(file, MAX_RESULT_BYTES).is_ok_and(|text| contains(&text, b"\"ttfts\""))
        })
        .flat_map_iter(|file| read_result(file).unwrap_or_default())
        .filter(|run| !run.details.is_empty())
        .collect();
    // Read where a row needs them: most have their own.
    let by_signature = LazyCell::new(|| FoldersBySignature::of(folders));
    let mut found = 0;
    for row in rows {
        // Repeats have the same name in different folders; their dates differ.
        let Some(name) = row.get("filename").and_then(Value::as_str) else {
            continue;
        };
        let is_same =
            |run: &&ImportedRun| run.file.ends_with(name) && date_of(&run.keys) == date_of(row);
        let mut matching = runs.iter().filter(is_same);
        let mut own = folders.iter().filter(|folder| folder.ends_with(name));
        let details = match (matching.next(), own.next()) {
            (Some(run), None) if matching.next().is_none() => Some(run.details.clone()),
            (None, Some(folder)) if own.next().is_none() => folder_details(folder),
            (None, None) => by_signature.find(row).and_then(folder_details),
            _ => None,
        };
        if let Some(details) = details {
            row.extend(details);
            found += 1;
        }
    }
    found
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// The runs of a result file in the keys of vLLM's, each under the path of the file.
///
/// # Errors
///
/// As [`read_result_summary`].
pub fn file_rows(path: &Path) -> Result<Vec<Keys>, ReadError> {
    let runs = read_result_summary(path)?;
    let several = runs.len() > 1;
    Ok(runs
        .into_iter()
        .map(|run| {
            let mut row = run.keys;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(bench) = BenchName::parse(&name) {
                row.insert("input_len".to_owned(), bench.input_len.into());
                row.insert("output_len".to_owned(), bench.output_len.into());
            }
            let place = if several {
                format!(" #{}", run.position + 1)
            } else {
                String::new()
            };
            row.insert(
                "filename".to_owned(),
                format!("{}{place}", path.display()).into(),
            );
            row
        })
        .collect())
}
