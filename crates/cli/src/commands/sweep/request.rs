//! The campaign that the arguments of `inferometer sweep` describe.

use std::path::{Path, PathBuf};

use clap::{ArgAction, CommandFactory};
use inferometer_campaign::{
    Campaign, Flag, FlagKind, FlagTable, ServeOptions, SweepOptions, refuse_other_sweep,
    serve_campaign, sweep_campaign,
};
use inferometer_os::clock;
use inferometer_results::vllm_date;

use crate::args::{Cli, SweepArgs};
use crate::exit::{Failure, OrFail};

/// The campaign that `args` describe.
pub(super) fn campaign(args: &SweepArgs) -> Result<Campaign, Failure> {
    // `vllm bench sweep serve …` arrives here with `serve` as the file.
    let word = args
        .file
        .as_deref()
        .and_then(Path::to_str)
        .unwrap_or_default();
    let is_file = Path::new(word).exists();
    if !is_file {
        refuse_other_sweep(word).or_usage()?;
    }
    if word == "serve" && args.serve_cmd.is_none() && !is_file {
        return Err(Failure::usage(
            "sweep serve needs --serve-cmd and --bench-cmd",
        ));
    }
    if args.serve_cmd.is_some() && args.file.is_some() && word != "serve" {
        return Err(Failure::usage(format!(
            "{word}: expected either a file or --serve-cmd with --bench-cmd, not both"
        )));
    }
    match (&args.serve_cmd, &args.bench_cmd) {
        (Some(serve_cmd), Some(bench_cmd)) => of_commands(args, serve_cmd, bench_cmd),
        _ => of_file(args),
    }
}

/// vLLM's form: a command for the server and one for the benchmark.
fn of_commands(args: &SweepArgs, serve_cmd: &str, bench_cmd: &str) -> Result<Campaign, Failure> {
    let name = args.experiment_name.clone();
    let name = name.unwrap_or_else(|| vllm_date(clock::wall()).replace('-', "_"));
    if args.resume && args.experiment_name.is_none() {
        return Err(Failure::usage(
            "--resume: set --experiment-name to the experiment to resume",
        ));
    }
    let folder = args.output_dir.clone();
    serve_campaign(&ServeOptions {
        serve_cmd: serve_cmd.to_owned(),
        bench_cmd: bench_cmd.to_owned(),
        after_bench_cmd: args.after_bench_cmd.clone(),
        serve_params: args.serve_params.clone(),
        bench_params: args.bench_params.clone(),
        link_vars: args.link_vars.clone(),
        num_runs: args.num_runs.unwrap_or(3),
        output: folder
            .unwrap_or_else(|| PathBuf::from("results"))
            .join(name),
        warmup_num_prompts: args.warmup_num_prompts,
        fail_fast: !args.continue_on_error,
    })
    .or_usage()
}

/// Combinations or an experiment.
fn of_file(args: &SweepArgs) -> Result<Campaign, Failure> {
    let file = args
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from("combos.yaml"));
    if args.file.is_none() && !file.exists() {
        return Err(Failure::usage(
            "no combos.yaml in this folder: write one (see inferometer help sweeps), or name another file: inferometer \
             sweep FILE",
        ));
    }
    let options = SweepOptions {
        output: args.output_dir.clone(),
        repeats: args.num_runs,
        fail_fast: args.fail_fast,
        run_folders: !args.no_run_folders,
        extra: args
            .backend
            .iter()
            .flat_map(|name| ["--backend", name])
            .map(str::to_owned)
            .chain(args.extra.clone())
            .collect(),
    };
    sweep_campaign(&file, &flag_table(), &options).or_usage()
}

/// The flags of `run` and `simulate`, from their definitions, without those of the rate search,
/// which is not a single run.
fn flag_table() -> FlagTable {
    let cli = Cli::command();
    let mut table = FlagTable::default();
    for (command, simulated) in [("run", false), ("simulate", true)] {
        let arguments = cli
            .find_subcommand(command)
            .into_iter()
            .flat_map(clap::Command::get_arguments);
        for argument in arguments {
            let Some(name) = argument.get_long() else {
                continue;
            };
            if table.find(name).is_some() || name.starts_with("find-") {
                continue;
            }
            let kind = match argument.get_action() {
                ArgAction::SetTrue | ArgAction::SetFalse => FlagKind::Switch,
                _ if argument
                    .get_num_args()
                    .is_some_and(|range| range.max_values() > 1) =>
                {
                    FlagKind::Many
                }
                _ => FlagKind::One,
            };
            table.0.push(Flag {
                name: name.to_owned(),
                kind,
                simulated,
            });
        }
    }
    table
}
