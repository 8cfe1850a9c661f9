//! The flags of `inferometer run`: names, types and defaults of vLLM's `bench serve`, and ours.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::connection::ConnectionArgs;
use super::dataset::DatasetArgs;
use super::export::ExportArgs;
use super::workload::TrafficArgs;
use crate::compat::Compat;

/// Arguments of `inferometer run`.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct RunArgs {
    /// Where to send.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How much, and when.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// What the requests say besides the prompt.
    #[command(flatten)]
    pub(crate) content: ContentArgs,
    /// What is asked.
    #[command(flatten)]
    pub(crate) dataset: DatasetArgs,
    /// Shapes of traffic that vLLM's benchmark does not have.
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    /// How connections are made.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What is reported and saved.
    #[command(flatten)]
    pub(crate) reporting: ReportingArgs,
}

/// Target, endpoint and identity.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArgs {
    /// Whose rules hold where vLLM's benchmark and inferometer differ: native, vllm (the newest
    /// known), or a version such as vllm-0.10. With vllm, the same seed gives vLLM's prompts.
    /// Implied by the names `bench serve` and `benchmark_serving.py`.
    #[arg(long, default_value_t = Compat::Native, value_name = "RULES")]
    pub(crate) compat: Compat,
    /// The API that the server speaks [default: openai; with --compat vllm-0.10 and older: vllm].
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// URL of the server; the endpoint is appended as it stands. Wins over --host and --port.
    /// Several URLs are used by --balance; `unix:/path` is a Unix socket.
    #[arg(long, num_args = 1.., value_name = "URL")]
    pub(crate) base_url: Vec<String>,
    /// Host of the server.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port of the server.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Path of the API [default: the backend's own].
    #[arg(long, value_name = "PATH")]
    pub(crate) endpoint: Option<String>,
    /// Extra headers, each KEY=VALUE; their values are never shown or saved.
    #[arg(long, num_args = 0.., value_name = "KEY=VALUE")]
    pub(crate) header: Vec<String>,
    /// Model name [default: the first one that the server lists].
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Value of `model` in the requests, if it differs from --model.
    #[arg(long)]
    pub(crate) served_model_name: Option<String>,
    /// Tokenizer: a directory, a tokenizer.json, a Hugging Face id, or `builtin` [default: the
    /// model].
    #[arg(long)]
    pub(crate) tokenizer: Option<String>,
    /// How the tokenizer is read: auto or hf, which are the same here.
    #[arg(long, default_value = "auto", value_name = "MODE")]
    pub(crate) tokenizer_mode: String,
    /// Accepted for scripts that give it; no code out of a model's repository is ever run here.
    #[arg(long)]
    pub(crate) trust_remote_code: bool,
    /// Load no tokenizer: only custom datasets work then, and token metrics are not reported.
    #[arg(long)]
    pub(crate) skip_tokenizer_init: bool,
    /// LoRA adapters: the requests name these in place of the model.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub(crate) lora_modules: Vec<String>,
    /// Which request gets which adapter.
    #[arg(long, value_enum, default_value_t = LoraAssignment::Random)]
    pub(crate) lora_assignment: LoraAssignment,
    /// Fields that the server does not accept, as `a,b` or one by one; they are left out of the
    /// requests. May be repeated.
    #[arg(
        long,
        num_args = 1..,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(crate) omit_field: Vec<String>,
    /// Do not ask the server whether it serves the model.
    #[arg(long)]
    pub(crate) skip_model_check: bool,
}

/// Which request gets which LoRA adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LoraAssignment {
    /// Any one, drawn with the seed.
    Random,
    /// By turns.
    RoundRobin,
}

