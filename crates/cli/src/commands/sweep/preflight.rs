//! A check of all runs before the first one starts, so that an invalid value in the last run is not
//! found hours later.

use std::path::Path;

use clap::Parser;
use inferometer_campaign::{Campaign, Cell, Form, Work, line_of_flag};

use crate::args::{Cli, Command};
use crate::arguments;
use crate::commands::simulate;
use crate::exit::Failure;
use crate::settings::RunSettings;
use inferometer_argparse::Normalised;

/// Checks the settings of all our runs. `file` is the one that describes the campaign.
pub(super) fn check_runs(campaign: &Campaign, file: &Path) -> Result<(), Failure> {
    for cell in &campaign.cells {
        if let Work::Ours(_) = cell.work {
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

/// Parses the arguments of a run as the run itself will: by argparse's rules.
fn check_run(cell: &Cell) -> Result<(), String> {
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
    match parsed.command {
        Command::Run(args) => RunSettings::resolve(*args).map(drop).map_err(problem),
        Command::Simulate(args) => simulate::check(*args).map(drop).map_err(problem),
        _ => Err("expected a command for a run".to_owned()),
    }
}
