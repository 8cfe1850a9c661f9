//! `inferometer sweep`: many runs, planned, carried out, resumed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::{ArgAction, CommandFactory, Parser};
use inferometer_campaign::estimate::{Calibration, remaining, seconds, span};
use inferometer_campaign::{
    ChildSettings, Children, Flag, FlagKind, FlagTable, Form, Journal, OURSELVES, Plan,
    ServeOptions, Start, Status, SweepOptions, Talk, Tally, begin_again, check_servers, execute,
    line_of_flag, serve_plan, sweep_plan, write_summaries,
};
use inferometer_core::Secret;
use inferometer_core::redact::redact_arguments;
use inferometer_os::clock;
use inferometer_results::{rfc3339, vllm_date};
use tokio::signal::unix::{SignalKind, signal};

use super::simulate;
use crate::args::{Cli, Command, SweepArgs, Ui};
use crate::argv::{self, Understood};
use crate::exit::{Exit, Failure, OrFail};
use crate::live::Listener;
use crate::output::Output;
use crate::settings::RunSettings;
use crate::sweep_view::SweepView;

/// The other commands that vLLM has under `bench sweep`, with what does their work here.
const OTHER_SWEEPS: [(&str, &str); 5] = [
    (
        "serve_workload",
        "write the rates or concurrencies as a list in an experiment file (docs/sweeps.md)",
    ),
    (
        "serve_sla",
        "write the rates or concurrencies as a list in an experiment file with a stop rule (docs/sweeps.md)",
    ),
    (
        "startup",
        "inferometer measures running servers only; use vLLM's own command",
    ),
    (
        "plot",
        "use inferometer aggregate and inferometer visualize",
    ),
    (
        "plot_pareto",
        "use inferometer aggregate and inferometer visualize --interactive",
    ),
];

/// Runs of a plan that are listed before the rest is only counted.
const SHOWN: usize = 30;

/// Carries out the sweep that `args` ask for.
pub(crate) fn sweep(args: &SweepArgs, output: &Output) -> Result<Exit, Failure> {
    let plan = plan(args)?;
    check_commands(
        &plan,
        args.file
            .as_deref()
            .unwrap_or_else(|| Path::new("combos.yaml")),
    )?;
    if args.dry_run {
        output.print(&describe(&plan, None));
        return Ok(Exit::Good);
    }
    let mut how = How {
        start: match (args.resume, args.overwrite) {
            (true, _) => Start::Resume,
            (false, true) => Start::Overwrite,
            (false, false) => Start::Fresh,
        },
        show_stdout: args.show_stdout,
        server_ready_timeout: Duration::from_secs(args.server_ready_timeout),
        ui: args.ui,
    };
    if args.again {
        let mut world = children(&how, Arc::default(), Vec::new(), Talk::default())?;
        let (start, note) = begin_again(&plan, &mut world, &vllm_date(clock::wall())).or_usage()?;
        how.start = start;
        if let Some(note) = note {
            output.note(&note);
        }
    }
    let (tally, journal) = carry_out(&plan, &how, output)?;
    output.print(&conclusion(&plan, &tally, &journal));
    let good = tally.failed == 0 && tally.pending == 0;
    if !good {
        output.say(&format!("Go on with: {}", resume_command()));
    }
    Ok(if good { Exit::Good } else { Exit::RunFailed })
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// What to do about earlier results.
    pub(crate) start: Start,
    /// Let children talk on the screen.
    pub(crate) show_stdout: bool,
    /// How long a server may take to be healthy.
    pub(crate) server_ready_timeout: Duration,
    /// How the sweep is shown while it is under way.
    pub(crate) ui: Ui,
}

/// Carries a plan out with child processes of this program, and tells about it.
pub(crate) fn carry_out(
    plan: &Plan,
    how: &How,
    output: &Output,
) -> Result<(Tally, Journal), Failure> {
    let interrupts = Arc::new(AtomicUsize::new(0));
    let _listening = listen(Arc::clone(&interrupts), output)?;
    let listener = Listener::open().or_failure()?;
    let variables = vec![listener.variable()];
    let talk = Talk::default();
    let mut world = children(how, Arc::clone(&interrupts), variables, talk.clone())?;
    let mut journal = Journal::begin(plan, how.start, &rfc3339(clock::wall())).or_usage()?;
    output.print(&describe(plan, Some(&journal)));
    check_servers(plan, &mut journal, &mut world).or_usage()?;
    let mut view = SweepView::begin(
        how.ui,
        plan.cells.len(),
        (listener, talk),
        interrupts,
        output,
    );
    let tally = execute(plan, &mut journal, &mut world, &mut |event| {
        view.show(event);
    });
    drop(view);
    let tally = tally.or_usage()?;
    if plan.form == Form::Serve {
        write_summaries(plan, &journal).or_failure()?;
    }
    Ok((tally, journal))
}

