//! `inferometer compare`: runs side by side.

use std::path::Path;

use inferometer_benchmark::FolderRun;
use inferometer_campaign::{fold, result_files};
use inferometer_report::visualize::Row;
use inferometer_report::{Comparison, Side};
use inferometer_results::{BenchName, find_run_folders, is_run_folder, read_result_summary};

use super::collect::collect;
use crate::args::CompareArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Prints the comparison of the runs in `args`.
pub(crate) fn compare(args: &CompareArgs, output: &Output) -> Result<Exit, Failure> {
    let mut sides: Vec<Side> = Vec::new();
    for path in &args.runs {
        if path.is_dir() {
            sides.push(folder_side(path, output)?);
        } else {
            sides.extend(file_rows(path)?.into_iter().map(Side::from));
        }
    }
    shorten_names(&mut sides);
    let comparison = Comparison::new(&sides, args.lang).or_usage()?;
    if args.json {
        output.print_line(&serde_json::to_string_pretty(&comparison.to_json()).or_failure()?);
    } else if args.markdown {
        output.print(&comparison.to_markdown());
    } else {
        output.print(&comparison.to_text());
    }
    Ok(Exit::Good)
}

/// A run folder, or a folder with the repeats of one setting.
fn folder_side(path: &Path, output: &Output) -> Result<Side, Failure> {
    let name = path.display().to_string();
    let holds_runs = !is_run_folder(path)
        && (!result_files(path).or_usage()?.is_empty()
            || !find_run_folders(path).or_usage()?.is_empty());
    if !holds_runs {
        let rows = vec![FolderRun::open(path)?.row()?.collect()];
        return Ok(Side { name, rows });
    }
    let table = collect(&[path.to_owned()], output)?.table;
    // Names of files that are repeats of one another by their settings may be anything here: the
    // user says that the folder holds repeats, and only different settings contradict that.
    let settings = fold(&table).into_iter().map(|mut group| {
        group.settings.shift_remove("filename");
        group.settings
    });
    let distinct: Vec<_> = settings.fold(Vec::new(), |mut all, one| {
        if !all.contains(&one) {
            all.push(one);
        }
        all
    });
    if distinct.len() > 1 {
        return Err(Failure::usage(format!(
            "{name}: holds runs of {} different settings: expected the repeats of one; name the runs instead",
            distinct.len()
        )));
    }
    let rows = table.rows.into_iter().map(|row| row.values).collect();
    Ok(Side { name, rows })
}

/// The runs of a result file.
fn file_rows(path: &Path) -> Result<Vec<Row>, Failure> {
    let runs = read_result_summary(path).or_usage()?;
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

/// Shortens each path to its shortest suffix that no other side shares.
fn shorten_names(sides: &mut [Side]) {
    let names: Vec<Vec<String>> = sides
        .iter()
        .map(|side| {
            side.name
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect();
    for (index, side) in sides.iter_mut().enumerate() {
        let own = &names[index];
        let suffix = |count: usize| &own[own.len().saturating_sub(count)..];
        let is_unique = |count: &usize| {
            names
                .iter()
                .enumerate()
                .all(|(other, name)| other == index || !name.ends_with(suffix(*count)))
        };
        let count = (1..=own.len()).find(is_unique).unwrap_or(own.len());
        side.name = suffix(count).join("/");
    }
}
