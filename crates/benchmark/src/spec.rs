//! The settings of a run, in the form that its manifest keeps (format version 2).
//!
//! The names here are those of the file: renaming a flag or a setting must not change them. Together
//! with the records and [`RunFacts`], a [`RunSpec`] decides every number that is reported.

mod first_version;
mod recipe;

use inferometer_arrival::Rate;
use inferometer_core::redact::redact_json;
use inferometer_metrics::traffic::TrafficSettings;
use inferometer_metrics::{MetricSettings, VerdictSettings};
use inferometer_results::Manifest;
use serde::{Deserialize, Serialize};

use crate::compat::Compat;
use crate::decoding::Decoding;
use crate::error::{Error, OrError};
use crate::probe::ProbeNumbers;
pub(crate) use recipe::without_seeds;

use crate::settings::{
    ConnectionSpec, ContentSpec, LoadSpec, ReportSpec, Settings, TargetSpec, WorkloadSpec,
};

/// The settings of a run as its manifest keeps them, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSpec {
    /// Which tool's behaviour was followed.
    pub compat: Compat,
    /// Where requests were sent.
    pub target: TargetSpec,
    /// When requests were sent, and how many at a time.
    pub load: LoadSpec,
    /// What requests contained.
    pub workload: WorkloadSpec,
    /// What every body had besides the prompt.
    pub content: ContentSpec,
    /// How connections were made.
    pub connection: ConnectionSpec,
    /// Which numbers were reported.
    pub report: ReportSpec,
}

/// What a run found out besides its records and the client's health: about the workload before it,
/// about the server after it. Kept in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFacts {
    /// Every answer had to have the requested length, because of a flag or of the dataset.
    pub ignore_eos: bool,
    /// Fraction of prompts that repeat an earlier one, 0 to 1.
    pub duplicate_prompts: Option<f64>,
    /// Prompts share prefixes on purpose.
    pub cache_expected: bool,
    /// Tokens by which the server's count of a prompt may exceed the client's; `None` where the two
    /// cannot be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tolerance: Option<u32>,
    /// Fraction of prompt tokens that the server found in its prefix cache, 0 to 1, by its counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_cached: Option<f64>,
    /// Digest of all bodies in their order, by which repetitions of a run are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bodies: Option<String>,
    /// A sample of the bodies, by which later runs find how many of their requests were sent before: the
    /// lowest 256 of their hashes of 32 bits, eight hexadecimal digits each, in ascending order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_sample: Option<String>,
    /// When an earlier run sent the same requests, or some of them, to the same server, if one of the kept
    /// ones did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// Fraction of the requests that the run in `repeats` had sent, 0 to 1, estimated from samples; absent
    /// where it sent all of them, in the same order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated_fraction: Option<f64>,
    /// What is known about the traffic.
    pub traffic: TrafficSettings,
    /// The run was stopped early.
    pub interrupted: bool,
    /// The run was killed, and its records come from its log. The manifest keeps this among what it says
    /// of the run.
    #[serde(skip)]
    pub recovered: bool,
    /// Fraction of the host's ceiling that the run used, where that is known.
    pub ceiling_used: Option<f64>,
    /// What the server's counters report about its decoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoding: Option<Decoding>,
    /// Latencies of the probe requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeNumbers>,
}

impl RunSpec {
    /// `settings` in the form that the manifest keeps.
    pub fn of(settings: &Settings) -> Self {
        let Settings {
            compat,
            target,
            connection,
            load,
            content,
            workload,
            shapes,
            report,
            saving,
        } = settings;
        Self {
            compat: *compat,
            target: target.spec(),
            load: load.spec(shapes.max_conversations),
            workload: WorkloadSpec::of(workload, shapes, content.token_ids),
            content: content.spec(),
            connection: connection.spec(),
            report: report.spec(saving),
        }
    }

    /// Reads settings and facts from `manifest`, of any version.
    ///
    /// # Errors
    ///
    /// A usage error when the settings in it cannot be read.
    pub fn read(manifest: &Manifest) -> Result<(Self, RunFacts), Error> {
        if manifest.format_version < 2 {
            return first_version::read(manifest);
        }
        let unreadable = |part: &str, error: serde_json::Error| {
            Error::usage(format!("invalid {part} in manifest.json: {error}"))
        };
        let spec = serde_json::from_value(manifest.settings.clone())
            .map_err(|error| unreadable("settings", error))?;
        let facts = serde_json::from_value(manifest.facts.clone())
            .map_err(|error| unreadable("facts", error))?;
        let facts = RunFacts {
            recovered: manifest.run.recovered,
            ..facts
        };
        Ok((spec, facts))
    }

    /// Writes itself and `facts` into `manifest`.
    ///
    /// # Errors
    ///
    /// A failure when a number in them cannot be written.
    pub fn write(&self, facts: &RunFacts, manifest: &mut Manifest) -> Result<(), Error> {
        manifest.format_version = inferometer_results::MANIFEST_FORMAT_VERSION;
        manifest.settings = serde_json::to_value(self).or_failure()?;
        redact_json(&mut manifest.settings);
        manifest.facts = serde_json::to_value(facts).or_failure()?;
        Ok(())
    }

    /// The settings that determine the numbers under vLLM's definitions; what the run found out is not
    /// among them.
    pub fn metric_settings(&self) -> MetricSettings {
        MetricSettings {
            selected: self.report.metrics.clone(),
            percentiles: self.report.percentiles.clone(),
            goodput: self.report.goodput.clone(),
            cap: self.load.max_concurrency,
            max_conversations: self.load.max_conversations,
            finite_rate: self.load.has_finite_rate(),
            ramp: self.is_ramp(),
            kind: self.target.kind,
            has_tokenizer: self.target.has_tokenizer,
            as_vllm: self.compat.is_vllm(),
            prompt_tolerance: None,
        }
    }

    fn is_ramp(&self) -> bool {
        let arrivals = self.load.arrivals.as_ref();
        arrivals.is_some_and(|one| matches!(one.rate, Rate::Ramp { .. }))
    }

    /// The settings and facts that the verdict needs besides the numbers.
    pub fn verdict_settings(&self, facts: &RunFacts) -> VerdictSettings {
        VerdictSettings {
            finite_rate: self.load.has_finite_rate(),
            ramp: self.is_ramp(),
            ignore_eos: facts.ignore_eos,
            explicit_percentiles: self.report.percentiles_named,
            duplicate_prompts: facts.duplicate_prompts,
            cache_expected: facts.cache_expected,
            predicted_cached: facts.traffic.reusable_prefix_share.unwrap_or_default(),
            counted_cached: facts.counted_cached,
            interrupted: facts.interrupted,
            recovered: facts.recovered,
            ceiling_used: facts.ceiling_used,
        }
    }
}
