//! The progress bar: one line on stderr, updated from snapshots ten times per second.

use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use inferometer_engine::{Progress, Snapshot};

use crate::background::Background;
use crate::live::TICK;

/// A bar that follows a run until it is dropped.
#[derive(Debug)]
pub struct RunBar {
    _thread: Background,
}

impl RunBar {
    /// Shows `progress`. Without a terminal on stderr only the last state is drawn.
    pub fn follow(progress: Arc<Progress>, total: usize) -> Self {
        let thread = Background::spawn(move |stopped| {
            let bar = bar(
                total as u64,
                "{percent:>3}%|{wide_bar}| {pos}/{len} [{elapsed}<{eta}, {per_sec}] {msg}",
            );
            let mut last_events = 0;
            loop {
                let end = stopped.within(TICK);
                let now = progress.snapshot();
                bar.set_position(now.ok + now.failed);
                bar.set_message(describe(&now, last_events));
                last_events = now.events;
                if end {
                    break;
                }
            }
            bar.abandon();
        });
        Self { _thread: thread }
    }
}

fn describe(now: &Snapshot, last_events: u64) -> String {
    let per_second = (now.events - last_events.min(now.events)) * 1000 / TICK.as_millis() as u64;
    let failed = if now.failed > 0 {
        format!(", {} failed", now.failed)
    } else {
        String::new()
    };
    format!("{} in flight, {per_second} events/s{failed}", now.in_flight)
}

/// A bar for work before the run, shown only if the work takes longer than a second.
#[derive(Debug)]
pub struct SlowBar {
    bar: ProgressBar,
    label: &'static str,
    started: inferometer_core::Nanos,
}

impl SlowBar {
    /// A bar with a label, invisible for the first second.
    pub fn new(label: &'static str) -> Self {
        let bar = ProgressBar::hidden();
        Self {
            bar,
            label,
            started: inferometer_os::clock::now(),
        }
    }

    /// Shows that `done` of `total` are done. May be called from many threads.
    pub fn update(&self, done: usize, total: usize) {
        if inferometer_os::clock::now().since(self.started).0 < 1_000_000_000 {
            return;
        }
        if self.bar.is_hidden() && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.set_style(style(
                "{msg} {percent:>3}%|{wide_bar}| {pos}/{len} [{elapsed}<{eta}]",
            ));
            self.bar.set_message(self.label);
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }
}

impl Drop for SlowBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn bar(total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    bar.set_style(style(template));
    bar
}

/// The style of all bars.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█▉▊▋▌▍▎▏  ")
}
