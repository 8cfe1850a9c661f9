//! `inferometer compare`: runs side by side.

use std::path::Path;

use inferometer_benchmark::FolderRun;
use inferometer_report::Comparison;
use inferometer_report::visualize::Row;
use inferometer_results::{BenchName, read_result_summary};
use serde_json::Value;

use crate::args::CompareArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Prints the comparison of the runs in `args`.
pub(crate) fn compare(args: &CompareArgs, output: &Output) -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    for path in &args.runs {
        rows.extend(if path.is_dir() {
            vec![folder_row(path)?]
        } else {
            file_rows(path)?
        });
    }
    shorten_names(&mut rows);
    let comparison = Comparison::new(&rows, args.lang).or_usage()?;
    if args.json {
        output.print_line(&serde_json::to_string_pretty(&comparison.to_json()).or_failure()?);
    } else if args.markdown {
        output.print(&comparison.to_markdown());
    } else {
        output.print(&comparison.to_text());
    }
    Ok(Exit::Good)
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

/// A run folder, with the keys of a result file.
fn folder_row(path: &Path) -> Result<Row, Failure> {
    let mut row: Row = FolderRun::open(path)?.row()?.collect();
    row.insert("filename".to_owned(), path.display().to_string().into());
    Ok(row)
}

/// Shortens each path to its shortest suffix that no other run shares.
fn shorten_names(rows: &mut [Row]) {
    let names: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let name = row
                .get("filename")
                .and_then(Value::as_str)
                .unwrap_or_default();
            name.split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .collect();
    for (index, row) in rows.iter_mut().enumerate() {
        let own = &names[index];
        let suffix = |count: usize| &own[own.len().saturating_sub(count)..];
        let is_unique = |count: &usize| {
            names
                .iter()
                .enumerate()
                .all(|(other, name)| other == index || !name.ends_with(suffix(*count)))
        };
        let count = (1..=own.len()).find(is_unique).unwrap_or(own.len());
        row.insert("filename".to_owned(), suffix(count).join("/").into());
    }
}
