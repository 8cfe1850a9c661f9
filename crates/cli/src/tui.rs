//! The live view of a run, or of a sweep and its present run: rates, latencies and errors over
//! time, on the whole terminal.
//!
//! It reads snapshots ten times a second and nothing else, so it cannot slow the run. The terminal
//! is restored however the run ends, and what was said meanwhile is written then.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};

use crate::background::Background;
use crate::live::{Live, TICK};
use crate::output::{Hold, Output};

/// Ticks in the curves: a minute.
const HISTORY: usize = 600;
/// Lines of talk that are shown.
const TALK: usize = 5;
/// Ticks over which rates are taken.
const RATE_TICKS: usize = 20;
/// Rows of the screen from which there is room for curves of latencies.
const TALL: u16 = 26;

/// The view of a run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Tui {
    _thread: Background,
    // Goes last, when the terminal is everybody's again.
    _hold: Hold,
}

/// What stands above the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Head {
    /// Which run it is.
    pub(crate) title: String,
    /// What a command says that does not tell how it stands.
    pub(crate) quiet: Option<String>,
    /// For a sweep: runs that have ended, all runs, and how it goes on in words.
    pub(crate) campaign: Option<(usize, usize, String)>,
}

/// What stands above the run, as it changes.
pub(crate) type Heading = Arc<Mutex<Head>>;

impl Tui {
    /// Takes the terminal over and shows what `look` sees, `None` while no run is under way.
    /// Returns `None` where there is no terminal to take.
    ///
    /// `q` and Ctrl-C call `interrupt`, which stops the run: once gently, twice at once.
    pub(crate) fn follow(
        mut look: impl FnMut() -> Option<Live> + Send + 'static,
        interrupt: impl Fn() + Send + 'static,
        heading: Heading,
        output: &Output,
    ) -> Option<Self> {
        if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return None;
        }
        let terminal = ratatui::try_init().ok()?;
        let broken = notice_panics();
        let hold = output.hold();
        let output = output.clone();
        let thread = Background::spawn(move |stopped| {
            let mut terminal = Restored(terminal);
            let mut view = View::default();
            // A panic anywhere gives the terminal back at once: nothing may be drawn over its
            // message.
            while !broken.load(Ordering::Acquire) {
                let head = heading
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                view.advance(head, look(), output.last_held(TALK));
                if terminal.0.draw(|frame| view.draw(frame)).is_err() {
                    return;
                }
                // Keys are waited for between two pictures, and the end of the run is looked for.
                if asked_to_stop(TICK) {
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

/// Becomes true when a thread panics. The hook that gives the terminal back runs after this is
/// noted.
fn notice_panics() -> Arc<AtomicBool> {
    let broken = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&broken);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        noted.store(true, Ordering::Release);
        hook(info);
    }));
    broken
}

/// Gives the terminal back when it goes, also when a panic takes it.
struct Restored(DefaultTerminal);

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn asked_to_stop(patience: Duration) -> bool {
    match event::poll(patience) {
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
            // A terminal that cannot be asked would make this loop spin.
            std::thread::sleep(patience);
            false
        }
    }
}

/// What is on the screen.
#[derive(Debug, Default)]
struct View {
    head: Head,
    live: Live,
    talk: Vec<String>,
    events: VecDeque<u64>,
    in_flight: VecDeque<u64>,
    /// p99 of the last ten seconds, in microseconds.
    ttft: VecDeque<u64>,
    itl: VecDeque<u64>,
    /// Instant, requests sent, requests ended.
    counts: VecDeque<(f64, u64, u64)>,
}

