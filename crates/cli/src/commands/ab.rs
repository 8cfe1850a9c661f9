//! `inferometer ab`: two servers in turn, and whether the second is worse.

use std::time::Duration;

use inferometer_benchmark::{contrasted, draw_figure, metric_values};
use inferometer_campaign::{AbOptions, AbSide, Claim, Start, ab_campaign, planned_looks, words};
use inferometer_decide::{Design, Groups, Looks, contrast, foresee};
use inferometer_report::{DecisionReport, Question};
use inferometer_results::write_in_folder;

use super::groups::{members, refuse};
use super::sweep::{ExecutionSettings, execute_campaign};
use crate::args::AbArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::{Output, View};

/// Numbers of pairs whose detectable changes --aa names.
const FORESEEN: [usize; 2] = [5, 10];

/// Measures pairs up to each look, and says what they decide.
pub(crate) fn ab(args: &AbArgs, output: &Output) -> Result<Exit, Failure> {
    let looks = match args.max_pairs {
        Some(max) => planned_looks(max),
        None => vec![args.pairs],
    };
    let planned = looks.last().copied().unwrap_or(args.pairs);
    let all = ab_campaign(&options(args, planned)).or_usage()?;
    if args.dry_run {
        output.print(&words::plan(&all, None));
        return Ok(Exit::Good);
    }
    all.notes.iter().for_each(|note| output.note(note));
    let mut start = if args.resume {
        Start::Resume
    } else {
        Start::Fresh
    };
    let mut exit = Exit::CannotTell;
    for (number, &pairs) in looks.iter().enumerate() {
        let campaign = ab_campaign(&options(args, pairs)).or_usage()?;
        let settings = ExecutionSettings {
            start,
            show_stdout: false,
            server_ready_timeout: Duration::from_secs(args.server_ready_timeout),
            ui: View::Bar,
        };
        let claim = Claim::take(&campaign, start).or_usage()?;
        let (tally, _) = execute_campaign(&campaign, claim, &settings, output)?;
        start = Start::Resume;
        if tally.failed > 0 || tally.pending > 0 {
            output.print_line("Continue with the same command and --resume.");
            return Ok(if tally.interrupted {
                Exit::Interrupted
            } else {
                Exit::RunFailed
            });
        }
        let taken = looks[..=number].to_vec();
        exit = judge(args, &Looks { planned, taken }, output)?;
        if exit != Exit::CannotTell {
            break;
        }
    }
    Ok(exit)
}

fn options(args: &AbArgs, pairs: usize) -> AbOptions {
    let side = |url: &Option<String>, command: &Option<String>| match command {
        Some(command) => AbSide::Command {
            command: command.clone(),
            url: url.clone(),
        },
        None => AbSide::Url(url.clone().unwrap_or_default()),
    };
    let a = side(&args.a, &args.a_cmd);
    AbOptions {
        b: if args.aa {
            a.clone()
        } else {
            side(&args.b, &args.b_cmd)
        },
        a,
        pairs,
        seed: args.seed,
        output: args.output_dir.clone(),
        warmup: args.warmup,
        reset_caches: args.reset_caches,
        extra: args.extra.clone(),
    }
}

/// Prints what the pairs so far decide, and keeps it as `decision.json` in the folder.
fn judge(args: &AbArgs, looks: &Looks, output: &Output) -> Result<Exit, Failure> {
    let side = |name: &str| {
        let folder = args.output_dir.join(name).display().to_string();
        members(&[folder], output)
    };
    // The two servers may serve one model under two names.
    let may_differ = ["model".to_owned(), "target.model".to_owned()];
    let groups = match Groups::new(side("a")?, side("b")?, Design::Paired, &may_differ) {
        Ok(groups) => groups,
        Err(error) => return refuse(&error, false, output),
    };
    let names = match args.metric.as_slice() {
        [] => contrasted(&groups),
        named => named.to_vec(),
    };
    let values = metric_values(&groups, &names, args.margin)?;
    let found = contrast(&values, groups.design, looks).unless_more_fail(&groups);
    let foresight = args.aa.then(|| foresee(&values, groups.design, &FORESEEN));
    let report = DecisionReport {
        groups: &groups,
        question: Question::Ab(&found),
        foresight: foresight.as_ref(),
        lang: args.lang,
    };
    let json = serde_json::to_vec_pretty(&report.to_json()).or_failure()?;
    write_in_folder(&args.output_dir.join("decision.json"), &json).or_failure()?;
    draw_figure(&report.figure(), &args.output_dir.join("decision.png"))?;
    output.print(&report.to_text());
    Ok(found.decision.into())
}
