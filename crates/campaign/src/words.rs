//! A campaign in words: its plan before the runs, and how it ended.

use std::fmt::Write as _;

use inferometer_core::redact::redact_arguments;
use inferometer_core::shell_word;

use crate::estimate::{Calibration, remaining, seconds, span};
use crate::{Campaign, Journal, Status, Tally};

/// Maximum number of runs to list; the rest is only counted.
const SHOWN: usize = 30;

/// The plan: the runs that are left, or, for `--dry-run` (without a journal), all runs with their
/// commands.
pub fn plan(campaign: &Campaign, journal: Option<&Journal>) -> String {
    let is_done = |index: usize| journal.is_some_and(|journal| journal.is_done(index));
    let cells = campaign.cells.iter().enumerate();
    let pending = cells.filter(|(index, _)| !is_done(*index));
    let left = pending.clone().count();
    let mut text = summary(campaign, left, &is_done);
    let shown = if journal.is_some() { SHOWN } else { left };
    let mut server = None;
    for (index, cell) in pending.take(shown) {
        if cell.server != server {
            server = cell.server;
            if let Some(spec) = server.map(|server| &campaign.servers[server]) {
                let _ = writeln!(text, "  server: {}", shell_line(&spec.command));
            }
        }
        let _ = writeln!(
            text,
            "  {:>3}. {}  ({})",
            index + 1,
            cell.name,
            span(seconds(&cell.load()))
        );
        if journal.is_none() {
            let _ = writeln!(text, "       {}", shell_line(&cell.work.words()));
        }
    }
    if left > shown {
        let _ = writeln!(text, "  … and {} more; --dry-run shows all", left - shown);
    }
    text
}

/// The first line of a plan: number of runs and servers, estimated time, folder of the results.
fn summary(campaign: &Campaign, left: usize, is_done: &dyn Fn(usize) -> bool) -> String {
    let all = campaign.cells.len();
    let total = remaining(campaign, |index| !is_done(index), &Calibration::default());
    let mut text = format!("Plan: {left} {}", if left == 1 { "run" } else { "runs" });
    if left < all {
        let _ = write!(text, " to go, {} done already", all - left);
    }
    let cells = campaign.cells.iter();
    let simulated = cells.filter(|cell| cell.is_simulated()).count();
    if simulated > 0 {
        let _ = write!(text, ", {simulated} of {all} on a virtual clock");
    }
    let requests = (0..all).filter(|index| !is_done(*index));
    let requests: f64 = requests
        .map(|index| campaign.cells[index].load().num_prompts)
        .sum();
    // The sum of nothing is −0.
    let _ = write!(text, ", {:.0} requests in all", requests.abs());
    match campaign.servers.len() {
        0 => {}
        1 => text.push_str(", 1 server to start"),
        count => drop(write!(
            text,
            ", {count} servers to start one after the other"
        )),
    }
    let _ = writeln!(
        text,
        "; {}{} (corrected as runs finish); results in {}",
        span(total),
        if simulated < all {
            " if a token takes 20 ms"
        } else {
            ""
        },
        campaign.output.display()
    );
    text
}

/// A command as typed in a shell, without secrets.
pub fn shell_line(command: &[String]) -> String {
    let words = redact_arguments(command);
    let quoted = words.iter().map(|word| shell_word(word));
    quoted.collect::<Vec<_>>().join(" ")
}

/// How a campaign ended.
pub fn conclusion(campaign: &Campaign, tally: &Tally, journal: &Journal) -> String {
    let mut text = String::from("\n");
    let mut parts = vec![format!(
        "{} of {} runs done",
        tally.done + tally.earlier,
        campaign.cells.len()
    )];
    for (count, word) in [
        (tally.failed, "failed"),
        (tally.skipped, "skipped"),
        (tally.pending, "not done"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let _ = writeln!(
        text,
        "{}; results in {}",
        parts.join(", "),
        campaign.output.display()
    );
    for cell in journal
        .cells()
        .iter()
        .filter(|cell| cell.status == Status::Failed)
    {
        let _ = writeln!(
            text,
            "  failed: {}: {}",
            cell.name,
            cell.reason.as_deref().unwrap_or("unknown reason")
        );
    }
    if tally.failed > 0 {
        let _ = writeln!(
            text,
            "The output of the runs is in {}",
            campaign.output.join("logs").display()
        );
    }
    text
}
