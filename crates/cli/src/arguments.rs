//! The typed arguments, normalised for the parser.

use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, Command, CommandFactory};
use inferometer_argparse::{Arity, Normalised, OptionInfo, Options, normalise};
use inferometer_campaign::reveal_arguments;

use crate::args::Cli;
use crate::exit::Failure;

/// The arguments of this process, beginning with the program's name.
///
/// # Errors
///
/// A usage error when one of them is not valid UTF-8: flags, model names and everything that is written
/// to JSON are text.
pub(crate) fn typed() -> Result<Vec<String>, Failure> {
    let mut arguments = Vec::new();
    for (position, argument) in std::env::args_os().enumerate() {
        let shown = argument.to_string_lossy().into_owned();
        match argument.into_string() {
            Ok(argument) => arguments.push(argument),
            // The name by which the program was called is not used.
            Err(_) if position == 0 => arguments.push(shown),
            Err(_) => {
                return Err(Failure::usage(format!(
                    "argument {position} ({shown:?}): invalid characters: expected UTF-8; rename the file or type \
                     the name again"
                )));
            }
        }
    }
    let typed = reveal_arguments(arguments.split_off(arguments.len().min(1)));
    arguments.extend(typed);
    Ok(arguments)
}

/// A sentence for a value that is not a number, in place of the parser's "invalid digit found in string".
pub(crate) fn invalid_number(error: &clap::Error) -> Option<String> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = context(ContextKind::InvalidArg)?.split(' ').next()?;
    let value = context(ContextKind::InvalidValue)?;
    let cause = std::error::Error::source(error)?;
    let expected = if let Some(cause) = cause.downcast_ref::<ParseIntError>() {
        match cause.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "a smaller number",
            _ => "a whole number",
        }
    } else if cause.is::<ParseFloatError>() {
        "a number"
    } else {
        return None;
    };
    Some(format!(
        "{flag} {value}: invalid number: expected {expected}"
    ))
}

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
