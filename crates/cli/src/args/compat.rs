//! The flags of `install-shims` and `import`: old scripts run, old results can be read.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `inferometer install-shims`.
#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// Folder for the scripts; created if missing.
    pub(crate) folder: PathBuf,
    /// Also write `vllm`, which runs inferometer for `vllm bench serve` and `vllm bench sweep
    /// serve`, and the real vllm for everything else. The folder must come first in PATH.
    #[arg(long)]
    pub(crate) with_vllm: bool,
}

/// Arguments of `inferometer import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Result files of vLLM (all versions and its Rust client), SGLang, AIPerf, GenAI-Perf,
    /// GuideLLM, llmperf.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Folder for the results in inferometer's format, one file per run.
    #[arg(short, long, default_value = "imported", value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Keep the arrays of per-request numbers.
    #[arg(long)]
    pub(crate) detailed: bool,
}
