//! Which numbers are reported, and what is written where.

use std::path::PathBuf;

use inferometer_core::redact::plain_value;
use inferometer_metrics::{Kind, Metric, MetricSettings, Slo, default_metrics};
use inferometer_report::Lang;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::exports::Exports;
use crate::error::Error;

/// Which numbers are reported.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// Metrics with statistics. Those that the run does not have are left out.
    pub metrics: Vec<Metric>,
    /// Percentiles from 0 to 100.
    pub percentiles: Vec<f64>,
    /// True when the user gave the percentiles instead of using the default.
    pub percentiles_named: bool,
    /// Latency limits in milliseconds that a request has to meet to count for goodput.
    pub goodput: Vec<(Slo, f64)>,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            metrics: default_metrics(Kind::Generation),
            percentiles: vec![99.0],
            percentiles_named: false,
            goodput: Vec::new(),
        }
    }
}

/// What is written, and where.
#[derive(Debug, Default)]
pub struct SavingSettings {
    /// Write vLLM's result file.
    pub save: bool,
    /// Include per-request arrays in it.
    pub detailed: bool,
    /// Append it as a line to an existing file.
    pub append: bool,
    /// Key-value pairs for its top level.
    pub metadata: Vec<(String, String)>,
    /// Its folder; `None` for the working folder.
    pub result_dir: Option<PathBuf>,
    /// Its name; `None` for vLLM's.
    pub result_filename: Option<PathBuf>,
    /// Thresholds of the timeline page in milliseconds; `None` for no page.
    pub timeline: Option<(f64, f64)>,
    /// Write a drawing of prompt and answer lengths.
    pub dataset_stats: bool,
    /// Label of the run.
    pub label: Option<String>,
    /// Folder for the run folder; `None` for no run folder.
    pub runs_dir: Option<PathBuf>,
    /// Results in the formats of other tools.
    pub exports: Exports,
    /// Language of the page of the run.
    pub lang: Lang,
    /// The arguments that the program was started with, without its name; secrets are removed where
    /// they are stored. Empty where there are none.
    pub arguments: Vec<String>,
    /// The arguments under vLLM's names, without secrets, for PyTorch's benchmark form.
    pub vllm_arguments: Map<String, Value>,
}

impl SavingSettings {
    /// True when a file is written whose path is determined before the run.
    pub(crate) fn needs_result_file(&self) -> bool {
        self.save || self.timeline.is_some() || self.dataset_stats
    }
}

/// The entries of `--metadata` without secrets: result files, reports and pages show them.
///
/// # Errors
///
/// A usage error for an entry of another form than `KEY=VALUE`.
pub fn metadata_pairs(entries: &[String]) -> Result<Vec<(String, String)>, Error> {
    let pair = |entry: &String| {
        // The entry may hold a secret, so the message does not show it.
        let (key, value) = entry.split_once('=').ok_or_else(|| {
            Error::usage("--metadata: invalid entry: expected KEY=VALUE for each")
        })?;
        let (key, value) = (key.trim(), value.trim());
        Ok((key.to_owned(), plain_value(key, value)))
    };
    entries.iter().map(pair).collect()
}

/// Which numbers were reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportSpec {
    /// Metrics with statistics.
    pub metrics: Vec<Metric>,
    /// Percentiles from 0 to 100.
    pub percentiles: Vec<f64>,
    /// True when the user gave them.
    pub percentiles_named: bool,
    /// Latency limits in milliseconds.
    pub goodput: Vec<(Slo, f64)>,
    /// Per-request arrays were saved.
    pub detailed: bool,
    /// Key-value pairs for the top level of the result.
    pub metadata: Vec<(String, String)>,
}

impl Default for ReportSpec {
    fn default() -> Self {
        let MetricSettings {
            selected,
            percentiles,
            ..
        } = MetricSettings::default();
        Self {
            metrics: selected,
            percentiles,
            percentiles_named: false,
            goodput: Vec::new(),
            detailed: false,
            metadata: Vec::new(),
        }
    }
}

impl ReportSettings {
    /// The form in the manifest, with what is saved of single requests.
    pub(crate) fn spec(&self, saving: &SavingSettings) -> ReportSpec {
        let Self {
            metrics,
            percentiles,
            percentiles_named,
            goodput,
        } = self;
        ReportSpec {
            metrics: metrics.clone(),
            percentiles: percentiles.clone(),
            percentiles_named: *percentiles_named,
            goodput: goodput.clone(),
            detailed: saving.detailed,
            metadata: saving.metadata.clone(),
        }
    }
}
