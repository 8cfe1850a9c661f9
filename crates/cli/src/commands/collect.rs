//! Runs from result files, run folders, and folders of them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use inferometer_benchmark::{collect_runs, was_stopped};
use inferometer_campaign::result_files;
use inferometer_results::{Aggregate, find_run_folders, is_run_folder};

use crate::exit::{Failure, OrFail};
use inferometer_terminal::Output;

/// Collects the runs at `paths`: result files, run folders, and folders with either at any depth.
/// What is left out, and why, is said on `output`. The folder of a run that was stopped early counts
/// only if it is named itself. Returns the runs, and how many files and folders were tried.
pub(super) fn collect(paths: &[PathBuf], output: &Output) -> Result<(Aggregate, usize), Failure> {
    let mut files = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for path in paths {
        if is_run_folder(path) {
            folders.insert(path.clone());
        } else if path.is_dir() {
            files.extend(result_files(path).or_usage()?);
            for folder in find_run_folders(path).or_usage()? {
                if was_stopped(&folder) {
                    let shown = folder.display();
                    output.note(&format!(
                        "left out: {shown}: the run was stopped before its end"
                    ));
                } else {
                    folders.insert(folder);
                }
            }
        } else {
            files.insert(path.clone());
        }
    }
    let [files, folders] = [files, folders].map(|all| all.into_iter().collect::<Vec<_>>());
    let sources = files.len() + folders.len();
    let table = collect_runs(&files, &folders);
    for problem in &table.cut_off {
        output.warn(&format!("{problem}; the runs before it are read"));
    }
    for problem in &table.broken {
        output.warn(&format!("left out: {problem}"));
    }
    for copy in &table.duplicates {
        let (copy, of) = (copy.file.display(), copy.of.display());
        output.note(&format!(
            "{copy} and {of} are the same run; it is counted once"
        ));
    }
    Ok((table, sources))
}
