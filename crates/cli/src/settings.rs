//! What the arguments mean: everything is checked here, before a file is opened or a byte is sent.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};
use servebench_arrival::{ArrivalSettings, RampStrategy, Rate};
use servebench_core::Secret;
use servebench_metrics::{
    Kind, MetricSettings, default_metrics, parse_goodput, parse_metrics, parse_percentiles,
};
use servebench_wire::{Backend, BackendKind, backend};
use servebench_workload::{
    CustomSettings, DatasetSettings, RandomSettings, ShareGptSettings, WorkloadSettings,
};

use crate::args::RampStrategy as RampFlag;
use crate::args::{ContentArgs, DatasetArgs, LoadArgs, ReportingArgs, RunArgs, TargetArgs};
use crate::exit::{Failure, OrFail};

/// A benchmark as asked for, with every flag understood.
#[derive(Debug)]
pub(crate) struct RunSettings {
    /// Where to send.
    pub(crate) target: TargetSettings,
    /// When to send.
    pub(crate) load: LoadSettings,
    /// What goes into every body.
    pub(crate) content: ContentSettings,
    /// What is asked.
    pub(crate) workload: WorkloadSettings,
    /// Which numbers are wanted.
    pub(crate) metrics: MetricSettings,
    /// Percentiles that the user named, as opposed to the default.
    pub(crate) percentiles_asked: bool,
    /// What is written, and where.
    pub(crate) saving: SavingSettings,
    /// The arguments as they were given, without secrets, for the manifest.
    pub(crate) echo: Value,
}

/// Where to send.
#[derive(Debug)]
pub(crate) struct TargetSettings {
    /// The API.
    pub(crate) backend: &'static dyn Backend,
    /// URL without the endpoint.
    pub(crate) base_url: String,
    /// Path of the API.
    pub(crate) endpoint: String,
    /// Extra headers.
    pub(crate) headers: Vec<(String, Secret)>,
    /// From `OPENAI_API_KEY`.
    pub(crate) api_key: Option<Secret>,
    /// `--model`.
    pub(crate) model: Option<String>,
    /// `--served-model-name`.
    pub(crate) served_model_name: Option<String>,
    /// `--tokenizer`.
    pub(crate) tokenizer: Option<String>,
    /// `--insecure`.
    pub(crate) insecure: bool,
    /// `--omit-field`.
    pub(crate) omit_fields: Vec<String>,
    /// Ask the server whether it serves the model.
    pub(crate) check_model: bool,
}

/// When to send.
#[derive(Debug)]
pub(crate) struct LoadSettings {
    /// Rate, burstiness and seed.
    pub(crate) arrivals: ArrivalSettings,
    /// Slots.
    pub(crate) max_concurrency: Option<usize>,
    /// Warm-up requests.
    pub(crate) num_warmups: usize,
    /// How long the server may take to answer a first request; zero asks nothing.
    pub(crate) ready_check: Duration,
    /// Show the progress bar.
    pub(crate) show_progress: bool,
    /// Worker threads, if the user decided.
    pub(crate) workers: Option<usize>,
    /// First processor to tie workers to.
    pub(crate) pin: Option<usize>,
}

/// What goes into every body.
#[derive(Debug)]
pub(crate) struct ContentSettings {
    /// Sampling parameters that were given.
    pub(crate) sampling: Map<String, Value>,
    /// `--extra-body`.
    pub(crate) extra_body: Map<String, Value>,
    /// `--ignore-eos`.
    pub(crate) ignore_eos: bool,
    /// `--logprobs`.
    pub(crate) logprobs: Option<i64>,
}

/// What is written, and where.
#[derive(Debug)]
pub(crate) struct SavingSettings {
    /// Write vLLM's file.
    pub(crate) save: bool,
    /// With per-request arrays.
    pub(crate) detailed: bool,
    /// As one more line.
    pub(crate) append: bool,
    /// Strings for its top level.
    pub(crate) metadata: Vec<(String, String)>,
    /// Its folder.
    pub(crate) result_dir: Option<PathBuf>,
    /// Its name.
    pub(crate) result_filename: Option<PathBuf>,
    /// Label of the run.
    pub(crate) label: Option<String>,
    /// Folder for the run folder, if one is wanted.
    pub(crate) runs_dir: Option<PathBuf>,
    /// INVALID is a failure.
    pub(crate) strict: bool,
}

