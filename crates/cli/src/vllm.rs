//! A run in the form of vLLM's result file.

use std::path::PathBuf;

use inferometer_arrival::{ArrivalSettings, Rate, rps_change_events};
use inferometer_core::{ClientHealth, Nanos, Record, Records, Schedule};
use inferometer_metrics::{Kind, Summary, Times};
use inferometer_os::clock::Anchor;
use inferometer_results::{
    Details, Manifest, ResultFile, RpsChange, VllmBody, VllmGeneration, VllmHeader, VllmPooling,
    VllmRamp, VllmResult, VllmStat, python_isoformat, vllm_date,
};
use serde::{Deserialize, Serialize};

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
        Rate::Ramp {
            strategy,
            start_rps,
            end_rps,
        } => {
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

/// Where the file goes and what stands at its head, for a run that is killed before it can write
/// it.
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

    /// Writes the result of what was recovered of a run with this load; returns its place.
    pub(crate) fn write(
        self,
        manifest: &Manifest,
        records: &dyn Records,
        numbers: &Numbers,
        (arrivals, schedule): (Option<&ArrivalSettings>, Option<&Schedule>),
    ) -> Result<PathBuf, Failure> {
        let start = Anchor {
            wall: Nanos(manifest.run.started_wall_ns),
            monotonic: Nanos(manifest.run.started_monotonic_ns),
            uncertainty: Nanos(manifest.run.anchor_uncertainty_ns),
        };
        let mut result = result(self.header, records, numbers, &manifest.health, start);
        // Runs of earlier versions did not note their start beforehand.
        if let (Some(arrivals), Some(schedule), true) =
            (arrivals, schedule, start.wall > Nanos::ZERO)
        {
            result.rps_change_events = rate_changes(arrivals, schedule, start);
        }
        mark_partial(&mut result);
        result.inferometer["recovered"] = true.into();
        let file =
            ResultFile::prepare(None, &self.path.display().to_string(), self.append).or_run()?;
        file.write(
            &result,
            if self.detailed {
                Details::Of(records)
            } else {
                Details::Without
            },
        )
        .or_run()?;
        Ok(self.path)
    }
}

/// Says that the run did not come to its planned end.
pub(crate) fn mark_partial(result: &mut VllmResult) {
    result.inferometer["partial"] = true.into();
}

/// The whole file but gaps and texts, which are taken from the records while the file is written:
/// see [`details`].
pub(crate) fn result(
    header: VllmHeader,
    records: &dyn Records,
    numbers: &Numbers,
    health: &ClientHealth,
    start: Anchor,
) -> VllmResult {
    let summary = &numbers.summary;
    let lists = Lists::of(records, summary.kind, start.monotonic.as_secs_f64());
    let server_queue_times = lists.told(|row| row.server_queue_s);
    let server_ttfts = lists.told(|row| row.server_ttft_s);
    let body = match summary.kind {
        Kind::Generation => VllmBody::Generation(generation(lists, summary)),
        Kind::Pooling => VllmBody::Pooling(pooling(lists, summary)),
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
    VllmResult {
        header,
        body,
        server_queue_times,
        server_ttfts,
        stats,
        inferometer: own(numbers, health),
        ..VllmResult::default()
    }
}

/// What `settings` want written of single requests and events.
pub(crate) fn details<'a>(settings: &RunSettings, records: &'a dyn Records) -> Details<'a> {
    if settings.saving.detailed {
        Details::Of(records)
    } else {
        Details::Without
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
            .map(|change| RpsChange {
                rps: change.rps.max(0) as u64,
                timestamp: local(change.at),
            })
            .collect()
    })
}

/// One value a request, in order of the index.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) input_lens: Vec<u64>,
    pub(crate) output_lens: Vec<u64>,
    pub(crate) ttfts: Vec<f64>,
    latencies: Vec<f64>,
    start_times: Vec<f64>,
    queue_times: Vec<f64>,
    pub(crate) errors: Vec<String>,
    told: Vec<Told>,
}

/// What the server reported of its own times.
#[derive(Clone, Copy, Debug)]
struct Told {
    server_queue_s: Option<f64>,
    server_ttft_s: Option<f64>,
}

impl Lists {
    /// In one visit, because the records may lie in a log. Starts are counted from `base` seconds.
    pub(crate) fn of(records: &dyn Records, kind: Kind, base: f64) -> Self {
        let mut lists = Self::default();
        records.visit(&mut |record| {
            let times = Times::of(record, kind);
            let good = record.is_ok();
            lists.input_lens.push(u64::from(record.input_tokens()));
            lists.output_lens.push(if good {
                u64::from(record.output_tokens)
            } else {
                0
            });
            lists.ttfts.push(times.ttft);
            // A failed request has latency 0, which is how scripts tell it from a good one.
            lists.latencies.push(if good { times.latency } else { 0.0 });
            lists.start_times.push(base + times.start);
            lists.queue_times.push(times.queue);
            lists.errors.push(error(record));
            lists.told.push(Told {
                server_queue_s: record.server_queue_s,
                server_ttft_s: record.server_ttft_s,
            });
        });
        lists
    }

    /// vLLM's null for a missing value has no place in a list of floats; NaN is written as null.
    fn told(&self, of: fn(&Told) -> Option<f64>) -> Option<Vec<f64>> {
        let any = self.told.iter().any(|told| of(told).is_some());
        any.then(|| {
            self.told
                .iter()
                .map(|told| of(told).unwrap_or(f64::NAN))
                .collect()
        })
    }
}

fn generation(lists: Lists, summary: &Summary) -> VllmGeneration {
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
        input_lens: lists.input_lens,
        output_lens: lists.output_lens,
        ttfts: lists.ttfts,
        latencies: lists.latencies,
        start_times: lists.start_times,
        queue_times: lists.queue_times,
        errors: lists.errors,
        max_output_tokens_per_s: summary.max_output_tokens_per_s,
        max_concurrent_requests: summary.max_concurrent_requests as u64,
        rtfx: summary.rtfx,
        ..VllmGeneration::default()
    }
}

fn pooling(lists: Lists, summary: &Summary) -> VllmPooling {
    VllmPooling {
        duration: summary.duration_s,
        completed: summary.completed as u64,
        total_input_tokens: summary.total_input_tokens,
        total_input_sequences: summary.total_input_sequences,
        request_throughput: summary.request_throughput,
        input_sequence_throughput: summary.input_sequence_throughput,
        total_token_throughput: summary.total_token_throughput,
        input_lens: lists.input_lens,
        latencies: lists.latencies,
        queue_times: lists.queue_times,
        errors: lists.errors,
    }
}

/// What vLLM's file says of a request that failed; nothing of a good one.
pub(crate) fn error(record: &Record) -> String {
    match (&record.error, record.is_ok()) {
        (_, true) => String::new(),
        (Some(error), false) => error.clone(),
        (None, false) => record.outcome.name().to_owned(),
    }
}
