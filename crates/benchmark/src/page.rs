//! The page about one run, `report.html` in its folder.

use std::path::PathBuf;

use inferometer_core::Records;
use inferometer_report::{Lang, RunAbout, RunPageInput, run_page};
use inferometer_results::{Manifest, RunFolder, write_in_folder};
use serde_json::Value;

use crate::error::{Error, OrError};
use crate::numbers::Numbers;
use crate::spec::RunSpec;

/// File name in the run folder.
const FILE: &str = "report.html";

/// When the run took place, what made it, and how it is made again.
fn about(manifest: &Manifest) -> RunAbout {
    let tool = &manifest.tool;
    RunAbout {
        started: manifest.run.started.clone(),
        version: format!(
            "{} {} ({}, {})",
            tool.name, tool.version, tool.build, tool.platform
        ),
        command: manifest.command.clone(),
        urls: manifest.target.urls.clone(),
    }
}

/// The settings of a run that chose none, in the form of the manifest.
fn defaults(manifest: &Manifest) -> Result<Value, Error> {
    if manifest.format_version < 2 {
        return Ok(Value::Null);
    }
    serde_json::to_value(RunSpec::default()).or_failure()
}

/// Writes the page; it needs no network and no other file.
pub(crate) fn write(
    folder: &RunFolder,
    manifest: &Manifest,
    records: &dyn Records,
    numbers: &Numbers,
    lang: Lang,
) -> Result<PathBuf, Error> {
    let title = match &manifest.run.label {
        Some(label) => format!("{label} · {}", manifest.target.model),
        None => manifest.target.model.clone(),
    };
    let title = if manifest.run.simulated {
        format!("{title} · simulated")
    } else {
        title
    };
    let page = run_page(&RunPageInput {
        title: &title,
        records,
        summary: &numbers.summary,
        extras: &numbers.extras,
        intervals: &numbers.intervals,
        verdict: &numbers.verdict,
        health: &manifest.health,
        about: &about(manifest),
        settings: manifest.settings_for_display(),
        defaults: &defaults(manifest)?,
        environment: &manifest.environment,
        server_metrics: &manifest.server_metrics,
        partial: manifest.run.partial,
        recovered: manifest.run.recovered,
        lang,
    });
    let path = folder.path().join(FILE);
    write_in_folder(&path, page.as_bytes()).or_failure()?;
    Ok(path)
}
