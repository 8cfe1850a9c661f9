//! `inferometer help`: the documentation inside the binary, and the help of a command.

use std::fmt::Write as _;

use clap::Command;
use inferometer_core::suggest::hint;
use inferometer_terminal::Output;

use crate::args::{Cli, HelpArgs};
use crate::exit::{Exit, Failure};

/// A page of the documentation.
struct Topic {
    name: &'static str,
    about: &'static str,
    text: &'static str,
}

/// The pages, as they are in the folder `docs`.
const TOPICS: [Topic; 11] = [
    Topic {
        name: "backends",
        about: "what each --backend sends and reads, and the quirks of each API",
        text: include_str!("../../docs/backends.md"),
    },
    Topic {
        name: "compatibility",
        about: "what is as in vLLM's benchmark, and what is not",
        text: include_str!("../../docs/compatibility.md"),
    },
    Topic {
        name: "datasets",
        about: "every dataset: its files, its flags, and how prompts are made",
        text: include_str!("../../docs/datasets.md"),
    },
    Topic {
        name: "files",
        about: "every file that is written: keys, columns, formats of other tools",
        text: include_str!("../../docs/files.md"),
    },
    Topic {
        name: "flags",
        about: "every command with its flags",
        text: include_str!("../../docs/flags.md"),
    },
    Topic {
        name: "metrics",
        about: "the definition of every number",
        text: include_str!("../../docs/metrics.md"),
    },
    Topic {
        name: "reports",
        about: "figures, dashboard and reports of many runs",
        text: include_str!("../../docs/reports.md"),
    },
    Topic {
        name: "simulator",
        about: "the simulated server, the engine model, the search for a rate",
        text: include_str!("../../docs/simulator.md"),
    },
    Topic {
        name: "statistics",
        about: "intervals, what could have been seen, and how often a decision is wrong",
        text: include_str!("../../docs/statistics.md"),
    },
    Topic {
        name: "sweeps",
        about: "many runs: combos.yaml, experiment files, stop rules, aggregate, compare, gate, ab, check",
        text: include_str!("../../docs/sweeps.md"),
    },
    Topic {
        name: "verdict",
        about: "every reason for CAUTION or INVALID, with its threshold and what to do",
        text: include_str!("../../docs/verdict.md"),
    },
];

/// Prints the page or the help that `args` name; without a name, the list of pages.
pub(crate) fn help(args: &HelpArgs, output: &Output) -> Result<Exit, Failure> {
    let Some(name) = &args.topic else {
        output.print(&contents());
        return Ok(Exit::Good);
    };
    // `docs/verdict.md` and `verdict.md` are what links call a page.
    let bare = name.trim_start_matches("docs/").trim_end_matches(".md");
    if let Some(topic) = TOPICS.iter().find(|topic| topic.name == bare) {
        output.print(&linked(topic.text));
        return Ok(Exit::Good);
    }
    let mut cli = Cli::parser();
    cli.build();
    if let Some(command) = cli.find_subcommand_mut(bare) {
        output.print(&command.render_long_help().to_string());
        return Ok(Exit::Good);
    }
    let commands = cli.get_subcommands().map(Command::get_name);
    let known: Vec<&str> = TOPICS
        .iter()
        .map(|topic| topic.name)
        .chain(commands)
        .collect();
    Err(Failure::usage(format!(
        "help {name}: unknown topic or command: {}",
        hint(name, &known)
    )))
}

fn contents() -> String {
    let mut text = String::from("Topics of `inferometer help TOPIC`:\n");
    for Topic { name, about, .. } in TOPICS {
        let _ = writeln!(text, "  {name:<14} {about}");
    }
    text + "\n`inferometer help COMMAND` shows all options of a command; `inferometer --help` lists the commands.\n"
}

/// A page whose links to other pages name the command that shows them.
fn linked(text: &str) -> String {
    let mut text = text.to_owned();
    for topic in &TOPICS {
        text = text.replace(
            &format!("({}.md", topic.name),
            &format!("(inferometer help {}", topic.name),
        );
    }
    text
}

#[cfg(test)]
#[path = "../../tests/unit/help_topics.rs"]
mod tests;
