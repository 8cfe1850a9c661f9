//! `inferometer visualize`: figures, dashboard and report of many runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inferometer_campaign::{
    FlagTable, Start, SweepOptions, read_table, result_files, sweep_campaign,
};
use inferometer_report::chart::{Figure, to_png};
use inferometer_report::visualize::{
    RatingScale, ReportFormat, Row, dashboard, latency_figure, parse_rows, performance_report,
    throughput_figure,
};
use inferometer_results::{ImportedRun, find_run_folders, read_result};
use inferometer_sim::{SimSettings, start};
use inferometer_workload::{BUILTIN, Tokenizer};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::aggregate::{TABLE_NAME, write_table};
use super::collect::{collect, folder_details, read_details};
use super::{sim, sweep};
use crate::args::VisualizeArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::{Output, View};

/// Pixels of a PNG per unit of its SVG; 2 is sharp on high-density screens.
const PNG_SCALE: f32 = 2.0;

/// Writes the figures and reports that `args` select.
pub(crate) fn visualize(args: &VisualizeArgs, output: &Output) -> Result<Exit, Failure> {
    let Drawn {
        mut rows,
        detailed,
        source,
    } = if args.runs.is_empty() {
        from_table(args, output)?
    } else {
        from_runs(&args.runs, output)?
    };
    rows.iter_mut().for_each(restore_verdict);
    let runs = parse_rows(&rows);
    let (lang, folder) = (args.lang, &args.output);
    fs::create_dir_all(folder).map_err(|error| {
        Failure::usage(format!(
            "--output: cannot create {}: {error}",
            folder.display()
        ))
    })?;
    let all = args.all || !(args.throughput || args.latency || args.interactive || args.report);
    let mut written = Vec::new();
    if all || args.throughput {
        written.extend(write_figure(
            folder,
            "throughput_analysis",
            &throughput_figure(&runs, lang),
        )?);
    }
    if all || args.latency {
        written.extend(write_figure(
            folder,
            "latency_analysis",
            &latency_figure(&runs, lang),
        )?);
    }
    if all || args.interactive {
        written.push(write(
            folder,
            "interactive_dashboard.html",
            dashboard(&runs, lang).as_bytes(),
        )?);
    }
    if all || args.report {
        for (name, format) in [
            ("performance_report.txt", ReportFormat::Text),
            ("performance_report.md", ReportFormat::Markdown),
        ] {
            let text = performance_report(&runs, &RatingScale::default(), lang, format);
            written.push(write(folder, name, text.as_bytes())?);
        }
    }
    output.print_line(&format!(
        "{} runs from {source} ({detailed} with per-request data):",
        runs.len()
    ));
    for path in written {
        output.print_line(&format!("  {path}"));
    }
    Ok(Exit::Good)
}

/// What is drawn.
struct Drawn {
    rows: Vec<Row>,
    /// Rows with the lists of single requests.
    detailed: usize,
    /// Where they are from, for people.
    source: String,
}

/// The rows of the table in `args`, or of the demonstration's.
fn from_table(args: &VisualizeArgs, output: &Output) -> Result<Drawn, Failure> {
    let csv = if args.demo {
        demo(args, output)?
    } else {
        args.csv.clone()
    };
    if !csv.is_file() {
        return Err(Failure::usage(format!(
            "--csv: {} does not exist: create it with inferometer aggregate, name run folders or result files instead, \
             or try inferometer visualize --demo",
            csv.display()
        )));
    }
    let mut rows: Vec<Row> = read_table(&csv).or_usage()?;
    if rows.is_empty() {
        return Err(Failure::usage(format!(
            "--csv: {} has no rows",
            csv.display()
        )));
    }
    let detailed = add_details(&mut rows, csv.parent().unwrap_or(Path::new("")));
    Ok(Drawn {
        rows,
        detailed,
        source: csv.display().to_string(),
    })
}

/// The runs at `paths`.
fn from_runs(paths: &[PathBuf], output: &Output) -> Result<Drawn, Failure> {
    let mut table = collect(paths, output)?.table;
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let source = names.join(", ");
    if table.rows.is_empty() {
        return Err(Failure::usage(format!("no readable results in {source}")));
    }
    let detailed = read_details(&mut table.rows);
    Ok(Drawn {
        rows: table.rows.into_iter().map(|row| row.values).collect(),
        detailed,
        source,
    })
}