impl RunSettings {
    /// Understands and checks arguments; reads nothing but the environment.
    pub(crate) fn resolve(args: RunArgs) -> Result<Self, Failure> {
        let echo = echo(&args)?;
        let RunArgs { target, load, content, dataset, reporting } = args;
        let seed = load.seed;
        let id_prefix = load.request_id_prefix.clone().unwrap_or_else(random_prefix);
        let num_prompts = load.num_prompts;
        let target = target_settings(target)?;
        let load = load_settings(&load)?;
        let content = content_settings(content)?;
        let kind = match target.backend.kind() {
            BackendKind::Pooling => Kind::Pooling,
            BackendKind::Generation | BackendKind::Audio => Kind::Generation,
        };
        let percentiles_asked = reporting.metric_percentiles != "99";
        let metrics = MetricSettings {
            selected: match &reporting.percentile_metrics {
                Some(list) => parse_metrics(list).or_usage()?,
                None => default_metrics(kind),
            },
            percentiles: parse_percentiles(&reporting.metric_percentiles).or_usage()?,
            goodput: parse_goodput(&reporting.goodput).or_usage()?,
            cap: load.max_concurrency,
            finite_rate: load.arrivals.rate.is_finite(),
            kind,
            has_tokenizer: true,
        };
        let saving = saving_settings(reporting)?;
        let (is_chat, is_pooling) = (target.backend.name() == "openai-chat", kind == Kind::Pooling);
        let workload = WorkloadSettings {
            num_prompts,
            seed,
            request_id_prefix: id_prefix,
            is_chat,
            is_pooling,
            shuffle: !dataset.disable_shuffle,
            oversample: !dataset.no_oversample,
            skip_chat_template: dataset.skip_chat_template,
            ..WorkloadSettings::new(dataset_settings(dataset)?)
        };
        if num_prompts <= 0 && !matches!(workload.dataset, DatasetSettings::Custom(_)) {
            return Err(Failure::usage(format!(
                "--num-prompts {num_prompts}: give at least 1 (only --dataset-name custom takes 0 for \"all rows\")"
            )));
        }
        Ok(Self { target, load, content, workload, metrics, percentiles_asked, saving, echo })
    }
}

fn target_settings(args: TargetArgs) -> Result<TargetSettings, Failure> {
    let TargetArgs {
        backend: name,
        base_url,
        host,
        port,
        endpoint,
        header,
        model,
        served_model_name,
        tokenizer,
        insecure,
        omit_field,
        skip_model_check,
    } = args;
    let backend = backend::find(&name).or_usage()?;
    let endpoint = endpoint.unwrap_or_else(|| backend.default_endpoint().to_owned());
    backend.check_endpoint(&endpoint).or_usage()?;
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let headers = header
        .iter()
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                // The text may hold a secret, so it is not shown.
                Failure::usage("--header: an entry has no \"=\"; write --header NAME=VALUE")
            })?;
            Ok((name.trim().to_owned(), Secret::new(value.trim())))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(TargetSettings {
        backend,
        base_url: base_url.unwrap_or_else(|| format!("http://{host}:{port}")),
        endpoint,
        headers,
        api_key: std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty()).map(Secret::new),
        model,
        served_model_name,
        tokenizer,
        insecure,
        omit_fields: omit_field,
        check_model: !skip_model_check,
    })
}

fn load_settings(args: &LoadArgs) -> Result<LoadSettings, Failure> {
    let LoadArgs {
        num_prompts: _,
        request_rate,
        burstiness,
        max_concurrency,
        ramp_up_strategy,
        ramp_up_start_rps,
        ramp_up_end_rps,
        num_warmups,
        ready_check_timeout_sec,
        seed,
        disable_tqdm,
        request_id_prefix: _,
        workers,
        pin,
    } = *args;
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
    let arrivals = ArrivalSettings { rate, burstiness, seed };
    arrivals.check().or_usage()?;
    let max_concurrency = max_concurrency
        .map(|cap| match usize::try_from(cap) {
            Ok(cap) if cap > 0 => Ok(cap),
            _ => Err(Failure::usage(format!(
                "--max-concurrency {cap}: give at least 1, or leave it out for no limit"
            ))),
        })
        .transpose()?;
    if workers == Some(0) {
        return Err(Failure::usage("--workers 0: give at least 1, or leave it out"));
    }
    Ok(LoadSettings {
        arrivals,
        max_concurrency,
        num_warmups,
        ready_check: Duration::from_secs(ready_check_timeout_sec),
        show_progress: !disable_tqdm,
        workers,
        pin,
    })
}

