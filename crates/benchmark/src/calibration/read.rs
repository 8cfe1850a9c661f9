//! Measured loads, from run folders and result files.

use std::path::{Path, PathBuf};

use inferometer_core::{Level, Nanos, Record};
use inferometer_engine::calibrate::{MeasuredLoad, MeasuredRequest};
use inferometer_results::{ImportedRun, RunFolder, read_result};
use serde_json::Value;

use crate::error::{Error, OrError};
use crate::observer::Observer;
use crate::spec::RunSpec;

pub(super) fn read_all(
    paths: &[PathBuf],
    model: &mut Option<String>,
    observer: &dyn Observer,
) -> Result<Vec<MeasuredLoad>, Error> {
    let mut loads = Vec::new();
    for path in paths {
        let found = if path.is_dir() {
            vec![read_folder(path, model, observer)?]
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
fn read_folder(
    path: &Path,
    model: &mut Option<String>,
    observer: &dyn Observer,
) -> Result<MeasuredLoad, Error> {
    let folder = RunFolder::open(path).or_usage()?;
    let manifest = folder.read_manifest().or_usage()?;
    let records = folder.read_records().or_usage()?;
    model.get_or_insert_with(|| manifest.target.model.clone());
    let (spec, _) = RunSpec::read(&manifest)?;
    let name = manifest.run.label.clone().or_else(|| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    });
    let name = name.unwrap_or_default();
    if let Some(verdict) = &manifest.verdict
        && verdict.level != Level::Valid
    {
        let codes: Vec<&str> = verdict.reasons.iter().map(|reason| &*reason.code).collect();
        observer.warning(&format!(
            "{name}: the verdict on this run is {} ({})",
            verdict.level,
            codes.join(", ")
        ));
    }
    Ok(MeasuredLoad {
        name,
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
