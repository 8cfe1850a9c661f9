//! How a sweep is shown while it is under way: a line for the campaign and one for its present run,
//! or both on the whole terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use inferometer_campaign::estimate::span;
use inferometer_campaign::{Event, Talk, findings_of, verdict_of};
use inferometer_results::ImportedRun;

use crate::args::Ui;
use crate::background::Background;
use crate::commands::sweep::count_interrupt;
use crate::live::{Heard, Listener, Live, TICK};
use crate::output::Output;
use crate::progress::style;
use crate::tui::{Heading, Tui};

/// Shows a sweep until it is dropped.
#[derive(Debug)]
pub(crate) struct SweepView {
    // Dropped first: what follows is written on an ordinary terminal.
    tui: Option<Tui>,
    lines: Lines,
    heading: Heading,
    listener: Listener,
    output: Output,
    total: usize,
    ended: usize,
}

impl SweepView {
    /// Begins to show a sweep of `total` runs, which tell the listener how they stand; `talk` is
    /// what others say.
    pub(crate) fn begin(
        ui: Ui,
        total: usize,
        (listener, talk): (Listener, Talk),
        interrupts: Arc<AtomicUsize>,
        output: &Output,
    ) -> Self {
        let heading = Heading::default();
        let heard = listener.heard();
        let said = output.clone();
        let tui = (ui == Ui::Tui)
            .then(|| {
                let (talk, shared) = (talk.clone(), Arc::clone(&heading));
                let look = move || {
                    let live = heard.last();
                    let quiet = if live.is_none() { quiet(&talk) } else { None };
                    shared.lock().unwrap_or_else(PoisonError::into_inner).quiet = quiet;
                    live
                };
                Tui::follow(
                    look,
                    move || count_interrupt(&interrupts, &said),
                    Arc::clone(&heading),
                    output,
                )
            })
            .flatten();
        let lines = Lines::begin(total, tui.is_none(), listener.heard(), talk);
        Self {
            tui,
            lines,
            heading,
            listener,
            output: output.clone(),
            total,
            ended: 0,
        }
    }

    /// Shows what has happened.
    pub(crate) fn show(&mut self, event: &Event<'_>) {
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
                self.say(&format!("server{name} is healthy after {took:.1} s"));
            }
            Event::WarmingUp(cell) => self.head(format!("warming up for {}", cell.name), None),
            Event::Started(index, cell, own, left) => {
                self.ended = *index;
                let left = format!("{} left", span(*left));
                self.head(format!("{} ({})", cell.name, span(*own)), Some(left));
            }
            Event::Finished(index, cell, took, run) => {
                self.say(&format!(
                    "[{}/{total}] {}  {took:.1} s{}",
                    index + 1,
                    cell.name,
                    key_figures(run)
                ));
            }
            Event::Failed(index, cell, reason) => {
                self.say(&format!(
                    "[{}/{total}] {}  FAILED: {reason}",
                    index + 1,
                    cell.name
                ));
            }
            Event::Skipped(index, cell, reason) => {
                self.say(&format!(
                    "[{}/{total}] {}  skipped: {reason}",
                    index + 1,
                    cell.name
                ));
            }
            Event::Note(text) => self.lines.aside(|| self.output.warn(text)),
        }
    }

    /// Something else is under way now.
    fn head(&mut self, title: String, left: Option<String>) {
        self.listener.heard().clear();
        self.lines.head(self.ended, &title, left.as_deref());
        let mut heading = self.heading.lock().unwrap_or_else(PoisonError::into_inner);
        heading.title = title;
        let before = heading.campaign.take().map(|(_, _, left)| left);
        heading.campaign = Some((self.ended, self.total, left.or(before).unwrap_or_default()));
    }

    fn say(&self, text: &str) {
        self.lines.aside(|| self.output.say(text));
    }
}

impl Drop for SweepView {
    fn drop(&mut self) {
        drop(self.tui.take());
        self.lines.end();
    }
}

/// The line of a run that tells how it stands.
const COUNTS: &str = "  {percent:>3}%|{wide_bar}| {pos}/{len} {msg}";
/// The line of a command that only writes a log.
const SAYS: &str = "  {wide_msg}";

/// How long a command runs that does not tell how it stands (one that is not ours, or a server that
/// starts), and what it wrote last.
fn quiet(talk: &Talk) -> Option<String> {
    let (elapsed, said) = talk.last()?;
    Some(format!(
        "{} s · {}",
        elapsed.as_secs(),
        said.as_deref().unwrap_or("nothing said yet")
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
    fn begin(total: usize, shown: bool, heard: Heard, talk: Talk) -> Self {
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
        run.set_style(style(SAYS));
        campaign.enable_steady_tick(Duration::from_millis(200));
        let bar = run.clone();
        let thread = Background::spawn(move |stopped| {
            let mut last = Live::default();
            while !stopped.within(TICK) {
                let Some(now) = heard.last() else {
                    bar.set_style(style(SAYS));
                    bar.set_message(quiet(&talk).unwrap_or_default());
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

    /// Lets something be written above the lines.
    fn aside(&self, write: impl FnOnce()) {
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
        return "no request yet".to_owned();
    }
    let span = now.elapsed_s - last.elapsed_s;
    let events = now.events.saturating_sub(last.events) as f64;
    let rate = if span > 0.0 {
        format!(", {:.0} events/s", events / span)
    } else {
        String::new()
    };
    let ttft = now.spreads[0]
        .map(|spread| format!(", TTFT {:.0} ms", spread[0]))
        .unwrap_or_default();
    let failed = if now.failed > 0 {
        format!(", {} failed", now.failed)
    } else {
        String::new()
    };
    format!("{} in flight{rate}{ttft}{failed}", now.in_flight)
}

/// The numbers that one looks at first.
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
        if let Some(number) = run.number(key) {
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
