//! `--help=all`, `--help=GROUP`, `--help=WORD`: parts of the long help.

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Failure;

/// Help for the options of a group, or for those whose name or help contains `word`; `all` shows
/// all.
pub(crate) fn find(word: &str) -> Result<String, Failure> {
    let wanted = word.to_lowercase();
    let mut cli = Cli::command();
    cli.build();
    let run = cli.find_subcommand("run").cloned().unwrap_or_default();
    let groups: Vec<String> = run
        .get_arguments()
        .filter_map(|argument| argument.get_help_heading())
        .map(str::to_lowercase)
        .collect();
    let by_group = groups.contains(&wanted);
    let keep = |argument: &clap::Arg| {
        let heading = argument
            .get_help_heading()
            .unwrap_or_default()
            .to_lowercase();
        let name = argument.get_long().unwrap_or_default();
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default()
            .to_lowercase();
        let found = name.contains(&wanted.replace('_', "-")) || help.contains(&wanted);
        wanted == "all" || if by_group { heading == wanted } else { found }
    };
    if !run.get_arguments().any(keep) {
        let mut names = groups;
        names.dedup();
        return Err(Failure::usage(format!(
            "--help={word}: no matching group or option; the groups are {}",
            names.join(", ")
        )));
    }
    let mut shown = run.mut_args(|argument| {
        let hide = !keep(&argument);
        argument.hide(hide)
    });
    Ok(shown.render_long_help().to_string())
}

#[cfg(test)]
#[path = "../../tests/unit/vllm_help.rs"]
mod tests;
