//! The progress of a run: on a terminal a bar, one line on stderr that is updated from snapshots ten times
//! per second; elsewhere a plain line now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use inferometer_core::Nanos;
use inferometer_engine::{Progress, Snapshot};
use inferometer_os::clock;

use crate::background::Background;
use crate::live::TICK;
use crate::output::Output;

/// Time between two plain lines about the progress.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A bar that follows a run until it is dropped.
#[derive(Debug)]
pub struct RunBar {
    _thread: Background,
}

impl RunBar {
    /// Shows `progress` on the terminal.
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

/// Writes a plain line about a run every 30 seconds until it is dropped: for logs, where a bar cannot be
/// drawn and silence looks like a hang.
#[derive(Debug)]
pub struct PlainProgress {
    _thread: Background,
}

impl PlainProgress {
    /// Writes lines about `progress` to `output`.
    pub fn follow(progress: Arc<Progress>, output: &Output) -> Self {
        let output = output.clone();
        let thread = Background::spawn(move |stopped| {
            let started = clock::now();
            let mut last_events = 0;
            while !stopped.within(LINE_EVERY) {
                let now = progress.snapshot();
                let events = now.events.saturating_sub(last_events) / LINE_EVERY.as_secs();
                last_events = now.events;
                output.progress(&plain_line(&now, clock::now().since(started), events));
            }
        });
        Self { _thread: thread }
    }
}

/// The state of a run after this time, in one line.
fn plain_line(now: &Snapshot, elapsed: Nanos, events_per_s: u64) -> String {
    let seconds = elapsed.as_secs_f64();
    let done = now.ok + now.failed;
    let failed = if now.failed > 0 {
        format!(", {} of them failed", now.failed)
    } else {
        String::new()
    };
    let left = if done > 0 && done < now.total {
        let left = seconds * (now.total - done) as f64 / done as f64;
        format!(", about {left:.0} s to go")
    } else {
        String::new()
    };
    format!(
        "after {seconds:.0} s: {done} of {} requests done{failed}, {} in flight, {events_per_s} events/s{left}",
        now.total, now.in_flight
    )
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
    started: Nanos,
    output: Output,
    /// When the next plain line is due, in seconds from the start; only without a terminal.
    next_line_s: AtomicU64,
}

impl SlowBar {
    /// A bar with a label, invisible for the first second.
    pub fn new(label: &'static str, output: &Output) -> Self {
        let bar = ProgressBar::hidden();
        Self {
            bar,
            label,
            started: clock::now(),
            output: output.clone(),
            next_line_s: AtomicU64::new(LINE_EVERY.as_secs()),
        }
    }

    /// Shows that `done` of `total` are done. May be called from many threads.
    pub fn update(&self, done: usize, total: usize) {
        let elapsed = clock::now().since(self.started);
        if elapsed.0 < 1_000_000_000 {
            return;
        }
        if !self.output.has_terminal() {
            self.plain_line(elapsed.as_secs_f64() as u64, done, total);
            return;
        }
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.set_style(style(
                "{msg} {percent:>3}%|{wide_bar}| {pos}/{len} [{elapsed}<{eta}]",
            ));
            self.bar.set_message(self.label);
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }

    /// Writes a line if one is due after this many seconds; of several threads one writes it.
    fn plain_line(&self, seconds: u64, done: usize, total: usize) {
        let due = self.next_line_s.load(Relaxed);
        let next = seconds + LINE_EVERY.as_secs();
        let is_mine = || {
            self.next_line_s
                .compare_exchange(due, next, Relaxed, Relaxed)
                .is_ok()
        };
        if seconds >= due && is_mine() {
            self.output.progress(&format!(
                "after {seconds} s: {}: {done} of {total}",
                self.label
            ));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_how_far_the_run_is() {
        let mut now = Snapshot {
            total: 400,
            in_flight: 12,
            ok: 97,
            failed: 3,
            events: 5_000,
            connections_opened: 12,
        };
        assert_eq!(
            plain_line(&now, Nanos::from_secs_f64(30.2), 166),
            "after 30 s: 100 of 400 requests done, 3 of them failed, 12 in flight, 166 events/s, about 91 s to go"
        );
        (now.ok, now.failed, now.in_flight) = (0, 0, 400);
        assert_eq!(
            plain_line(&now, Nanos::from_secs_f64(30.0), 0),
            "after 30 s: 0 of 400 requests done, 400 in flight, 0 events/s"
        );
    }
}
