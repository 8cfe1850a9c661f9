//! Resolves arguments to settings. Everything is checked here, before a file is opened or a byte is
//! sent.

mod connection;
mod content;
mod dataset;
pub(crate) mod engine;
mod load;
mod saving;
mod shapes;
mod target;

use inferometer_benchmark::settings::{ReportSettings, ShapeSettings, TargetSettings};
use inferometer_benchmark::{Compat, Settings};
use inferometer_core::redact;
use inferometer_metrics::{
    Kind, Metric, Slo, default_metrics, parse_goodput, parse_metrics, parse_percentiles,
};
use inferometer_report::Lang;
use inferometer_terminal::View;
use inferometer_wire::{Backend, BackendKind};
use inferometer_workload::WorkloadSettings;
use serde_json::json;

pub(crate) use self::load::MAX_THREADS;
pub(crate) use self::saving::exports_of;
use crate::args::{DatasetArgs, LoadArgs, ReportingArgs, RunArgs, TrafficArgs};
use crate::compat;
use crate::exit::{Failure, OrFail};

/// Default of `--metric-percentiles`.
pub(crate) const DEFAULT_PERCENTILES: &str = "99";

/// A benchmark, as the arguments describe it.
#[derive(Debug)]
pub(crate) struct RunSettings {
    /// The benchmark itself.
    pub(crate) benchmark: Settings,
    /// Its progress display.
    pub(crate) view: ViewSettings,
    /// An INVALID verdict is a failure.
    pub(crate) strict: bool,
    /// Notes about the arguments for the user.
    pub(crate) notes: Vec<String>,
}

/// How a run in progress is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewSettings {
    /// Whether it is shown.
    pub(crate) show_progress: bool,
    /// How it is shown.
    pub(crate) ui: View,
    /// Language of what is said about it.
    pub(crate) lang: Lang,
}

impl RunSettings {
    /// Checks and resolves arguments; reads the environment and the small files that flags name.
    pub(crate) fn resolve(args: RunArgs) -> Result<Self, Failure> {
        let compat = args.target.compat;
        let id_prefix = args
            .load
            .request_id_prefix
            .clone()
            .unwrap_or_else(random_prefix);
        let vllm_arguments = compat::echo(&args, &id_prefix);
        let mut notes = Vec::new();
        let RunArgs {
            target,
            load,
            content,
            dataset,
            traffic,
            connection,
            reporting,
            typed,
        } = args;
        let view = ViewSettings {
            show_progress: !load.disable_tqdm,
            ui: load.ui.into(),
            lang: reporting.lang,
        };
        let strict = reporting.strict;
        let shapes = shapes::resolve(&traffic, &dataset, load.seed)?;
        let target = target::resolve(target, compat, &mut notes)?;
        // Servers repeat requests in their error messages, so every secret in them is registered.
        target
            .base_urls
            .iter()
            .chain([&target.endpoint])
            .for_each(|url| redact::register_url(url));
        let connection = connection::resolve(connection)?;
        let workload = workload_settings(WorkloadArguments {
            load: &load,
            dataset: &dataset,
            traffic: &traffic,
            shapes: &shapes,
            target: &target,
            compat,
            id_prefix,
        })?;
        let load = load::resolve(&load, compat, has_clock(&shapes, &workload))?;
        let content = content::resolve(content, compat, target.backend)?;
        content
            .extra_body
            .iter()
            .for_each(|(name, value)| redact::register_json(&json!({name: value})));
        let kind = kind_of(target.backend);
        let report = report_settings(&reporting, kind, &target, content.stream)?;
        let workload = WorkloadSettings {
            chat_template_kwargs: content.chat_template_kwargs.clone(),
            ..workload
        };
        let saving = saving::resolve(reporting, kind, typed, vllm_arguments)?;
        let benchmark = Settings {
            compat,
            target,
            connection,
            load,
            content,
            workload,
            shapes,
            report,
            saving,
        };
        Ok(Self {
            benchmark,
            view,
            strict,
            notes,
        })
    }
}

/// The inputs of the workload's settings.
struct WorkloadArguments<'a> {
    load: &'a LoadArgs,
    dataset: &'a DatasetArgs,
    traffic: &'a TrafficArgs,
    shapes: &'a ShapeSettings,
    target: &'a TargetSettings,
    compat: Compat,
    id_prefix: String,
}