fn content_settings(args: ContentArgs) -> Result<ContentSettings, Failure> {
    let ContentArgs {
        temperature,
        top_p,
        top_k,
        min_p,
        frequency_penalty,
        presence_penalty,
        repetition_penalty,
        ignore_eos,
        extra_body,
        logprobs,
    } = args;
    // vLLM's order of keys.
    let given = [
        ("top_p", top_p.map(Value::from)),
        ("top_k", top_k.map(Value::from)),
        ("min_p", min_p.map(Value::from)),
        ("temperature", temperature.map(Value::from)),
        ("frequency_penalty", frequency_penalty.map(Value::from)),
        ("presence_penalty", presence_penalty.map(Value::from)),
        ("repetition_penalty", repetition_penalty.map(Value::from)),
    ];
    let sampling = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let extra_body = match extra_body {
        None => Map::new(),
        Some(text) => match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                return Err(Failure::usage(format!(
                    "--extra-body {text}: must be a JSON object, such as '{{\"top_k\": 20}}'"
                )));
            }
            Err(error) => return Err(Failure::usage(format!("--extra-body {text}: not JSON: {error}"))),
        },
    };
    Ok(ContentSettings { sampling, extra_body, ignore_eos, logprobs })
}

fn saving_settings(args: ReportingArgs) -> Result<SavingSettings, Failure> {
    let ReportingArgs {
        percentile_metrics: _,
        metric_percentiles: _,
        goodput: _,
        save_result,
        save_detailed,
        append_result,
        metadata,
        result_dir,
        result_filename,
        label,
        runs_dir,
        no_run_folder,
        strict,
    } = args;
    let metadata = metadata
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--metadata {pair}: no \"=\" in it; write --metadata KEY=VALUE"))
            })?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(SavingSettings {
        save: save_result || append_result,
        detailed: save_detailed,
        append: append_result,
        metadata,
        result_dir,
        result_filename,
        label,
        runs_dir: (!no_run_folder).then_some(runs_dir),
        strict,
    })
}

fn dataset_settings(args: DatasetArgs) -> Result<DatasetSettings, Failure> {
    let DatasetArgs {
        dataset_name,
        dataset_path,
        no_oversample: _,
        skip_chat_template: _,
        disable_shuffle: _,
        input_len,
        output_len,
        random_input_len,
        random_output_len,
        random_range_ratio,
        random_prefix_len,
        random_batch_size,
        sharegpt_output_len,
        custom_output_len,
    } = args;
    let needed_path = |path: Option<PathBuf>| {
        path.ok_or_else(|| {
            Failure::usage(format!("--dataset-name {dataset_name} reads a file: give its --dataset-path"))
        })
    };
    match dataset_name.as_str() {
        "random" => {
            if let Some(path) = dataset_path {
                return Err(Failure::usage(format!(
                    "--dataset-path {}: --dataset-name random makes its own text and reads no file; leave the \
                     path out, or name the dataset it belongs to",
                    path.display()
                )));
            }
            Ok(DatasetSettings::Random(RandomSettings {
                input_len: input_len.unwrap_or(random_input_len),
                output_len: output_len.unwrap_or(random_output_len),
                range_ratio: random_range_ratio.parse().or_usage()?,
                prefix_len: random_prefix_len,
                batch_size: random_batch_size,
            }))
        }
        "sharegpt" => Ok(DatasetSettings::ShareGpt(ShareGptSettings {
            path: needed_path(dataset_path)?,
            output_len: output_len.or(sharegpt_output_len),
        })),
        "custom" => Ok(DatasetSettings::Custom(CustomSettings {
            path: needed_path(dataset_path)?,
            output_len: output_len.unwrap_or(custom_output_len),
        })),
        "burstgpt" | "custom_audio" | "custom_image" | "custom_mm" | "hf" | "prefix_repetition"
        | "random-mm" | "random-rerank" | "sonnet" | "spec_bench" | "speed_bench" | "timed_trace" => {
            Err(Failure::usage(format!("--dataset-name {dataset_name}: not supported yet")))
        }
        _ => Err(Failure::usage(format!(
            "--dataset-name {dataset_name}: no such dataset; choose one of random, sharegpt, custom"
        ))),
    }
}

/// `bench-` and eight random hexadecimal digits, so that the ids of two runs never meet.
fn random_prefix() -> String {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("bench-{}-", &unique[..8])
}

/// The arguments for the manifest; values of headers are left out.
fn echo(args: &RunArgs) -> Result<Value, Failure> {
    let mut echo = serde_json::to_value(args).or_run()?;
    if let Some(headers) = echo.pointer_mut("/target/header").and_then(Value::as_array_mut) {
        for header in headers {
            let name = header.as_str().and_then(|pair| pair.split('=').next()).unwrap_or_default();
            *header = json!(format!("{name}=***"));
        }
    }
    Ok(echo)
}
