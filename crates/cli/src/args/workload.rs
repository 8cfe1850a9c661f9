//! Flags for traffic shapes that vLLM's benchmark does not have, and the command `workload`.

use std::path::PathBuf;

use clap::{Arg, Args, Subcommand, ValueEnum};

use super::RunArgs;

/// Traffic shapes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Traffic")]
pub(crate) struct TrafficArgs {
    /// Send exactly the requests of this file at their due instants (see inferometer workload
    /// build).
    #[arg(long, value_name = "FILE")]
    pub(crate) workload: Option<PathBuf>,
    /// Several classes of requests: WEIGHT:INPUT/OUTPUT,…; lengths are N, uniform(LOW,HIGH),
    /// normal(MEAN,DEVIATION), lognormal(MEDIAN,SIGMA), zipf(S), poisson(MEAN) or file(PATH).
    #[arg(long, value_name = "CLASSES")]
    pub(crate) mix: Option<String>,
    /// Number of groups of requests that share a prefix (mix).
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) prefix_groups: usize,
    /// Tokens of the prefix that a group shares, followed by the prompt's own tokens (mix).
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    pub(crate) prefix_group_len: u64,
    /// Popularity of the groups: group k gets requests in proportion to 1/k^S; with 0 all are
    /// equally popular (mix).
    #[arg(long, default_value_t = 0.0, value_name = "S")]
    pub(crate) prefix_zipf: f64,
    /// Fraction of each prompt's tokens that it shares with its group, instead of a fixed length
    /// (mix).
    #[arg(long, value_name = "FRACTION")]
    pub(crate) cache_hit_fraction: Option<f64>,
    /// Make the prompts differ from those of any other run, so that a warm prefix cache cannot
    /// improve the result; without TEXT, the salt is random. It is saved with the result.
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "")]
    pub(crate) salt: Option<String>,
    /// Multi-turn conversations, whose history holds the server's own replies: from --dataset-path
    /// (ShareGPT, or the input of vLLM's multi-turn script), or synthetic. --request-rate counts
    /// conversations.
    #[arg(long)]
    pub(crate) multi_turn: bool,
    /// Minimum turns per conversation; shorter recorded ones are skipped.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) multi_turn_min_turns: usize,
    /// Maximum turns per conversation [default: all; of synthetic ones: 4].
    #[arg(long, value_name = "N")]
    pub(crate) multi_turn_max_turns: Option<usize>,
    /// Maximum concurrent conversations, including those in think time; --max-concurrency counts
    /// requests [default: no limit].
    #[arg(long, value_name = "N", visible_alias = "max-active-conversations")]
    pub(crate) multi_turn_max_active: Option<usize>,
    /// Think time between an answer and the next turn.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub(crate) multi_turn_think_time: f64,
    /// Tokens of a prefix of the first turn that all synthetic conversations share.
    #[arg(long, default_value_t = 0, value_name = "TOKENS")]
    pub(crate) multi_turn_prefix_len: u64,
    /// Tokens of the first turn of synthetic conversations, without the shared prefix; lengths as
    /// in --mix.
    #[arg(long, default_value = "256", value_name = "LENGTHS")]
    pub(crate) multi_turn_first_len: String,
    /// Tokens of each later turn of synthetic conversations; lengths as in --mix.
    #[arg(long, default_value = "64", value_name = "LENGTHS")]
    pub(crate) multi_turn_input_len: String,
    /// Tokens of each answer; lengths as in --mix for synthetic conversations, one number for those
    /// from a file [default: as recorded; of synthetic conversations: 128].
    #[arg(long, value_name = "LENGTHS")]
    pub(crate) multi_turn_output_len: Option<String>,
    /// Request structured output (vLLM's structured_outputs), and report the fraction of answers
    /// that conform.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) structured_output: Option<StructuredKind>,
    /// Fraction of the requests that ask for structured output.
    #[arg(long, default_value_t = 1.0, value_name = "FRACTION")]
    pub(crate) structured_output_ratio: f64,
    /// The schema, pattern, grammar, or choices (one per line), instead of a built-in one.
    #[arg(long, value_name = "FILE", requires = "structured_output")]
    pub(crate) structured_output_file: Option<PathBuf>,
    /// Do not check the lengths of synthetic prompts with the server's /tokenize.
    #[arg(long)]
    pub(crate) no_verify_lengths: bool,
}

/// Kinds of structured answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StructuredKind {
    /// JSON that matches a schema.
    Json,
    /// Text that matches a pattern.
    Regex,
    /// One of several texts.
    Choice,
    /// Text that a grammar generates.
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
    /// Write the requests and due instants of a run with these flags to a file; contacts no server.
    #[command(args_override_self = true)]
    Build(Box<BuildArgs>),
    /// Show the content of a workload file.
    Show(ShowArgs),
}

/// Arguments of `inferometer workload build`.
#[derive(Debug, Args)]
#[command(mut_args(with_default_of_build))]
pub(crate) struct BuildArgs {
    /// The flags of a run.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// `argument` with the default that it has in `workload build`, if that is another than in `run`.
fn with_default_of_build(argument: Arg) -> Arg {
    let help = match argument.get_id().as_str() {
        "model" => "Model name; its tokenizer is used unless --tokenizer is given",
        "request_id_prefix" => "Prefix of the `x-request-id` of each request [default: bench-]",
        _ => return argument,
    };
    argument.help(help)
}

/// Arguments of `inferometer workload show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The workload file.
    pub(crate) file: PathBuf,
    /// Also write an HTML page with the histograms.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}
