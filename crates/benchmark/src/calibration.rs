//! The engine model fitted to results of a real server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use inferometer_core::{Nanos, Record};
use inferometer_engine::calibrate::{Compared, Fit, MeasuredLoad, MeasuredRequest, compare, fit};
use inferometer_report::chart::{Axis, Figure, Key, Line, Mark, Marker, Panel};
use inferometer_results::{ImportedRun, RunFolder, read_result};
use inferometer_sim::engine::{EngineConfig, PresetFile};
use serde_json::{Value, json};

use crate::error::{Error, OrError};
use crate::observer::Observer;
use crate::spec::RunSpec;

/// Colour of loads that the model was fitted to.
const FITTED_COLOR: &str = "#2f6db5";
/// Colour of loads that were only compared with the model.
const CHECKED_COLOR: &str = "#d9730d";

/// KV-cache blocks of a preset whose server's cache size is not known: more than any load uses.
/// Chosen, not measured.
const UNLIMITED_BLOCKS: usize = 1_000_000;

/// A load, and how the fitted model compares with it.
struct Judged {
    load: String,
    requests: usize,
    fitted: bool,
    compared: Vec<Compared>,
}

/// What an engine model is fitted to, and what is known about the engine beforehand.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Run folders and result files to fit to.
    pub results: Vec<PathBuf>,
    /// Results that are only compared with the fitted model.
    pub check: Vec<PathBuf>,
    /// Name of the preset; `None` uses the model's.
    pub name: Option<String>,
    /// Maximum number of requests that the server batches.
    pub max_num_seqs: usize,
    /// Maximum number of tokens that it computes in one step.
    pub max_num_batched_tokens: u32,
    /// Blocks of its KV cache of 16 tokens each, where known.
    pub num_blocks: Option<usize>,
    /// Whether it splits long prompts over several steps.
    pub chunked_prefill: bool,
}

/// A fitted engine model.
#[derive(Debug)]
pub struct Calibrated {
    /// The preset, for `inferometer simulate --preset`.
    pub preset: PresetFile,
    /// How well the model fits, as a table.
    pub table: String,
    /// The same as a chart.
    pub figure: Figure,
}

/// Fits an engine model to results; `observer` gets messages about it.
///
/// # Errors
///
/// A usage error when a result cannot be read or lacks what the fit needs.
pub fn calibrate(calibration: &Calibration, observer: &dyn Observer) -> Result<Calibrated, Error> {
    let mut model = None;
    let fitted = read_all(&calibration.results, &mut model, observer)?;
    let checked = read_all(&calibration.check, &mut model, observer)?;
    let start = EngineConfig {
        max_num_seqs: calibration.max_num_seqs,
        max_num_batched_tokens: calibration.max_num_batched_tokens,
        num_blocks: calibration
            .num_blocks
            .unwrap_or_else(|| enough_blocks(&fitted, &checked, calibration.max_num_seqs)),
        chunked_prefill: calibration.chunked_prefill,
        // The results say how many tokens were cached, but not what the prompts contain.
        prefix_caching: true,
        max_model_len: u32::MAX,
        ..EngineConfig::default()
    };
    let requests: usize = fitted.iter().map(|load| load.requests.len()).sum();
    observer.line(&format!(
        "Fitting to {requests} requests of {} loads...",
        fitted.len()
    ));
    let found = fit(&fitted, &start).or_usage()?;
    let mut judged = Vec::new();
    for (loads, fitted) in [(&fitted, true), (&checked, false)] {
        for load in loads {
            let compared = compare(load, &found.engine).or_failure()?;
            let (name, requests) = (load.name.clone(), load.requests.len());
            judged.push(Judged {
                load: name,
                requests,
                fitted,
                compared,
            });
        }
    }
    let name = calibration
        .name
        .clone()
        .or(model)
        .unwrap_or_else(|| "calibrated".to_owned());
    let num_blocks = calibration.num_blocks.unwrap_or(UNLIMITED_BLOCKS);
    let mut preset = PresetFile::new(
        name,
        EngineConfig {
            num_blocks,
            ..found.engine.clone()
        },
    );
    preset.origin = origin(&found, &judged);
    let table = coefficients(&found) + &table(&judged);
    Ok(Calibrated {
        preset,
        table,
        figure: figure(&judged),
    })
}

