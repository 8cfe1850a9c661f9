//! The live view of a run, or of a sweep and its current run: rates, latencies and errors over
//! time, on the whole terminal.
//!
//! It only reads snapshots, ten times per second, so it cannot slow the run. The terminal is
//! restored however the run ends; output that arrived while the view was open is written when it
//! closes.

mod view;

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};

use crate::background::Background;
use crate::live::{Live, TICK};
use crate::output::{Hold, Output};

pub(crate) use view::CampaignProgress;
pub use view::Head;
use view::{MESSAGES, View};

/// Shows a run until it is dropped.
#[derive(Debug)]
pub struct Tui {
    _thread: Background,
    // Dropped last, when the terminal is restored.
    _hold: Hold,
}

/// What is shown above the run, as it changes.
pub(crate) type Heading = Arc<Mutex<Head>>;

impl Tui {
    /// Takes over the terminal and shows the states that `poll` returns, `None` while no run is in
    /// progress. Returns `None` without a terminal.
    ///
    /// `q` and Ctrl-C call `interrupt`: the first stops the run gracefully, the second immediately.
    pub fn follow(
        mut poll: impl FnMut() -> Option<Live> + Send + 'static,
        interrupt: impl Fn() + Send + 'static,
        heading: Heading,
        output: &Output,
    ) -> Option<Self> {
        if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return None;
        }
        let terminal = ratatui::try_init().ok()?;
        let panicked = watch_for_panics();
        let hold = output.hold();
        let output = output.clone();
        let thread = Background::spawn(move |stopped| {
            let mut terminal = Restored(terminal);
            let mut view = View::default();
            // A panic anywhere restores the terminal at once: nothing may be drawn over its
            // message.
            while !panicked.load(Ordering::Acquire) {
                let head = heading
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                view.advance(head, poll(), output.last_held(MESSAGES));
                if terminal.0.draw(|frame| view.draw(frame)).is_err() {
                    return;
                }
                // Between two frames, wait for keys and check for the end of the run.
                if is_stop_requested(TICK) {
                    interrupt();
                }
                if stopped.within(Duration::ZERO) {
                    return;
                }
            }
        });
        Some(Self {
            _thread: thread,
            _hold: hold,
        })
    }
}

/// A flag that becomes true when a thread panics, before the hook that restores the terminal runs.
fn watch_for_panics() -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&panicked);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        flag.store(true, Ordering::Release);
        hook(info);
    }));
    panicked
}

/// Restores the terminal when it is dropped, also on a panic.
struct Restored(DefaultTerminal);

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Waits up to `timeout` for a key; true if it is `q` or Ctrl-C.
fn is_stop_requested(timeout: Duration) -> bool {
    match event::poll(timeout) {
        Ok(true) => match event::read() {
            Ok(Event::Key(key)) if key.is_press() => {
                let interrupt =
                    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                interrupt || key.code == KeyCode::Char('q')
            }
            _ => false,
        },
        Ok(false) => false,
        Err(_) => {
            // Without the pause, a terminal that cannot be polled would make the caller's loop
            // spin.
            std::thread::sleep(timeout);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run by the test below on a terminal of its own.
    #[test]
    #[ignore = "panics, and needs a terminal"]
    fn panics_while_the_terminal_is_taken() {
        let (send, polled_twice) = std::sync::mpsc::sync_channel(1);
        let mut polls = 0;
        let poll = move || {
            polls += 1;
            // A frame has been drawn by then.
            if polls == 2 {
                send.send(()).unwrap();
                panic!("broken on purpose");
            }
            None
        };
        let tui = Tui::follow(poll, || {}, Heading::default(), &Output::default());
        polled_twice.recv().unwrap();
        drop(tui);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_panic_restores_the_terminal() {
        let this = std::env::current_exe().unwrap();
        let child = "tui::tests::panics_while_the_terminal_is_taken";
        let command = format!(
            "stty -g; '{}' --exact {child} --ignored --nocapture; stty -g",
            this.display()
        );
        let ran = std::process::Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&ran.stdout);
        let last = |sequence: &str| shown.rfind(sequence);
        assert!(
            last("\u{1b}[?1049h").is_some(),
            "the terminal was never taken: {shown:?}"
        );
        assert!(last("\u{1b}[?1049l") > last("\u{1b}[?1049h"), "{shown:?}");
        assert!(last("\u{1b}[?25h") > last("\u{1b}[?25l"), "{shown:?}");
        assert!(
            last("broken on purpose") > shown.find("\u{1b}[?1049l"),
            "{shown:?}"
        );
        let states: Vec<_> = shown
            .lines()
            .filter(|line| line.matches(':').count() > 20)
            .collect();
        assert!(
            states.len() == 2 && states[0] == states[1],
            "{states:?} in {shown:?}"
        );
    }
}
