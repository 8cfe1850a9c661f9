//! Flags about shapes of traffic that vLLM's benchmark does not have, and the command `workload`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::RunArgs;

/// Shapes of traffic.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Traffic")]
pub(crate) struct TrafficArgs {
    /// Send exactly what this file holds, when it says (inferometer workload build).
    #[arg(long, value_name = "FILE")]
    pub(crate) workload: Option<PathBuf>,
    /// Several classes of traffic: WEIGHT:INPUT/OUTPUT,…; lengths are N, uniform(LOW,HIGH),
    /// normal(MEAN,DEVIATION), lognormal(MEDIAN,SIGMA) or file(PATH).
    #[arg(long, value_name = "CLASSES")]
    pub(crate) mix: Option<String>,
    /// Groups of requests that share their beginning (mix).
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) prefix_groups: usize,
    /// Tokens that a group shares; a prompt's own tokens come after them (mix).
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    pub(crate) prefix_group_len: u64,
    /// Popularity of the groups: group k gets requests in proportion to 1/k^S; 0 makes all alike
    /// (mix).
    #[arg(long, default_value_t = 0.0, value_name = "S")]
    pub(crate) prefix_zipf: f64,
    /// Share of each prompt's tokens that it has in common with its group (mix), in place of a
    /// fixed length.
    #[arg(long, value_name = "SHARE")]
    pub(crate) cache_hit_fraction: Option<f64>,
    /// Make the prompts differ from those of any other run, so that a warm prefix cache cannot
    /// flatter the result; without TEXT, the salt is random. It is part of the result.
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "")]
    pub(crate) salt: Option<String>,
    /// Conversations of several turns, whose history holds the server's own replies: from
    /// --dataset-path (ShareGPT, or the input of vLLM's multi-turn script), or synthetic.
    /// --request-rate counts conversations.
    #[arg(long)]
    pub(crate) multi_turn: bool,
    /// Leave out conversations with fewer turns; synthetic ones have at least so many.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) multi_turn_min_turns: usize,
    /// Most turns of a conversation [default: all; of synthetic ones: 4].
    #[arg(long, value_name = "N")]
    pub(crate) multi_turn_max_turns: Option<usize>,
    /// Most conversations under way at once, those included whose user thinks; --max-concurrency
    /// counts requests [default: no limit].
    #[arg(long, value_name = "N", visible_alias = "max-active-conversations")]
    pub(crate) multi_turn_max_active: Option<usize>,
    /// Pause between an answer and the next turn.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub(crate) multi_turn_think_time: f64,
    /// Tokens at the start of the first turn that all synthetic conversations share.
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    pub(crate) multi_turn_prefix_len: u64,
    /// Tokens of a first turn of synthetic conversations, without the shared ones; lengths as in
    /// --mix.
    #[arg(long, default_value = "256", value_name = "LENGTHS")]
    pub(crate) multi_turn_first_len: String,
    /// Tokens of a later turn of synthetic conversations.
    #[arg(long, default_value = "64", value_name = "LENGTHS")]
    pub(crate) multi_turn_input_len: String,
    /// Tokens of an answer [default: as recorded; of synthetic conversations: 128].
    #[arg(long, value_name = "LENGTHS")]
    pub(crate) multi_turn_output_len: Option<String>,
    /// Ask for answers of a structure (vLLM's structured_outputs), and report the share that has
    /// it.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) structured_output: Option<StructuredKind>,
    /// Share of the requests that ask for it.
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    pub(crate) structured_output_ratio: f64,
    /// The schema, pattern, grammar, or choices (one a line), in place of a built-in one.
    #[arg(long, value_name = "FILE", requires = "structured_output")]
    pub(crate) structured_output_file: Option<PathBuf>,
    /// Do not check the lengths of synthetic prompts with the server's /tokenize.
    #[arg(long)]
    pub(crate) no_verify_lengths: bool,
}

/// Structures of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StructuredKind {
    /// JSON of a schema.
    Json,
    /// Text that a pattern matches.
    Regex,
    /// One of several texts.
    Choice,
    /// A sentence of a grammar.
    Grammar,
}

impl From<StructuredKind> for inferometer_benchmark::StructuredKind {
    fn from(kind: StructuredKind) -> Self {
        match kind {
            StructuredKind::Json => Self::Json,
            StructuredKind::Regex => Self::Regex,
            StructuredKind::Choice => Self::Choice,
            StructuredKind::Grammar => Self::Grammar,
        }
    }
}

/// Arguments of `inferometer workload`.
#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: WorkloadCommand,
}

/// The commands of `inferometer workload`.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkloadCommand {
    /// Write the requests and due instants that a run with these flags would send; asks no server.
    #[command(args_override_self = true)]
    Build(Box<BuildArgs>),
    /// Show what a workload file holds.
    Show(ShowArgs),
}

/// Arguments of `inferometer workload build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The flags of a run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Arguments of `inferometer workload show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The workload file.
    pub(crate) file: PathBuf,
    /// Also write a page with the histograms.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}
