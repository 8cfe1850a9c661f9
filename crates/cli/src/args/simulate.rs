//! The flags of `inferometer simulate`.

use clap::Args;
use serde::Serialize;

use super::{EngineArgs, RunArgs};

/// Arguments of `inferometer simulate`.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct SimulateArgs {
    /// The engine; without --preset llama-3.1-8b@h100.
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Natural length of answers in tokens, for requests without `ignore_eos`: 200, normal:200,50,
    /// … [default: as long as asked for].
    #[arg(long, value_name = "LENGTH", help_heading = "Engine model")]
    pub(crate) answer_tokens: Option<String>,
    /// Search the highest request rate at which these limits in milliseconds are kept, such as
    /// "p99_ttft<500" or "p99_ttft<500,mean_tpot<30". Prints the rates tried and the answer, and
    /// writes no files.
    #[arg(long, value_name = "LIMITS", help_heading = "Search")]
    pub(crate) find_rate: Option<String>,
    /// Runs at each rate, with seeds of their own; the limits must be kept in all of them.
    #[arg(long, default_value_t = 5, value_name = "N", help_heading = "Search")]
    pub(crate) find_seeds: u64,
    /// Requests arrive at least so long in each run; they are repeated, with other tokens, where
    /// --num-prompts are too few.
    #[arg(
        long,
        default_value_t = 60.0,
        value_name = "SECONDS",
        help_heading = "Search"
    )]
    pub(crate) find_duration: f64,
    /// How closely the rate is found: 0.02 is 2 %.
    #[arg(
        long,
        default_value_t = 0.02,
        value_name = "SHARE",
        help_heading = "Search"
    )]
    pub(crate) find_precision: f64,
    /// The flags of `run`.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