/// Load shape.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Number of requests.
    #[arg(long, default_value_t = 1000, allow_hyphen_values = true)]
    pub(crate) num_prompts: i64,
    /// Requests per second; inf sends all at once (as far as --max-concurrency allows).
    #[arg(long, default_value_t = f64::INFINITY, allow_hyphen_values = true)]
    #[serde(serialize_with = "number_or_inf")]
    pub(crate) request_rate: f64,
    /// Shape of the gaps between arrivals: 1 is Poisson, less is burstier, more is more even.
    #[arg(long, default_value_t = 1.0, allow_hyphen_values = true)]
    #[serde(serialize_with = "number_or_inf")]
    pub(crate) burstiness: f64,
    /// Most requests in flight at once.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) max_concurrency: Option<i64>,
    /// Let the rate grow during the run.
    #[arg(long, value_enum)]
    pub(crate) ramp_up_strategy: Option<RampStrategy>,
    /// Rate at the first request of a ramp.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) ramp_up_start_rps: Option<i64>,
    /// Rate at the last request of a ramp.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) ramp_up_end_rps: Option<i64>,
    /// Send each request at the instant that the trace names; the default for timed_trace and
    /// trace.
    #[arg(long, conflicts_with = "no_self_timed")]
    pub(crate) self_timed: bool,
    /// Send the requests of a trace at --request-rate instead.
    #[arg(long)]
    pub(crate) no_self_timed: bool,
    /// Requests sent and waited for before the run, not counted.
    #[arg(long, default_value_t = 0)]
    pub(crate) num_warmups: usize,
    /// Wait so long for the server to answer a first request; 0 asks nothing [default: 0; with
    /// --compat vllm-0.14 and older: 600].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) ready_check_timeout_sec: Option<u64>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Show no progress bar.
    #[arg(long)]
    pub(crate) disable_tqdm: bool,
    /// How a run under way is shown: a progress bar, or the whole terminal.
    #[arg(long, value_enum, default_value_t = Ui::Bar)]
    pub(crate) ui: Ui,
    /// Start of the `x-request-id` of each request [default: `bench-` and eight random digits].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) request_id_prefix: Option<String>,
    /// Also send one-token requests, so many seconds after one another, past --max-concurrency, and
    /// report their latency on its own: 2 means half a second after each answer.
    #[arg(
        long,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        value_name = "RATE"
    )]
    pub(crate) probe_request_rate: f64,
    /// Have the server profile the run (POST /start_profile and /stop_profile). vLLM needs
    /// VLLM_TORCH_PROFILER_DIR or --profiler-config for it.
    #[arg(long)]
    pub(crate) profile: bool,
    /// Empty the server's prefix cache before the run (POST /reset_prefix_cache).
    #[arg(long)]
    pub(crate) reset_prefix_cache: bool,
    /// Share of the requests that are given up by hanging up, 0 to 1.
    #[arg(
        long,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        value_name = "SHARE"
    )]
    pub(crate) request_cancellation_rate: f64,
    /// How long after the request was sent it is given up, in seconds.
    #[arg(
        long,
        default_value_t = 0.5,
        allow_hyphen_values = true,
        value_name = "SECONDS"
    )]
    pub(crate) request_cancellation_delay: f64,
    /// Worker threads [default: one, or more for heavy loads].
    #[arg(long)]
    pub(crate) workers: Option<usize>,
    /// Tie each worker to a processor, counted from this one.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
}

/// How a run or a sweep under way is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ui {
    /// Lines on stderr.
    #[default]
    Bar,
    /// Curves and percentiles on the whole terminal; without a terminal, the bar.
    Tui,
}

impl From<Ui> for inferometer_terminal::View {
    fn from(ui: Ui) -> Self {
        match ui {
            Ui::Bar => Self::Bar,
            Ui::Tui => Self::FullScreen,
        }
    }
}

/// How the rate grows in a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RampStrategy {
    /// By the same amount from request to request.
    Linear,
    /// By the same factor from request to request.
    Exponential,
}

