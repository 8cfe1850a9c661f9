//! The page about one run, `report.html` in its folder.

use std::path::PathBuf;

use inferometer_core::Records;
use inferometer_report::{Lang, RunPageInput, run_page};
use inferometer_results::{Manifest, RunFolder};

use crate::error::{Error, OrError};
use crate::numbers::Numbers;

/// File name in the run folder.
const FILE: &str = "report.html";

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
        verdict: &numbers.verdict,
        health: &manifest.health,
        settings: manifest.settings_for_display(),
        environment: &manifest.environment,
        server_metrics: &manifest.server_metrics,
        partial: manifest.run.partial,
        lang,
    });
    let path = folder.path().join(FILE);
    std::fs::write(&path, page).or_failure()?;
    Ok(path)
}
