//! A run in the form of vLLM's result file.

use std::path::{Path, PathBuf};

use inferometer_arrival::{ArrivalSettings, Rate, rps_change_events};
use inferometer_core::{ClientHealth, MEANING, Nanos, Record, Records, Schedule};
use inferometer_metrics::{Kind, MetricStats, Summary, Times};
use inferometer_os::clock::Anchor;
use inferometer_results::{
    Details, Existing, Manifest, ResultFile, RpsChange, VllmBody, VllmGeneration, VllmHeader,
    VllmPooling, VllmResult, VllmStat, python_isoformat,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, OrError};
use crate::numbers::Numbers;
use crate::settings::SavingSettings;
use crate::spec::{RunFacts, RunSpec};

/// Name of the result file that a recovery writes into the run folder.
const RECOVERED_RESULT: &str = "result.json";

/// Path and header of the result file, for a run that is killed before it can write the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IntendedResult {
    path: PathBuf,
    append: bool,
    /// The path is the default one, so an existing file is not replaced.
    #[serde(default)]
    keep: bool,
    detailed: bool,
    header: VllmHeader,
}

impl IntendedResult {
    /// Adds it to `manifest`.
    pub(crate) fn note(
        saving: &SavingSettings,
        file: &ResultFile,
        header: &VllmHeader,
        manifest: &mut Manifest,
    ) -> Result<(), Error> {
        // The run may be recovered from another working folder, but the manifest is text, which the
        // path of this one may not be.
        let path = std::path::absolute(file.path()).or_failure()?;
        let is_text = path.to_str().is_some();
        let intended = Self {
            path: if is_text {
                path
            } else {
                file.path().to_owned()
            },
            append: saving.append,
            keep: file.existing() == Existing::Keep,
            detailed: saving.detailed,
            header: header.clone(),
        };
        manifest.intended_result = serde_json::to_value(intended).or_failure()?;
        Ok(())
    }

    /// Reads it from `manifest`, if the run was to write a result.
    pub(crate) fn of(manifest: &Manifest) -> Option<Self> {
        // Version 1 of the manifest kept it among the settings.
        let first = manifest.settings.get("result");
        let kept = Some(&manifest.intended_result)
            .filter(|kept| !kept.is_null())
            .or(first)?;
        serde_json::from_value(kept.clone()).ok()
    }

    /// Where the run would have written it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the result of a recovered run into its own `folder`, or, without one, where the run would
    /// have written it; returns its path.
    pub(crate) fn write(
        mut self,
        folder: Option<&Path>,
        manifest: &Manifest,
        records: &dyn Records,
        numbers: &Numbers,
        arrivals: Option<&ArrivalSettings>,
        schedule: Option<&Schedule>,
    ) -> Result<PathBuf, Error> {
        let start = anchor(manifest);
        let mut result = result(self.header, records, numbers, &manifest.health, start);
        // Runs of earlier versions did not note their start beforehand.
        if let (Some(arrivals), Some(schedule), true) =
            (arrivals, schedule, start.wall > Nanos::ZERO)
        {
            result.rps_change_events = rate_changes(arrivals, schedule, start);
        }
        if let Ok((spec, facts)) = RunSpec::read(manifest) {
            note_recipe(&mut result, &spec, &facts);
        }
        mark_partial(&mut result);
        result.inferometer["recovered"] = true.into();
        if let Some(folder) = folder {
            // A name of our own: that of a foreign manifest could be one of the folder's files.
            self.path = folder.join(RECOVERED_RESULT);
            (self.append, self.keep) = (false, false);
        }
        let existing = match (self.append, self.keep) {
            (true, _) => Existing::Append,
            (false, true) => Existing::Keep,
            (false, false) => Existing::Replace,
        };
        let file = ResultFile::prepare(None, &self.path, existing).or_failure()?;
        // A foreign folder may hold a link of that name.
        let file = if folder.is_some() {
            file.unnamed()
        } else {
            file
        };
        file.write(&result, details(self.detailed, records))
            .or_failure()
    }
}

/// The start of a run on both clocks.
pub(crate) fn anchor(manifest: &Manifest) -> Anchor {
    Anchor {
        wall: Nanos(manifest.run.started_wall_ns),
        monotonic: Nanos(manifest.run.started_monotonic_ns),
        uncertainty: Nanos(manifest.run.anchor_uncertainty_ns),
    }
}

