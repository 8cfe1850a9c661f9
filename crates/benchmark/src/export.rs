//! `--export`: a run in the formats of other tools, from its manifest and records alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use inferometer_core::{Nanos, Outcome, Record, Records};
use inferometer_metrics::{
    Kind, Metric, MetricSettings, MetricStats, Slo, Summary, Times, numpy, summarise,
};
use inferometer_results::{
    Distribution, EXPORT_PERCENTILES, ExportConversations, ExportDetails, ExportError,
    ExportGoodput, ExportLengths, ExportLimit, ExportRun, Manifest, RequestedLengths,
};
use inferometer_workload::DatasetSpec;

use crate::error::{Error, OrError};
use crate::observer::Observer;
use crate::settings::Exports;
use crate::spec::{RunFacts, RunSpec};
use crate::vllm;

/// Name in the exports of `multi-turn` with `--multi-turn` and without a file.
const SYNTHETIC_TURNS: &str = "multi-turn-synthetic";

/// A finished run.
#[derive(Clone, Copy)]
pub(crate) struct Measured<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) records: &'a dyn Records,
    pub(crate) spec: &'a RunSpec,
    pub(crate) facts: &'a RunFacts,
    /// The numbers of our own table.
    pub(crate) summary: &'a Summary,
}

/// Writes all formats and names their files to `observer`; they go to `run_folder` unless another
/// folder was given.
pub(crate) fn write(
    exports: &Exports,
    run_folder: Option<&Path>,
    measured: Measured<'_>,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let Some(folder) = exports
        .folder(run_folder)
        .filter(|_| !exports.forms().is_empty())
    else {
        return Ok(());
    };
    let run = export_run(measured);
    let written = exports
        .forms()
        .iter()
        .map(|form| {
            form.write(folder, &run, exports.is_folder_named())
                .or_failure()
        })
        .collect::<Result<Vec<_>, _>>()?;
    for path in written {
        observer.line(&format!("Exported: {}", path.display()));
    }
    Ok(())
}

/// Everything that the formats can contain.
fn export_run(measured: Measured<'_>) -> ExportRun<'_> {
    let Measured {
        manifest,
        records,
        spec,
        facts,
        summary: own,
    } = measured;
    let metrics = spec.metric_settings();
    let kind = metrics.kind;
    let of = |value: &dyn Fn(&Record, &Times) -> Option<f64>| {
        distribution(good(records, |record| {
            value(record, &Times::of(record, kind))
        }))
    };
    let summary = export_summary(records, &metrics);
    let stat = |metric| {
        summary
            .stats
            .iter()
            .find(|stat| stat.metric == metric)
            .and_then(of_stats)
    };
    let generates = kind == Kind::Generation;
    // An answer that is not streamed has no first token and no gaps.
    let streams = generates && spec.content.stream;
    let streamed = |metric| if streams { stat(metric) } else { None };
    let rates = |value: &dyn Fn(&Record, &Times) -> Option<f64>| of(value).filter(|_| streams);
    let errors = errors(records);
    let failures = errors
        .iter()
        .filter(|(failed, _)| *failed)
        .map(|(_, error)| error.count)
        .sum();
    let unanswered: u64 = errors.iter().map(|(_, error)| error.count).sum();
    ExportRun {
        duration_s: summary.duration_s,
        completed: summary.completed as u64,
        failures,
        incomplete: unanswered - failures,
        errors: errors.into_iter().map(|(_, error)| error).collect(),
        goodput: goodput(records, &metrics),
        ttft: streamed(Metric::Ttft),
        second_token: rates(&|record, _| {
            record.gaps().next().map(|gap| gap.as_secs_f64() * 1000.0)
        }),
        tpot: streamed(Metric::Tpot),
        normalized_tpot: of(&|record, times| per_token(times.latency * 1000.0, record))
            .filter(|_| generates),
        itl: streamed(Metric::Itl),
        e2el: stat(Metric::E2el),
        user_rate: rates(&|record, times| {
            times
                .tpot(record, &metrics)
                .filter(|&t| t > 0.0)
                .map(f64::recip)
        }),
        e2e_rate: of(&|record, times| {
            (times.latency > 0.0).then(|| f64::from(record.output_tokens) / times.latency)
        })
        .filter(|_| generates),
        input_tokens: of(&|record, _| Some(f64::from(record.input_tokens()))),
        output_tokens: of(&|record, _| Some(f64::from(record.output_tokens))).filter(|_| generates),
        requested: RequestedLengths {
            input: requested(records, |record| {
                Some(record.prompt_tokens).filter(|&tokens| tokens > 0)
            }),
            output: requested(records, |record| record.asked_output_tokens)
                .filter(|_| facts.ignore_eos),
        },
        retokenized: retokenized(records),
        max_output_tokens_per_s: own.max_output_tokens_per_s,
        max_concurrent_requests: own.max_concurrent_requests as u64,
        accept_length: facts
            .decoding
            .as_ref()
            .and_then(crate::decoding::Decoding::acceptance_length),
        max_concurrency: metrics.cap.map(|cap| cap as u64),
        conversations: conversations(records),
        details: spec.report.detailed.then(|| details(records, kind)),
        ..planned(manifest, spec)
    }
}

/// What the settings alone determine; everything measured is absent.
fn planned<'a>(manifest: &'a Manifest, spec: &RunSpec) -> ExportRun<'a> {
    let dataset = spec.workload.dataset.as_ref();
    let info = dataset.and_then(|one| inferometer_workload::dataset::find(&one.name));
    let has_file = dataset.is_some_and(|one| one.path.is_some());
    ExportRun {
        text_only: info.is_some_and(|info| info.text_only),
        synthetic_text: info.map(|info| info.text.is_synthetic(has_file)),
        request_rate: spec.load.request_rate().filter(|_| !spec.load.self_timed),
        self_timed: spec.load.self_timed,
        metadata: spec.report.metadata.clone(),
        dataset: dataset.map(export_name),
        lengths: dataset.map(export_lengths).unwrap_or_default(),
        ..ExportRun::of(manifest)
    }
}

