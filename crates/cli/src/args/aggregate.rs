//! The flags of `inferometer aggregate`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `inferometer aggregate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AggregateArgs {
    /// Folder of result files, searched recursively.
    #[arg(default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// File for the table; a Parquet file of the same name is written next to it [default:
    /// aggregate_results.csv in the results folder].
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Do not write the second table, which has the mean, standard deviation and 95 % interval of
    /// repeated runs.
    #[arg(long)]
    pub(crate) per_run: bool,
}
