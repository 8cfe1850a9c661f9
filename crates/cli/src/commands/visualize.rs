//! `inferometer visualize`: figures, dashboard and report of many runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inferometer_benchmark::{add_details, read_details};
use inferometer_campaign::{
    Claim, FlagTable, Start, SweepOptions, read_table, result_files, sweep_campaign,
};
use inferometer_report::chart::{Figure, to_png};
use inferometer_report::visualize::{
    RatingScale, ReportFormat, Row, dashboard, latency_figure, parse_rows, performance_report,
    throughput_figure,
};
use inferometer_results::{Links, check_outputs, find_run_folders, write_in_folder};
use inferometer_sim::{SimSettings, start};
use inferometer_workload::{BUILTIN, Tokenizer};

use super::aggregate::{TABLE_NAME, write_table};
use super::collect::collect;
use super::{sim, sweep};
use crate::args::VisualizeArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::{Output, View};

/// Pixels of a PNG per unit of its SVG; 2 is sharp on high-density screens.
const PNG_SCALE: f32 = 2.0;

/// Writes the figures and reports that `args` select.
pub(crate) fn visualize(args: &VisualizeArgs, output: &Output) -> Result<Exit, Failure> {
    let Drawn {
        rows,
        detailed,
        source,
        exit,
    } = if args.runs.is_empty() {
        from_table(args, output)?
    } else {
        from_runs(&args.runs, output)?
    };
    let runs = parse_rows(&rows);
    let (lang, folder) = (args.lang, &args.output);
    fs::create_dir_all(folder).map_err(|error| {
        Failure::usage(format!(
            "--output: cannot create {}: {error}",
            folder.display()
        ))
    })?;
    let all = args.all || !(args.throughput || args.latency || args.interactive || args.report);
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    if all || args.throughput {
        let names = ["throughput_analysis.png", "throughput_analysis.svg"];
        files.extend(drawn(names, &throughput_figure(&runs, lang))?);
    }
    if all || args.latency {
        let names = ["latency_analysis.png", "latency_analysis.svg"];
        files.extend(drawn(names, &latency_figure(&runs, lang))?);
    }
    if all || args.interactive {
        let page = dashboard(&runs, lang).into_bytes();
        files.push(("interactive_dashboard.html", page));
    }
    if all || args.report {
        for (name, format) in [
            ("performance_report.txt", ReportFormat::Text),
            ("performance_report.md", ReportFormat::Markdown),
        ] {
            let text = performance_report(&runs, &RatingScale::default(), lang, format);
            files.push((name, text.into_bytes()));
        }
    }
    let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
    let inputs = args.runs.iter().chain([&args.csv]);
    output.note_if(check_outputs(&paths, inputs).or_usage()?);
    let written = files
        .iter()
        .map(|(name, content)| write(folder, name, content))
        .collect::<Result<Vec<_>, _>>()?;
    output.print_line(&format!(
        "{} runs from {source} ({detailed} with per-request data):",
        runs.len()
    ));
    for path in written {
        output.print_line(&format!("  {path}"));
    }
    Ok(exit)
}

/// What is drawn.
struct Drawn {
    rows: Vec<Row>,
    /// Rows with the lists of single requests.
    detailed: usize,
    /// Where they are from, for people.
    source: String,
    exit: Exit,
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
    let folder = match csv.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A table that was moved away from its results is drawn without them.
    let files = result_files(folder).unwrap_or_default();
    let folders = find_run_folders(folder).unwrap_or_default();
    let detailed = add_details(&mut rows, &files, &folders);
    Ok(Drawn {
        rows,
        detailed,
        source: csv.display().to_string(),
        exit: Exit::Good,
    })
}

/// The runs at `paths`.
fn from_runs(paths: &[PathBuf], output: &Output) -> Result<Drawn, Failure> {
    let (mut table, _) = collect(paths, output)?;
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let source = names.join(", ");
    if table.rows.is_empty() {
        return Err(Failure::usage(format!("no readable results in {source}")));
    }
    let detailed = read_details(&mut table);
    let is_whole = table.broken.is_empty();
    Ok(Drawn {
        exit: if is_whole {
            Exit::Good
        } else {
            Exit::RunFailed
        },
        rows: table.rows.into_iter().map(|row| row.values).collect(),
        detailed,
        source,
    })
}

fn drawn<'a>(names: [&'a str; 2], figure: &Figure) -> Result<[(&'a str, Vec<u8>); 2], Failure> {
    let svg = figure.to_svg();
    let png = to_png(&svg, PNG_SCALE).or_failure()?;
    let [png_name, svg_name] = names;
    Ok([(png_name, png), (svg_name, svg.into_bytes())])
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<String, Failure> {
    let path = folder.join(name);
    write_in_folder(&path, content)
        .map_err(|error| Failure::usage(format!("--output: {error}")))?;
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
    let claim = Claim::take(&campaign, settings.start).or_usage()?;
    let (tally, _) = sweep::execute_campaign(&campaign, claim, &settings, output)?;
    sim::stop(server)?;
    if tally.interrupted {
        return Err(Failure::interrupted("the demo was stopped"));
    }
    if tally.failed > 0 {
        return Err(Failure::failure("the demo's sweep did not finish"));
    }
    let table = results.join(TABLE_NAME);
    write_table(&results, &table, Links::Replace, false, output)?;
    Ok(table)
}
