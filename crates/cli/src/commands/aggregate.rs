//! `inferometer aggregate`: a folder of results as one table.

use std::path::Path;

use inferometer_campaign::{TableFiles, fold, folded_table, overview};
use inferometer_results::Links;

use super::collect::collect;
use crate::args::AggregateArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::{Output, align};

/// Name of the table in the results folder.
pub(crate) const TABLE_NAME: &str = "aggregate_results.csv";

/// Writes the table of all results in a folder.
pub(crate) fn aggregate(args: &AggregateArgs, output: &Output) -> Result<Exit, Failure> {
    let target = args
        .output
        .clone()
        .unwrap_or_else(|| args.results.join(TABLE_NAME));
    let links = match args.output {
        Some(_) => Links::Follow,
        None => Links::Replace,
    };
    let broken = write_table(&args.results, &target, links, args.per_run, output)?;
    Ok(if broken == 0 {
        Exit::Good
    } else {
        Exit::RunFailed
    })
}

/// Writes the table of `results` to `target`, with `links` for what is done where that is a link, and
/// returns how many files could not be read.
pub(crate) fn write_table(
    results: &Path,
    target: &Path,
    links: Links,
    per_run: bool,
    output: &Output,
) -> Result<usize, Failure> {
    let (table, sources) = collect(&[results.to_owned()], output)?;
    if table.rows.is_empty() {
        return Err(Failure::usage(format!(
            "no readable results in {} ({sources} files and run folders checked): create some with inferometer \
             sweep, or with inferometer run --save-result --result-dir {}",
            results.display(),
            results.display()
        )));
    }
    let groups = if per_run { Vec::new() } else { fold(&table) };
    let has_repeats = groups.iter().any(|group| group.runs > 1);
    let (files, note) = TableFiles::check(&table, target, links, has_repeats).or_usage()?;
    output.note_if(note);
    files.write(&table).or_usage()?;
    output.print_line(&format!(
        "{} runs from {} files: {} and .parquet",
        table.rows.len(),
        sources - table.broken.len() - table.duplicates.len(),
        target.display()
    ));
    if has_repeats {
        let path = files.write_repeats(&folded_table(&groups)).or_usage()?;
        output.print_line(&format!(
            "{} settings, repeats folded into mean, standard deviation and 95 % interval: {} and .parquet",
            groups.len(),
            path.display()
        ));
        output.print(&overview(&groups, align));
    }
    if !table.broken.is_empty() {
        let count = table.broken.len();
        output.warn(&format!(
            "{count} {} left out",
            if count == 1 { "file was" } else { "files were" }
        ));
    }
    Ok(table.broken.len() + table.cut_off.len())
}
