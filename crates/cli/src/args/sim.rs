//! The flags of `servebench sim`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

/// Arguments of `servebench sim`.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct SimArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port to listen on; 0 takes any free one.
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Name of the model that it claims to serve.
    #[arg(long, default_value = "sim")]
    pub(crate) model: String,
    /// Time to first token in milliseconds: 50, normal:50,5, lognormal:50,0.3, exp:50, uniform:40,60.
    #[arg(long, default_value = "50", value_name = "DELAY")]
    pub(crate) ttft: String,
    /// Time between tokens in milliseconds, in the same forms.
    #[arg(long, default_value = "10", value_name = "DELAY")]
    pub(crate) itl: String,
    /// Tokens in one event.
    #[arg(long, default_value_t = 1)]
    pub(crate) tokens_per_event: u16,
    /// Tokenizer that counts prompts and serves `/tokenize` [default: a plain count of words and marks].
    #[arg(long)]
    pub(crate) tokenizer: Option<String>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Faults to inject, each NAME=FRACTION.
    #[arg(long, num_args = 1.., value_name = "NAME=FRACTION")]
    pub(crate) fault: Vec<String>,
    /// File for the truth log, beside `GET /truth`.
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
}
