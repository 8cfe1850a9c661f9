//! A run in the form of vLLM's result file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use servebench_arrival::{ArrivalSettings, Rate, rps_change_events};
use servebench_core::{ClientHealth, Nanos, Record, Schedule};
use servebench_metrics::{Kind, Summary, Times, gaps_seconds};
use servebench_os::clock::Anchor;
use servebench_results::{
    Manifest, ResultFile, RpsChange, VllmBody, VllmGeneration, VllmHeader, VllmPooling, VllmRamp, VllmResult,
    VllmStat, python_isoformat, vllm_date,
};

use crate::exit::{Failure, OrFail};
use crate::numbers::Numbers;
use crate::server::ModelNames;
use crate::settings::RunSettings;

/// The head of the file. `wall` is the local time that stands in it and in the file's name.
pub(crate) fn header(
    settings: &RunSettings,
    model: &ModelNames,
    tokenizer: Option<&str>,
    wall: Nanos,
) -> VllmHeader {
    let backend = settings.target.backend.name().to_owned();
    let (request_rate, ramp) = match settings.load.arrivals.rate {
        Rate::Infinite => (f64::INFINITY, None),
        Rate::PerSecond(rate) => (rate, None),
        Rate::Ramp { strategy, start_rps, end_rps } => {
            let ramp = VllmRamp {
                strategy: strategy.name().to_owned(),
                start_rps: start_rps as u64,
                end_rps: end_rps as u64,
            };
            (f64::INFINITY, Some(ramp))
        }
    };
    VllmHeader {
        date: vllm_date(wall),
        endpoint_type: backend.clone(),
        backend,
        label: settings.saving.label.clone(),
        model_id: model.id.clone(),
        tokenizer_id: tokenizer.map(str::to_owned),
        num_prompts: settings.workload.num_prompts.max(0) as u64,
        metadata: settings.saving.metadata.clone(),
        request_rate,
        burstiness: settings.load.arrivals.burstiness,
        max_concurrency: settings.load.max_concurrency.map(|cap| cap as u64),
        ramp,
    }
}

/// Where the file goes and what stands at its head, for a run that is killed before it can write it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intended {
    path: PathBuf,
    append: bool,
    detailed: bool,
    header: VllmHeader,
}

impl Intended {
    /// The key of `settings` in the manifest.
    const KEY: &str = "result";

    /// Takes note of it in `manifest`.
    pub(crate) fn note(
        settings: &RunSettings,
        file: &ResultFile,
        header: &VllmHeader,
        manifest: &mut Manifest,
    ) -> Result<(), Failure> {
        let saving = &settings.saving;
        let intended = Self {
            // Whoever recovers the run may stand in another folder.
            path: std::path::absolute(file.path()).or_run()?,
            append: saving.append,
            detailed: saving.detailed,
            header: header.clone(),
        };
        manifest.settings[Self::KEY] = serde_json::to_value(intended).or_run()?;
        Ok(())
    }

    /// What `manifest` says, if the run was to write a result.
    pub(crate) fn of(manifest: &Manifest) -> Option<Self> {
        serde_json::from_value(manifest.settings.get(Self::KEY)?.clone()).ok()
    }

    /// Writes the result of what was recovered; returns its place.
    pub(crate) fn write(
        self,
        manifest: &Manifest,
        records: &[Record],
        numbers: &Numbers,
    ) -> Result<PathBuf, Failure> {
        let start = Anchor {
            wall: Nanos(manifest.run.started_wall_ns),
            monotonic: Nanos(manifest.run.started_monotonic_ns),
            uncertainty: Nanos(manifest.run.anchor_uncertainty_ns),
        };
        let mut result = result(self.header, records, numbers, &manifest.health, start);
        mark_partial(&mut result);
        result.servebench["recovered"] = true.into();
        let file = ResultFile::prepare(None, &self.path.display().to_string(), self.append).or_run()?;
        file.write(&result, self.detailed).or_run()?;
        Ok(self.path)
    }
}

/// Says that the run did not come to its planned end.
pub(crate) fn mark_partial(result: &mut VllmResult) {
    result.servebench["partial"] = true.into();
}