/// The latencies of the run with the percentiles that the formats contain.
fn export_summary(records: &dyn Records, metrics: &MetricSettings) -> Summary {
    summarise(
        records,
        &MetricSettings {
            selected: vec![Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::E2el],
            percentiles: EXPORT_PERCENTILES.to_vec(),
            has_tokenizer: true,
            ..metrics.clone()
        },
    )
}

/// Output tokens of the successful answers, as the tokenizer counts their text; `None` if a text was
/// not counted.
fn retokenized(records: &dyn Records) -> Option<u64> {
    good(records, |record| {
        Some(record.tokenizer_output_tokens.map(u64::from))
    })
    .into_iter()
    .sum()
}

/// Lengths that were requested; `None` if a request has none.
fn requested(records: &dyn Records, value: fn(&Record) -> Option<u32>) -> Option<Distribution> {
    let lengths = all(records, |record| Some(value(record).map(f64::from)));
    lengths
        .into_iter()
        .collect::<Option<Vec<f64>>>()
        .and_then(distribution)
}

/// The values of `value` for all records that have one.
fn all<T>(records: &dyn Records, value: impl Fn(&Record) -> Option<T>) -> Vec<T> {
    let mut values = Vec::new();
    records.visit(&mut |record| values.extend(value(record)));
    values
}

/// [`all`] of the successful answers only.
fn good<T>(records: &dyn Records, value: impl Fn(&Record) -> Option<T>) -> Vec<T> {
    all(
        records,
        |record| if record.is_ok() { value(record) } else { None },
    )
}

fn conversations(records: &dyn Records) -> Option<ExportConversations> {
    let turns = all(records, |record| Some((record.session?.0, record.is_ok())));
    let answered = turns.iter().filter(|(_, ok)| *ok).count();
    let conversations: BTreeSet<usize> = turns.iter().map(|(session, _)| *session).collect();
    (!turns.is_empty()).then_some(ExportConversations {
        total: conversations.len() as u64,
        answered_turns: answered as u64,
    })
}

/// The dataset's name in the exports.
fn export_name(dataset: &DatasetSpec) -> String {
    if dataset.name == "multi-turn" && dataset.path.is_none() {
        return SYNTHETIC_TURNS.to_owned();
    }
    dataset.name.clone()
}

/// Requested lengths, where the dataset is one of random text or of ShareGPT.
fn export_lengths(dataset: &DatasetSpec) -> ExportLengths {
    let lengths = &dataset.lengths;
    let spread = (lengths.input_spread == lengths.output_spread).then_some(lengths.input_spread);
    if dataset.is_random() {
        ExportLengths {
            random_input: lengths.input,
            random_output: lengths.output,
            random_range_ratio: spread.flatten(),
            sharegpt_output: None,
        }
    } else {
        ExportLengths {
            sharegpt_output: lengths.output.filter(|_| dataset.name == "sharegpt"),
            ..ExportLengths::default()
        }
    }
}