/// KV-cache blocks that never run out under these loads. A cache of any larger size gives the same
/// fit, but building it takes time, and the fit builds thousands.
fn enough_blocks(fitted: &[MeasuredLoad], checked: &[MeasuredLoad], max_num_seqs: usize) -> usize {
    let requests = || fitted.iter().chain(checked).flat_map(|load| &load.requests);
    let longest = requests()
        .map(|request| (request.input + request.output) as usize)
        .max()
        .unwrap_or(1);
    (longest.div_ceil(16) + 1) * max_num_seqs.min(requests().count())
}

fn read_all(
    paths: &[PathBuf],
    model: &mut Option<String>,
    observer: &dyn Observer,
) -> Result<Vec<MeasuredLoad>, Error> {
    let mut loads = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            vec![read_folder(path, model)?]
        } else {
            let runs = read_result(path).or_usage()?;
            runs.iter()
                .map(|run| read_file(run, model))
                .collect::<Result<Vec<_>, _>>()?
        };
        for load in found {
            if load.requests.is_empty() {
                return Err(Error::usage(format!(
                    "{}: no request has a successful streamed answer",
                    path.display()
                )));
            }
            let (tokens, events) =
                load.requests
                    .iter()
                    .fold((0, 0), |(tokens, events), request| {
                        (
                            tokens + request.output as usize,
                            events + request.gaps.len() + 1,
                        )
                    });
            if tokens * 20 > events * 21 {
                observer.warning(&format!(
                    "{}: {tokens} tokens arrived in {events} events; the model gives each token its own event, so its ITL \
                     cannot be compared",
                    load.name
                ));
            }
            loads.push(load);
        }
    }
    Ok(loads)
}

/// Reads a run folder, which has everything about every request.
fn read_folder(path: &Path, model: &mut Option<String>) -> Result<MeasuredLoad, Error> {
    let folder = RunFolder::open(path).or_usage()?;
    let manifest = folder.read_manifest().or_usage()?;
    let records = folder.read_records().or_usage()?;
    model.get_or_insert_with(|| manifest.target.model.clone());
    let (spec, _) = RunSpec::read(&manifest)?;
    let name = manifest.run.label.clone().or_else(|| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    });
    Ok(MeasuredLoad {
        name: name.unwrap_or_default(),
        requests: records.iter().filter_map(request).collect(),
        max_concurrency: spec.load.max_concurrency,
    })
}

fn request(record: &Record) -> Option<MeasuredRequest> {
    let (sent, first, last) = (
        record.send_start?,
        record.first_token()?,
        record.last_token()?,
    );
    record.is_ok().then(|| MeasuredRequest {
        at: record.due,
        input: record.input_tokens(),
        cached: record.cached_tokens().unwrap_or(0),
        output: record.output_tokens,
        ttft: first.since(sent).as_secs_f64(),
        e2el: last.since(sent).as_secs_f64(),
        gaps: record.gaps().map(Nanos::as_secs_f64).collect(),
    })
}

