//! The lines on the kind of traffic, below the verdict.

use std::fmt::Write as _;

use inferometer_metrics::traffic::{Conformity, Fidelity, Group, Traffic};

/// Groups that a table shows; the result file has all of them.
const MAX_ROWS: usize = 20;

/// The lines on schedule, prefixes, structure, conversations and classes, each ended by a line
/// feed; empty for plain traffic.
pub fn traffic_lines(traffic: &Traffic) -> String {
    let mut text = String::new();
    if let Some(fidelity) = &traffic.fidelity {
        fidelity_line(&mut text, fidelity);
    }
    if let Some(fraction) = traffic.reusable_prefix_share {
        let _ = writeln!(
            text,
            "Reusable prefixes: {:.1} % of the prompt tokens (predicted)",
            fraction * 100.0
        );
    }
    if let Some(salt) = &traffic.salt {
        let _ = writeln!(text, "Salt of this run: {salt}");
    }
    if let Some(structured) = &traffic.structured {
        conformity_line(&mut text, structured);
    }
    if let Some(conversations) = &traffic.conversations {
        let _ = writeln!(
            text,
            "Conversations: {} of {} complete, {} turns not sent",
            conversations.complete, conversations.sessions, conversations.turns_not_sent
        );
        table(&mut text, "turn", &conversations.turns);
    }
    if !traffic.classes.is_empty() {
        table(&mut text, "class", &traffic.classes);
    }
    text
}

fn fidelity_line(text: &mut String, fidelity: &Fidelity) {
    let rows = fidelity
        .rows_in_file
        .map(|rows| format!(" of {rows}"))
        .unwrap_or_default();
    let order = match fidelity.out_of_order {
        0 => "in order".to_owned(),
        some => format!("{some} out of order"),
    };
    let _ = writeln!(
        text,
        "Replay: {}{rows} rows sent, timing error p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms, {order}",
        fidelity.rows_used,
        fidelity.timing_error_p50_ms,
        fidelity.timing_error_p99_ms,
        fidelity.timing_error_max_ms,
    );
}

fn conformity_line(text: &mut String, conformity: &Conformity) {
    let Conformity {
        kind,
        asked,
        answered,
        conforming,
        share,
    } = conformity;
    let found = match conforming.zip(*share) {
        Some((good, fraction)) => {
            format!(
                ", {good} of {answered} answers conform ({:.1} %)",
                fraction * 100.0
            )
        }
        None => "; a custom grammar is not checked".to_owned(),
    };
    let _ = writeln!(
        text,
        "Structured output ({kind}): {asked} requests asked for it{found}"
    );
}

fn table(text: &mut String, name: &str, groups: &[Group]) {
    let width = groups
        .iter()
        .take(MAX_ROWS)
        .map(|group| group.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    let _ = writeln!(
        text,
        "{name:<width$} {:>8} {:>6} {:>9} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}",
        "requests",
        "ok",
        "input",
        "cached",
        "output",
        "ttft p50",
        "ttft p99",
        "e2el p50",
        "e2el p99"
    );
    for group in groups.iter().take(MAX_ROWS) {
        let cached = group
            .cached_share
            .map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let _ = writeln!(
            text,
            "{:<width$} {:>8} {:>6} {:>9.1} {cached:>8} {:>8.1} {:>10.2} {:>10.2} {:>10.2} {:>10.2}",
            group.name,
            group.requests,
            group.completed,
            group.mean_input_tokens,
            group.mean_output_tokens,
            group.ttft_p50_ms,
            group.ttft_p99_ms,
            group.e2el_p50_ms,
            group.e2el_p99_ms
        );
    }
    if groups.len() > MAX_ROWS {
        let _ = writeln!(
            text,
            "… and {} more, in the result",
            groups.len() - MAX_ROWS
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_traffic_has_no_lines() {
        assert_eq!(traffic_lines(&Traffic::default()), "");
    }

    #[test]
    fn only_the_first_groups_are_in_the_table() {
        let classes = (0..23)
            .map(|number| Group {
                name: format!("class {number}"),
                ..Group::default()
            })
            .collect();
        let text = traffic_lines(&Traffic {
            classes,
            ..Traffic::default()
        });
        assert_eq!(text.lines().count(), 1 + MAX_ROWS + 1);
        assert!(text.ends_with("… and 3 more, in the result\n"), "{text}");
    }

    #[test]
    fn a_grammar_that_is_not_checked_has_no_count() {
        let checked = Conformity {
            kind: "json".into(),
            asked: 10,
            answered: 8,
            conforming: Some(6),
            share: Some(0.75),
        };
        let custom = Conformity {
            kind: "grammar".into(),
            conforming: None,
            share: None,
            ..checked.clone()
        };
        let line = |structured| {
            traffic_lines(&Traffic {
                structured: Some(structured),
                ..Traffic::default()
            })
        };
        assert_eq!(
            line(checked),
            "Structured output (json): 10 requests asked for it, 6 of 8 answers conform (75.0 %)\n"
        );
        assert_eq!(
            line(custom),
            "Structured output (grammar): 10 requests asked for it; a custom grammar is not checked\n"
        );
    }
}
