//! `--export`: a run in the forms of other tools, from its manifest and records alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use servebench_core::{Nanos, Outcome, Record, Records};
use servebench_metrics::{Kind, Metric, MetricSettings, MetricStats, Slo, Times, numpy, summarise};
use servebench_results::{
    Distribution, EXPORT_PERCENTILES, ExportDetails, ExportError, ExportForm, ExportGoodput, ExportRun,
    Manifest,
};

use crate::args::ExportArgs;
use crate::compat::Compat;
use crate::exit::{Failure, OrFail};
use crate::numbers::NumberSettings;

/// What is to be exported, and where to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exports {
    /// Each form once.
    forms: Vec<ExportForm>,
    /// `--export-dir`; without it the run folder is the place.
    folder: Option<PathBuf>,
}

impl Exports {
    /// Understands the flags for a run of this kind.
    pub(crate) fn resolve(args: ExportArgs, kind: Kind, has_run_folder: bool) -> Result<Self, Failure> {
        let ExportArgs { export, export_dir } = args;
        let mut forms: Vec<ExportForm> = export.into_iter().map(ExportForm::from).collect();
        forms.sort_unstable();
        forms.dedup();
        if forms.contains(&ExportForm::Sglang) && kind == Kind::Pooling {
            return Err(Failure::usage(
                "--export sglang: this form is for text generation; embeddings and the like can be exported as \
                 aiperf and llm-d",
            ));
        }
        match (&export_dir, forms.is_empty()) {
            (Some(folder), true) => Err(Failure::usage(format!(
                "--export-dir {}: nothing is exported; say in which form with --export sglang, aiperf or llm-d",
                folder.display()
            ))),
            (None, false) if !has_run_folder => Err(Failure::usage(
                "--export: without a run folder there is no place for it; name one with --export-dir",
            )),
            _ => Ok(Self { forms, folder: export_dir }),
        }
    }

    /// Checks the place; to be called before the first request. A file in `--export-dir` is never replaced.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        let Some(folder) = &self.folder else { return Ok(()) };
        self.forms.iter().try_for_each(|form| form.prepare(folder, true).map(drop)).or_usage()
    }

    /// Writes all forms and returns their paths; `run_folder` is the place unless another one was named. Unlike
    /// everything else, the forms need all records in memory.
    pub(crate) fn write(
        &self,
        run_folder: Option<&Path>,
        manifest: &Manifest,
        records: &dyn Records,
        settings: &NumberSettings,
    ) -> Result<Vec<PathBuf>, Failure> {
        let Some(folder) = self.folder.as_deref().or(run_folder).filter(|_| !self.forms.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut all = Vec::with_capacity(records.count());
        records.visit(&mut |record| all.push(record.clone()));
        let run = facts(manifest, &all, settings);
        self.forms.iter().map(|form| form.write(folder, &run).or_run()).collect()
    }
}

/// Everything that the forms can tell.
fn facts<'a>(manifest: &'a Manifest, records: &[Record], settings: &NumberSettings) -> ExportRun<'a> {
    let flag = |pointer: &str| manifest.settings.pointer(&format!("/flags/{pointer}"));
    let kind = settings.metrics.kind;
    let ok = || records.iter().filter(|record| record.is_ok());
    let of = |value: &dyn Fn(&Record, &Times) -> Option<f64>| {
        distribution(ok().filter_map(|record| value(record, &Times::of(record, kind))).collect())
    };
    let asked = |value: &dyn Fn(&Record) -> Option<u32>| {
        let lengths: Option<Vec<f64>> = records.iter().map(|record| value(record).map(f64::from)).collect();
        lengths.and_then(distribution)
    };
    let summary = summarise(
        &records,
        &MetricSettings {
            selected: vec![Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::E2el],
            percentiles: EXPORT_PERCENTILES.to_vec(),
            has_tokenizer: true,
            ..settings.metrics.clone()
        },
    );
    let stat = |metric| summary.stats.iter().find(|stat| stat.metric == metric).and_then(of_stats);
    let generates = kind == Kind::Generation;
    // An answer that comes in one piece has no first token and no gaps.
    let streams = generates && flag("content/no_streaming").is_none_or(|flag| flag != true);
    let streamed = |metric| if streams { stat(metric) } else { None };
    let dataset = dataset(manifest);
    let rates = |value: &dyn Fn(&Record, &Times) -> Option<f64>| of(value).filter(|_| streams);
    let conversation = |record: &&Record| record.session.is_some();
    ExportRun {
        text_only: dataset.as_deref().is_some_and(is_text),
        duration_s: summary.duration_s,
        completed: summary.completed as u64,
        failures: records.iter().filter(|record| failed(record)).count() as u64,
        incomplete: records.iter().filter(|record| !record.is_ok() && !failed(record)).count() as u64,
        errors: errors(records),
        goodput: goodput(records, &settings.metrics),
        ttft: streamed(Metric::Ttft),
        second_token: rates(&|record, _| record.gaps().next().map(|gap| gap.as_secs_f64() * 1000.0)),
        tpot: streamed(Metric::Tpot),
        normalized_tpot: of(&|record, times| per_token(times.latency * 1000.0, record)).filter(|_| generates),
        itl: streamed(Metric::Itl),
        e2el: stat(Metric::E2el),
        user_rate: rates(&|record, times| {
            times.tpot(record.output_tokens).filter(|&t| t > 0.0).map(f64::recip)
        }),
        e2e_rate: of(&|record, times| {
            (times.latency > 0.0).then(|| f64::from(record.output_tokens) / times.latency)
        })
        .filter(|_| generates),
        input_tokens: of(&|record, _| Some(f64::from(record.input_tokens()))),
        output_tokens: of(&|record, _| Some(f64::from(record.output_tokens))).filter(|_| generates),
        asked: (
            asked(&|record| Some(record.prompt_tokens).filter(|&tokens| tokens > 0)),
            asked(&|record| record.asked_output_tokens).filter(|_| settings.verdict.ignore_eos),
        ),
        retokenized: ok().map(|record| record.tokenizer_output_tokens.map(u64::from)).sum(),
        max_output_tokens_per_s: summary.max_output_tokens_per_s,
        max_concurrent_requests: summary.max_concurrent_requests as u64,
        accept_length: settings.decoding.as_ref().and_then(crate::decoding::Decoding::acceptance_length),
        request_rate: settings.request_rate.filter(|_| !settings.traffic.self_timed),
        max_concurrency: settings.metrics.cap.map(|cap| cap as u64),
        sessions: records.iter().any(|record| record.session.is_some()).then(|| {
            let mut sessions: Vec<_> = records.iter().filter_map(|record| record.session).collect();
            sessions.sort_unstable();
            sessions.dedup_by_key(|turn| turn.0);
            (sessions.len() as u64, ok().filter(conversation).count() as u64)
        }),
        details: flag("reporting/save_detailed")
            .is_some_and(|flag| flag == true)
            .then(|| details(records, kind)),
        dataset,
        ..ExportRun::of(manifest)
    }
}