/// Reads a result file with details.
fn read_file(run: &ImportedRun, model: &mut Option<String>) -> Result<MeasuredLoad, Error> {
    let list = |key: &str| -> Result<&[Value], Error> {
        let found = run.details.get(key).and_then(Value::as_array);
        found.map(Vec::as_slice).ok_or_else(|| {
            Error::usage(format!(
                "{}: the list {key} is missing; save the result with --save-detailed, or give the run folder",
                run.file.display()
            ))
        })
    };
    if let Some(id) = run.keys.get("model_id").and_then(Value::as_str) {
        model.get_or_insert_with(|| id.to_owned());
    }
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let (inputs, outputs) = (list("input_lens")?, list("output_lens")?);
    let (ttfts, itls) = (list("ttfts")?, list("itls")?);
    let starts = list("start_times");
    let cap = run
        .number("max_concurrency")
        .filter(|cap| cap.is_finite() && *cap >= 1.0);
    let at_once = run.number("request_rate").is_none_or(f64::is_infinite);
    let closed = at_once && cap.is_some();
    // Without slots the send instants are needed; with slots, each request follows the end of an
    // earlier one.
    let starts: Vec<f64> = match starts {
        Ok(starts) => starts.iter().map(number).collect(),
        Err(_) if at_once => vec![0.0; ttfts.len()],
        Err(error) => return Err(error),
    };
    let first = starts.iter().copied().fold(f64::INFINITY, f64::min);
    let mut requests: Vec<MeasuredRequest> = ttfts
        .iter()
        .enumerate()
        .filter_map(|(at, ttft)| {
            let gaps: Vec<f64> = itls.get(at)?.as_array()?.iter().map(number).collect();
            let (ttft, output) = (number(ttft), number(outputs.get(at)?) as u32);
            let seconds = if closed { 0.0 } else { starts.get(at)? - first };
            (ttft > 0.0 && output > 0).then(|| MeasuredRequest {
                at: Nanos::from_secs_f64(seconds),
                input: number(&inputs[at.min(inputs.len() - 1)]) as u32,
                cached: 0,
                output,
                ttft,
                e2el: ttft + gaps.iter().sum::<f64>(),
                gaps,
            })
        })
        .collect();
    requests.sort_by_key(|request| request.at);
    let name = run
        .file
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    Ok(MeasuredLoad {
        name,
        requests,
        max_concurrency: cap.filter(|_| closed).map(|cap| cap as usize),
    })
}

fn coefficients(found: &Fit) -> String {
    let cost = &found.engine.cost;
    let mut text = String::from(
        "\nA step takes base + prefill · prompt tokens + decode · decoding + kv · context:\n",
    );
    let mut row = |name: &str, value: String| {
        let doubt = if found.undetermined.contains(&name) {
            "  (poorly determined by these loads)"
        } else {
            ""
        };
        let _ = writeln!(text, "  {name:<17} {value}{doubt}");
    };
    row("base", format!("{:.4} ms", cost.base / 1e6));
    row(
        "prefill",
        format!("{:.3} µs per prompt token", cost.prefill / 1e3),
    );
    row(
        "decode",
        format!("{:.3} µs per decoding request", cost.decode / 1e3),
    );
    row("kv", format!("{:.3} ns per token of context", cost.kv));
    row(
        "request overhead",
        format!("{:.3} ms", found.engine.request_overhead.as_millis_f64()),
    );
    row("jitter", format!("{:.2}", cost.jitter));
    let _ = writeln!(
        text,
        "Typical relative difference (root mean square over loads, metrics and quantiles): {:.1} %, {} simulations\n",
        found.error * 100.0,
        found.evaluations
    );
    text
}

/// The name of a statistic and how to get it.
type Statistic = (
    &'static str,
    fn(&inferometer_engine::calibrate::Summary) -> f64,
);

const STATISTICS: [Statistic; 3] = [("mean", |m| m.mean), ("p50", |m| m.p50), ("p99", |m| m.p99)];

fn table(judged: &[Judged]) -> String {
    let mut text = format!(
        "{:<28} {:>6} {:<5}  {:>30}  {:>30}  {:>30}\n",
        "load",
        "n",
        "",
        "mean ms: measured, model",
        "p50 ms: measured, model",
        "p99 ms: measured, model"
    );
    for one in judged {
        let name = if one.fitted {
            one.load.clone()
        } else {
            format!("{} (check)", one.load)
        };
        for compared in &one.compared {
            let _ = write!(
                text,
                "{name:<28} {:>6} {:<5}",
                one.requests, compared.metric
            );
            for (_, of) in STATISTICS {
                let (measured, predicted) = (of(&compared.measured), of(&compared.predicted));
                let change = (predicted / measured - 1.0) * 100.0;
                let (measured, predicted) = (measured * 1e3, predicted * 1e3);
                let _ = write!(
                    text,
                    "  {measured:>10.3} {predicted:>10.3} {change:>+6.1} %"
                );
            }
            text.push('\n');
        }
    }
    text.push('\n');
    text
}