/// Request content.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Content")]
pub(crate) struct ContentArgs {
    /// Sampling temperature [default: the server's; with --compat vllm-0.14 and older: 0].
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) temperature: Option<f64>,
    /// Nucleus sampling.
    #[arg(long)]
    pub(crate) top_p: Option<f64>,
    /// Sample among the k likeliest tokens.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) top_k: Option<i64>,
    /// Least probability relative to the likeliest token.
    #[arg(long)]
    pub(crate) min_p: Option<f64>,
    /// Frequency penalty.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) frequency_penalty: Option<f64>,
    /// Presence penalty.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) presence_penalty: Option<f64>,
    /// Repetition penalty.
    #[arg(long)]
    pub(crate) repetition_penalty: Option<f64>,
    /// Ask the server to go on after the end-of-text token; always on for random data and traces.
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Further fields of the request body, as a JSON object; they win over the flags. Parts of it
    /// can be given as --extra-body.NAME VALUE.
    #[arg(long, value_name = "JSON")]
    pub(crate) extra_body: Option<String>,
    /// Arguments for the tokenizer's chat template, as a JSON object (custom, speed_bench).
    #[arg(long, value_name = "JSON")]
    pub(crate) chat_template_kwargs: Option<String>,
    /// Number of log probabilities per token (completions only).
    #[arg(long)]
    pub(crate) logprobs: Option<i64>,
    /// Ask for whole answers instead of streams: only the end-to-end latency is measured then.
    #[arg(long)]
    pub(crate) no_streaming: bool,
    /// Ask for usage numbers on every event, so that the tokens of each are known (vLLM).
    #[arg(long)]
    pub(crate) continuous_usage: bool,
    /// Send prompts as token ids (completions only).
    #[arg(long)]
    pub(crate) prompt_token_ids: bool,
}

/// Reporting and saving.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Reporting")]
pub(crate) struct ReportingArgs {
    /// Metrics to print and save: ttft, tpot, itl, e2el, client_queue_time,
    /// e2el_including_client_queue [default: ttft,tpot,itl; e2el for embeddings and the like].
    #[arg(long, value_name = "LIST")]
    pub(crate) percentile_metrics: Option<String>,
    /// Percentiles to print and save [default: 99].
    #[arg(long, value_name = "LIST")]
    pub(crate) metric_percentiles: Option<String>,
    /// Latency limits in milliseconds that a good request meets: ttft:200 tpot:50 e2el:5000.
    #[arg(long, num_args = 1.., value_name = "METRIC:MS")]
    pub(crate) goodput: Vec<String>,
    /// Write vLLM's result file.
    #[arg(long)]
    pub(crate) save_result: bool,
    /// Keep the arrays of per-request numbers in it.
    #[arg(long)]
    pub(crate) save_detailed: bool,
    /// Append the result as one line to the file.
    #[arg(long)]
    pub(crate) append_result: bool,
    /// Strings to add to the result, each KEY=VALUE.
    #[arg(long, num_args = 0.., value_name = "KEY=VALUE")]
    pub(crate) metadata: Vec<String>,
    /// Folder of the result file.
    #[arg(long, value_name = "DIR")]
    pub(crate) result_dir: Option<PathBuf>,
    /// Name of the result file [default: made from backend, rate, model and date].
    #[arg(long, value_name = "FILE")]
    pub(crate) result_filename: Option<PathBuf>,
    /// Label of this run; starts the file name.
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Write a page with the timeline of every request beside the result (NAME.timeline.html).
    #[arg(long)]
    pub(crate) plot_timeline: bool,
    /// Gaps in milliseconds from which the timeline's colour changes, two numbers.
    #[arg(long, default_value = "25,50", value_name = "MS,MS")]
    pub(crate) timeline_itl_thresholds: String,
    /// Draw histograms of the prompt and answer lengths beside the result (NAME.dataset_stats.png).
    #[arg(long)]
    pub(crate) plot_dataset_stats: bool,
    /// Folder in which the run folder is made.
    #[arg(long, default_value = "inferometer-runs", value_name = "DIR")]
    pub(crate) runs_dir: PathBuf,
    /// Make no run folder.
    #[arg(long)]
    pub(crate) no_run_folder: bool,
    /// End with exit code 3 when the verdict is INVALID.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Forms of other tools.
    #[command(flatten)]
    pub(crate) exports: ExportArgs,
}

/// JSON has no infinity: `"inf"`, as vLLM's files have it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn number_or_inf<S: serde::Serializer>(
    number: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        serializer.serialize_f64(*number)
    } else {
        serializer.serialize_str(&number.to_string())
    }
}
