//! Resolves arguments to settings. Everything is checked here, before a file is opened or a byte is
//! sent.

mod connection;
mod content;
mod dataset;
mod saving;
mod shapes;

use std::time::Duration;

use inferometer_arrival::{ArrivalSettings, RampStrategy, Rate};
use inferometer_benchmark::settings::{
    Cancellation, LoadSettings, LoraSettings, ReportSettings, ShapeSettings, TargetSettings,
};
use inferometer_benchmark::{Compat, Settings, settings as benchmark};
use inferometer_core::Secret;
use inferometer_core::redact;
use inferometer_metrics::{
    Kind, Metric, Slo, default_metrics, parse_goodput, parse_metrics, parse_percentiles,
};
use inferometer_terminal::View;
use inferometer_wire::{Backend, BackendKind, backend};
use inferometer_workload::WorkloadSettings;
use serde_json::json;

pub(crate) use self::saving::exports_of;
use crate::args::RampStrategy as RampFlag;
use crate::args::{
    DatasetArgs, LoadArgs, LoraAssignment, ReportingArgs, RunArgs, TargetArgs, TrafficArgs,
};
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
        } = args;
        let view = ViewSettings {
            show_progress: !load.disable_tqdm,
            ui: load.ui.into(),
        };
        let strict = reporting.strict;
        let shapes = shapes::resolve(&traffic, &dataset, load.seed)?;
        let target = target_settings(target, compat, &mut notes)?;
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
        let load = load_settings(&load, compat, has_clock(&shapes, &workload))?;
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
        let saving = saving::resolve(reporting, kind, vllm_arguments)?;
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
    Ok(WorkloadSettings {
        num_prompts,
        seed: load.seed,
        compat: if compat.is_vllm() {
            inferometer_workload::Compat::Vllm
        } else {
            inferometer_workload::Compat::Native
        },
        request_id_prefix: id_prefix,
        // vLLM's datasets recognise a single chat backend, by name, and apply the template to prompts
        // for all others.
        is_chat: if compat.is_vllm() {
            is_openai_chat
        } else {
            target.backend.applies_chat_template()
        },
        is_openai_chat,
        is_pooling: kind_of(target.backend) == Kind::Pooling,
        shuffle: !args.disable_shuffle,
        oversample: !args.no_oversample,
        skip_chat_template: args.skip_chat_template,
        salt: salt.map(|salt| if salt.is_empty() { random_salt() } else { salt }),
        ..WorkloadSettings::new(dataset)
    })
}

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

/// The metrics of `--percentile-metrics`. Where `no_stream` says why there are no streams, nothing can
/// be observed before the end of a response, so only the end-to-end latency is left.
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

fn target_settings(
    args: TargetArgs,
    compat: Compat,
    notes: &mut Vec<String>,
) -> Result<TargetSettings, Failure> {
    let TargetArgs {
        compat: _,
        backend: name,
        base_url,
        host,
        port,
        endpoint,
        header,
        model,
        served_model_name,
        tokenizer,
        tokenizer_mode,
        trust_remote_code,
        skip_tokenizer_init,
        lora_modules,
        lora_assignment,
        omit_field,
        skip_model_check,
    } = args;
    if name
        .as_deref()
        .is_some_and(|name| name == "sim" || name.starts_with("sim:"))
    {
        return Err(Failure::usage(
            "--backend sim: run needs a server; simulate one run with inferometer simulate, or many with inferometer \
             sweep --backend sim",
        ));
    }
    let backend = backend::find(name.as_deref().unwrap_or(compat.default_backend())).or_usage()?;
    if !matches!(tokenizer_mode.as_str(), "auto" | "hf") {
        return Err(Failure::usage(format!(
            "--tokenizer-mode {tokenizer_mode}: must be auto or hf, because tokenizers are loaded from a tokenizer.json; \
             choose one that has such a file with --tokenizer"
        )));
    }
    if trust_remote_code {
        notes.push(
            "--trust-remote-code has no effect: no code from a model's repository is ever run"
                .to_owned(),
        );
    }
    let endpoint = endpoint.unwrap_or_else(|| backend.default_endpoint().to_owned());
    backend.check_endpoint(&endpoint).or_usage()?;
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host
    };
    let headers = header
        .iter()
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                // The entry may hold a secret, so the message does not show it.
                Failure::usage("--header: invalid entry: expected NAME=VALUE")
            })?;
            Ok((name.trim().to_owned(), Secret::new(value.trim())))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut base_urls = base_url
        .iter()
        .map(|url| without_endpoint(url, &endpoint))
        .collect::<Result<Vec<_>, _>>()?;
    if base_urls.is_empty() {
        base_urls.push(format!("http://{host}:{port}"));
    }
    Ok(TargetSettings {
        backend,
        base_url: base_urls[0].clone(),
        base_urls,
        endpoint,
        headers,
        api_key: std::env::var("OPENAI_API_KEY")
            .ok()
            .filter(|key| !key.is_empty())
            .map(Secret::new),
        model,
        served_model_name,
        tokenizer,
        has_tokenizer: !skip_tokenizer_init,
        lora: (!lora_modules.is_empty()).then_some(LoraSettings {
            modules: lora_modules,
            assignment: match lora_assignment {
                LoraAssignment::Random => benchmark::LoraAssignment::Random,
                LoraAssignment::RoundRobin => benchmark::LoraAssignment::RoundRobin,
            },
        }),
        omit_fields: omit_field,
        // vLLM's benchmark sends any name, and a server may accept names that it does not list.
        check_model: !skip_model_check && !compat.is_vllm(),
    })
}