fn origin(found: &Fit, judged: &[Judged]) -> Value {
    let differences: Vec<Value> = judged
        .iter()
        .flat_map(|one| {
            one.compared.iter().map(|compared| {
                let mut entry =
                    json!({"load": one.load, "fitted": one.fitted, "metric": compared.metric});
                for (name, of) in STATISTICS {
                    let relative = of(&compared.predicted) / of(&compared.measured) - 1.0;
                    entry[name] = json!((relative * 1e4).round() / 1e4);
                }
                entry
            })
        })
        .collect();
    json!({
        "made_by": "inferometer calibrate",
        "typical_relative_difference": (found.error * 1e4).round() / 1e4,
        "hardly_determined": found.undetermined,
        "relative_differences": differences,
    })
}

/// Fitted against measured values: points on the diagonal agree.
fn figure(judged: &[Judged]) -> Figure {
    let panel = |metric: &'static str| {
        let title = |what: &str| format!("{what} {metric}, ms");
        let mut panel = Panel::new(
            metric,
            Axis::log(title("measured")),
            Axis::log(title("model")),
        );
        let of_metric = |one: &&Judged| {
            one.compared
                .iter()
                .find(|one| one.metric == metric)
                .copied()
        };
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        let mut marks = Vec::new();
        for (fitted, color) in [(true, FITTED_COLOR), (false, CHECKED_COLOR)] {
            for (at, (_, of)) in STATISTICS.iter().enumerate() {
                let points: Vec<(f64, f64)> = judged
                    .iter()
                    .filter(|one| one.fitted == fitted)
                    .filter_map(|one| of_metric(&one))
                    .map(|compared| (of(&compared.measured) * 1e3, of(&compared.predicted) * 1e3))
                    .collect();
                for &(x, y) in &points {
                    low = low.min(x).min(y);
                    high = high.max(x).max(y);
                }
                let marker = Some(Marker::of(at));
                marks.push(Mark::Line(Line {
                    points,
                    color: color.to_owned(),
                    marker,
                    ..Line::default()
                }));
            }
        }
        let (low, high) = (low / 1.3, high * 1.3);
        panel.x = panel.x.with_range(low, high);
        panel.y = panel.y.with_range(low, high);
        panel.marks.push(Mark::Line(Line {
            points: vec![(low, low), (high, high)],
            color: "#9aa0a6".to_owned(),
            width: 1.0,
            dash: "4 4".to_owned(),
            ..Line::default()
        }));
        panel.marks.append(&mut marks);
        panel
    };
    let key = |color: &str, marker: usize, text: &str| Key::Line {
        color: color.to_owned(),
        dash: String::new(),
        marker: Some(Marker::of(marker)),
        text: text.to_owned(),
    };
    let mut keys: Vec<Key> = STATISTICS
        .iter()
        .enumerate()
        .map(|(at, (name, _))| key("#5f6368", at, name))
        .collect();
    keys.push(key(FITTED_COLOR, 0, "fitted loads"));
    if judged.iter().any(|one| !one.fitted) {
        keys.push(key(CHECKED_COLOR, 0, "other loads"));
    }
    Figure {
        width: 1000.0,
        row_height: 330.0,
        title: "Engine model against a real server".to_owned(),
        subtitle: "One point per load and statistic; on the dashed line the model agrees with the measurement."
            .to_owned(),
        keys,
        rows: vec![["TTFT", "ITL", "E2EL"].map(panel).into()],
        notes: Vec::new(),
    }
}
