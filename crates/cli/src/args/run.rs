//! The flags of `inferometer run`: names, types and defaults of vLLM's `bench serve`, and ours.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use inferometer_report::Lang;

use super::connection::ConnectionArgs;
use super::dataset::DatasetArgs;
use super::export::ExportArgs;
use super::workload::TrafficArgs;
use crate::compat::Compat;

/// Arguments of `inferometer run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Where to send.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How much, and when.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// What the requests contain besides the prompt.
    #[command(flatten)]
    pub(crate) content: ContentArgs,
    /// The prompts.
    #[command(flatten)]
    pub(crate) dataset: DatasetArgs,
    /// Traffic shapes that vLLM's benchmark does not have.
    #[command(flatten)]
    pub(crate) traffic: TrafficArgs,
    /// How connections are opened.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// What is reported and saved.
    #[command(flatten)]
    pub(crate) reporting: ReportingArgs,
    /// The arguments themselves, after the program's name.
    #[arg(skip)]
    pub(crate) typed: Vec<String>,
}

/// Target, endpoint and identity.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArgs {
    /// Which tool's behaviour to follow where vLLM's benchmark and inferometer differ: native, vllm
    /// (the newest known), or a version such as vllm-0.10. With vllm, the same seed gives vLLM's
    /// prompts. Implied by the names `bench serve` and `benchmark_serving.py`.
    #[arg(long, default_value_t = Compat::Native, value_name = "RULES")]
    pub(crate) compat: Compat,
    /// API of the server [default: openai; with --compat vllm-0.10 and older: vllm].
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// URL of the server; the endpoint is appended unchanged. Overrides --host and --port. Requests
    /// are distributed over several URLs (--balance); `unix:/path` is a Unix socket.
    #[arg(long, num_args = 1.., value_name = "URL")]
    pub(crate) base_url: Vec<String>,
    /// Host of the server.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port of the server.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Path of the API [default: the backend's].
    #[arg(long, value_name = "PATH")]
    pub(crate) endpoint: Option<String>,
    /// Extra headers, each KEY=VALUE; their values are never printed or saved.
    #[arg(long, num_args = 0.., value_name = "KEY=VALUE")]
    pub(crate) header: Vec<String>,
    /// Model name [default: the first one that the server lists].
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Value of `model` in the requests, if different from --model.
    #[arg(long)]
    pub(crate) served_model_name: Option<String>,
    /// Tokenizer: a folder, a tokenizer file, a Hugging Face id, or `builtin` [default: the model].
    #[arg(long)]
    pub(crate) tokenizer: Option<String>,
    /// How the tokenizer is loaded: auto or hf, which are equivalent here.
    #[arg(long, default_value = "auto", value_name = "MODE")]
    pub(crate) tokenizer_mode: String,
    /// Accepted for compatibility, without effect: no code from a model's repository is ever run.
    #[arg(long)]
    pub(crate) trust_remote_code: bool,
    /// Do not load a tokenizer: only the custom datasets, spec_bench and speed_bench work, and token
    /// metrics are not reported.
    #[arg(long)]
    pub(crate) skip_tokenizer_init: bool,
    /// LoRA adapters that the requests name instead of the model.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub(crate) lora_modules: Vec<String>,
    /// How adapters are assigned to requests.
    #[arg(long, value_enum, default_value_t = LoraAssignment::Random)]
    pub(crate) lora_assignment: LoraAssignment,
    /// Fields to omit from the requests because the server rejects them, separated by commas or
    /// spaces. May be repeated.
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

/// How LoRA adapters are assigned to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoraAssignment {
    /// At random, from the seed.
    Random,
    /// In turn.
    RoundRobin,
}

/// Load shape.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Number of requests.
    #[arg(long, default_value_t = 1000, allow_hyphen_values = true)]
    pub(crate) num_prompts: i64,
    /// Requests per second; inf sends all at once, up to --max-concurrency.
    #[arg(long, default_value_t = f64::INFINITY, allow_hyphen_values = true)]
    pub(crate) request_rate: f64,
    /// Burstiness of arrivals: 1 is a Poisson process; smaller values are burstier, larger values
    /// more regular.
    #[arg(long, default_value_t = 1.0, allow_hyphen_values = true)]
    pub(crate) burstiness: f64,
    /// Maximum number of requests in flight.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) max_concurrency: Option<i64>,
    /// Ramp the request rate up during the run.
    #[arg(long, value_enum)]
    pub(crate) ramp_up_strategy: Option<RampStrategy>,
    /// Request rate at the start of a ramp.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) ramp_up_start_rps: Option<i64>,
    /// Request rate at the end of a ramp.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) ramp_up_end_rps: Option<i64>,
    /// Send each request at its time in the trace; the default for timed_trace and trace.
    #[arg(long, conflicts_with = "no_self_timed")]
    pub(crate) self_timed: bool,
    /// Send the requests of a trace at --request-rate instead.
    #[arg(long)]
    pub(crate) no_self_timed: bool,
    /// Number of warm-up requests before the run; they are not measured.
    #[arg(long, default_value_t = 0)]
    pub(crate) num_warmups: usize,
    /// Seconds to wait for a first successful response before the run; 0 skips the check [default:
    /// 0; with --compat vllm-0.14 and older: 600].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) ready_check_timeout_sec: Option<u64>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Do not show a progress bar.
    #[arg(long)]
    pub(crate) disable_tqdm: bool,
    /// Progress display: a progress bar, or a live view on the whole terminal.
    #[arg(long, value_enum, default_value_t = Ui::Bar)]
    pub(crate) ui: Ui,
    /// Prefix of the `x-request-id` of each request [default: `bench-`, eight random hexadecimal
    /// digits and `-`].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) request_id_prefix: Option<String>,
    /// Send one-token probe requests at up to RATE per second, outside --max-concurrency, and
    /// report their latency separately.
    #[arg(
        long,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        value_name = "RATE"
    )]
    pub(crate) probe_request_rate: f64,
    /// Have the server profile the run (POST /start_profile and /stop_profile). vLLM must be
    /// started with VLLM_TORCH_PROFILER_DIR or --profiler-config.
    #[arg(long)]
    pub(crate) profile: bool,
    /// Reset the server's prefix cache before the run (POST /reset_prefix_cache).
    #[arg(long)]
    pub(crate) reset_prefix_cache: bool,
    /// Fraction of requests to cancel by disconnecting, 0 to 1.
    #[arg(
        long,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        value_name = "FRACTION"
    )]
    pub(crate) request_cancellation_rate: f64,
    /// Seconds after sending until a request is cancelled.
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
    /// Pin workers to consecutive CPUs, starting at CPU.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
}