/// Adds the command that makes the run again, where it is known.
pub(crate) fn note_command(result: &mut VllmResult, manifest: &Manifest) {
    if !manifest.command.is_empty() {
        result.inferometer["command"] = manifest.command.as_str().into();
    }
}

/// Adds what the run was to measure, which decides with which other runs it can be compared.
pub(crate) fn note_recipe(result: &mut VllmResult, spec: &RunSpec, facts: &RunFacts) {
    result.inferometer["recipe"] = spec.recipe(facts);
}

/// Marks a run that did not reach its planned end.
pub(crate) fn mark_partial(result: &mut VllmResult) {
    result.inferometer["partial"] = true.into();
}

/// The whole file except gaps and texts, which are taken from the records while the file is written:
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
    let server_queue_times = lists.reported(|row| row.server_queue_s);
    let server_ttfts = lists.reported(|row| row.server_ttft_s);
    let body = match summary.kind {
        Kind::Generation => VllmBody::Generation(generation(lists, summary)),
        Kind::Pooling => VllmBody::Pooling(pooling(lists, summary)),
    };
    let stats = summary
        .stats
        .iter()
        .map(|stat| statistics(stat, numbers))
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

/// The statistics of one metric. With vLLM they are 0 where nothing was measured; otherwise they are
/// unknown, which the file has as null.
fn statistics(stat: &MetricStats, numbers: &Numbers) -> VllmStat {
    let unknown = numbers.summary.is_unknown(stat, numbers.as_vllm);
    let value = |value: f64| if unknown { f64::NAN } else { value };
    VllmStat {
        name: stat.metric.key().to_owned(),
        mean: value(stat.mean_ms),
        median: value(stat.median_ms),
        std: value(stat.std_ms),
        percentiles: stat
            .percentiles
            .iter()
            .map(|&(percentile, at)| (percentile, value(at)))
            .collect(),
    }
}

/// Whether and from where single requests and events are written.
pub(crate) fn details(detailed: bool, records: &dyn Records) -> Details<'_> {
    if detailed {
        Details::Of(records)
    } else {
        Details::Without
    }
}

/// What vLLM's file does not have.
fn own(numbers: &Numbers, health: &ClientHealth) -> serde_json::Value {
    let mut own = serde_json::json!({
        "meaning": MEANING,
        "verdict": numbers.verdict,
        "extras": numbers.extras,
        "intervals": numbers.intervals,
        "client": health,
    });
    let mut traffic = numbers.traffic.clone();
    if let Some(hash) = traffic.tokenizer_sha256.take() {
        own["tokenizer_sha256"] = hash.into();
    }
    if !traffic.is_empty() {
        own["traffic"] = serde_json::json!(traffic);
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

/// One value per request, in order of the index.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) input_lens: Vec<u64>,
    pub(crate) output_lens: Vec<u64>,
    pub(crate) ttfts: Vec<f64>,
    latencies: Vec<f64>,
    start_times: Vec<f64>,
    queue_times: Vec<f64>,
    pub(crate) errors: Vec<String>,
    server_times: Vec<ServerTimes>,
}

/// Times that the server reported, in seconds.
#[derive(Clone, Copy, Debug)]
struct ServerTimes {
    server_queue_s: Option<f64>,
    server_ttft_s: Option<f64>,
}

impl Lists {
    /// In one visit, because the records may be in a log. Starts are counted from `base` seconds.
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
            // A failed request has latency 0, by which scripts recognise it.
            lists.latencies.push(if good { times.latency } else { 0.0 });
            lists.start_times.push(base + times.start);
            lists.queue_times.push(times.queue);
            lists.errors.push(error(record));
            lists.server_times.push(ServerTimes {
                server_queue_s: record.server_queue_s,
                server_ttft_s: record.server_ttft_s,
            });
        });
        lists
    }

    /// vLLM's null for a missing value has no place in a list of floats; NaN is written as null.
    fn reported(&self, of: fn(&ServerTimes) -> Option<f64>) -> Option<Vec<f64>> {
        let any = self.server_times.iter().any(|one| of(one).is_some());
        any.then(|| {
            self.server_times
                .iter()
                .map(|one| of(one).unwrap_or(f64::NAN))
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

/// The text of vLLM's file for a failed request; empty for a successful one.
pub(crate) fn error(record: &Record) -> String {
    match (&record.error, record.is_ok()) {
        (_, true) => String::new(),
        (Some(error), false) => error.clone(),
        (None, false) => record.outcome.name().to_owned(),
    }
}
