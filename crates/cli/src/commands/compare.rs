//! `inferometer compare`: runs side by side.

use std::path::Path;

use inferometer_core::Nanos;
use inferometer_os::clock::Anchor;
use inferometer_report::Comparison;
use inferometer_report::visualize::Row;
use inferometer_results::{
    BenchName, Details, Manifest, RunFolder, VllmHeader, read_result_summary, vllm_date,
};
use serde_json::Value;

use crate::args::CompareArgs;
use crate::exit::{Exit, Failure, OrFail};
use crate::numbers::{NumberSettings, Numbers};
use crate::output::Output;
use crate::vllm;

/// Prints the comparison that `args` ask for.
pub(crate) fn compare(args: &CompareArgs, output: &Output) -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    for path in &args.runs {
        rows.extend(if path.is_dir() {
            vec![folder_row(path)?]
        } else {
            file_rows(path)?
        });
    }
    tell_apart(&mut rows);
    let comparison = Comparison::new(&rows, args.lang).or_usage()?;
    if args.json {
        output.say(&serde_json::to_string_pretty(&comparison.to_json()).or_run()?);
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

/// A run folder in the keys of a result file.
fn folder_row(path: &Path) -> Result<Row, Failure> {
    let folder = RunFolder::open(path).or_usage()?;
    let manifest = folder.read_manifest().or_usage()?;
    let settings: NumberSettings = serde_json::from_value(
        manifest
            .settings
            .get("numbers")
            .cloned()
            .unwrap_or_default(),
    )
    .map_err(|error| {
        Failure::usage(format!(
            "{}: manifest.json has no usable settings.numbers: {error}",
            path.display()
        ))
    })?;
    let records = folder.stored_records().or_usage()?;
    let numbers = Numbers::of(&records, &settings, &manifest.health);
    let start = Anchor {
        wall: Nanos(manifest.run.started_wall_ns),
        monotonic: Nanos(manifest.run.started_monotonic_ns),
        uncertainty: Nanos(manifest.run.anchor_uncertainty_ns),
    };
    let result = vllm::result(
        header(&manifest, &settings),
        &records,
        &numbers,
        &manifest.health,
        start,
    );
    records.check().or_usage()?;
    let mut row: Row = result.to_map(Details::Without).into_iter().collect();
    row.insert("filename".to_owned(), path.display().to_string().into());
    Ok(row)
}

fn header(manifest: &Manifest, settings: &NumberSettings) -> VllmHeader {
    let flag =
        |group: &str, name: &str| manifest.settings.pointer(&format!("/flags/{group}/{name}"));
    let metadata = flag("reporting", "metadata")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    VllmHeader {
        date: vllm_date(Nanos(manifest.run.started_wall_ns)),
        endpoint_type: manifest.target.backend.clone(),
        backend: manifest.target.backend.clone(),
        label: manifest.run.label.clone(),
        model_id: manifest.target.model.clone(),
        tokenizer_id: manifest.target.tokenizer.clone(),
        num_prompts: manifest.workload.requests as u64,
        metadata: metadata
            .filter_map(|pair| pair.as_str()?.split_once('='))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect(),
        request_rate: settings.request_rate.unwrap_or(f64::INFINITY),
        burstiness: flag("load", "burstiness")
            .and_then(Value::as_f64)
            .unwrap_or(1.0),
        max_concurrency: settings.metrics.cap.map(|cap| cap as u64),
        ramp: None,
    }
}

/// The shortest ending of each path that no other run has.
fn tell_apart(rows: &mut [Row]) {
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
        let ending = |count: usize| &own[own.len().saturating_sub(count)..];
        let alone = |count: &usize| {
            names
                .iter()
                .enumerate()
                .all(|(other, name)| other == index || !name.ends_with(ending(*count)))
        };
        let count = (1..=own.len()).find(alone).unwrap_or(own.len());
        row.insert("filename".to_owned(), ending(count).join("/").into());
    }
}
