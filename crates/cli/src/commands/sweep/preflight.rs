//! A check of all runs before the first one starts, so that an invalid value in the last run is not
//! found hours later.

use std::path::Path;

use clap::Parser;
use inferometer_campaign::{Campaign, Cell, Form, SELF_PROGRAM, Work, line_of_flag};

use crate::args::{Cli, Command};
use crate::arguments;
use crate::commands::simulate;
use crate::exit::Failure;
use crate::settings::RunSettings;
use inferometer_argparse::Normalised;

/// Checks the settings of all our runs. `file` is the one that describes the campaign.
pub(super) fn check_runs(campaign: &Campaign, file: &Path) -> Result<(), Failure> {
    for cell in &campaign.cells {
        if let Work::Theirs(words) = &cell.work {
            // Its server takes minutes to start, and then the flag would be found.
            if words.first().is_some_and(|program| program == SELF_PROGRAM) {
                check_command(cell)
                    .map_err(|problem| Failure::usage(format!("{}: {problem}", cell.name)))?;
            }
        } else {
            check_run(cell).map_err(|problem| {
                let line = if campaign.form == Form::Experiment {
                    line_of_flag(file, &problem)
                } else {
                    String::new()
                };
                Failure::usage(format!(
                    "{}: {line}{}: {problem}",
                    file.display(),
                    cell.name
                ))
            })?;
        }
    }
    Ok(())
}

fn check_run(cell: &Cell) -> Result<(), String> {
    check(parse(cell)?).unwrap_or_else(|| {
        Err(
            "invalid command: expected the flags of `inferometer run` or `inferometer simulate`"
                .to_owned(),
        )
    })
}

/// Checks a command line of this program that was given as text, which need not be a run.
fn check_command(cell: &Cell) -> Result<(), String> {
    check(parse(cell)?).unwrap_or(Ok(()))
}

/// Checks the settings of a run; `None` for another command.
fn check(command: Command) -> Option<Result<(), String>> {
    let checked = match command {
        Command::Run(args) => RunSettings::resolve(*args).map(drop),
        Command::Simulate(args) => simulate::check(*args).map(drop),
        _ => return None,
    };
    Some(checked.map_err(|failure| failure.to_string()))
}

/// Parses the arguments of a run as the run itself will: by argparse's rules.
fn parse(cell: &Cell) -> Result<Command, String> {
    let problem = |failure: Failure| failure.to_string();
    let arguments = match arguments::read(cell.work.words()).map_err(problem)? {
        Normalised::CommandLine { arguments, .. } => arguments,
        Normalised::Help(_) => return Err("--help is not a setting of a run".to_owned()),
    };
    let parsed = Cli::try_parse_from(arguments).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").to_owned()
    })?;
    Ok(parsed.command)
}
