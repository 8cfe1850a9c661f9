//! The flags of `inferometer sim`.

use std::path::PathBuf;

use clap::Args;

use super::EngineArgs;

/// Arguments of `inferometer sim`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Name of the model to serve.
    #[arg(long, default_value = "sim")]
    pub(crate) model: String,
    /// Time to first token in milliseconds: 50, normal:50,5, lognormal:50,0.3, exp:50,
    /// uniform:40,60.
    #[arg(long, default_value = "50", value_name = "DELAY")]
    pub(crate) ttft: String,
    /// Time between tokens in milliseconds, in the same forms as --ttft.
    #[arg(long, default_value = "10", value_name = "DELAY")]
    pub(crate) itl: String,
    /// Tokens per event.
    #[arg(long, default_value_t = 1)]
    pub(crate) tokens_per_event: u16,
    /// Tokenizer for counting prompts and for `/tokenize` [default: counts words and punctuation].
    #[arg(long)]
    pub(crate) tokenizer: Option<String>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Pin threads to consecutive CPUs, starting at CPU.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
    /// Flood mode: write as fast as the client reads, EVENTS events per write.
    #[arg(long, value_name = "EVENTS")]
    pub(crate) flood: Option<u32>,
    /// Natural length of answers in tokens, for requests without `ignore_eos`: 200, normal:200,50,
    /// …
    #[arg(long, value_name = "LENGTH")]
    pub(crate) answer_tokens: Option<String>,
    /// Maximum tokens of prompt plus output.
    #[arg(long, default_value_t = 131_072)]
    pub(crate) max_model_len: u32,
    /// Behave like an engine with continuous batching instead of fixed delays.
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Reasoning tokens before each chat answer.
    #[arg(long, default_value_t = 0, help_heading = "Answers")]
    pub(crate) reasoning_tokens: u32,
    /// Field for reasoning text: reasoning or reasoning_content.
    #[arg(long, default_value = "reasoning", help_heading = "Answers")]
    pub(crate) reasoning_key: String,
    /// Answer chat requests that contain tools with a tool call.
    #[arg(long, help_heading = "Answers")]
    pub(crate) tool_calls: bool,
    /// LoRA adapters to serve in addition to the model.
    #[arg(long, num_args = 1.., help_heading = "Answers")]
    pub(crate) lora_modules: Vec<String>,
    /// Faults to inject, each NAME=FRACTION (`inferometer help simulator` lists them).
    #[arg(long, num_args = 1.., value_name = "NAME=FRACTION", help_heading = "Faults and access")]
    pub(crate) fault: Vec<String>,
    /// Answer 503 for this many seconds after the start.
    #[arg(long, default_value_t = 0.0, help_heading = "Faults and access")]
    pub(crate) ready_after: f64,
    /// Refuse connections for this many seconds after the start, like a server that is loading its
    /// model.
    #[arg(long, default_value_t = 0.0, help_heading = "Faults and access")]
    pub(crate) listen_after: f64,
    /// Key that requests must carry.
    #[arg(long, help_heading = "Faults and access")]
    pub(crate) api_key: Option<String>,
    /// Certificate chain for TLS (PEM).
    #[arg(long, requires = "tls_key", help_heading = "Faults and access")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the certificate (PEM).
    #[arg(long, requires = "tls_cert", help_heading = "Faults and access")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Certificate authority for client certificates (PEM); if set, clients must present one.
    #[arg(
        long,
        requires = "tls_cert",
        value_name = "FILE",
        help_heading = "Faults and access"
    )]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Metric names of `/metrics`: vllm or sglang.
    #[arg(
        long,
        default_value = "vllm",
        value_name = "NAMES",
        help_heading = "Observation"
    )]
    pub(crate) metrics: String,
    /// File for the truth log, in addition to `GET /truth`.
    #[arg(long, value_name = "FILE", help_heading = "Observation")]
    pub(crate) truth: Option<PathBuf>,
    /// Add the kernel's send timestamp of each event to the truth log (Linux; costs some 10 to 30 %
    /// more CPU time).
    #[arg(long, help_heading = "Observation")]
    pub(crate) kernel_stamps: bool,
}
