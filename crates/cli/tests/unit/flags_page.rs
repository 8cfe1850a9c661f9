//! `docs/flags.md`, generated from the definitions of the flags.

use std::fmt::Write as _;
use std::path::Path;

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::Cli;

const HEAD: &str = "# Flags\n\n\
    This page lists every command and flag. A test generates it from their definitions (`INFEROMETER_BLESS=1 cargo test \
    -p inferometer flags_page`). `inferometer COMMAND --help` shows the same. Neither has short forms, aliases and \
    spellings of vLLM's (see [compatibility.md](compatibility.md)), nor `run --config FILE.yaml`, whose keys are the flags \
    of `run`.\n";

fn page() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut page = HEAD.to_owned();
    for command in cli.get_subcommands() {
        describe(&mut page, command, "inferometer");
    }
    page
}

fn describe(page: &mut String, command: &Command, parent: &str) {
    let name = format!("{parent} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let _ = write!(page, "\n## {name}\n\n{}\n", one_line(&about));
    let mut groups: Vec<(String, Vec<&Arg>)> = Vec::new();
    for argument in command
        .get_arguments()
        .filter(|argument| argument.get_id() != "help")
    {
        let heading = argument.get_help_heading().unwrap_or_default().to_owned();
        match groups.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, group)) => group.push(argument),
            None => groups.push((heading, vec![argument])),
        }
    }
    for (heading, group) in groups {
        if !heading.is_empty() {
            let _ = write!(page, "\n### {heading}\n");
        }
        page.push_str("\n| flag | default | meaning |\n| --- | --- | --- |\n");
        for argument in group {
            let _ = writeln!(page, "{}", row(argument));
        }
    }
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        describe(page, inner, &name);
    }
}

fn row(argument: &Arg) -> String {
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    let flag = match (argument.get_long(), takes_value) {
        (Some(long), true) => format!("`--{long} {value}`"),
        (Some(long), false) => format!("`--{long}`"),
        (None, _) => format!("`{value}`"),
    };
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .filter(|value| !value.is_empty())
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    let default = if takes_value {
        defaults.join(" ")
    } else {
        String::new()
    };
    let mut help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let possible = argument.get_possible_values();
    let is_named = |value: &PossibleValue| help.contains(value.get_name());
    if takes_value && !possible.iter().all(is_named) {
        let names: Vec<String> = possible
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let _ = write!(help, " ({})", names.join(", "));
    }
    let [flag, default, help] = [flag, default, help].map(|cell| one_line(&cell));
    format!("| {flag} | {default} | {help} |")
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[test]
fn the_flags_page_matches_the_definitions() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/flags.md");
    let page = page();
    if std::env::var_os("INFEROMETER_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let saved = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        saved == page,
        "docs/flags.md is out of date: INFEROMETER_BLESS=1 cargo test -p inferometer flags_page renews it"
    );
}