impl View {
    fn advance(&mut self, head: Head, live: Option<Live>, talk: Vec<String>) {
        let live = live.unwrap_or_default();
        if live.elapsed_s < self.live.elapsed_s {
            // Another run has begun.
            *self = Self::default();
        }
        let span = live.elapsed_s - self.live.elapsed_s;
        if span > 0.0 {
            let more = live.events.saturating_sub(self.live.events);
            push(&mut self.events, (more as f64 / span) as u64);
            push(&mut self.in_flight, live.in_flight);
            let p99 = |spread: Option<[f64; 4]>| spread.map_or(0, |of| (of[2] * 1000.0) as u64);
            push(&mut self.ttft, p99(live.spreads[0]));
            push(&mut self.itl, p99(live.spreads[1]));
            let ended = live.ok + live.failed;
            self.counts
                .push_back((live.elapsed_s, ended + live.in_flight, ended));
            if self.counts.len() > RATE_TICKS {
                self.counts.pop_front();
            }
        }
        (self.head, self.live, self.talk) = (head, live, talk);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let campaign = u16::from(self.head.campaign.is_some());
        let talk = if self.head.campaign.is_some() {
            TALK as u16 + 2
        } else {
            self.talk.len().min(TALK) as u16
        };
        let [overall, head, gauge, curves, table, said, foot] = Layout::vertical([
            Constraint::Length(campaign),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(5),
            Constraint::Length(6),
            Constraint::Length(talk),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        if let Some((done, total, text)) = &self.head.campaign {
            let label = format!("{done} of {total} runs · {text}");
            draw_gauge(
                frame,
                overall,
                (*done as u64, *total as u64),
                label,
                Color::Blue,
            );
        }
        frame.render_widget(Line::from(self.head.title.as_str()).bold(), head);
        self.draw_run(frame, gauge);
        let halves = || Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
        let rows = [
            Constraint::Fill(1),
            Constraint::Fill(u16::from(frame.area().height >= TALL)),
        ];
        let [upper, lower] = Layout::vertical(rows).areas(curves);
        let [left, right] = halves().areas(upper);
        curve(frame, left, "events/s", &self.events, 1.0, Color::Cyan);
        curve(
            frame,
            right,
            "requests in flight",
            &self.in_flight,
            1.0,
            Color::Yellow,
        );
        if lower.height > 2 {
            let [left, right] = halves().areas(lower);
            curve(
                frame,
                left,
                "p99 TTFT (ms)",
                &self.ttft,
                1000.0,
                Color::Magenta,
            );
            curve(
                frame,
                right,
                "p99 mean ITL (ms)",
                &self.itl,
                1000.0,
                Color::Green,
            );
        }
        self.draw_table(frame, table);
        let lines: Vec<Line<'_>> = self
            .talk
            .iter()
            .map(|line| Line::from(line.as_str()))
            .collect();
        let said_so_far = Paragraph::new(lines);
        if self.head.campaign.is_some() {
            frame.render_widget(
                said_so_far.block(Block::bordered().title("said so far")),
                said,
            );
        } else {
            frame.render_widget(said_so_far, said);
        }
        let keys =
            Paragraph::new("q or Ctrl-C: stop sending and finish; again: stop at once").dim();
        frame.render_widget(keys, foot);
    }

    /// Requests sent and ended per second over the last moments.
    fn rates(&self) -> (f64, f64) {
        let (Some(first), Some(last)) = (self.counts.front(), self.counts.back()) else {
            return (0.0, 0.0);
        };
        let span = last.0 - first.0;
        let rate = |from: u64, to: u64| {
            if span > 0.0 {
                to.saturating_sub(from) as f64 / span
            } else {
                0.0
            }
        };
        (rate(first.1, last.1), rate(first.2, last.2))
    }

    fn draw_run(&self, frame: &mut Frame<'_>, area: Rect) {
        let Live {
            total,
            ok,
            failed,
            elapsed_s: elapsed,
            ..
        } = self.live;
        if total == 0 {
            let waiting =
                Paragraph::new(self.head.quiet.as_deref().unwrap_or("no request yet")).dim();
            return frame.render_widget(waiting, area);
        }
        let done = ok + failed;
        let (sent, ended) = self.rates();
        let label = format!(
            "{done}/{total} · {elapsed:.0} s · sent {sent:.1}/s, ended {ended:.1}/s · {failed} failed"
        );
        let color = if failed > 0 { Color::Red } else { Color::Green };
        draw_gauge(frame, area, (done, total), label, color);
    }

    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let row = |name: &'static str, spread: &Option<[f64; 4]>| {
            let cell =
                |place: usize| spread.map_or_else(|| "–".into(), |of| format!("{:.2}", of[place]));
            Row::new([name.to_owned(), cell(0), cell(1), cell(2), cell(3)])
        };
        let widths = [
            Constraint::Length(22),
            Constraint::Length(10),
            Constraint::Length(10),
            Constraint::Length(10),
            Constraint::Length(10),
        ];
        let names = ["TTFT (ms)", "mean ITL (ms)", "send lateness (ms)"];
        let rows = names
            .into_iter()
            .zip(&self.live.spreads)
            .map(|(name, spread)| row(name, spread));
        let title = format!("requests that ended in the last 10 s: {}", self.live.window);
        let table = Table::new(rows, widths)
            .header(Row::new(["", "p50", "p90", "p99", "max"]).dim())
            .block(Block::bordered().title(title));
        frame.render_widget(table, area);
    }
}

fn draw_gauge(
    frame: &mut Frame<'_>,
    area: Rect,
    (done, total): (u64, u64),
    label: String,
    color: Color,
) {
    let ratio = if total > 0 {
        (done as f64 / total as f64).min(1.0)
    } else {
        0.0
    };
    let gauge = Gauge::default()
        .ratio(ratio)
        .label(label)
        .gauge_style(Style::new().fg(color));
    frame.render_widget(gauge, area);
}

