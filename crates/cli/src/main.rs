//! The binary `inferometer`: arguments → settings → one call into a room below → exit code.

mod adjust;
mod args;
mod argv;
mod background;
mod beside;
mod commands;
mod compat;
mod decoding;
mod exit;
mod export;
mod json_flag;
mod kept;
mod lengths;
mod live;
mod numbers;
mod output;
mod page;
mod prepare;
mod probe;
mod profiler;
mod progress;
mod server;
mod settings;
mod signals;
mod structured;
mod sweep_view;
mod tui;
mod vllm;

use std::process::ExitCode;

use clap::Parser;
use inferometer_campaign::reveal_arguments;

use crate::args::{Cli, Command};
use crate::argv::Understood;
use crate::exit::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    let output = Output::default();
    let mut arguments: Vec<String> = std::env::args().collect();
    let typed = reveal_arguments(arguments.split_off(arguments.len().min(1)));
    arguments.extend(typed);
    let exit = match dispatch(arguments, &output) {
        Ok(exit) => exit,
        Err(failure) => {
            let (exit, error) = failure.into_parts();
            output.error(&error);
            exit
        }
    };
    exit.into()
}

fn dispatch(arguments: Vec<String>, output: &Output) -> Result<Exit, Failure> {
    let (arguments, warnings) = match argv::understand(arguments)? {
        Understood::Parse(arguments, warnings) => (arguments, warnings),
        Understood::Help(text) => {
            output.print(&text);
            return Ok(Exit::Good);
        }
    };
    let parsed = match Cli::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(shown) => {
            // Help and version come this way too, on stdout and with exit code 0.
            let exit = if shown.use_stderr() {
                Exit::BadUsage
            } else {
                Exit::Good
            };
            drop(shown.print());
            return Ok(exit);
        }
    };
    for warning in warnings {
        output.warn(&warning);
    }
    match parsed.command {
        Command::Run(args) => commands::run::run(*args, output),
        Command::Quickstart(args) => commands::quickstart::quickstart(&args, output),
        Command::Sim(args) => commands::sim::sim(*args, output),
        Command::Simulate(args) => commands::simulate::simulate(*args, output),
        Command::Calibrate(args) => commands::calibrate::calibrate(&args, output),
        Command::Workload(args) => commands::workload::workload(args, output),
        Command::Selftest(args) => commands::selftest::selftest(&args, output),
        Command::Report(args) => commands::report::report(&args, output),
        Command::Recover(args) => commands::report::recover(&args, output),
        Command::Sweep(args) => commands::sweep::sweep(&args, output),
        Command::Aggregate(args) => commands::aggregate::aggregate(&args, output),
        Command::Visualize(args) => commands::visualize::visualize(&args, output),
        Command::Compare(args) => commands::compare::compare(&args, output),
        Command::Check(args) => commands::check::check(&args, output),
        Command::InstallShims(args) => commands::shims::install(&args, output),
        Command::Import(args) => commands::import::import(&args, output),
    }
}
