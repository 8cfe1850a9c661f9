//! The flags of `inferometer visualize`.

use std::path::PathBuf;

use clap::Args;
use inferometer_report::Lang;

/// Arguments of `inferometer visualize`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VisualizeArgs {
    /// Result files, run folders, or folders of them [default: the table of --csv].
    #[arg(value_name = "RUN", conflicts_with_all = ["csv", "demo"])]
    pub(crate) runs: Vec<PathBuf>,
    /// Throughput figures: throughput_analysis.png and .svg.
    #[arg(long)]
    pub(crate) throughput: bool,
    /// Latency figures: latency_analysis.png and .svg.
    #[arg(long)]
    pub(crate) latency: bool,
    /// Dashboard: interactive_dashboard.html, one file that needs no network.
    #[arg(long)]
    pub(crate) interactive: bool,
    /// Written report: performance_report.txt and .md.
    #[arg(long)]
    pub(crate) report: bool,
    /// All of these; the default.
    #[arg(long)]
    pub(crate) all: bool,
    /// Table written by `aggregate`.
    #[arg(
        long,
        default_value = "results/aggregate_results.csv",
        value_name = "FILE",
        conflicts_with = "demo"
    )]
    pub(crate) csv: PathBuf,
    /// Folder of the figures.
    #[arg(long, default_value = "figures", value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Run a small campaign on the built-in simulator first, and visualize it.
    #[arg(long)]
    pub(crate) demo: bool,
    /// Language: en or zh.
    #[arg(long, default_value = "en", value_name = "LANG")]
    pub(crate) lang: Lang,
}