/// How a run or a sweep in progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RampStrategy {
    /// By the same amount from request to request.
    Linear,
    /// By the same factor from request to request.
    Exponential,
}

/// Request content.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Content")]
pub(crate) struct ContentArgs {
    /// Sampling temperature [default: the server's; with --compat vllm-0.14 and older: 0].
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) temperature: Option<f64>,
    /// Nucleus sampling.
    #[arg(long)]
    pub(crate) top_p: Option<f64>,
    /// Sample from the k most likely tokens.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) top_k: Option<i64>,
    /// Minimum probability relative to the most likely token.
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
    /// Ask the server to ignore the EOS token and generate to the limit; always on for random,
    /// random-mm, mix, traces and synthetic conversations.
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Extra fields of the request body, as a JSON object; they override the flags. Single fields
    /// can be set with --extra-body.NAME VALUE.
    #[arg(long, value_name = "JSON")]
    pub(crate) extra_body: Option<String>,
    /// Arguments for the tokenizer's chat template, as a JSON object; with --compat vllm, without
    /// effect on hf and spec_bench.
    #[arg(long, value_name = "JSON")]
    pub(crate) chat_template_kwargs: Option<String>,
    /// Number of log probabilities per token (completions only).
    #[arg(long)]
    pub(crate) logprobs: Option<i64>,
    /// Request complete responses instead of streams: only the end-to-end latency is measured.
    #[arg(long)]
    pub(crate) no_streaming: bool,
    /// Request usage numbers with every event, so that the tokens of each are known (vLLM).
    #[arg(long)]
    pub(crate) continuous_usage: bool,
    /// Send prompts as token ids (completions only).
    #[arg(long)]
    pub(crate) prompt_token_ids: bool,
}

/// Reporting and saving.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reporting")]
pub(crate) struct ReportingArgs {
    /// Metrics to print and save: ttft, tpot, itl, e2el, client_queue_time,
    /// e2el_including_client_queue [default: ttft,tpot,itl; e2el for embedding, rerank and similar
    /// backends, and without streams].
    #[arg(long, value_name = "LIST")]
    pub(crate) percentile_metrics: Option<String>,
    /// Percentiles to print and save [default: 99].
    #[arg(long, value_name = "LIST")]
    pub(crate) metric_percentiles: Option<String>,
    /// Latency limits in milliseconds that a request must meet to count as goodput: ttft:200
    /// tpot:50 e2el:5000.
    #[arg(long, num_args = 1.., value_name = "METRIC:MS")]
    pub(crate) goodput: Vec<String>,
    /// Write a result file in vLLM's format.
    #[arg(long)]
    pub(crate) save_result: bool,
    /// Include per-request arrays in the result file.
    #[arg(long)]
    pub(crate) save_detailed: bool,
    /// Append the result as one line to the result file.
    #[arg(long)]
    pub(crate) append_result: bool,
    /// Strings to add to the result, each KEY=VALUE.
    #[arg(long, num_args = 0.., value_name = "KEY=VALUE")]
    pub(crate) metadata: Vec<String>,
    /// Folder of the result file.
    #[arg(long, value_name = "DIR")]
    pub(crate) result_dir: Option<PathBuf>,
    /// Name of the result file [default: from backend, rate, model and date].
    #[arg(long, value_name = "FILE")]
    pub(crate) result_filename: Option<PathBuf>,
    /// Label of this run, the first part of the default file name.
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Write a page with the timeline of every request next to the result file
    /// (NAME.timeline.html).
    #[arg(long)]
    pub(crate) plot_timeline: bool,
    /// Two thresholds in milliseconds at which gaps change colour in the timeline.
    #[arg(long, default_value = "25,50", value_name = "MS,MS")]
    pub(crate) timeline_itl_thresholds: String,
    /// Draw histograms of prompt and output lengths next to the result file
    /// (NAME.dataset_stats.png).
    #[arg(long)]
    pub(crate) plot_dataset_stats: bool,
    /// Folder in which the run folder is created.
    #[arg(long, default_value = "inferometer-runs", value_name = "DIR")]
    pub(crate) runs_dir: PathBuf,
    /// Do not create a run folder.
    #[arg(long)]
    pub(crate) no_run_folder: bool,
    /// Exit with code 3 if the verdict is INVALID.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Language of the verdict on the terminal and of the page of the run: en or zh. vLLM's table
    /// stays as it is.
    #[arg(long, default_value = "en", value_name = "LANG")]
    pub(crate) lang: Lang,
    /// Formats of other tools.
    #[command(flatten)]
    pub(crate) exports: ExportArgs,
}
