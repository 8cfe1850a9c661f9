//! Secrets among the arguments of a child process.

use std::collections::BTreeMap;
use std::process::Command;

use inferometer_core::redact::redact_arguments;

/// Arguments that must not be visible in the list of processes: a JSON object from the position of
/// each (without the program's name) to its text.
const HIDDEN_ARGUMENTS: &str = "INFEROMETER_HIDDEN_ARGUMENTS";

/// Gives a run of ours its arguments without secrets, which every user of the machine could read in
/// the list of processes. Secrets are passed in an environment variable, which only this user can
/// read.
pub(crate) fn hide_secrets(command: &mut Command, arguments: &[String]) {
    let shown = redact_arguments(arguments);
    let hidden: BTreeMap<usize, &String> = arguments
        .iter()
        .zip(&shown)
        .enumerate()
        .filter(|(_, (real, shown))| real != shown)
        .map(|(at, (real, _))| (at, real))
        .collect();
    command.args(&shown);
    if !hidden.is_empty() {
        command.env(HIDDEN_ARGUMENTS, serde_json::json!(hidden).to_string());
    }
}

/// The arguments of this process, without the program's name, as the campaign that started it
/// meant them.
pub fn reveal_arguments(mut arguments: Vec<String>) -> Vec<String> {
    let hidden = std::env::var(HIDDEN_ARGUMENTS).unwrap_or_default();
    let hidden: BTreeMap<usize, String> = serde_json::from_str(&hidden).unwrap_or_default();
    for (at, real) in hidden {
        // The variable may be inherited by a process that was started with other arguments.
        if let Some(shown) = arguments.get_mut(at)
            && shown.contains("***")
        {
            *shown = real;
        }
    }
    arguments
}
