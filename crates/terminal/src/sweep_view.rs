//! The progress display of a sweep: one line for the campaign and one for its current run, or both
//! on the whole terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use inferometer_campaign::estimate::span;
use inferometer_campaign::{CurrentLog, Event, findings_of, verdict_of};
use inferometer_metrics::measured;
use inferometer_results::ImportedRun;

use crate::View;
use crate::background::Background;
use crate::live::{LastUpdate, Live, LiveSubscriber, TICK};
use crate::output::Output;
use crate::progress::style;
use crate::signals::count_interrupt;
use crate::tui::{CampaignProgress, Heading, Tui};

/// Shows a sweep until it is dropped.
#[derive(Debug)]
pub struct SweepView {
    // Dropped first, to restore the terminal before the rest is written.
    tui: Option<Tui>,
    lines: Lines,
    heading: Heading,
    subscriber: LiveSubscriber,
    output: Output,
    total: usize,
    ended: usize,
}

/// The sources of the current run's state, and how to interrupt it.
#[derive(Debug)]
pub struct Sources {
    /// The states of runs of this program.
    pub subscriber: LiveSubscriber,
    /// The log of any other command.
    pub current_log: CurrentLog,
    /// The number of interrupts.
    pub interrupts: Arc<AtomicUsize>,
}

impl SweepView {
    /// Starts showing a sweep of `total` runs.
    pub fn begin(view: View, total: usize, sources: Sources, output: &Output) -> Self {
        let Sources {
            subscriber,
            current_log,
            interrupts,
        } = sources;
        let heading = Heading::default();
        let last_update = subscriber.last_update();
        let tui = (view == View::FullScreen)
            .then(|| {
                let (log, shared) = (current_log.clone(), Arc::clone(&heading));
                let poll = move || {
                    let live = last_update.last();
                    let log_line = if live.is_none() { log_line(&log) } else { None };
                    let mut heading = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    heading.log_line = log_line;
                    live
                };
                let warnings = output.clone();
                let interrupt = move || count_interrupt(&interrupts, &warnings);
                Tui::follow(poll, interrupt, Arc::clone(&heading), output)
            })
            .flatten();
        let lines = Lines::begin(total, tui.is_none(), subscriber.last_update(), current_log);
        Self {
            tui,
            lines,
            heading,
            subscriber,
            output: output.clone(),
            total,
            ended: 0,
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event<'_>) {
        let total = self.total;
        match event {
            Event::ServerStarting(spec) => {
                self.head(format!("starting the server {}", spec.name), None);
            }
            Event::ServerReady(spec, took) => {
                let name = if spec.name.is_empty() {
                    String::new()
                } else {
                    format!(" {}", spec.name)
                };
                self.print_line(&format!("server{name} is healthy after {took:.1} s"));
            }
            Event::WarmingUp(cell) => self.head(format!("warming up for {}", cell.name), None),
            Event::Started {
                index,
                cell,
                seconds,
                left_s,
            } => {
                self.ended = *index;
                let left = format!("{} left", span(*left_s));
                self.head(format!("{} ({})", cell.name, span(*seconds)), Some(left));
            }
            Event::Finished {
                index,
                cell,
                seconds,
                run,
            } => {
                self.print_line(&format!(
                    "[{}/{total}] {}  {seconds:.1} s{}",
                    index + 1,
                    cell.name,
                    key_figures(run)
                ));
            }
            Event::Failed {
                index,
                cell,
                reason,
            } => {
                self.print_line(&format!(
                    "[{}/{total}] {}  FAILED: {reason}",
                    index + 1,
                    cell.name
                ));
            }
            Event::Skipped {
                index,
                cell,
                reason,
            } => {
                self.print_line(&format!(
                    "[{}/{total}] {}  skipped: {reason}",
                    index + 1,
                    cell.name
                ));
            }
            Event::Note(text) => self.lines.print_above(|| self.output.warn(text)),
        }
    }

    /// Shows the title of the next run or step.
    fn head(&mut self, title: String, left: Option<String>) {
        self.subscriber.last_update().clear();
        self.lines.head(self.ended, &title, left.as_deref());
        let mut heading = self.heading.lock().unwrap_or_else(PoisonError::into_inner);
        heading.title = title;
        let before = heading.campaign.take().map(|campaign| campaign.left);
        heading.campaign = Some(CampaignProgress {
            ended: self.ended,
            total: self.total,
            left: left.or(before).unwrap_or_default(),
        });
    }

    fn print_line(&self, text: &str) {
        self.lines.print_above(|| self.output.print_line(text));
    }
}

impl Drop for SweepView {
    fn drop(&mut self) {
        drop(self.tui.take());
        self.lines.end();
    }
}

/// The line of a run whose state is known.
const COUNTS: &str = "  {percent:>3}%|{wide_bar}| {pos}/{len} {msg}";
/// The line of a command that only writes a log.
const LOG: &str = "  {wide_msg}";

/// The running time and the last output line of a command whose state is unknown: another
/// program's, or a server that is starting.
fn log_line(current_log: &CurrentLog) -> Option<String> {
    let log = current_log.state()?;
    Some(format!(
        "{} s · {}",
        log.elapsed.as_secs(),
        log.last_line.as_deref().unwrap_or("no output yet")
    ))
}

/// Two lines at the bottom of a terminal.
#[derive(Debug)]
struct Lines {
    all: MultiProgress,
    campaign: ProgressBar,
    run: ProgressBar,
    thread: Option<Background>,
}

impl Lines {
    fn begin(total: usize, shown: bool, last_update: LastUpdate, current_log: CurrentLog) -> Self {
        let target = if shown && std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let all = MultiProgress::with_draw_target(target);
        let campaign = all.add(ProgressBar::new(total as u64));
        campaign.set_style(style(
            "{spinner} {pos}/{len} runs done{prefix} · {msg} · {elapsed}",
        ));
        let run = all.add(ProgressBar::new(0));
        run.set_style(style(LOG));
        campaign.enable_steady_tick(Duration::from_millis(200));
        let bar = run.clone();
        let thread = Background::spawn(move |stopped| {
            let mut last = Live::default();
            while !stopped.within(TICK) {
                let Some(now) = last_update.last() else {
                    bar.set_style(style(LOG));
                    bar.set_message(log_line(&current_log).unwrap_or_default());
                    last = Live::default();
                    continue;
                };
                bar.set_style(style(COUNTS));
                bar.set_length(now.total);
                bar.set_position(now.ok + now.failed);
                bar.set_message(describe(&now, &last));
                last = now;
            }
        });
        Self {
            all,
            campaign,
            run,
            thread: Some(thread),
        }
    }

