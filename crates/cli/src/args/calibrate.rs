//! The flags of `inferometer calibrate`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `inferometer calibrate`.
#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Run folders, or result files with details (--save-detailed), of one server at several loads.
    #[arg(required = true)]
    pub(crate) results: Vec<PathBuf>,
    /// Further results that are not fitted but compared with the predictions of the fitted model.
    #[arg(long, num_args = 1.., value_name = "RESULT")]
    pub(crate) check: Vec<PathBuf>,
    /// File to write; pass it to `--preset` of sim and simulate.
    #[arg(long, short, default_value = "preset.json", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Name of the preset [default: the model's name].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Maximum number of requests that the server runs at once.
    #[arg(long, default_value_t = 256)]
    pub(crate) max_num_seqs: usize,
    /// Maximum number of tokens that the server computes in one step.
    #[arg(long, default_value_t = 8192)]
    pub(crate) max_num_batched_tokens: u32,
    /// KV blocks of 16 tokens that the server has [default: unlimited].
    #[arg(long)]
    pub(crate) num_blocks: Option<usize>,
    /// The server does not split prompts over several steps.
    #[arg(long)]
    pub(crate) no_chunked_prefill: bool,
    /// Plot fitted against measured values (SVG).
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}
