//! Settings of the files that a run writes.

use inferometer_benchmark::Exports;
use inferometer_benchmark::settings::{SavingSettings, metadata_pairs};
use inferometer_metrics::Kind;
use serde_json::{Map, Value};

use crate::args::{ExportArgs, ReportingArgs};
use crate::exit::Failure;

/// Checks and resolves the flags.
pub(super) fn resolve(
    args: ReportingArgs,
    kind: Kind,
    arguments: Vec<String>,
    vllm_arguments: Map<String, Value>,
) -> Result<SavingSettings, Failure> {
    let ReportingArgs {
        percentile_metrics: _,
        metric_percentiles: _,
        goodput: _,
        save_result,
        save_detailed,
        append_result,
        metadata,
        result_dir,
        result_filename,
        label,
        plot_timeline,
        timeline_itl_thresholds,
        plot_dataset_stats,
        runs_dir,
        no_run_folder,
        strict: _,
        lang,
        exports,
    } = args;
    if let Some(label) = label
        .as_ref()
        .filter(|label| label.contains(['/', '\0']) && result_filename.is_none())
    {
        // vLLM fails only after the run, when it cannot open the file.
        return Err(Failure::usage(format!(
            "--label {label}: must not contain a \"/\", because the name of the result file starts with it; set the folder \
             with --result-dir, or the file with --result-filename"
        )));
    }
    let timeline = plot_timeline
        .then(|| thresholds(&timeline_itl_thresholds))
        .transpose()?;
    Ok(SavingSettings {
        save: save_result || append_result,
        detailed: save_detailed,
        append: append_result,
        metadata: metadata_pairs(&metadata)?,
        result_dir,
        result_filename,
        timeline,
        dataset_stats: plot_dataset_stats,
        label,
        runs_dir: (!no_run_folder).then_some(runs_dir),
        exports: exports_of(exports, kind, !no_run_folder)?,
        lang,
        arguments,
        vllm_arguments,
    })
}

/// The exports to the formats of other tools, for a run of this kind.
pub(crate) fn exports_of(
    args: ExportArgs,
    kind: Kind,
    has_run_folder: bool,
) -> Result<Exports, Failure> {
    let ExportArgs { export, export_dir } = args;
    let forms = export.into_iter().map(Into::into).collect();
    Exports::new(forms, export_dir, kind, has_run_folder)
}

fn thresholds(text: &str) -> Result<(f64, f64), Failure> {
    let numbers: Option<Vec<f64>> = text
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect();
    match numbers.as_deref() {
        Some(&[low, high]) if low.is_finite() && high.is_finite() => Ok((low, high)),
        _ => Err(Failure::usage(format!(
            "--timeline-itl-thresholds {text}: must be two numbers of milliseconds, such as 25,50"
        ))),
    }
}
