//! `inferometer gate`, and `inferometer compare` for two groups of runs.

use inferometer_benchmark::{Question, draw_figure, metric_values, named_paths};
use inferometer_decide as decide;
use inferometer_decide::{DecideError, Design, Groups, Member};
use inferometer_report::{self as report, DecisionReport};
use inferometer_results::write_in_folder;
use serde_json::json;

use super::collect::collect;
use crate::args::{CompareArgs, FormArgs, GateArgs, GroupArgs};
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::Output;

/// Judges each metric of the groups by itself.
pub(crate) fn compare(args: &CompareArgs, output: &Output) -> Result<Exit, Failure> {
    let groups = match read(&args.groups, output)? {
        Ok(groups) => groups,
        Err(error) => return refuse(&error, args.form.json, output),
    };
    let names = match args.metric.as_slice() {
        [] => groups.metrics(),
        named => named.to_vec(),
    };
    let metrics = decide::compare(&metric_values(&groups, &names, args.margin)?, groups.design);
    let report = DecisionReport {
        groups: &groups,
        question: report::Question::Compare(&metrics),
        foresight: None,
        lang: args.form.lang,
    };
    if let Some(path) = &args.groups.figure {
        draw_figure(&report.figure(), path)?;
    }
    print(&report, &args.form, output)?;
    Ok(Exit::Good)
}

/// Decides whether the candidate is worse by more than the margins.
pub(crate) fn gate(args: &GateArgs, output: &Output) -> Result<Exit, Failure> {
    if args.groups.baseline.is_empty() {
        return Err(Failure::usage(
            "gate needs --baseline RUN… and --candidate RUN…",
        ));
    }
    let decisions = args.decision_file.clone();
    let question = Question::new(
        args.config.as_deref(),
        &args.max_regression,
        decisions,
        args.max_runs,
    )?;
    let mut groups = args.groups.clone();
    groups.paired |= question.paired;
    groups
        .may_differ
        .extend(question.may_differ.iter().cloned());
    let groups = match read(&groups, output)? {
        Ok(groups) => groups,
        Err(error) => return refuse(&error, args.form.json, output),
    };
    let gate = question.judge(&groups)?;
    let report = DecisionReport {
        groups: &groups,
        question: report::Question::Gate(&gate),
        foresight: None,
        lang: args.form.lang,
    };
    if let Some(path) = &args.junit {
        write_in_folder(path, report.to_junit().as_bytes()).or_failure()?;
    }
    if let Some(path) = &args.groups.figure {
        draw_figure(&report.figure(), path)?;
    }
    print(&report, &args.form, output)?;
    if args.github {
        output.print(&report.to_annotations());
    }
    Ok(gate.decision.into())
}

/// Reads both groups. What is wrong with a file is an error of its own; that they cannot be compared is returned.
fn read(args: &GroupArgs, output: &Output) -> Result<Result<Groups, DecideError>, Failure> {
    let (baseline, candidate) = (
        members(&args.baseline, output)?,
        members(&args.candidate, output)?,
    );
    let design = if args.paired {
        Design::Paired
    } else {
        Design::Groups
    };
    let groups = Groups::new(baseline, candidate, design, &args.may_differ);
    let unknown = groups
        .as_ref()
        .map(|groups| groups.unknown_settings(&args.may_differ));
    match unknown.as_deref() {
        Ok([name, ..]) => Err(Failure::usage(format!(
            "--may-differ {name}: no run has a setting of this name"
        ))),
        _ => Ok(groups),
    }
}

/// The runs that the patterns name.
pub(super) fn members(patterns: &[String], output: &Output) -> Result<Vec<Member>, Failure> {
    let paths = named_paths(patterns)?;
    let table = collect(&paths, output)?.0;
    if let Some(broken) = table.broken.first() {
        return Err(Failure::usage(format!(
            "{broken}; a group needs all of its runs"
        )));
    }
    let rows = table.rows.into_iter().map(|row| {
        let file = row.run.file.display();
        let name = match row.run.position {
            0 => file.to_string(),
            line => format!("{file}, result {}", line + 1),
        };
        Member {
            name,
            row: row.run.keys,
        }
    });
    Ok(rows.collect())
}

/// Says why the groups cannot be judged.
pub(super) fn refuse(error: &DecideError, as_json: bool, output: &Output) -> Result<Exit, Failure> {
    let exit = match error {
        DecideError::NotComparable(_) => Exit::NotComparable,
        DecideError::NoRuns { .. } => Exit::Invalid,
        _ => return Err(Failure::usage(error.to_string())),
    };
    if let (DecideError::NotComparable(reasons), true) = (error, as_json) {
        let shown = json!({"format_version": 1, "not_comparable": reasons});
        output.print_line(&serde_json::to_string_pretty(&shown).or_failure()?);
    }
    let remedy = match exit {
        Exit::NotComparable => "; --may-differ SETTING allows a difference",
        _ => "",
    };
    output.error(&format!("{error}{remedy}"));
    Ok(exit)
}

fn print(report: &DecisionReport<'_>, form: &FormArgs, output: &Output) -> Result<(), Failure> {
    if form.json {
        output.print_line(&serde_json::to_string_pretty(&report.to_json()).or_failure()?);
    } else if form.markdown {
        output.print(&report.to_markdown());
    } else {
        output.print(&report.to_text());
    }
    Ok(())
}
