//! The flags of `inferometer sweep`.

use std::path::PathBuf;

use clap::Args;

use super::Ui;

/// Arguments of `inferometer sweep`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SweepArgs {
    /// Combinations (`combos.yaml`) or an experiment, in YAML, TOML or JSON [default: combos.yaml].
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Backend of every run; `sim` simulates the engine that --preset names (after `--` or in the
    /// file) on a virtual clock, without a server.
    #[arg(long, value_name = "NAME", conflicts_with = "serve_cmd")]
    pub(crate) backend: Option<String>,
    /// Folder of the results [default: results, or as set in the file].
    #[arg(long, short = 'o', value_name = "DIR")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Runs per setting [default: 1, or as set in the file; 3 with --serve-cmd].
    #[arg(long, value_name = "N")]
    pub(crate) num_runs: Option<usize>,
    /// Resume: skip completed runs.
    #[arg(long, overrides_with_all = ["overwrite", "again"])]
    pub(crate) resume: bool,
    /// Replace the results of an earlier sweep.
    #[arg(long, overrides_with = "again")]
    pub(crate) overwrite: bool,
    /// Resume an unfinished sweep of the same settings; otherwise move earlier results to a new
    /// folder beside the results folder (its name with the date added) and start over.
    /// `run_sweep.py` uses this.
    #[arg(long, overrides_with_all = ["overwrite", "resume"], conflicts_with = "serve_cmd")]
    pub(crate) again: bool,
    /// Stop at the first run that fails (always with --serve-cmd, unless --continue-on-error).
    #[arg(long, conflicts_with = "continue_on_error")]
    pub(crate) fail_fast: bool,
    /// Print the plan with all commands and exit.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print output of runs and servers to the terminal instead of `logs/`.
    #[arg(long)]
    pub(crate) show_stdout: bool,
    /// Progress display: one line for the sweep and one for the current run, or a live view on the
    /// whole terminal.
    #[arg(long, value_enum, default_value_t = Ui::Bar)]
    pub(crate) ui: Ui,
    /// Do not keep run folders (per-request records) in `runs/` of the results folder.
    #[arg(long, conflicts_with = "serve_cmd")]
    pub(crate) no_run_folders: bool,

    /// Command that starts the server (vLLM's form of a sweep).
    #[arg(
        long,
        value_name = "COMMAND",
        requires = "bench_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) serve_cmd: Option<String>,
    /// Command of the benchmark.
    #[arg(
        long,
        value_name = "COMMAND",
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) bench_cmd: Option<String>,
    /// Command to execute after each run, in place of the cache reset before each run ('' for neither).
    #[arg(
        long,
        value_name = "COMMAND",
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) after_bench_cmd: Option<String>,
    /// JSON file of parameters for the server.
    #[arg(
        long,
        value_name = "FILE",
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) serve_params: Option<PathBuf>,
    /// JSON file of parameters for the benchmark.
    #[arg(
        long,
        value_name = "FILE",
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) bench_params: Option<PathBuf>,
    /// Keep only combinations in which these parameters are equal: SERVE_KEY=BENCH_KEY,…
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) link_vars: String,
    /// Name of the folder in the results folder [default: date and time].
    #[arg(
        long,
        short = 'e',
        value_name = "NAME",
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) experiment_name: Option<String>,
    /// Number of prompts of a warm-up run before each combination.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) warmup_num_prompts: u64,
    /// Seconds to wait for the server to become healthy.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 300,
        requires = "serve_cmd",
        help_heading = "vLLM's form"
    )]
    pub(crate) server_ready_timeout: u64,
    /// Continue after a failed run.
    #[arg(long, requires = "serve_cmd", help_heading = "vLLM's form")]
    pub(crate) continue_on_error: bool,

    /// Further flags of `run` for every run, after `--`.
    #[arg(last = true, value_name = "FLAGS", conflicts_with = "serve_cmd")]
    pub(crate) extra: Vec<String>,
}
