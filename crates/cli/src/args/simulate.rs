//! The flags of `inferometer simulate`.

use clap::{Arg, Args};

use super::{EngineArgs, RunArgs};

/// Arguments of `inferometer simulate`.
#[derive(Clone, Debug, Args)]
#[command(mut_args(with_own_default))]
pub(crate) struct SimulateArgs {
    /// The engine; without `--preset` it is `llama-3.1-8b@h100`.
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    /// Natural length of answers in tokens, for requests without `ignore_eos`: 200, normal:200,50,
    /// … [default: the requested length].
    #[arg(long, value_name = "LENGTH", help_heading = "Engine model")]
    pub(crate) answer_tokens: Option<String>,
    /// Find the highest request rate that meets these limits in milliseconds, such as
    /// "p99_ttft<500" or "p99_ttft<500,mean_tpot<30". Latencies are from the due instant, so that
    /// waiting for a slot counts, and a rate at which the backlog grows meets no limit. Prints the
    /// rates tried and the result, and writes no files.
    #[arg(long, value_name = "LIMITS", help_heading = "Search")]
    pub(crate) find_rate: Option<String>,
    /// Runs per rate, each with its own seed; all of them must meet the limits.
    // Five good runs show, with 95 % confidence, that at least 55 % (0.05^(1/5)) of such runs are
    // good.
    #[arg(long, default_value_t = 5, value_name = "N", help_heading = "Search")]
    pub(crate) find_seeds: u64,
    /// Minimum time over which requests arrive in each run; requests are repeated with other tokens
    /// if --num-prompts is too small.
    #[arg(
        long,
        default_value_t = 60.0,
        value_name = "SECONDS",
        help_heading = "Search"
    )]
    pub(crate) find_duration: f64,
    /// Relative precision of the rate: 0.02 is 2 %.
    #[arg(
        long,
        default_value_t = 0.02,
        value_name = "FRACTION",
        help_heading = "Search"
    )]
    pub(crate) find_precision: f64,
    /// The flags of `run`.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// `argument` with the default that it has in a simulation, if that is another than in `run` and `sim`.
fn with_own_default(argument: Arg) -> Arg {
    let help = match argument.get_id().as_str() {
        "preset" => {
            "Engine with continuous batching: MODEL@GPU or MODEL@GPUxN, or a file written by `inferometer \
             calibrate` [default: llama-3.1-8b@h100]"
        }
        "model" => "Model name [default: the name of the preset]",
        "tokenizer" => {
            "Tokenizer: a folder, a tokenizer file, a Hugging Face id, or `builtin` [default: builtin]"
        }
        "request_id_prefix" => {
            "Prefix of the `x-request-id` of each request [default: bench-simulated-]"
        }
        _ => return argument,
    };
    argument.help(help)
}