/// Child processes of this program.
pub(crate) fn children(
    how: &How,
    interrupts: Arc<AtomicUsize>,
    variables: Vec<(String, String)>,
    talk: Talk,
) -> Result<Children, Failure> {
    Ok(Children::new(ChildSettings {
        program: std::env::current_exe().or_failure()?,
        show_stdout: how.show_stdout,
        server_ready_timeout: how.server_ready_timeout,
        interrupts,
        api_key: std::env::var("OPENAI_API_KEY")
            .ok()
            .filter(|key| !key.is_empty())
            .map(Secret::new),
        variables,
        talk,
    }))
}

fn plan(args: &SweepArgs) -> Result<Plan, Failure> {
    // `vllm bench sweep serve …` comes here with its last word as a file.
    let word = args
        .file
        .as_deref()
        .and_then(Path::to_str)
        .unwrap_or_default();
    if let Some((name, instead)) = OTHER_SWEEPS
        .iter()
        .find(|(name, _)| *name == word && !Path::new(name).exists())
    {
        return Err(Failure::usage(format!(
            "sweep {name} is not supported: {instead}"
        )));
    }
    if word == "serve" && args.serve_cmd.is_none() && !Path::new(word).exists() {
        return Err(Failure::usage(
            "sweep serve needs --serve-cmd and --bench-cmd",
        ));
    }
    if args.serve_cmd.is_some() && args.file.is_some() && word != "serve" {
        return Err(Failure::usage(format!(
            "{word}: give either a file or --serve-cmd with --bench-cmd, not both"
        )));
    }
    if let (Some(serve_cmd), Some(bench_cmd)) = (&args.serve_cmd, &args.bench_cmd) {
        let name = args.experiment_name.clone();
        let name = name.unwrap_or_else(|| vllm_date(clock::wall()).replace('-', "_"));
        if args.resume && args.experiment_name.is_none() {
            return Err(Failure::usage(
                "--resume: name the experiment to go on with by --experiment-name",
            ));
        }
        let folder = args
            .output_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("results"));
        return serve_plan(&ServeOptions {
            serve_cmd: serve_cmd.clone(),
            bench_cmd: bench_cmd.clone(),
            after_bench_cmd: args.after_bench_cmd.clone(),
            serve_params: args.serve_params.clone(),
            bench_params: args.bench_params.clone(),
            link_vars: args.link_vars.clone(),
            num_runs: args.num_runs.unwrap_or(3),
            output: folder.join(name),
            warmup_num_prompts: args.warmup_num_prompts,
            fail_fast: !args.continue_on_error,
        })
        .or_usage();
    }
    let file = args
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from("combos.yaml"));
    if args.file.is_none() && !file.exists() {
        return Err(Failure::usage(
            "combos.yaml is not in this folder: write one (docs/sweeps.md shows how), or name a file: inferometer \
             sweep FILE",
        ));
    }
    let options = SweepOptions {
        output: args.output_dir.clone(),
        repeats: args.num_runs,
        fail_fast: args.fail_fast,
        run_folders: !args.no_run_folders,
        extra: args
            .backend
            .iter()
            .flat_map(|name| ["--backend", name])
            .map(str::to_owned)
            .chain(args.extra.clone())
            .collect(),
    };
    sweep_plan(&file, &flag_table(), &options).or_usage()
}

/// The flags of `run` and `simulate`, from their own definitions. A search is no run.
fn flag_table() -> FlagTable {
    let cli = Cli::command();
    let mut table = FlagTable::default();
    for (command, simulated) in [("run", false), ("simulate", true)] {
        let arguments = cli
            .find_subcommand(command)
            .into_iter()
            .flat_map(clap::Command::get_arguments);
        for argument in arguments {
            let Some(name) = argument.get_long() else {
                continue;
            };
            if table.find(name).is_some() || name.starts_with("find-") {
                continue;
            }
            let kind = match argument.get_action() {
                ArgAction::SetTrue | ArgAction::SetFalse => FlagKind::Switch,
                _ if argument
                    .get_num_args()
                    .is_some_and(|range| range.max_values() > 1) =>
                {
                    FlagKind::Many
                }
                _ => FlagKind::One,
            };
            table.0.push(Flag {
                name: name.to_owned(),
                kind,
                simulated,
            });
        }
    }
    table
}

/// Runs of ours are understood before the first one starts, so that a wrong value in the last is
/// not found after hours.
fn check_commands(plan: &Plan, file: &Path) -> Result<(), Failure> {
    if plan.form == Form::Serve {
        return Ok(());
    }
    for cell in plan
        .cells
        .iter()
        .filter(|cell| cell.command[0] == OURSELVES)
    {
        let wrong = |problem: String| {
            let line = if plan.form == Form::Experiment {
                line_of_flag(file, &problem)
            } else {
                String::new()
            };
            Failure::usage(format!(
                "{}: {line}{}: {problem}",
                file.display(),
                cell.name
            ))
        };
        // As the run itself will read them: with argparse's habits.
        let arguments = match argv::understand(cell.command.clone()) {
            Ok(Understood::Parse(arguments, _)) => arguments,
            Ok(Understood::Help(_)) => {
                return Err(wrong("--help is no setting of a run".to_owned()));
            }
            Err(failure) => return Err(wrong(failure.to_string())),
        };
        match Cli::try_parse_from(arguments) {
            Ok(Cli {
                command: Command::Run(args),
                ..
            }) => {
                RunSettings::resolve(*args).map_err(|failure| wrong(failure.to_string()))?;
            }
            Ok(Cli {
                command: Command::Simulate(args),
                ..
            }) => {
                simulate::check(*args).map_err(|failure| wrong(failure.to_string()))?;
            }
            Ok(_) => return Err(wrong("this is no command for a run".to_owned())),
            Err(error) => {
                let text = error.to_string();
                let first = text
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                return Err(wrong(first.to_owned()));
            }
        }
    }
    Ok(())
}

