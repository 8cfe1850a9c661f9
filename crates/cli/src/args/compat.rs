//! The flags of the commands that make old scripts run and old results readable.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `inferometer install-shims`.
#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// Folder for the scripts; it is made if need be.
    pub(crate) folder: PathBuf,
    /// Also write `vllm`, which sends `vllm bench serve` and `vllm bench sweep` here and everything
    /// else to the real vllm. Works when the folder comes first in PATH.
    #[arg(long)]
    pub(crate) with_vllm: bool,
}

/// Arguments of `inferometer import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Result files of vLLM (every era and its Rust client), SGLang, AIPerf, GenAI-Perf, GuideLLM,
    /// llmperf.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Folder for the results in our form, one file a run.
    #[arg(short, long, default_value = "imported", value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Keep the arrays of per-request numbers.
    #[arg(long)]
    pub(crate) detailed: bool,
}
