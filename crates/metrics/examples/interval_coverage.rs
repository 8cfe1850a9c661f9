//! The tables of `docs/statistics.md`: how often intervals contain the true value, and how wide they
//! are.
//!
//! `cargo run --release -p inferometer-metrics --example interval_coverage [RUNS [SEED [LOAD
//! [CORRELATION [REQUESTS]]]]]` evaluates this many runs of each kind (default 1,000), drawn from this
//! seed (default 1). The other arguments choose rows of the table; `all` is any.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

#[path = "../tests/interval_coverage/runs.rs"]
mod runs;
#[path = "../tests/interval_coverage/study.rs"]
mod study;

use runs::{Dependence, Load, Scenario};
use study::{Coverage, METRICS, study};

const REQUESTS: [usize; 5] = [500, 1_000, 2_000, 5_000, 10_000];
const DEPENDENCES: [(&str, Dependence); 4] = [
    ("0", Dependence::Neighbours(0.0)),
    ("0.5", Dependence::Neighbours(0.5)),
    ("0.8", Dependence::Neighbours(0.8)),
    ("batches", Dependence::Batches),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
    let (runs, seed): (u64, u64) = (number(0).unwrap_or(1_000), number(1).unwrap_or(1));
    let chosen = |index: usize, name: &str| {
        arguments
            .get(index)
            .is_none_or(|text| text == "all" || text == name)
    };
    let names = METRICS.map(|metric| metric.trim_end_matches("_ms").replace('_', " "));
    let head = format!(
        "| load | correlation | requests | {} |\n|{}\n",
        names.join(" | "),
        " --- |".repeat(METRICS.len() + 3)
    );
    println!(
        "{runs} runs a row from seed {seed}. Intervals that contain the true value, in percent:\n"
    );
    print!("{head}");
    let mut widths = head;
    for (load, name) in [(Load::Closed, "closed"), (Load::Open, "open")] {
        for (correlation, dependence) in DEPENDENCES {
            for requests in REQUESTS {
                if !chosen(2, name) || !chosen(3, correlation) || !chosen(4, &requests.to_string())
                {
                    continue;
                }
                let scenario = Scenario {
                    load,
                    dependence,
                    requests,
                };
                let found = study(&scenario, runs as usize, seed);
                debug_assert!(found.iter().map(|one| one.metric).eq(METRICS));
                let row = |cell: fn(&Coverage) -> String| {
                    let cells: Vec<String> = found.iter().map(cell).collect();
                    let cells = cells.join(" | ");
                    format!("| {name} | {correlation} | {requests} | {cells} |\n")
                };
                print!("{}", row(covered));
                widths += &row(half_width);
            }
        }
    }
    println!("\nMean half width of the intervals, in percent of the value:\n\n{widths}");
}

/// The percentage of intervals that contain the true value, and that of runs with an interval.
fn covered(found: &Coverage) -> String {
    let percent = |part: f64| part * 100.0;
    match found.shown {
        0 => "–".to_owned(),
        all if all == found.runs => format!("{:.1}", percent(found.fraction())),
        some => format!(
            "{:.1} ({:.1} % shown)",
            percent(found.fraction()),
            percent(some as f64 / found.runs as f64)
        ),
    }
}

fn half_width(found: &Coverage) -> String {
    match found.shown {
        0 => "–".to_owned(),
        _ => format!("{:.1}", found.half_width * 100.0),
    }
}
