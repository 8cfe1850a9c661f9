//! The flags of `servebench run`: names, types and defaults of vLLM's `bench serve`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Arguments of `servebench run`.
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
    /// What is reported and saved.
    #[command(flatten)]
    pub(crate) reporting: ReportingArgs,
}

/// Target, endpoint and identity.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArgs {
    /// The API that the server speaks.
    #[arg(long, default_value = "openai", value_name = "NAME")]
    pub(crate) backend: String,
    /// URL of the server; the endpoint is appended as it stands. Wins over --host and --port.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Host of the server.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port of the server.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Path of the API [default: the backend's own].
    #[arg(long, value_name = "PATH")]
    pub(crate) endpoint: Option<String>,
    /// Extra headers, each KEY=VALUE.
    #[arg(long, num_args = 1.., value_name = "KEY=VALUE")]
    pub(crate) header: Vec<String>,
    /// Model name [default: the first one that the server lists].
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Value of `model` in the requests, if it differs from --model.
    #[arg(long)]
    pub(crate) served_model_name: Option<String>,
    /// Tokenizer: a directory, a tokenizer.json, a Hugging Face id, or `builtin` [default: the model].
    #[arg(long)]
    pub(crate) tokenizer: Option<String>,
    /// Do not verify TLS certificates.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Field that the server does not accept; leave it out of the requests. May be repeated.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub(crate) omit_field: Vec<String>,
    /// Do not ask the server whether it serves the model.
    #[arg(long)]
    pub(crate) skip_model_check: bool,
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
    /// Requests sent and waited for before the run, not counted.
    #[arg(long, default_value_t = 0)]
    pub(crate) num_warmups: usize,
    /// Wait so long for the server to answer a first request; 0 asks once.
    #[arg(long, default_value_t = 0)]
    pub(crate) ready_check_timeout_sec: u64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Show no progress bar.
    #[arg(long)]
    pub(crate) disable_tqdm: bool,
    /// Start of the `x-request-id` of each request [default: `bench-` and eight random digits].
    #[arg(long, value_name = "PREFIX")]
    pub(crate) request_id_prefix: Option<String>,
    /// Worker threads [default: one, or more for heavy loads].
    #[arg(long)]
    pub(crate) workers: Option<usize>,
    /// Tie each worker to a processor, counted from this one.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
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
    /// Sampling temperature [default: the server's].
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
    /// Ask the server to go on after the end-of-text token; always on for random data.
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Further fields of the request body, as a JSON object; they win over the flags.
    #[arg(long, value_name = "JSON")]
    pub(crate) extra_body: Option<String>,
    /// Number of log probabilities per token (completions only).
    #[arg(long)]
    pub(crate) logprobs: Option<i64>,
}

/// Datasets.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Dataset")]
pub(crate) struct DatasetArgs {
    /// Which dataset.
    #[arg(long, default_value = "random", value_name = "NAME")]
    pub(crate) dataset_name: String,
    /// File or folder of the dataset.
    #[arg(long, value_name = "PATH")]
    pub(crate) dataset_path: Option<PathBuf>,
    /// Use fewer requests when the dataset is too short, instead of repeating some.
    #[arg(long)]
    pub(crate) no_oversample: bool,
    /// Send prompts as they are, without the tokenizer's chat template.
    #[arg(long)]
    pub(crate) skip_chat_template: bool,
    /// Keep the dataset's own order.
    #[arg(long)]
    pub(crate) disable_shuffle: bool,
    /// Prompt tokens (random).
    #[arg(long)]
    pub(crate) input_len: Option<i64>,
    /// Output tokens, for every dataset that has such an option.
    #[arg(long)]
    pub(crate) output_len: Option<i64>,
    /// Prompt tokens of random data.
    #[arg(long, default_value_t = 1024)]
    pub(crate) random_input_len: i64,
    /// Output tokens of random data.
    #[arg(long, default_value_t = 128)]
    pub(crate) random_output_len: i64,
    /// Spread of random lengths: 0.2 means ±20 %; or {"input": x, "output": y}.
    #[arg(long, default_value = "0.0", value_name = "RATIO|JSON", allow_hyphen_values = true)]
    pub(crate) random_range_ratio: String,
    /// Tokens that all random prompts have in common at their start.
    #[arg(long, default_value_t = 0)]
    pub(crate) random_prefix_len: i64,
    /// Prompts in one request (embeddings).
    #[arg(long, default_value_t = 1)]
    pub(crate) random_batch_size: i64,
    /// Output tokens of every ShareGPT request [default: the recorded answer's].
    #[arg(long)]
    pub(crate) sharegpt_output_len: Option<i64>,
    /// Output tokens of custom requests; -1 takes each row's `output_tokens`.
    #[arg(long, default_value_t = 256, allow_hyphen_values = true)]
    pub(crate) custom_output_len: i64,
}

/// Reporting and saving.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Reporting")]
pub(crate) struct ReportingArgs {
    /// Metrics to print and save: ttft, tpot, itl, e2el, client_queue_time,
    /// e2el_including_client_queue [default: ttft,tpot,itl].
    #[arg(long, value_name = "LIST")]
    pub(crate) percentile_metrics: Option<String>,
    /// Percentiles to print and save.
    #[arg(long, default_value = "99", value_name = "LIST")]
    pub(crate) metric_percentiles: String,
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
    #[arg(long, num_args = 1.., value_name = "KEY=VALUE")]
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
    /// Folder in which the run folder is made.
    #[arg(long, default_value = "servebench-runs", value_name = "DIR")]
    pub(crate) runs_dir: PathBuf,
    /// Make no run folder.
    #[arg(long)]
    pub(crate) no_run_folder: bool,
    /// End with exit code 3 when the verdict is INVALID.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// JSON has no infinity: `"inf"`, as vLLM's files have it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn number_or_inf<S: serde::Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        serializer.serialize_f64(*number)
    } else {
        serializer.serialize_str(&number.to_string())
    }
}
