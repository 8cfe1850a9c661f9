//! `inferometer verify`: are the data of runs as the runs wrote them?

use inferometer_results::RunFolder;

use crate::args::VerifyArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Compares the files of each run folder with the hashes in its manifest.
pub(crate) fn verify(args: &VerifyArgs, output: &Output) -> Result<Exit, Failure> {
    let mut exit = Exit::Good;
    for path in &args.runs {
        let shown = path.display();
        let folder = RunFolder::open(path).or_usage()?;
        let manifest = folder.read_manifest().or_usage()?;
        if manifest.files.is_empty() {
            let problem = if manifest.run.partial && !manifest.run.recovered {
                "the run has not ended: its manifest has no hashes yet"
            } else {
                "its manifest has no hashes: an earlier version wrote it"
            };
            output.warn(&format!("{shown}: cannot be verified: {problem}"));
            exit = Exit::RunFailed;
            continue;
        }
        let changed = folder.changed_files(&manifest).or_failure()?;
        for file in &changed {
            output.print_line(&format!("{shown}: {file}"));
        }
        if changed.is_empty() {
            let files: Vec<&str> = manifest.files.keys().map(String::as_str).collect();
            output.print_line(&format!(
                "{shown}: {} as the run wrote it",
                files.join(", ")
            ));
        } else {
            exit = Exit::RunFailed;
        }
    }
    Ok(exit)
}