/// The plan for people: what is left of it, or, when nothing will be done, all of it with its
/// commands.
fn describe(plan: &Plan, journal: Option<&Journal>) -> String {
    let is_done = |index: usize| journal.is_some_and(|journal| journal.is_done(index));
    let done = (0..plan.cells.len())
        .filter(|&index| is_done(index))
        .count();
    let total = remaining(plan, |index| !is_done(index), &Calibration::default());
    let left = plan.cells.len() - done;
    let mut text = format!("Plan: {left} {}", if left == 1 { "run" } else { "runs" });
    if done > 0 {
        let _ = write!(text, " to go, {done} done already");
    }
    let simulated = plan.cells.iter().filter(|cell| cell.is_simulated()).count();
    if simulated > 0 {
        let _ = write!(
            text,
            ", {simulated} of {} on a virtual clock",
            plan.cells.len()
        );
    }
    match plan.servers.len() {
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
        if simulated < plan.cells.len() {
            " if a token takes 20 ms"
        } else {
            ""
        },
        plan.output.display()
    );
    let mut server = None;
    let shown = if journal.is_some() {
        SHOWN
    } else {
        plan.cells.len()
    };
    for (index, cell) in plan
        .cells
        .iter()
        .enumerate()
        .filter(|(index, _)| !is_done(*index))
        .take(shown)
    {
        if cell.server != server {
            server = cell.server;
            if let Some(spec) = server.map(|server| &plan.servers[server]) {
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
            let _ = writeln!(text, "       {}", shell_line(&cell.command));
        }
    }
    if left > shown {
        let _ = writeln!(text, "  … and {} more; --dry-run shows all", left - shown);
    }
    text
}

/// A command as it is typed, without secrets.
fn shell_line(command: &[String]) -> String {
    let words = redact_arguments(command);
    let quoted = words.iter().map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The command that was typed, with `--resume`.
fn resume_command() -> String {
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--overwrite" && word != "--again")
        .collect();
    if !words.iter().any(|word| word == "--resume") {
        let end = words
            .iter()
            .position(|word| word == "--")
            .unwrap_or(words.len());
        words.insert(end, "--resume".to_owned());
    }
    words.insert(0, OURSELVES.to_owned());
    shell_line(&words)
}

fn conclusion(plan: &Plan, tally: &Tally, journal: &Journal) -> String {
    let mut text = String::from("\n");
    let mut parts = vec![format!(
        "{} of {} runs done",
        tally.done + tally.earlier,
        plan.cells.len()
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
        plan.output.display()
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
            cell.reason.as_deref().unwrap_or("no reason known")
        );
    }
    if tally.failed > 0 {
        let _ = writeln!(
            text,
            "What the runs said is in {}",
            plan.output.join("logs").display()
        );
    }
    text
}

/// Counts interrupts until dropped.
struct Listening(Option<tokio::runtime::Runtime>);

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn listen(interrupts: Arc<AtomicUsize>, output: &Output) -> Result<Listening, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .or_failure()?;
    let output = output.clone();
    // The streams are made here, so that no signal can fall in between.
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).or_failure()?;
    let mut terminate = signal(SignalKind::terminate()).or_failure()?;
    // A lost terminal ends a sweep as gently as a Ctrl-C.
    let mut hangup = signal(SignalKind::hangup()).or_failure()?;
    drop(entered);
    runtime.spawn(async move {
        loop {
            let heard = tokio::select! {
                heard = interrupt.recv() => heard,
                heard = terminate.recv() => heard,
                heard = hangup.recv() => heard,
            };
            if heard.is_none() {
                return;
            }
            count_interrupt(&interrupts, &output);
        }
    });
    Ok(Listening(Some(runtime)))
}

/// Counts one interrupt and says what it does.
pub(crate) fn count_interrupt(interrupts: &AtomicUsize, output: &Output) {
    match interrupts.fetch_add(1, Ordering::Relaxed) {
        0 => output.warn(
            "stopping: the present run sends nothing more and its requests in flight have 5 s; everything \
             measured before is kept. Press Ctrl-C again to give them up",
        ),
        1 => output.warn("giving up requests in flight; press Ctrl-C again to kill the run"),
        _ => output.warn("killing the run"),
    }
}
