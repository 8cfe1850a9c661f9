//! The flags of `inferometer gate`, and of `inferometer compare` for two groups of runs.

use std::path::PathBuf;

use clap::Args;
use inferometer_report::Lang;

/// Two groups of runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct GroupArgs {
    /// Runs of the baseline: result files, run folders, folders with either, or patterns such as 'old/*.json'.
    #[arg(long, num_args = 1.., value_name = "RUN", requires = "candidate")]
    pub(crate) baseline: Vec<String>,
    /// Runs of the candidate.
    #[arg(long, num_args = 1.., value_name = "RUN", requires = "baseline")]
    pub(crate) candidate: Vec<String>,
    /// The runs are pairs, in the order of their names: each of the candidate was made right beside one of the
    /// baseline.
    #[arg(long, requires = "baseline")]
    pub(crate) paired: bool,
    /// Settings that the groups need not share, such as model or load.max_concurrency.
    #[arg(long, num_args = 1.., value_name = "SETTING", requires = "baseline")]
    pub(crate) may_differ: Vec<String>,
    /// Draw changes, intervals and runs to this file: .png or .svg.
    #[arg(long, value_name = "FILE", requires = "baseline")]
    pub(crate) figure: Option<PathBuf>,
}

/// Arguments of `inferometer gate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GateArgs {
    /// The runs.
    #[command(flatten)]
    pub(crate) groups: GroupArgs,
    /// How much worse a metric may be, in percent of the baseline: p99_ttft_ms=5 output_throughput=3.
    #[arg(long, num_args = 1.., value_name = "METRIC=PERCENT")]
    pub(crate) max_regression: Vec<String>,
    /// File with the settings of a gate (gate.toml); flags add to it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// File that counts the looks at one experiment, so that runs may be added until it is decided; needs
    /// --max-runs at first.
    #[arg(long, value_name = "FILE")]
    pub(crate) decision_file: Option<PathBuf>,
    /// Runs on each side, or pairs, at which the last look is taken.
    #[arg(long, value_name = "RUNS", requires = "decision_file")]
    pub(crate) max_runs: Option<usize>,
    /// Write a JUnit report to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Print annotations of GitHub Actions as well.
    #[arg(long, conflicts_with = "json")]
    pub(crate) github: bool,
    /// In which form.
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

/// How a comparison is printed; as text by default.
#[derive(Clone, Debug, Args)]
pub(crate) struct FormArgs {
    /// Print Markdown.
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Language: en or zh.
    #[arg(long, default_value = "en", value_name = "LANG")]
    pub(crate) lang: Lang,
}