fn push(history: &mut VecDeque<u64>, value: u64) {
    history.push_back(value);
    if history.len() > HISTORY {
        history.pop_front();
    }
}

/// The curve of a quantity, whose values are kept as whole numbers of 1/`unit`.
fn curve(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    history: &VecDeque<u64>,
    unit: f64,
    color: Color,
) {
    let digits = if unit > 1.0 { 2 } else { 0 };
    let shown = |value: Option<u64>| format!("{:.digits$}", value.unwrap_or(0) as f64 / unit);
    let last = shown(history.back().copied());
    let most = shown(history.iter().copied().max());
    let block = Block::bordered().title(format!("{name}: {last} (max {most})"));
    let inner = block.inner(area);
    let shown = history
        .iter()
        .rev()
        .take(usize::from(inner.width))
        .copied()
        .collect::<Vec<_>>();
    let data: Vec<u64> = shown.into_iter().rev().collect();
    frame.render_widget(
        Sparkline::default()
            .data(data)
            .style(Style::new().fg(color))
            .block(block),
        area,
    );
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(view: &View, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn live(elapsed_s: f64, events: u64) -> Live {
        Live {
            total: 200,
            ok: 48,
            failed: 2,
            in_flight: 7,
            events,
            elapsed_s,
            window: 50,
            spreads: [
                Some([64.5, 80.0, 88.0, 89.0]),
                Some([8.0; 4]),
                Some([0.02; 4]),
            ],
        }
    }

    #[test]
    fn the_view_shows_how_the_run_stands() {
        let mut view = View::default();
        let head = Head {
            title: "m · http://127.0.0.1:8000".into(),
            ..Head::default()
        };
        let before = Live {
            ok: 40,
            in_flight: 6,
            ..live(0.1, 50)
        };
        view.advance(head.clone(), Some(before), Vec::new());
        view.advance(head, Some(live(0.2, 250)), vec!["warning: stopping".into()]);
        assert!(!screen(&view, 18).contains("p99 TTFT"));
        let screen = screen(&view, 30);
        for shown in [
            "m · http://127.0.0.1:8000",
            "50/200 · 0 s · sent 90.0/s, ended 80.0/s · 2 failed",
            "events/s: 2000 (max 2000)",
            "requests in flight: 7 (max 7)",
            "requests that ended in the last 10 s: 50",
            "TTFT (ms)              64.50",
            "mean ITL (ms)          8.00",
            "send lateness (ms)     0.02",
            "p99 TTFT (ms): 88.00 (max 88.00)",
            "p99 mean ITL (ms): 8.00 (max 8.00)",
            "warning: stopping",
        ] {
            assert!(screen.contains(shown), "no {shown:?} in\n{screen}");
        }
    }

    #[test]
    fn a_sweep_stands_above_its_present_run_and_each_run_has_its_own_curves() {
        let mut view = View::default();
        let head = |done| Head {
            quiet: None,
            title: "io16x4 mc1 np4".into(),
            campaign: Some((done, 4, "about 3 s left".into())),
        };
        view.advance(head(0), Some(live(1.0, 9000)), Vec::new());
        view.advance(
            head(1),
            Some(live(0.1, 10)),
            vec!["[1/4] io16x4 mc1 np4  1.0 s".into()],
        );
        let screen = screen(&view, 24);
        for shown in [
            "1 of 4 runs · about 3 s left",
            "events/s: 100 (max 100)",
            "said so far",
            "[1/4] io16x4 mc1 np4  1.0 s",
        ] {
            assert!(screen.contains(shown), "no {shown:?} in\n{screen}");
        }
    }

    #[test]
    fn an_empty_run_and_a_tiny_terminal_can_be_drawn() {
        assert!(screen(&View::default(), 18).contains("no request yet"));
        let mut view = View::default();
        let campaign = Some((0, 1, String::new()));
        view.advance(
            Head {
                title: String::new(),
                campaign,
                quiet: None,
            },
            Some(live(1.0, 1)),
            vec!["a".into(); TALK],
        );
        for height in 1..12 {
            drop(screen(&view, height));
        }
    }

    /// Run by the test below on a terminal of its own.
    #[test]
    #[ignore = "panics, and needs a terminal"]
    fn panics_while_the_terminal_is_taken() {
        let (say, looked_twice) = std::sync::mpsc::sync_channel(1);
        let mut looks = 0;
        let look = move || {
            looks += 1;
            // A picture has been drawn by then.
            if looks == 2 {
                say.send(()).unwrap();
                panic!("broken on purpose");
            }
            None
        };
        let tui = Tui::follow(look, || {}, Heading::default(), &Output::default());
        looked_twice.recv().unwrap();
        drop(tui);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_panic_gives_the_terminal_back() {
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
