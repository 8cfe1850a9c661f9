//! Manifests of format version 1, whose settings were the command-line arguments as JSON.

use std::path::PathBuf;

use inferometer_arrival::ArrivalSettings;
use inferometer_metrics::{MetricSettings, VerdictSettings};
use inferometer_results::Manifest;
use serde::Deserialize;
use serde_json::Value;

use super::{RunFacts, RunSpec};
use crate::compat::Compat;
use crate::decoding::Decoding;
use crate::error::{Error, OrError};
use crate::probe::ProbeNumbers;
use crate::settings::{ContentSpec, LoadSpec, ReportSpec, TargetSpec, WorkloadSpec};
use inferometer_metrics::traffic::TrafficSettings;
use inferometer_workload::{DatasetSpec, LengthsSpec};

/// `settings.numbers` of version 1: settings and measurements together.
#[derive(Deserialize)]
struct NumbersV1 {
    metrics: MetricSettings,
    verdict: VerdictSettings,
    #[serde(default)]
    traffic: TrafficSettings,
    #[serde(default)]
    decoding: Option<Decoding>,
    #[serde(default)]
    probe: Option<ProbeNumbers>,
}

/// Reads a manifest of version 1, as far as later versions need it.
pub(super) fn read(manifest: &Manifest) -> Result<(RunSpec, RunFacts), Error> {
    let numbers = manifest
        .settings
        .get("numbers")
        .cloned()
        .unwrap_or_default();
    let NumbersV1 {
        metrics,
        verdict,
        traffic,
        decoding,
        probe,
    } = serde_json::from_value(numbers).map_err(|error| {
        Error::usage(format!(
            "invalid settings.numbers in manifest.json: {error}"
        ))
    })?;
    let arrivals = arrivals(manifest)?;
    let flags = Flags(manifest.settings.get("flags"));
    let spec = RunSpec {
        compat: flags
            .text("target/compat")
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        target: TargetSpec {
            backend: manifest.target.backend.clone(),
            kind: metrics.kind,
            model: flags.text("target/model"),
            tokenizer: manifest.target.tokenizer.clone(),
            has_tokenizer: metrics.has_tokenizer,
            ..TargetSpec::default()
        },
        load: LoadSpec {
            arrivals,
            self_timed: traffic.self_timed,
            max_concurrency: metrics.cap,
            max_conversations: metrics.max_conversations,
            ..LoadSpec::default()
        },
        workload: WorkloadSpec {
            dataset: flags.dataset(),
            file: flags.text("traffic/workload").map(PathBuf::from),
            num_prompts: flags
                .get("load/num_prompts")
                .and_then(Value::as_i64)
                .unwrap_or_default(),
            seed: manifest.seeds.get("all").copied().unwrap_or_default(),
            ..WorkloadSpec::default()
        },
        content: ContentSpec {
            ignore_eos: verdict.ignore_eos,
            stream: !flags.is_set("content/no_streaming"),
            ..ContentSpec::default()
        },
        connection: crate::settings::ConnectionSpec::default(),
        report: ReportSpec {
            metrics: metrics.selected,
            percentiles: metrics.percentiles,
            percentiles_named: verdict.explicit_percentiles,
            goodput: metrics.goodput,
            detailed: flags.is_set("reporting/save_detailed"),
            metadata: flags.metadata(),
        },
    };
    let facts = RunFacts {
        ignore_eos: verdict.ignore_eos,
        duplicate_prompts: verdict.duplicate_prompts,
        cache_expected: verdict.cache_expected,
        traffic,
        interrupted: verdict.interrupted,
        recovered: manifest.run.recovered,
        ceiling_used: verdict.ceiling_used,
        decoding,
        probe,
        ..RunFacts::default()
    };
    Ok((spec, facts))
}

/// Rate, burstiness and seed, where the manifest has them.
fn arrivals(manifest: &Manifest) -> Result<Option<ArrivalSettings>, Error> {
    let kept = manifest.settings.get("arrivals");
    kept.map(|kept| serde_json::from_value(kept.clone()))
        .transpose()
        .or_usage()
}

/// The arguments of `run`, as version 1 kept them.
struct Flags<'a>(Option<&'a Value>);

impl Flags<'_> {
    fn get(&self, path: &str) -> Option<&Value> {
        self.0?
            .pointer(&format!("/{path}"))
            .filter(|value| !value.is_null())
    }

    fn text(&self, path: &str) -> Option<String> {
        self.get(path)?.as_str().map(str::to_owned)
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.get(path)?.as_i64()
    }

    fn is_set(&self, path: &str) -> bool {
        self.get(path).is_some_and(|value| *value == true)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let pairs = self.get("reporting/metadata").and_then(Value::as_array);
        pairs
            .into_iter()
            .flatten()
            .filter_map(|pair| pair.as_str()?.split_once('='))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// `None` for a workload file.
    fn dataset(&self) -> Option<DatasetSpec> {
        if self.get("traffic/workload").is_some() {
            return None;
        }
        let compat: Option<Compat> = self
            .text("target/compat")
            .and_then(|text| text.parse().ok());
        let name = if self.get("traffic/mix").is_some() {
            "mix".to_owned()
        } else if self.is_set("traffic/multi_turn") {
            "multi-turn".to_owned()
        } else {
            self.text("dataset/dataset_name")
                .unwrap_or_else(|| compat.unwrap_or_default().default_dataset().to_owned())
        };
        let mut spec = DatasetSpec {
            path: self.text("dataset/dataset_path").map(PathBuf::from),
            name,
            ..DatasetSpec::default()
        };
        let general = |own: &str, general: &str| {
            self.number(&format!("dataset/{general}"))
                .or_else(|| self.number(&format!("dataset/{own}")))
        };
        if spec.is_random() {
            let ratio = self
                .text("dataset/random_range_ratio")
                .and_then(|text| text.parse().ok());
            spec.lengths = LengthsSpec {
                input: general("random_input_len", "input_len"),
                output: general("random_output_len", "output_len"),
                input_spread: ratio,
                output_spread: ratio,
                prefix: self.number("dataset/random_prefix_len"),
            };
        } else if spec.name == "sharegpt" {
            spec.lengths.output = general("sharegpt_output_len", "output_len");
        }
        Some(spec)
    }
}