fn workload_settings(from: WorkloadArguments<'_>) -> Result<WorkloadSettings, Failure> {
    let WorkloadArguments {
        load,
        dataset: args,
        traffic,
        shapes,
        target,
        compat,
        id_prefix,
    } = from;
    let replayed = shapes.replay.as_ref().map(|replay| &replay.bundle);
    let num_prompts = replayed.map_or(load.num_prompts, |bundle| {
        bundle.workload.requests.len() as i64
    });
    let dataset = match shapes::dataset(traffic, args)? {
        Some(own) => own,
        None => dataset::settings(args, compat)?,
    };
    if num_prompts <= 0 && !dataset.info().takes_all_rows {
        return Err(Failure::usage(format!(
            "--num-prompts {num_prompts}: must be at least 1 (0 means \"all rows\", for datasets made of rows such as \
             custom)"
        )));
    }
    let salt = traffic.salt.clone();
    let is_openai_chat = target.backend.name() == "openai-chat";
    let kind = kind_of(target.backend);
    Ok(WorkloadSettings {
        num_prompts,
        seed: load.seed,
        compat: if compat.is_vllm() {
            inferometer_workload::Compat::Vllm
        } else {
            inferometer_workload::Compat::Native
        },
        request_id_prefix: id_prefix,
        // vLLM's datasets recognise a single chat backend, by name, and apply the template to
        // prompts for all others.
        is_chat: if compat.is_vllm() {
            is_openai_chat
        } else {
            target.backend.applies_chat_template()
        },
        is_openai_chat,
        is_pooling: kind == Kind::Pooling,
        drops_media: compat.is_vllm() && !MEDIA_IN_VLLM.contains(&target.backend.name()),
        shuffle: !args.disable_shuffle,
        oversample: !args.no_oversample,
        skip_chat_template: args.skip_chat_template,
        salt: salt.map(|salt| if salt.is_empty() { random_salt() } else { salt }),
        ..WorkloadSettings::new(dataset)
    })
}

/// The backends to which vLLM's client sends the images and videos of a dataset of texts.
const MEDIA_IN_VLLM: [&str; 5] = [
    "openai-chat",
    "openai-embeddings-chat",
    "openai-embeddings-clip",
    "openai-embeddings-vlm2vec",
    "infinity-embeddings-clip",
];

/// True when a file sets the due instants of requests.
fn has_clock(shapes: &ShapeSettings, workload: &WorkloadSettings) -> bool {
    match &shapes.replay {
        Some(replay) => !replay.bundle.schedule.is_at_once(),
        None => workload.dataset.info().has_clock,
    }
}

fn kind_of(backend: &Backend) -> Kind {
    match backend.kind() {
        BackendKind::Pooling => Kind::Pooling,
        BackendKind::Generation | BackendKind::Audio => Kind::Generation,
    }
}

fn report_settings(
    reporting: &ReportingArgs,
    kind: Kind,
    target: &TargetSettings,
    stream: bool,
) -> Result<ReportSettings, Failure> {
    // What rules out streaming, if anything: a flag, or an API without streams.
    let no_stream = match (stream, target.backend.can_stream()) {
        (false, _) => Some("--no-streaming".to_owned()),
        (true, false) => Some(format!(
            "--backend {}, whose API does not stream",
            target.backend.name()
        )),
        (true, true) => None,
    };
    let no_stream = no_stream.filter(|_| kind == Kind::Generation);
    let percentiles = reporting.metric_percentiles.as_deref();
    Ok(ReportSettings {
        metrics: selected_metrics(
            reporting.percentile_metrics.as_deref(),
            kind,
            no_stream.as_deref(),
        )?,
        percentiles: parse_percentiles(percentiles.unwrap_or(DEFAULT_PERCENTILES)).or_usage()?,
        percentiles_named: percentiles.is_some(),
        goodput: goodput(&reporting.goodput, no_stream.as_deref())?,
    })
}

/// The metrics of `--percentile-metrics`. Where `no_stream` says why there are no streams, nothing
/// can be observed before the end of a response, so only the end-to-end latency is left.
fn selected_metrics(
    list: Option<&str>,
    kind: Kind,
    no_stream: Option<&str>,
) -> Result<Vec<Metric>, Failure> {
    let Some(list) = list else {
        return Ok(if no_stream.is_none() {
            default_metrics(kind)
        } else {
            vec![Metric::E2el]
        });
    };
    let selected = parse_metrics(list).or_usage()?;
    let needs_stream = selected.iter().find(|metric| metric.needs_stream());
    match (needs_stream, no_stream) {
        (Some(metric), Some(reason)) => Err(Failure::usage(format!(
            "--percentile-metrics {list}: {} cannot be measured with {reason}; use e2el",
            metric.key()
        ))),
        _ => Ok(selected),
    }
}

fn goodput(limits: &[String], no_stream: Option<&str>) -> Result<Vec<(Slo, f64)>, Failure> {
    let limits = parse_goodput(limits).or_usage()?;
    match (
        limits.iter().find(|(slo, _)| slo.metric().needs_stream()),
        no_stream,
    ) {
        (Some((slo, _)), Some(reason)) => Err(Failure::usage(format!(
            "--goodput: {} cannot be measured with {reason}; set a limit on e2el",
            slo.key()
        ))),
        _ => Ok(limits),
    }
}

/// `bench-` and eight random hexadecimal digits, so that the ids of two runs do not collide.
fn random_prefix() -> String {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("bench-{}-", &unique[..8])
}

/// Eight random letters.
fn random_salt() -> String {
    uuid::Uuid::new_v4().as_bytes()[..8]
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}