/// The dataset's name; `None` for a workload file.
fn dataset(manifest: &Manifest) -> Option<String> {
    let flag = |pointer: &str| {
        let flag = manifest.settings.pointer(&format!("/flags/{pointer}"));
        flag.filter(|value| !value.is_null() && **value != false)
    };
    if flag("traffic/workload").is_some() {
        return None;
    }
    if flag("traffic/mix").is_some() {
        return Some("mix".to_owned());
    }
    if flag("traffic/multi_turn").is_some() {
        let recorded = flag("dataset/dataset_path").is_some();
        return Some(if recorded { "multi-turn" } else { "multi-turn-synthetic" }.to_owned());
    }
    if let Some(name) = flag("dataset/dataset_name").and_then(serde_json::Value::as_str) {
        return Some(name.to_owned());
    }
    let compat = flag("target/compat").and_then(serde_json::Value::as_str)?.parse::<Compat>().ok()?;
    Some(compat.default_dataset().to_owned())
}

/// True where no prompt of the dataset has images, video or sound.
fn is_text(dataset: &str) -> bool {
    !matches!(dataset, "random-mm" | "hf" | "custom_image" | "custom_mm" | "custom_audio")
}

/// Failed by the server or on the way, as opposed to given up.
fn failed(record: &Record) -> bool {
    !matches!(record.outcome, Outcome::Ok | Outcome::Cancelled | Outcome::Unfinished)
}

fn errors(records: &[Record]) -> Vec<ExportError> {
    let mut counts: BTreeMap<ExportError, u64> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.is_ok()) {
        let outcome = record.outcome.name().to_owned();
        let message = record.error.clone().unwrap_or_else(|| outcome.clone());
        let error = ExportError { outcome, status: record.status, message, count: 0 };
        *counts.entry(error).or_default() += 1;
    }
    counts.into_iter().map(|(error, count)| ExportError { count, ..error }).collect()
}

fn goodput(records: &[Record], settings: &MetricSettings) -> Option<ExportGoodput> {
    let within = |limits: &[(Slo, f64)]| {
        let only = MetricSettings { goodput: limits.to_vec(), selected: Vec::new(), ..settings.clone() };
        let summary = summarise(&records, &only);
        (summary.request_goodput.unwrap_or_default() * summary.duration_s).round() as u64
    };
    (!settings.goodput.is_empty()).then(|| ExportGoodput {
        limits: settings
            .goodput
            .iter()
            .map(|&(slo, limit)| (slo.key().to_owned(), limit, within(&[(slo, limit)])))
            .collect(),
        good: within(&settings.goodput),
    })
}

fn details(records: &[Record], kind: Kind) -> ExportDetails {
    let error = |record: &Record| match (&record.error, record.is_ok()) {
        (_, true) => String::new(),
        (Some(error), false) => error.clone(),
        (None, false) => record.outcome.name().to_owned(),
    };
    ExportDetails {
        input_lens: records.iter().map(|record| u64::from(record.input_tokens())).collect(),
        output_lens: records
            .iter()
            .map(|record| if record.is_ok() { u64::from(record.output_tokens) } else { 0 })
            .collect(),
        ttfts: records.iter().map(|record| Times::of(record, kind).ttft).collect(),
        itls: records.iter().map(|record| record.gaps().map(Nanos::as_secs_f64).collect()).collect(),
        generated_texts: records.iter().map(|record| record.text.clone()).collect(),
        errors: records.iter().map(error).collect(),
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