/// True for a request that failed at the server or on the connection, as opposed to one that was
/// cancelled or unfinished.
fn failed(record: &Record) -> bool {
    !matches!(
        record.outcome,
        Outcome::Ok | Outcome::Cancelled | Outcome::Unfinished
    )
}

/// The errors of all requests, each with its number of requests, and whether it [`failed`].
fn errors(records: &dyn Records) -> Vec<(bool, ExportError)> {
    let mut counts: BTreeMap<(ExportError, bool), u64> = BTreeMap::new();
    records.visit(&mut |record| {
        if !record.is_ok() {
            let (outcome, message) = (record.outcome.name().to_owned(), vllm::error(record));
            let error = ExportError {
                outcome,
                status: record.status,
                message,
                count: 0,
            };
            *counts.entry((error, failed(record))).or_default() += 1;
        }
    });
    counts
        .into_iter()
        .map(|((error, failed), count)| (failed, ExportError { count, ..error }))
        .collect()
}

fn goodput(records: &dyn Records, settings: &MetricSettings) -> Option<ExportGoodput> {
    let within = |limits: &[(Slo, f64)]| {
        let only = MetricSettings {
            goodput: limits.to_vec(),
            selected: Vec::new(),
            ..settings.clone()
        };
        let summary = summarise(records, &only);
        (summary.request_goodput.unwrap_or_default() * summary.duration_s).round() as u64
    };
    (!settings.goodput.is_empty()).then(|| ExportGoodput {
        limits: settings
            .goodput
            .iter()
            .map(|&(slo, limit)| ExportLimit {
                metric: slo.key().to_owned(),
                limit_ms: limit,
                good: within(&[(slo, limit)]),
            })
            .collect(),
        good: within(&settings.goodput),
    })
}

fn details(records: &dyn Records, kind: Kind) -> ExportDetails {
    let vllm::Lists {
        input_lens,
        output_lens,
        ttfts,
        errors,
        ..
    } = vllm::Lists::of(records, kind, 0.0);
    ExportDetails {
        input_lens,
        output_lens,
        ttfts,
        itls: all(records, |record| {
            Some(record.gaps().map(Nanos::as_secs_f64).collect())
        }),
        generated_texts: all(records, |record| Some(record.text.clone())),
        errors,
    }
}

fn per_token(ms: f64, record: &Record) -> Option<f64> {
    (record.output_tokens > 0).then(|| ms / f64::from(record.output_tokens))
}

fn distribution(mut values: Vec<f64>) -> Option<Distribution> {
    if values.is_empty() {
        return None;
    }
    let (mean, std) = (numpy::mean(&values), numpy::std(&values));
    numpy::sort(&mut values);
    Some(Distribution {
        count: values.len() as u64,
        mean,
        std,
        percentiles: EXPORT_PERCENTILES.map(|p| numpy::percentile(&values, p)),
    })
}

fn of_stats(stats: &MetricStats) -> Option<Distribution> {
    let mut percentiles = [0.0; EXPORT_PERCENTILES.len()];
    for (place, &(_, value)) in percentiles.iter_mut().zip(&stats.percentiles) {
        *place = value;
    }
    (stats.samples > 0).then_some(Distribution {
        count: stats.samples as u64,
        mean: stats.mean_ms,
        std: stats.std_ms,
        percentiles,
    })
}

#[cfg(test)]
mod tests {

    /// What is exported about the text of the prompts, for the names that [`dataset`] gives.
    #[test]
    fn each_dataset_says_where_its_text_comes_from() {
        let synthetic = [
            "random",
            "random-mm",
            "random-rerank",
            "burstgpt",
            "prefix_repetition",
            "timed_trace",
            "trace",
            "mix",
        ];
        for of in inferometer_workload::dataset::ALL {
            let is_synthetic = inferometer_workload::dataset::find(of.name)
                .map(|info| info.text.is_synthetic(true));
            assert_eq!(
                is_synthetic,
                Some(synthetic.contains(&of.name)),
                "{}",
                of.name
            );
        }
        let turns = inferometer_workload::dataset::find("multi-turn").unwrap();
        assert!(turns.text.is_synthetic(false) && turns.text_only);
        assert!(inferometer_workload::dataset::find("a name of another version").is_none());
    }
}