/// The whole file.
pub(crate) fn result(
    header: VllmHeader,
    records: &[Record],
    numbers: &Numbers,
    health: &ClientHealth,
    start: Anchor,
) -> VllmResult {
    let summary = &numbers.summary;
    let body = match summary.kind {
        Kind::Generation => VllmBody::Generation(generation(records, summary, start)),
        Kind::Pooling => VllmBody::Pooling(pooling(records, summary)),
    };
    let stats = summary
        .stats
        .iter()
        .map(|stat| VllmStat {
            name: stat.metric.key().to_owned(),
            mean: stat.mean_ms,
            median: stat.median_ms,
            std: stat.std_ms,
            percentiles: stat.percentiles.clone(),
        })
        .collect();
    let told = |of: fn(&Record) -> Option<f64>| {
        // vLLM's null for a missing value has no place in a list of floats; NaN is written as null.
        let any = records.iter().any(|record| of(record).is_some());
        any.then(|| records.iter().map(|record| of(record).unwrap_or(f64::NAN)).collect())
    };
    VllmResult {
        header,
        body,
        server_queue_times: told(|record| record.server_queue_s),
        server_ttfts: told(|record| record.server_ttft_s),
        stats,
        servebench: own(numbers, health),
        ..VllmResult::default()
    }
}

/// What vLLM's file does not have.
fn own(numbers: &Numbers, health: &ClientHealth) -> serde_json::Value {
    let mut own = serde_json::json!({
        "verdict": numbers.verdict,
        "extras": numbers.extras,
        "client": health,
    });
    if !numbers.traffic.is_empty() {
        own["traffic"] = serde_json::json!(numbers.traffic);
    }
    own
}

/// The moments at which a ramp reached each whole rate, in local time.
pub(crate) fn rate_changes(
    arrivals: &ArrivalSettings,
    schedule: &Schedule,
    start: Anchor,
) -> Option<Vec<RpsChange>> {
    let changes = rps_change_events(arrivals, schedule);
    let local = |at: Nanos| python_isoformat(start.wall + at);
    matches!(arrivals.rate, Rate::Ramp { .. }).then(|| {
        changes
            .into_iter()
            .map(|change| RpsChange { rps: change.rps.max(0) as u64, timestamp: local(change.at) })
            .collect()
    })
}

fn generation(records: &[Record], summary: &Summary, start: Anchor) -> VllmGeneration {
    let times: Vec<Times> = records.iter().map(|record| Times::of(record, summary.kind)).collect();
    let base = start.monotonic.as_secs_f64();
    VllmGeneration {
        duration: summary.duration_s,
        completed: summary.completed as u64,
        failed: summary.failed as u64,
        total_input_tokens: summary.total_input_tokens,
        total_output_tokens: summary.total_output_tokens,
        request_throughput: summary.request_throughput,
        request_goodput: summary.request_goodput,
        output_throughput: summary.output_throughput,
        total_token_throughput: summary.total_token_throughput,
        input_lens: records.iter().map(|record| u64::from(record.input_tokens())).collect(),
        output_lens: records
            .iter()
            .map(|record| if record.is_ok() { u64::from(record.output_tokens) } else { 0 })
            .collect(),
        ttfts: times.iter().map(|times| times.ttft).collect(),
        itls: records.iter().map(|record| gaps_seconds(record).collect()).collect(),
        latencies: latencies(records, &times),
        start_times: times.iter().map(|times| base + times.start).collect(),
        queue_times: times.iter().map(|times| times.queue).collect(),
        generated_texts: records.iter().map(|record| record.text.clone()).collect(),
        errors: errors(records),
        max_output_tokens_per_s: summary.max_output_tokens_per_s,
        max_concurrent_requests: summary.max_concurrent_requests as u64,
        rtfx: summary.rtfx,
    }
}

fn pooling(records: &[Record], summary: &Summary) -> VllmPooling {
    let times: Vec<Times> = records.iter().map(|record| Times::of(record, summary.kind)).collect();
    VllmPooling {
        duration: summary.duration_s,
        completed: summary.completed as u64,
        total_input_tokens: summary.total_input_tokens,
        total_input_sequences: summary.total_input_sequences,
        request_throughput: summary.request_throughput,
        input_sequence_throughput: summary.input_sequence_throughput,
        total_token_throughput: summary.total_token_throughput,
        input_lens: records.iter().map(|record| u64::from(record.input_tokens())).collect(),
        latencies: latencies(records, &times),
        queue_times: times.iter().map(|times| times.queue).collect(),
        errors: errors(records),
    }
}

/// A failed request has latency 0, which is how scripts tell it from a good one.
fn latencies(records: &[Record], times: &[Times]) -> Vec<f64> {
    records
        .iter()
        .zip(times)
        .map(|(record, times)| if record.is_ok() { times.latency } else { 0.0 })
        .collect()
}

fn errors(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| match (&record.error, record.is_ok()) {
            (_, true) => String::new(),
            (Some(error), false) => error.clone(),
            (None, false) => record.outcome.name().to_owned(),
        })
        .collect()
}
