//! The binary `servebench`: arguments → settings → one call into a room below → exit code.

mod args;
mod argv;
mod commands;
mod exit;
mod numbers;
mod output;
mod prepare;
mod progress;
mod server;
mod settings;
mod signals;
mod vllm;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::{Exit, Failure};
use crate::output::Output;

fn main() -> ExitCode {
    let output = Output::default();
    let arguments: Vec<String> = std::env::args().map(argv::normalise).collect();
    let exit = match dispatch(&arguments, &output) {
        Ok(exit) => exit,
        Err(failure) => {
            let (exit, error) = failure.into_parts();
            output.error(&error);
            exit
        }
    };
    exit.into()
}

fn dispatch(arguments: &[String], output: &Output) -> Result<Exit, Failure> {
    if let Some(refused) = argv::refused(arguments) {
        return Err(Failure::usage(format!("--{}: {}", refused.flag, refused.reason)));
    }
    let parsed = match Cli::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(shown) => {
            // Help and version come this way too, on stdout and with exit code 0.
            let exit = if shown.use_stderr() { Exit::BadUsage } else { Exit::Good };
            drop(shown.print());
            return Ok(exit);
        }
    };
    for option in argv::repeated(arguments) {
        output.warn(&format!("{option} is given more than once; the last one counts"));
    }
    match parsed.command {
        Command::Run(args) => commands::run::run(*args, output),
        Command::Quickstart(args) => commands::quickstart::quickstart(&args, output),
        Command::Sim(args) => commands::sim::sim(*args, output),
        Command::Selftest(args) => commands::selftest::selftest(&args, output),
        Command::Report(args) => commands::report::report(&args, output),
        Command::Recover(args) => commands::report::recover(&args, output),
    }
}
