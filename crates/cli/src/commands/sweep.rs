//! `inferometer sweep`: many runs, planned, executed, resumed.

mod preflight;
mod request;
mod resume;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use inferometer_benchmark::check_threads;
use inferometer_campaign::{
    Campaign, Claim, CurrentLog, Form, Journal, ProcessRunner, ProcessSettings, Start, Tally,
    check_servers, execute, left_servers, prepare_rerun, words, write_summaries,
};
use inferometer_os::clock;
use inferometer_results::{rfc3339, vllm_date};

use crate::args::SweepArgs;
use crate::exit::{Exit, Failure, OrFail};
use inferometer_terminal::LiveSubscriber;
use inferometer_terminal::{Output, View};
use inferometer_terminal::{Sources, SweepView, count_interrupts};

/// Executes the sweep that `args` describe.
pub(crate) fn sweep(args: &SweepArgs, output: &Output) -> Result<Exit, Failure> {
    let campaign = request::campaign(args)?;
    let file = args.file.as_deref();
    preflight::check_runs(&campaign, file.unwrap_or_else(|| Path::new("combos.yaml")))?;
    for note in campaign.address_notes() {
        output.note(&note);
    }
    if args.dry_run {
        output.print(&words::plan(&campaign, None));
        return Ok(Exit::Good);
    }
    let mut settings = ExecutionSettings {
        start: match (args.resume, args.overwrite) {
            (true, _) => Start::Resume,
            (false, true) => Start::Overwrite,
            (false, false) => Start::Fresh,
        },
        show_stdout: args.show_stdout,
        server_ready_timeout: Duration::from_secs(args.server_ready_timeout),
        ui: args.ui.into(),
    };
    let claim = Claim::take(&campaign, settings.start).or_usage()?;
    if args.again {
        let mut runner = process_runner(&settings, Links::default())?;
        let stamp = vllm_date(clock::wall());
        let (start, note) = prepare_rerun(&campaign, &claim, &mut runner, &stamp).or_usage()?;
        settings.start = start;
        if let Some(note) = note {
            output.note(&note);
        }
    }
    let (tally, journal) = execute_campaign(&campaign, claim, &settings, output)?;
    output.print(&words::conclusion(&campaign, &tally, &journal));
    let good = tally.failed == 0 && tally.pending == 0;
    if !good {
        output.print_line(&format!("Resume with: {}", resume::resume_command()));
    }
    Ok(if tally.interrupted && tally.pending > 0 {
        Exit::Interrupted
    } else if good {
        Exit::Good
    } else {
        Exit::RunFailed
    })
}

/// How a campaign is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecutionSettings {
    /// What happens to earlier results.
    pub(crate) start: Start,
    /// Print the output of runs and servers to the terminal.
    pub(crate) show_stdout: bool,
    /// How long to wait for a server to become healthy.
    pub(crate) server_ready_timeout: Duration,
    /// Its progress display.
    pub(crate) ui: View,
}

/// What connects the processes of a campaign to the one that shows it.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// The number of interrupts by the user.
    pub(crate) interrupts: Arc<AtomicUsize>,
    /// Further environment variables of runs: name and value.
    pub(crate) variables: Vec<(String, String)>,
    /// The log of the current command.
    pub(crate) current_log: CurrentLog,
}

/// Executes a campaign with child processes of this program, and shows its progress.
pub(crate) fn execute_campaign(
    campaign: &Campaign,
    claim: Claim,
    settings: &ExecutionSettings,
    output: &Output,
) -> Result<(Tally, Journal), Failure> {
    check_threads(0)?;
    name_left_servers(output);
    let interrupts = Arc::new(AtomicUsize::new(0));
    let _counting = count_interrupts(Arc::clone(&interrupts), output).or_failure()?;
    let subscriber = LiveSubscriber::open().or_failure()?;
    let current_log = CurrentLog::default();
    let links = Links {
        interrupts: Arc::clone(&interrupts),
        variables: vec![subscriber.variable()],
        current_log: current_log.clone(),
    };
    let mut runner = process_runner(settings, links)?;
    let now = rfc3339(clock::wall());
    let mut journal = Journal::begin(campaign, claim, settings.start, &now).or_usage()?;
    output.print(&words::plan(campaign, Some(&journal)));
    check_servers(campaign, &mut journal, &mut runner).or_usage()?;
    let sources = Sources {
        subscriber,
        current_log,
        interrupts,
    };
    let mut view = SweepView::begin(settings.ui, campaign.cells.len(), sources, output);
    let tally = execute(campaign, &mut journal, &mut runner, &mut |event| {
        view.show(event);
    });
    drop(view);
    let tally = tally.or_usage()?;
    if campaign.form == Form::Serve {
        write_summaries(campaign, &journal).or_failure()?;
    }
    Ok((tally, journal))
}

/// Where the servers of sweeps are noted while they run.
fn server_notes() -> Option<PathBuf> {
    let kept = inferometer_benchmark::ceiling::kept_at()?;
    Some(kept.parent()?.join("servers"))
}

/// Names the servers that earlier sweeps have left behind.
fn name_left_servers(output: &Output) {
    for server in server_notes()
        .as_deref()
        .map(left_servers)
        .unwrap_or_default()
    {
        output.warn(&format!(
            "a server of an earlier sweep is still running: process {} ({}). That sweep was killed before it \
             could stop the server; stop it with: kill {}",
            server.pid, server.command, server.pid
        ));
    }
}

/// Child processes of this program.
pub(crate) fn process_runner(
    settings: &ExecutionSettings,
    links: Links,
) -> Result<ProcessRunner, Failure> {
    Ok(ProcessRunner::new(ProcessSettings {
        program: std::env::current_exe().or_failure()?,
        show_stdout: settings.show_stdout,
        server_ready_timeout: settings.server_ready_timeout,
        interrupts: links.interrupts,
        api_key: inferometer_benchmark::api_key()?,
        variables: links.variables,
        current_log: links.current_log,
        server_notes: server_notes(),
    }))
}