/// A URL to which the endpoint can be appended, as vLLM does, without a slash at its end: the endpoint
/// starts with one.
fn without_endpoint(url: &str, endpoint: &str) -> Result<String, Failure> {
    let base = if endpoint.starts_with('/') {
        url.trim_end_matches('/')
    } else {
        url
    };
    // Only the path is compared: a host may be named like the endpoint's first part.
    let host_and_path = base.split_once("://").map_or(base, |(_, rest)| rest);
    let path = host_and_path
        .find('/')
        .map_or("", |at| &host_and_path[at..]);
    let twice = |end: &str| path.ends_with(end) && endpoint.starts_with('/');
    let first = endpoint
        .strip_prefix('/')
        .and_then(|rest| rest.find('/'))
        .map(|at| &endpoint[..=at]);
    let Some(end) = Some(endpoint)
        .filter(|end| twice(end))
        .or(first.filter(|end| twice(end)))
    else {
        return Ok(base.to_owned());
    };
    Err(Failure::usage(format!(
        "--base-url {url}: requests would go to {base}{endpoint}, with {end} twice; remove {end} from --base-url (the \
         endpoint {endpoint} is appended), or set another --endpoint"
    )))
}

fn load_settings(
    args: &LoadArgs,
    compat: Compat,
    has_clock: bool,
) -> Result<LoadSettings, Failure> {
    let LoadArgs {
        num_prompts: _,
        request_rate,
        burstiness,
        max_concurrency,
        ramp_up_strategy,
        ramp_up_start_rps,
        ramp_up_end_rps,
        self_timed,
        no_self_timed,
        num_warmups,
        ready_check_timeout_sec,
        seed,
        disable_tqdm: _,
        ui: _,
        request_id_prefix: _,
        probe_request_rate,
        profile,
        reset_prefix_cache,
        request_cancellation_rate,
        request_cancellation_delay,
        workers,
        pin,
    } = *args;
    if (self_timed || no_self_timed) && !has_clock {
        return Err(Failure::usage(format!(
            "{}: only --dataset-name timed_trace and trace, and workload files with due instants, set the times of \
             requests (--dataset-name trace reads BurstGPT, Azure and Mooncake files)",
            if self_timed {
                "--self-timed"
            } else {
                "--no-self-timed"
            }
        )));
    }
    if has_clock
        && !no_self_timed
        && (request_rate.is_finite() || ramp_up_strategy.is_some())
        && !compat.is_vllm()
    {
        return Err(Failure::usage(
            "--request-rate: the trace sets the times of requests; omit the rate, or add --no-self-timed",
        ));
    }
    let strategy = ramp_up_strategy.map(|strategy| match strategy {
        RampFlag::Linear => RampStrategy::Linear,
        RampFlag::Exponential => RampStrategy::Exponential,
    });
    let rate = Rate::from_flags(
        request_rate,
        strategy,
        ramp_up_start_rps.map(|rate| rate as f64),
        ramp_up_end_rps.map(|rate| rate as f64),
    )
    .or_usage()?;
    let arrivals = ArrivalSettings {
        rate,
        burstiness,
        seed,
    };
    arrivals.check().or_usage()?;
    let max_concurrency = max_concurrency
        .map(|cap| match usize::try_from(cap) {
            Ok(cap) if cap > 0 => Ok(cap),
            _ => Err(Failure::usage(format!(
                "--max-concurrency {cap}: must be at least 1; omit it for no limit"
            ))),
        })
        .transpose()?;
    if !(probe_request_rate >= 0.0 && probe_request_rate.is_finite()) {
        return Err(Failure::usage(format!(
            "--probe-request-rate {probe_request_rate}: must be a number of requests per second, or 0 for none"
        )));
    }
    let cancellation = cancellation(request_cancellation_rate, request_cancellation_delay)?;
    if workers == Some(0) {
        return Err(Failure::usage("--workers 0: must be at least 1"));
    }
    Ok(LoadSettings {
        arrivals,
        max_concurrency,
        self_timed: has_clock && !no_self_timed,
        num_warmups,
        ready_check: Duration::from_secs(
            ready_check_timeout_sec.unwrap_or_else(|| compat.ready_check_seconds()),
        ),
        probe_rate: (probe_request_rate > 0.0).then_some(probe_request_rate),
        profile,
        reset_prefix_cache,
        cancellation,
        workers,
        pin,
    })
}

fn cancellation(fraction: f64, delay: f64) -> Result<Option<Cancellation>, Failure> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(Failure::usage(format!(
            "--request-cancellation-rate {fraction}: must be a fraction from 0 to 1"
        )));
    }
    let delay = connection::seconds("--request-cancellation-delay", delay)?;
    Ok((fraction > 0.0).then_some(Cancellation { fraction, delay }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_can_repeat_the_endpoint() {
        for (url, endpoint, base) in [
            ("http://h:1", "/v1/completions", Some("http://h:1")),
            ("http://h:1/", "/v1/completions", Some("http://h:1")),
            ("http://h:1/api", "/v1/completions", Some("http://h:1/api")),
            ("http://v1", "/v1/completions", Some("http://v1")),
            ("http://h:1/v1", "/v1/completions", None),
            ("http://h:1/v1/completions", "/v1/completions", None),
            ("http://h:1", "é/x", Some("http://h:1")),
            ("http://h:1", "/é/x", Some("http://h:1")),
        ] {
            assert_eq!(
                without_endpoint(url, endpoint).ok().as_deref(),
                base,
                "{url} {endpoint}"
            );
        }
    }
}
