//! `inferometer workload`: requests and their due instants as a file that can be replayed on any
//! machine.

use std::fmt::Write as _;

use inferometer_benchmark::{RunSpec, offline};
use inferometer_report::{Lang, dataset_stats_figure};
use inferometer_results::check_outputs;
use inferometer_workload::{Bundle, BundleReader, BundleWriter};
use serde_json::{Map, Value, json};

use crate::args::{BuildArgs, ShowArgs, WorkloadArgs, WorkloadCommand};
use crate::exit::{Exit, Failure, OrFail};
use crate::settings::RunSettings;
use crate::watch::Watch;
use inferometer_terminal::{Output, histogram};

/// Prefix of request ids, fixed so that the same flags give the same file.
const ID_PREFIX: &str = "bench-";

/// Runs the command.
pub(crate) fn workload(args: WorkloadArgs, output: &Output) -> Result<Exit, Failure> {
    match args.command {
        WorkloadCommand::Build(args) => build(*args, output),
        WorkloadCommand::Show(args) => show(&args, output),
    }
}

fn build(args: BuildArgs, output: &Output) -> Result<Exit, Failure> {
    let BuildArgs {
        mut run,
        output: path,
    } = args;
    if let Some(file) = &run.traffic.workload {
        return Err(Failure::usage(format!(
            "--workload {}: must not be set for workload build; copy the file, or build a new one from its flags",
            file.display()
        )));
    }
    run.load
        .request_id_prefix
        .get_or_insert_with(|| ID_PREFIX.to_owned());
    let RunSettings {
        benchmark: settings,
        view,
        ..
    } = RunSettings::resolve(run)?;
    let inputs = RunSpec::of(&settings).workload;
    output.note_if(check_outputs(&[&path], inputs.files()).or_usage()?);
    let about = Map::from_iter([
        ("inferometer".to_owned(), env!("CARGO_PKG_VERSION").into()),
        (
            "dataset".to_owned(),
            settings.workload.dataset.name().into(),
        ),
        ("seed".to_owned(), settings.workload.seed.into()),
        ("arrivals".to_owned(), json!(settings.load.arrivals)),
    ]);
    let mut writer = None;
    let (workload, schedule) =
        offline(&settings, &Watch::new(output, view), &mut |due, request| {
            // An older file is replaced only after the settings have been checked.
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer.insert(BundleWriter::create(&path, &about).or_failure()?),
            };
            writer.push(due, request).or_failure()
        })?;
    let writer = writer.ok_or_else(|| Failure::usage("no requests to write"))?;
    let sha256 = writer.finish(&workload).or_failure()?;
    for warning in &workload.warnings {
        output.warn(warning);
    }
    output.print(&format!(
        "{}: {} requests over {:.3} s, sha256 {sha256}\n",
        path.display(),
        schedule.len(),
        schedule.last().as_secs_f64()
    ));
    Ok(Exit::Good)
}

fn show(args: &ShowArgs, output: &Output) -> Result<Exit, Failure> {
    let mut reader = BundleReader::open(&args.file).or_usage()?;
    let mut counts = Counts::default();
    while let Some(request) = reader.next_request().or_usage()? {
        counts
            .lengths
            .push((request.prompt_tokens, request.output_tokens));
        counts.conversations +=
            usize::from(request.session.as_ref().is_some_and(|turn| turn.turn == 0));
    }
    let (bundle, sha256) = reader.finish().or_usage()?;
    output.print(&describe(&bundle, &counts, &sha256));
    if let Some(path) = &args.html {
        output.note_if(check_outputs(&[path], [&args.file]).or_usage()?);
        std::fs::write(path, page(&bundle, &counts, &sha256))
            .map_err(|error| Failure::usage(format!("--html {}: {error}", path.display())))?;
        output.note(&format!("wrote {}", path.display()));
    }
    Ok(Exit::Good)
}

/// What is kept of the requests of a file, which may not fit into memory.
#[derive(Debug, Default)]
struct Counts {
    /// Prompt and output tokens of each request.
    lengths: Vec<(u32, Option<u32>)>,
    conversations: usize,
}

/// The file as text and histograms.
fn describe(bundle: &Bundle, counts: &Counts, sha256: &str) -> String {
    let requests = &counts.lengths;
    let span = bundle.schedule.last().as_secs_f64();
    let mut text = format!("{} requests, sha256 {sha256}\n", requests.len());
    for (name, value) in &bundle.about {
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let _ = writeln!(text, "{name}: {shown}");
    }
    let _ = match span {
        0.0 => writeln!(text, "all due at once"),
        _ => writeln!(
            text,
            "due over {span:.3} s, {:.3} requests/s",
            requests.len() as f64 / span
        ),
    };
    if let Some(fraction) = bundle
        .workload
        .about
        .get("reusable_prefix_share")
        .and_then(Value::as_f64)
    {
        let _ = writeln!(
            text,
            "reusable prefixes: {:.1} % of the prompt tokens (predicted)",
            fraction * 100.0
        );
    }
    if counts.conversations > 0 {
        let _ = writeln!(text, "{} conversations", counts.conversations);
    }
    let prompts: Vec<f64> = requests
        .iter()
        .map(|&(prompt, _)| f64::from(prompt))
        .collect();
    let outputs: Vec<f64> = requests
        .iter()
        .filter_map(|&(_, output)| output)
        .map(f64::from)
        .collect();
    let gaps: Vec<f64> = bundle
        .schedule
        .as_slice()
        .windows(2)
        .map(|pair| pair[1].since(pair[0]).as_millis_f64())
        .collect();
    histogram("prompt tokens", &prompts, &mut text);
    histogram("requested output tokens", &outputs, &mut text);
    if span > 0.0 {
        histogram("milliseconds between due instants", &gaps, &mut text);
    }
    for warning in &bundle.workload.warnings {
        let _ = writeln!(text, "note: {warning}");
    }
    text
}

/// The file as an HTML page.
fn page(bundle: &Bundle, counts: &Counts, sha256: &str) -> String {
    let lengths: Vec<(u32, u32)> = counts
        .lengths
        .iter()
        .map(|&(prompt, output)| (prompt, output.unwrap_or(0)))
        .collect();
    let figure = dataset_stats_figure(&lengths, Lang::default()).to_svg();
    let words = inferometer_report::chart::escape(&describe(bundle, counts, sha256));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Workload {}</title>\n<style>body \
         {{ font: 16px system-ui, sans-serif; margin: 2rem }} svg {{ max-width: 100%; height: auto }} pre {{ \
         overflow-x: auto }}</style></head>\n<body>\n{figure}\n<pre>{words}</pre>\n</body></html>\n",
        &sha256[..12]
    )
}
