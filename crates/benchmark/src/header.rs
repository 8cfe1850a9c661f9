//! The header of vLLM's result file, built in one place for runs, simulations and run folders.

use inferometer_arrival::Rate;
use inferometer_core::Nanos;
use inferometer_results::{Manifest, VllmHeader, VllmRamp, vllm_date};

use crate::prepare::Ready;
use crate::settings::Settings;
use crate::spec::RunSpec;

/// What the header has besides the settings.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) model_id: String,
    pub(crate) tokenizer_id: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) num_prompts: u64,
}

impl Identity {
    /// The identity of a run in progress.
    pub(crate) fn of_run(settings: &Settings, ready: &Ready) -> Self {
        Self {
            model_id: ready.model.id.clone(),
            tokenizer_id: ready.tokenizer_id.clone(),
            label: settings.saving.label.clone(),
            num_prompts: settings.workload.num_prompts.max(0) as u64,
        }
    }

    /// The identity of a run folder.
    pub(crate) fn of_manifest(manifest: &Manifest) -> Self {
        Self {
            model_id: manifest.target.model.clone(),
            tokenizer_id: manifest.target.tokenizer.clone(),
            label: manifest.run.label.clone(),
            num_prompts: manifest.workload.requests as u64,
        }
    }
}

/// The header of the file. `wall` is the local time in it and in the file's name.
pub(crate) fn header(spec: &RunSpec, identity: Identity, wall: Nanos) -> VllmHeader {
    let (request_rate, ramp) = match spec.load.arrivals.as_ref().map(|one| one.rate) {
        Some(Rate::PerSecond(rate)) => (rate, None),
        Some(Rate::Ramp {
            strategy,
            start_rps,
            end_rps,
        }) => {
            let ramp = VllmRamp {
                strategy: strategy.name().to_owned(),
                start_rps: start_rps as u64,
                end_rps: end_rps as u64,
            };
            (f64::INFINITY, Some(ramp))
        }
        Some(Rate::Infinite) | None => (f64::INFINITY, None),
    };
    VllmHeader {
        date: vllm_date(wall),
        endpoint_type: spec.target.backend.clone(),
        backend: spec.target.backend.clone(),
        label: identity.label,
        model_id: identity.model_id,
        tokenizer_id: identity.tokenizer_id,
        num_prompts: identity.num_prompts,
        metadata: spec.report.metadata.clone(),
        request_rate,
        burstiness: spec
            .load
            .arrivals
            .as_ref()
            .map_or(1.0, |one| one.burstiness),
        max_concurrency: spec.load.max_concurrency.map(|cap| cap as u64),
        ramp,
    }
}
