//! The typed arguments, normalised for the parser.

use clap::{ArgAction, Command, CommandFactory};
use inferometer_argparse::{Arity, Normalised, OptionInfo, Options, normalise};

use crate::args::Cli;
use crate::exit::Failure;

/// Normalises arguments, including the program's name, for the parser.
pub(crate) fn read(arguments: Vec<String>) -> Result<Normalised, Failure> {
    normalise(arguments, &Options::of_run(options_of_run()))
}

fn options_of_run() -> Vec<OptionInfo> {
    let mut cli = Cli::command();
    cli.build();
    let run = cli
        .find_subcommand("run")
        .into_iter()
        .flat_map(Command::get_arguments);
    run.filter_map(|argument| {
        let takes = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
        let many = argument
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1);
        let arity = match (takes, many) {
            (false, _) => Arity::None,
            (true, false) => Arity::One,
            (true, true) => Arity::Many,
        };
        Some(OptionInfo {
            name: argument.get_long()?.to_owned(),
            arity,
        })
    })
    .collect()
}
