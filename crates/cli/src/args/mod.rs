//! The command line. `settings` resolves its meaning.
//!
//! The doc comments of the fields are the help text; there is no other copy of it. A command whose
//! defaults differ from those of `run` replaces the text of these flags.

mod ab;
mod aggregate;
mod calibrate;
mod check;
mod compare;
mod compat;
mod connection;
mod dataset;
mod engine;
mod export;
mod groups;
#[cfg(test)]
#[path = "../../tests/unit/flags_page.rs"]
mod reference;
mod run;
mod short_help;
mod sim;
mod simulate;
mod sweep;
mod visualize;
mod workload;

pub(crate) use ab::AbArgs;
pub(crate) use aggregate::AggregateArgs;
pub(crate) use calibrate::CalibrateArgs;
pub(crate) use check::CheckArgs;
pub(crate) use compare::CompareArgs;
pub(crate) use compat::{ImportArgs, ShimArgs};
pub(crate) use connection::{Balance, Connect, ConnectionArgs};
pub(crate) use dataset::DatasetArgs;
pub(crate) use engine::EngineArgs;
pub(crate) use export::ExportArgs;
pub(crate) use groups::{FormArgs, GateArgs, GroupArgs};
pub(crate) use run::{
    ContentArgs, LoadArgs, LoraAssignment, RampStrategy, ReportingArgs, RunArgs, TargetArgs, Ui,
};
pub(crate) use sim::SimArgs;
pub(crate) use simulate::SimulateArgs;
pub(crate) use sweep::SweepArgs;
pub(crate) use visualize::VisualizeArgs;
pub(crate) use workload::{BuildArgs, ShowArgs, TrafficArgs, WorkloadArgs, WorkloadCommand};

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use inferometer_report::Lang;

/// What `--version` says: version, commit, target and profile of the build, and the newest vLLM whose
/// benchmark is known.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("INFEROMETER_COMMIT"),
    ", ",
    env!("INFEROMETER_TARGET"),
    ", ",
    env!("INFEROMETER_PROFILE"),
    "; bench serve of vLLM 0.33)"
);

/// The version of vLLM in [`VERSION`].
#[cfg(test)]
const VLLM: &str = "0.33";

/// Measures LLM inference servers: exact load, kernel time stamps, and a verdict on every run.
#[derive(Debug, Parser)]
#[command(
    name = "inferometer",
    version = VERSION,
    infer_subcommands = false,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands of inferometer.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Benchmark a server (the flags of vLLM's `bench serve`).
    #[command(visible_alias = "serve", args_override_self = true)]
    Run(Box<RunArgs>),
    /// Benchmark the built-in simulator: a demonstration that takes a few seconds.
    Quickstart(QuickstartArgs),
    /// Serve the built-in simulator: an OpenAI-compatible server that logs the true times.
    #[command(args_override_self = true)]
    Sim(Box<SimArgs>),
    /// Run a benchmark against an engine model on a virtual clock: no server, no waiting.
    #[command(args_override_self = true)]
    Simulate(Box<SimulateArgs>),
    /// Fit the engine model to results of a real server.
    Calibrate(CalibrateArgs),
    /// Write the requests of a run to a file that can be replayed anywhere, or show such a file.
    #[command(args_override_self = true)]
    Workload(WorkloadArgs),
    /// Measure the limits of the client on this host, against the built-in simulator.
    Selftest(SelftestArgs),
    /// Print the result of a finished run again, from its records, or save it as vLLM's result file.
    Report(ReportArgs),
    /// Check that the data in run folders are as the runs wrote them.
    Verify(VerifyArgs),
    /// Write the result of an interrupted run, from its log.
    Recover(RecoverArgs),
    /// Execute many runs: combos.yaml, an experiment file, or vLLM's server and benchmark commands.
    Sweep(Box<SweepArgs>),
    /// Collect all results of a folder in one table.
    Aggregate(AggregateArgs),
    /// Draw figures, a dashboard and a report of many runs.
    Visualize(VisualizeArgs),
    /// Compare runs side by side.
    Compare(CompareArgs),
    /// Measure two servers in turn, and say whether the second is worse.
    Ab(AbArgs),
    /// Decide whether a group of runs is worse than another by more than a margin.
    Gate(GateArgs),
    /// Check that a server works with inferometer, and say what to fix.
    Check(CheckArgs),
    /// Show the documentation of a topic, or all options of a command.
    Help(HelpArgs),
    /// Write scripts named benchmark_serving.py, run_sweep.py … that run inferometer.
    InstallShims(ShimArgs),
    /// Print the script by which a shell completes commands and flags.
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands to a folder.
    Man(ManArgs),
    /// Convert result files of vLLM and other tools to inferometer's format.
    Import(ImportArgs),
}

/// Arguments of `inferometer quickstart`.
#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Number of requests.
    #[arg(long, default_value_t = 200)]
    pub(crate) num_prompts: i64,
    /// Requests per second.
    #[arg(long, default_value_t = 40.0)]
    pub(crate) request_rate: f64,
    /// Folder in which the run folder is created.
    #[arg(long, default_value = "inferometer-runs")]
    pub(crate) runs_dir: PathBuf,
    /// Do not show a progress bar.
    #[arg(long)]
    pub(crate) disable_tqdm: bool,
}

/// Arguments of `inferometer help`.
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// A topic, such as verdict or metrics, or a command [default: the list of topics].
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
}

/// Arguments of `inferometer completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `inferometer man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands to this folder.
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Arguments of `inferometer report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run folder.
    pub(crate) run: PathBuf,
    /// Language of the verdict: en or zh.
    #[arg(long, default_value = "en", value_name = "LANG")]
    pub(crate) lang: Lang,
    /// Also write vLLM's result file of the run.
    #[arg(long)]
    pub(crate) save_result: bool,
    /// Include per-request arrays in the result file.
    #[arg(long, requires = "save_result")]
    pub(crate) save_detailed: bool,
    /// Folder of the result file [default: the current one].
    #[arg(long, value_name = "DIR", requires = "save_result")]
    pub(crate) result_dir: Option<PathBuf>,
    /// Name of the result file [default: vLLM's].
    #[arg(long, value_name = "FILE", requires = "save_result")]
    pub(crate) result_filename: Option<PathBuf>,
    /// Formats of other tools.
    #[command(flatten)]
    pub(crate) export: ExportArgs,
}

/// Arguments of `inferometer verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Run folders.
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
}

/// Arguments of `inferometer recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The run folder.
    pub(crate) run: PathBuf,
    /// Write vLLM's result where the run would have written it, instead of to result.json in the
    /// run folder; needs a run with --save-result.
    #[arg(long)]
    pub(crate) save_result: bool,
    /// Formats of other tools.
    #[command(flatten)]
    pub(crate) export: ExportArgs,
}

/// Arguments of `inferometer selftest`.
#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    /// Send a fifth of the requests: faster but less precise.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Maximum number of streams to open at once.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) max_streams: usize,
    /// Also write the result to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use inferometer_benchmark::Compat;

    #[test]
    fn the_version_names_the_newest_vllm() {
        let newest = format!("vllm-{}", super::VLLM);
        assert_eq!(newest.parse(), Ok(Compat::NEWEST));
        assert!(super::VERSION.ends_with(&format!("vLLM {})", super::VLLM)));
    }
}
