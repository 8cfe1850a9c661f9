//! The binary `inferometer`: arguments → settings → one call into a crate below → exit code.

mod args;
mod arguments;
mod commands;
mod compat;
mod exit;
mod settings;
mod watch;

use std::process::ExitCode;

use clap::FromArgMatches;
use inferometer_argparse::Normalised;
use inferometer_benchmark::prepare_pool;
use inferometer_terminal::Output;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    inferometer_os::process::ignore_file_size_signal();
    let output = Output::default();
    let exit = match arguments::typed().and_then(|arguments| dispatch(arguments, &output)) {
        Ok(exit) => exit,
        Err(failure) => {
            output.error(&failure.report());
            Exit::from(&failure)
        }
    };
    match output.failure() {
        Some(problem) if exit == Exit::Good => {
            output.error(&problem);
            Exit::RunFailed.into()
        }
        _ => exit.into(),
    }
}

fn dispatch(arguments: Vec<String>, output: &Output) -> Result<Exit, Failure> {
    let (arguments, warnings) = match arguments::read(arguments)? {
        Normalised::CommandLine {
            arguments,
            warnings,
        } => (arguments, warnings),
        Normalised::Help(word) => {
            output.print(&compat::find_help(&word)?);
            return Ok(Exit::Good);
        }
    };
    let typed: Vec<String> = arguments.iter().skip(1).cloned().collect();
    let parsed = Cli::parser()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let mut parsed = match parsed {
        Ok(parsed) => parsed,
        Err(shown) => {
            // Help and version are such errors too; they go to stdout with exit code 0.
            let exit = if shown.use_stderr() {
                Exit::BadUsage
            } else {
                Exit::Good
            };
            if let Some(sentence) = arguments::invalid_number(&shown) {
                return Err(Failure::usage(sentence));
            }
            output.written(shown.print());
            return Ok(exit);
        }
    };
    for warning in warnings {
        output.warn(&warning);
    }
    match &mut parsed.command {
        Command::Run(args) => args.typed = typed,
        Command::Simulate(args) => args.run.typed = typed,
        _ => {}
    }
    prepare_pool();
    match parsed.command {
        Command::Run(args) => commands::run::run(*args, output),
        Command::Quickstart(args) => commands::quickstart::quickstart(&args, output),
        Command::Sim(args) => commands::sim::sim(*args, output),
        Command::Simulate(args) => commands::simulate::simulate(*args, output),
        Command::Calibrate(args) => commands::calibrate::calibrate(&args, output),
        Command::Workload(args) => commands::workload::workload(args, output),
        Command::Selftest(args) => commands::selftest::selftest(&args, output),
        Command::Report(args) => commands::report::report(&args, output),
        Command::Verify(args) => commands::verify::verify(&args, output),
        Command::Recover(args) => commands::report::recover(&args, output),
        Command::Sweep(args) => commands::sweep::sweep(&args, output),
        Command::Aggregate(args) => commands::aggregate::aggregate(&args, output),
        Command::Visualize(args) => commands::visualize::visualize(&args, output),
        Command::Compare(args) => commands::compare::compare(&args, output),
        Command::Ab(args) => commands::ab::ab(&args, output),
        Command::Gate(args) => commands::groups::gate(&args, output),
        Command::Help(args) => commands::help::help(&args, output),
        Command::Check(args) => commands::check::check(&args, output),
        Command::InstallShims(args) => commands::shims::install(&args, output),
        Command::Completions(args) => Ok(commands::shell::completions(&args, output)),
        Command::Man(args) => commands::shell::man(&args, output),
        Command::Import(args) => commands::import::import(&args, output),
    }
}
