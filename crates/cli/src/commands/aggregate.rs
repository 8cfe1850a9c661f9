//! `inferometer aggregate`: a folder of results as one table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use inferometer_campaign::{Folded, fold, folded_table};
use inferometer_results::Aggregate;

use super::collect::{Collected, collect};
use crate::args::AggregateArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::{Output, align};

/// Name of the table in the results folder.
pub(crate) const TABLE_NAME: &str = "aggregate_results.csv";

/// Maximum number of settings to print; the file has all.
const SHOWN: usize = 40;

/// Writes the table of all results in a folder.
pub(crate) fn aggregate(args: &AggregateArgs, output: &Output) -> Result<Exit, Failure> {
    let target = args
        .output
        .clone()
        .unwrap_or_else(|| args.results.join(TABLE_NAME));
    let broken = write_table(&args.results, &target, args.per_run, output)?;
    Ok(if broken == 0 {
        Exit::Good
    } else {
        Exit::RunFailed
    })
}

/// Writes the table of `results` to `target` and returns how many files could not be read.
pub(crate) fn write_table(
    results: &Path,
    target: &Path,
    per_run: bool,
    output: &Output,
) -> Result<usize, Failure> {
    let Collected { table, sources } = collect(&[results.to_owned()], output)?;
    if table.rows.is_empty() {
        return Err(Failure::usage(format!(
            "no readable results in {} ({sources} files and run folders checked): create some with inferometer \
             sweep, or with inferometer run --save-result --result-dir {}",
            results.display(),
            results.display()
        )));
    }
    write_both(&table, target)?;
    output.print_line(&format!(
        "{} runs from {} files: {} and .parquet",
        table.rows.len(),
        sources - table.broken.len() - table.duplicates.len(),
        target.display()
    ));
    let groups = if per_run { Vec::new() } else { fold(&table) };
    if groups.iter().any(|group| group.runs > 1) {
        let path = repeats_path(target);
        write_both(&folded_table(&groups), &path)?;
        output.print_line(&format!(
            "{} settings, repeats folded into mean, standard deviation and 95 % interval: {} and .parquet",
            groups.len(),
            path.display()
        ));
        output.print(&overview(&groups));
    }
    if !table.broken.is_empty() {
        let count = table.broken.len();
        output.warn(&format!(
            "{count} {} left out",
            if count == 1 { "file was" } else { "files were" }
        ));
    }
    Ok(table.broken.len())
}

fn write_both(table: &Aggregate, path: &Path) -> Result<(), Failure> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).or_usage()?;
    }
    table.write_csv(path).or_usage()?;
    table
        .write_parquet(&path.with_extension("parquet"))
        .or_usage()
}

/// `aggregate_results.csv` → `aggregate_results_repeats.csv`.
fn repeats_path(target: &Path) -> PathBuf {
    let stem = target.file_stem().unwrap_or_default().to_string_lossy();
    let extension = target
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()))
        .unwrap_or_default();
    target.with_file_name(format!("{stem}_repeats{extension}"))
}

/// The main numbers of a run, in the order of the overview's columns.
const NUMBERS: [&str; 5] = [
    "request_throughput",
    "output_throughput",
    "mean_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
];

/// A table of the folded runs: the settings that differ, then the main numbers.
fn overview(groups: &[Folded]) -> String {
    let keys = differing_keys(groups);
    let mut rows: Vec<Vec<String>> = vec![
        keys.iter()
            .map(|key| (*key).clone())
            .chain(["runs".to_owned()])
            .chain(NUMBERS.map(str::to_owned))
            .collect(),
    ];
    rows.extend(groups.iter().take(SHOWN).map(|group| row(group, &keys)));
    let mut text = align(&rows);
    if groups.len() > SHOWN {
        let _ = writeln!(
            text,
            "  … and {} more settings in the file",
            groups.len() - SHOWN
        );
    }
    text.push_str(
        "± is half of the 95 % interval of the mean (Student's t, with as many values as runs).\n",
    );
    if groups
        .iter()
        .any(|group| group.invalid + group.unanswered > 0)
    {
        text.push_str(
            "Runs that are INVALID or have no answer are counted, and are in no number.\n",
        );
    }
    text
}

/// The settings whose values differ between groups.
fn differing_keys(groups: &[Folded]) -> Vec<&String> {
    let mut keys: Vec<&String> = Vec::new();
    for group in groups {
        keys.extend(group.settings.keys());
    }
    keys.sort();
    keys.dedup();
    let all = keys.clone();
    keys.retain(|key| {
        !["filename", "inferometer.plan"].contains(&key.as_str())
            && groups
                .iter()
                .any(|group| group.settings.get(*key) != groups[0].settings.get(*key))
    });
    // File names are shown only if nothing else distinguishes two settings.
    let values = |group: &Folded| {
        keys.iter()
            .map(|key| group.settings.get(*key).cloned())
            .collect::<Vec<_>>()
    };
    let names_needed = groups.iter().enumerate().any(|(index, group)| {
        groups[..index]
            .iter()
            .take(SHOWN)
            .any(|other| values(other) == values(group))
    });
    if names_needed {
        keys.extend(all.into_iter().filter(|key| *key == "filename"));
    }
    keys
}

/// The row of a group: its settings, number of runs, and main numbers.
fn row(group: &Folded, keys: &[&String]) -> Vec<String> {
    let setting = |key: &&String| match group.settings.get(*key) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "–".to_owned(),
    };
    let mut row: Vec<String> = keys.iter().map(setting).collect();
    row.push(runs(group));
    for key in NUMBERS {
        row.push(match group.numbers.get(key) {
            None => "–".to_owned(),
            Some(estimate) => match estimate.interval {
                Some((_, high)) => {
                    format!("{:.2} ± {:.2}", estimate.mean, high - estimate.mean)
                }
                None => format!("{:.2}", estimate.mean),
            },
        });
    }
    row
}

/// The number of runs, and of those among them that are in no number.
fn runs(group: &Folded) -> String {
    let mut apart = Vec::new();
    if group.invalid > 0 {
        apart.push(format!("{} INVALID", group.invalid));
    }
    if group.unanswered > 0 {
        apart.push(format!("{} without answers", group.unanswered));
    }
    if apart.is_empty() {
        group.runs.to_string()
    } else {
        format!("{} ({})", group.runs, apart.join(", "))
    }
}