/// Joins the verdict of a CSV row to the object that the figures read: the table has it in several
/// columns, with the reasons as JSON text.
fn restore_verdict(row: &mut Row) {
    let Some(level) = row
        .get("inferometer.verdict.level")
        .and_then(Value::as_str)
        .map(str::to_owned)
    else {
        return;
    };
    let reasons = row
        .get("inferometer.verdict.reasons")
        .and_then(Value::as_str);
    let Some(reasons) = reasons.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return;
    };
    row.insert(
        "inferometer".to_owned(),
        json!({"verdict": {"level": level, "reasons": reasons}}),
    );
}

/// Adds per-request arrays, for distributions and timelines: a table has none, but the result files
/// next to it may (`--save-detailed`), and the run folders do. Returns the number of rows with them.
fn add_details(rows: &mut [Row], folder: &Path) -> usize {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    // A table that was moved away from its results is drawn without them.
    let files = result_files(folder).unwrap_or_default();
    let folders = find_run_folders(folder).unwrap_or_default();
    let runs: Vec<ImportedRun> = files
        .par_iter()
        .filter(|file| fs::read(file).is_ok_and(|text| contains(&text, b"\"ttfts\"")))
        .flat_map_iter(|file| read_result(file).unwrap_or_default())
        .filter(|run| !run.details.is_empty())
        .collect();
    let mut found = 0;
    for row in rows {
        // Repeats have the same name in different folders; their dates differ.
        let Some(name) = row.get("filename").and_then(Value::as_str) else {
            continue;
        };
        let is_same = |run: &&ImportedRun| {
            run.file.ends_with(name)
                && run.keys.get("date").and_then(Value::as_str)
                    == row.get("date").and_then(Value::as_str)
        };
        let mut matching = runs.iter().filter(is_same);
        let mut own = folders.iter().filter(|folder| folder.ends_with(name));
        let details = match (matching.next(), own.next()) {
            (Some(run), None) if matching.next().is_none() => Some(run.details.clone()),
            (None, Some(folder)) if own.next().is_none() => folder_details(folder),
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

fn write_figure(folder: &Path, name: &str, figure: &Figure) -> Result<[String; 2], Failure> {
    let svg = figure.to_svg();
    let png = to_png(&svg, PNG_SCALE).or_failure()?;
    Ok([
        write(folder, &format!("{name}.png"), &png)?,
        write(folder, &format!("{name}.svg"), svg.as_bytes())?,
    ])
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<String, Failure> {
    let path = folder.join(name);
    fs::write(&path, content).map_err(|error| {
        Failure::usage(format!(
            "--output: cannot write {}: {error}",
            path.display()
        ))
    })?;
    Ok(path.display().to_string())
}

/// Runs a campaign on the built-in simulator, whose engine model slows down under load like a real
/// engine, and returns its table.
fn demo(args: &VisualizeArgs, output: &Output) -> Result<PathBuf, Failure> {
    let folder = args.output.join("demo");
    fs::create_dir_all(&folder).map_err(|error| {
        Failure::usage(format!(
            "--output: cannot create {}: {error}",
            folder.display()
        ))
    })?;
    let server = start(SimSettings {
        model: "sim".into(),
        tokenizer: Some(Arc::new(sim::ForSim(Tokenizer::builtin().or_failure()?))),
        engine: Some(inferometer_sim::engine::ClusterConfig::default()),
        ..SimSettings::default()
    })
    .or_failure()?;
    let combos = format!(
        "# Written by inferometer visualize --demo\nmodel: sim\nbase_url: {}\ntokenizer: {BUILTIN}\n\
         input_output:\n  - [128, 32]\n  - [512, 32]\n\
         concurrency_prompts:\n  - [1, 8]\n  - [4, 32]\n  - [16, 96]\n  - [48, 192]\n",
        server.url()
    );
    write(&folder, "combos.yaml", combos.as_bytes())?;
    let results = folder.join("results");
    let extra = vec!["--save-detailed".to_owned()];
    let options = SweepOptions {
        output: Some(results.clone()),
        extra,
        ..SweepOptions::default()
    };
    let campaign =
        sweep_campaign(&folder.join("combos.yaml"), &FlagTable::default(), &options).or_usage()?;
    output.print_line(&format!(
        "A campaign of {} runs on the built-in simulator:",
        campaign.cells.len()
    ));
    let settings = sweep::ExecutionSettings {
        start: Start::Overwrite,
        show_stdout: false,
        server_ready_timeout: Duration::ZERO,
        ui: View::Bar,
    };
    let (tally, _) = sweep::execute_campaign(&campaign, &settings, output)?;
    sim::stop(server)?;
    if tally.interrupted {
        return Err(Failure::interrupted("the demo was stopped"));
    }
    if tally.failed > 0 {
        return Err(Failure::failure("the demo's sweep did not finish"));
    }
    let table = results.join(TABLE_NAME);
    write_table(&results, &table, false, output)?;
    Ok(table)
}
