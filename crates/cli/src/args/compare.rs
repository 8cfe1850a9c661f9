//! The flags of `inferometer compare`.

use std::path::PathBuf;

use clap::Args;

use super::groups::{FormArgs, GroupArgs};

/// Arguments of `inferometer compare`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// Result files, run folders, or folders with the repeats of one setting; the first is the baseline.
    #[arg(required_unless_present = "baseline", num_args = 2.., value_name = "RUN", conflicts_with = "baseline")]
    pub(crate) runs: Vec<PathBuf>,
    /// Two groups of runs instead.
    #[command(flatten)]
    pub(crate) groups: GroupArgs,
    /// Metrics to judge, such as p99_ttft_ms [default: all that the runs share].
    #[arg(long, num_args = 1.., requires = "baseline")]
    pub(crate) metric: Vec<String>,
    /// A change up to this many percent does not matter.
    #[arg(
        long,
        default_value_t = 2.0,
        value_name = "PERCENT",
        requires = "baseline"
    )]
    pub(crate) margin: f64,
    /// In which form.
    #[command(flatten)]
    pub(crate) form: FormArgs,
}
