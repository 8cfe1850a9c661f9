//! Many runs: sweeps, tables, figures, comparisons, and the check of a server.

mod check;
mod compare;
mod groups;
mod sweep;
mod vllm_sweep;

use std::fs;
use std::path::Path;
use std::process::Output;

use inferometer_testkit::printed;

use crate::INFEROMETER;

fn combos(folder: &Path, url: &str) {
    let text = format!(
        "model: sim\nbase_url: {url}\ntokenizer: builtin\ninput_output:\n  - [16, 4]\n  - [32, 4]\n\
         concurrency_prompts:\n  - [1, 4]\n  - [2, 8]\n"
    );
    fs::write(folder.join("combos.yaml"), text).unwrap();
}

fn call(folder: &Path, arguments: &[&str]) -> Output {
    INFEROMETER.call(folder, arguments)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// The parts of the table that do not depend on time.
fn table(folder: &Path) -> Vec<Vec<String>> {
    let output = call(folder, &["aggregate", "--per-run"]);
    // The folder of a run that was killed with its sweep is named, also where the run was made again.
    let killed = printed(&output).contains("inferometer recover");
    assert_eq!(code(&output), i32::from(killed), "{}", printed(&output));
    let text = fs::read_to_string(folder.join("results/aggregate_results.csv")).unwrap();
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let columns = [
        "filename",
        "input_len",
        "output_len",
        "max_concurrency",
        "num_prompts",
        "completed",
        "failed",
    ];
    let more = [
        "total_input_tokens",
        "total_output_tokens",
        "model_id",
        "request_rate",
    ];
    let places: Vec<usize> = columns
        .iter()
        .chain(&more)
        .map(|name| {
            head.iter()
                .position(|column| column == name)
                .unwrap_or_else(|| panic!("no {name} in {head:?}"))
        })
        .collect();
    lines
        .map(|line| {
            // Lists are quoted and hold commas.
            let mut quoted = false;
            let line: String = line
                .chars()
                .map(|c| {
                    quoted ^= c == '"';
                    if quoted && c == ',' { ';' } else { c }
                })
                .collect();
            let cells: Vec<&str> = line.split(',').collect();
            places
                .iter()
                .map(|&place| cells[place].to_owned())
                .collect()
        })
        .collect()
}
