//! Runs from result files, run folders, and folders of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use inferometer_benchmark::FolderRun;
use inferometer_campaign::result_files;
use inferometer_results::{
    Aggregate, ImportedRun, Row, RunFolder, Source, aggregate_with, find_run_folders,
    is_run_folder, read_result,
};
use rayon::prelude::*;

use crate::exit::{Failure, OrFail};
use inferometer_terminal::Output;

/// Runs as one table, and how many files and folders they came from.
pub(super) struct Collected {
    pub(super) table: Aggregate,
    /// Result files and run folders that were tried.
    pub(super) sources: usize,
}

/// Collects the runs at `paths`: result files, run folders, and folders with either at any depth.
/// What is left out, and why, is said on `output`. The folder of a run that was stopped early, such
/// as a sweep leaves of the run in which it was interrupted, counts only if it is named itself.
pub(super) fn collect(paths: &[PathBuf], output: &Output) -> Result<Collected, Failure> {
    let mut files = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for path in paths {
        if is_run_folder(path) {
            folders.insert(path.clone());
        } else if path.is_dir() {
            files.extend(result_files(path).or_usage()?);
            let (stopped, whole): (Vec<_>, Vec<_>) = find_run_folders(path)
                .or_usage()?
                .into_iter()
                .partition(|folder| was_stopped(folder));
            for folder in stopped {
                output.note(&format!(
                    "left out: {}: the run was stopped before its end",
                    folder.display()
                ));
            }
            folders.extend(whole);
        } else {
            files.insert(path.clone());
        }
    }
    let mut runs = Vec::new();
    let mut unreadable = 0;
    for folder in &folders {
        match folder_run(folder) {
            Ok(run) => runs.push(run),
            Err(error) => {
                unreadable += 1;
                output.warn(&format!(
                    "left out: {}: {}",
                    folder.display(),
                    error.report()
                ));
            }
        }
    }
    let files: Vec<PathBuf> = files.into_iter().collect();
    let sources = files.len() + folders.len();
    let table = aggregate_with(&files, runs);
    for error in &table.broken {
        output.warn(&format!("left out: {error}"));
    }
    for copy in &table.duplicates {
        output.note(&format!(
            "{} is the run of {} again, and is counted once",
            copy.file.display(),
            copy.of.display()
        ));
    }
    if unreadable > 0 && table.rows.is_empty() {
        return Err(Failure::usage("no run folder could be read"));
    }
    Ok(Collected { table, sources })
}

/// True for the folder of a run that did not reach its planned end.
fn was_stopped(folder: &Path) -> bool {
    let manifest = RunFolder::open(folder).and_then(|folder| folder.read_manifest());
    manifest.is_ok_and(|manifest| manifest.run.partial)
}

/// A run folder in the keys of a result file, without lists.
fn folder_run(folder: &Path) -> Result<ImportedRun, Failure> {
    let run = FolderRun::open(folder)?;
    let mut keys: Details = run.row()?.filter(|(_, value)| !value.is_array()).collect();
    if let Some(ours) = keys.get_mut("inferometer") {
        ours["plan"] = run.plan().into();
    }
    Ok(ImportedRun {
        source: Source::Inferometer,
        keys,
        details: Details::new(),
        file: folder.to_owned(),
        position: 0,
    })
}

/// Reads the lists of single requests into the rows whose file or folder has them; returns how many
/// do.
pub(super) fn read_details(rows: &mut [Row]) -> usize {
    let details: Vec<_> = rows
        .par_iter()
        .map(|row| details(&row.run).unwrap_or_default())
        .collect();
    let mut found = 0;
    for (row, details) in rows.iter_mut().zip(details) {
        found += usize::from(details.contains_key("ttfts"));
        row.values.extend(details);
    }
    found
}

/// Keys and values, in order.
type Details = inferometer_report::visualize::Row;

fn details(run: &ImportedRun) -> Option<Details> {
    if run.file.is_dir() {
        return folder_details(&run.file);
    }
    let mut runs = read_result(&run.file).ok()?;
    (run.position < runs.len()).then(|| runs.swap_remove(run.position).details)
}

/// The lists of single requests of a run folder.
pub(super) fn folder_details(folder: &Path) -> Option<Details> {
    let row = FolderRun::open(folder).ok()?.detailed_row().ok()?;
    Some(row.filter(|(key, value)| is_detail(key, value)).collect())
}

/// True for a list with one item per request that figures use; texts are not.
fn is_detail(key: &str, value: &serde_json::Value) -> bool {
    value.is_array() && key != "generated_texts"
}
