//! `inferometer completions` and `inferometer man`: what shells and manual readers need of the flags.

use std::io::Write as _;
use std::path::Path;

use inferometer_terminal::Output;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::exit::{Exit, Failure, OrFail};

/// Prints the script by which a shell completes commands and flags.
pub(crate) fn completions(args: &CompletionsArgs, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::parser(), "inferometer", &mut script);
    output.print(&String::from_utf8_lossy(&script));
    Exit::Good
}

/// Prints the manual page of the program, or writes those of all commands to a folder.
pub(crate) fn man(args: &ManArgs, output: &Output) -> Result<Exit, Failure> {
    let cli = Cli::parser();
    let Some(folder) = &args.dir else {
        output.print(&page(cli)?);
        return Ok(Exit::Good);
    };
    std::fs::create_dir_all(folder)
        .or_usage()
        .map_err(|error| error.context(&format!("cannot create {}", folder.display())))?;
    let commands: Vec<_> = cli.get_subcommands().cloned().collect();
    write(folder, "inferometer", cli)?;
    for command in commands {
        let name = format!("inferometer-{}", command.get_name());
        write(folder, &name, command.name(name.clone()))?;
    }
    output.print_line(&format!("Manual pages are in {}", folder.display()));
    Ok(Exit::Good)
}

fn write(folder: &Path, name: &str, command: clap::Command) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command)?)
        .or_failure()
        .map_err(|error| error.context(&format!("cannot write {}", path.display())))
}

/// The page in roff.
fn page(command: clap::Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .or_failure()?;
    page.flush().or_failure()?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
