//! The flags of `inferometer compare`.

use std::path::PathBuf;

use clap::Args;
use inferometer_report::Lang;

/// Arguments of `inferometer compare`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// Result files, run folders, or folders with the repeats of one setting; the first is the baseline.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
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