    fn head(&self, ended: usize, title: &str, left: Option<&str>) {
        self.campaign.reset_elapsed();
        self.campaign.set_position(ended as u64);
        if let Some(left) = left {
            self.campaign.set_prefix(format!(", {left}"));
        }
        self.campaign.set_message(title.to_owned());
    }

    /// Writes something above the lines.
    fn print_above(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    fn end(&mut self) {
        drop(self.thread.take());
        self.run.finish_and_clear();
        self.campaign.finish_and_clear();
    }
}

fn describe(now: &Live, last: &Live) -> String {
    if now.total == 0 {
        return "no requests yet".to_owned();
    }
    let span = now.elapsed_s - last.elapsed_s;
    let events = now.events.saturating_sub(last.events) as f64;
    let rate = if span > 0.0 {
        format!(", {:.0} events/s", events / span)
    } else {
        String::new()
    };
    let ttft = now
        .recent
        .ttft
        .map(|ttft| format!(", TTFT {:.0} ms", ttft.p50))
        .unwrap_or_default();
    let failed = if now.failed > 0 {
        format!(", {} failed", now.failed)
    } else {
        String::new()
    };
    format!("{} in flight{rate}{ttft}{failed}", now.in_flight)
}

/// The key figures of a run, for one line.
fn key_figures(run: &ImportedRun) -> String {
    let mut text = String::new();
    for (key, name, unit) in [
        ("request_throughput", "", " req/s"),
        ("output_throughput", "", " tok/s"),
        ("median_ttft_ms", "TTFT ", " ms"),
        ("p99_ttft_ms", "p99 ", " ms"),
        ("median_tpot_ms", "TPOT ", " ms"),
        ("p99_tpot_ms", "p99 ", " ms"),
    ] {
        if let Some(number) = measured(key, |key| run.number(key)) {
            let separator = if name == "p99 " { " / " } else { "  " };
            let digits = if number < 10.0 {
                2
            } else {
                usize::from(number < 1000.0)
            };
            let _ = write!(text, "{separator}{name}{number:.digits$}{unit}");
        }
    }
    if let Some(failed) = run.number("failed").filter(|failed| *failed > 0.0) {
        let _ = write!(text, "  {failed} requests failed");
    }
    if let Some(verdict) = verdict_of(run) {
        let codes: Vec<String> = findings_of(run)
            .into_iter()
            .map(|finding| finding.code)
            .collect();
        let _ = write!(
            text,
            "  {}",
            format!("{verdict} {}", codes.join(", ")).trim_end()
        );
    }
    text
}
