//! Folded repeats in a few columns, for the terminal.

use std::fmt::Write as _;

use crate::repeats::{Folded, PLAN};

/// Maximum number of settings to print; the file has all.
const SHOWN: usize = 40;

/// The main numbers of a run, in the order of the overview's columns.
const NUMBERS: [&str; 5] = [
    "request_throughput",
    "output_throughput",
    "mean_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
];

/// A table of the folded runs for people: the settings that differ, then the main numbers, laid out
/// by `align`.
pub fn overview(groups: &[Folded], align: impl Fn(&[Vec<String>]) -> String) -> String {
    let keys = differing_keys(groups);
    let mut rows: Vec<Vec<String>> = vec![
        keys.iter()
            .map(|key| (*key).clone())
            .chain(["runs".to_owned()])
            .chain(NUMBERS.map(str::to_owned))
            .collect(),
    ];
    rows.extend(groups.iter().take(SHOWN).map(|group| row(group, &keys)));
    let mut text = align(&rows);
    if groups.len() > SHOWN {
        let _ = writeln!(
            text,
            "  … and {} more settings in the file",
            groups.len() - SHOWN
        );
    }
    text.push_str(
        "± is half of the 95 % interval of the mean (Student's t, over the runs in the mean).\n",
    );
    if groups.iter().any(|group| group.used < group.runs) {
        text.push_str(
            "Runs that are INVALID or have no answer are excluded from every mean; a run can be both.\n",
        );
    }
    text
}

/// The settings whose values differ between groups.
fn differing_keys(groups: &[Folded]) -> Vec<&String> {
    let mut keys: Vec<&String> = Vec::new();
    for group in groups {
        keys.extend(group.settings.keys());
    }
    keys.sort();
    keys.dedup();
    let all = keys.clone();
    keys.retain(|key| {
        !["filename", PLAN].contains(&key.as_str())
            && groups
                .iter()
                .any(|group| group.settings.get(*key) != groups[0].settings.get(*key))
    });
    // File names are shown only if nothing else distinguishes two settings.
    let values = |group: &Folded| {
        keys.iter()
            .map(|key| group.settings.get(*key).cloned())
            .collect::<Vec<_>>()
    };
    let names_needed = groups.iter().enumerate().any(|(index, group)| {
        groups[..index]
            .iter()
            .take(SHOWN)
            .any(|other| values(other) == values(group))
    });
    if names_needed {
        keys.extend(all.into_iter().filter(|key| *key == "filename"));
    }
    keys
}

/// The row of a group: its settings, number of runs, and main numbers.
fn row(group: &Folded, keys: &[&String]) -> Vec<String> {
    let setting = |key: &&String| match group.settings.get(*key) {
        // A line break in a name would break the table.
        Some(serde_json::Value::String(text)) => text.replace(['\n', '\r', '\t'], " "),
        Some(value) => value.to_string(),
        None => "–".to_owned(),
    };
    let mut row: Vec<String> = keys.iter().map(setting).collect();
    row.push(runs(group));
    for key in NUMBERS {
        row.push(match group.numbers.get(key) {
            None => "–".to_owned(),
            Some(estimate) => match estimate.interval {
                Some((_, high)) => {
                    format!("{:.2} ± {:.2}", estimate.mean, high - estimate.mean)
                }
                None => format!("{:.2}", estimate.mean),
            },
        });
    }
    row
}

/// The number of runs, how many of them are in the numbers, and what the others are.
fn runs(group: &Folded) -> String {
    let mut apart = Vec::new();
    if group.invalid > 0 {
        apart.push(format!("{} INVALID", group.invalid));
    }
    if group.unanswered > 0 {
        apart.push(format!("{} without answers", group.unanswered));
    }
    if apart.is_empty() {
        group.runs.to_string()
    } else {
        format!("{} of {} ({})", group.used, group.runs, apart.join(", "))
    }
}
