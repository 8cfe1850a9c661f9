//! The live view of a run: rates, latencies and errors over time, on the whole terminal.
//!
//! It reads snapshots ten times a second and nothing else, so it cannot slow the run. The terminal is restored
//! however the run ends.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use servebench_core::Nanos;
use servebench_engine::{Progress, Recent, Snapshot, StopHandle};
use servebench_metrics::numpy;
use servebench_os::clock;

const TICK: Duration = Duration::from_millis(100);
/// Ticks in the curves: a minute.
const HISTORY: usize = 600;
/// Latencies are those of requests that ended so long ago at most.
const WINDOW: Nanos = Nanos::from_millis(10_000);

/// The view of a run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Tui {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Tui {
    /// Takes the terminal over and follows `progress`. `None` where there is no terminal to take.
    ///
    /// `q` and Ctrl-C stop the run as an interrupt would: once gently, twice at once.
    pub(crate) fn follow(progress: Arc<Progress>, stop_run: StopHandle, title: String) -> Option<Self> {
        if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return None;
        }
        let terminal = ratatui::try_init().ok()?;
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let mut terminal = Restored(terminal);
            let mut view = View::new(title, clock::now());
            loop {
                view.advance(progress.snapshot(), progress.recent(), clock::now());
                if terminal.0.draw(|frame| view.draw(frame)).is_err() {
                    return;
                }
                // Keys are waited for between two pictures, and the end of the run is looked for.
                if asked_to_stop(TICK) {
                    stop_run.escalate();
                }
                if stopped.try_recv() != Err(TryRecvError::Empty) {
                    return;
                }
            }
        });
        Some(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The view is decoration: whatever became of its thread, the run is done.
            drop(thread.join());
        }
    }
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
        _ => false,
    }
}

/// What is on the screen.
struct View {
    title: String,
    started: Nanos,
    now: Nanos,
    snapshot: Snapshot,
    recent: Vec<Recent>,
    events: VecDeque<u64>,
    in_flight: VecDeque<u64>,
}

impl View {
    fn new(title: String, started: Nanos) -> Self {
        Self {
            title,
            started,
            now: started,
            snapshot: Snapshot::default(),
            recent: Vec::new(),
            events: VecDeque::new(),
            in_flight: VecDeque::new(),
        }
    }

    fn advance(&mut self, snapshot: Snapshot, recent: Vec<Recent>, now: Nanos) {
        let span = now.since(self.now).as_secs_f64();
        if span > 0.0 {
            let more = snapshot.events.saturating_sub(self.snapshot.events);
            push(&mut self.events, (more as f64 / span) as u64);
        }
        push(&mut self.in_flight, snapshot.in_flight);
        (self.snapshot, self.recent, self.now) = (snapshot, recent, now);
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [head, gauge, curves, table, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(8),
            Constraint::Length(6),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Line::from(self.title.as_str()).bold(), head);
        self.draw_gauge(frame, gauge);
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(curves);
        curve(frame, left, "events/s", &self.events, Color::Cyan);
        curve(frame, right, "requests in flight", &self.in_flight, Color::Yellow);
        self.draw_table(frame, table);
        let keys = Paragraph::new("q or Ctrl-C: stop sending and finish; again: stop at once").dim();
        frame.render_widget(keys, foot);
    }

    fn draw_gauge(&self, frame: &mut Frame<'_>, area: Rect) {
        let Snapshot { total, ok, failed, .. } = self.snapshot;
        let done = ok + failed;
        let elapsed = self.now.since(self.started).as_secs_f64();
        let rate = if elapsed > 0.0 { done as f64 / elapsed } else { 0.0 };
        let label = format!("{done}/{total} · {elapsed:.0} s · {rate:.2} req/s · {failed} failed");
        let ratio = if total > 0 { (done as f64 / total as f64).min(1.0) } else { 0.0 };
        let color = if failed > 0 { Color::Red } else { Color::Green };
        frame.render_widget(
            Gauge::default().ratio(ratio).label(label).gauge_style(Style::new().fg(color)),
            area,
        );
    }

    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let end = self.recent.last().map_or(Nanos::ZERO, |last| last.end);
        let window: Vec<&Recent> =
            self.recent.iter().filter(|request| end.since(request.end) <= WINDOW).collect();
        let row = |name: &'static str, of: fn(&Recent) -> Option<f64>| {
            let mut values: Vec<f64> = window.iter().filter_map(|request| of(request)).collect();
            numpy::sort(&mut values);
            let at = |p| {
                if values.is_empty() { "–".into() } else { format!("{:.2}", numpy::percentile(&values, p)) }
            };
            Row::new([name.to_owned(), at(50.0), at(90.0), at(99.0), at(100.0)])
        };
        let widths = [
            Constraint::Length(22),
            Constraint::Length(10),
            Constraint::Length(10),
            Constraint::Length(10),
            Constraint::Length(10),
        ];
        let rows = [
            row("TTFT (ms)", |request| request.ttft_ms),
            row("mean ITL (ms)", |request| request.itl_ms),
            row("send lateness (ms)", |request| request.lateness_ms),
        ];
        let title = format!("requests that ended in the last 10 s: {}", window.len());
        let table = Table::new(rows, widths)
            .header(Row::new(["", "p50", "p90", "p99", "max"]).dim())
            .block(Block::bordered().title(title));
        frame.render_widget(table, area);
    }
}

fn push(history: &mut VecDeque<u64>, value: u64) {
    history.push_back(value);
    if history.len() > HISTORY {
        history.pop_front();
    }
}

fn curve(frame: &mut Frame<'_>, area: Rect, name: &str, history: &VecDeque<u64>, color: Color) {
    let last = history.back().copied().unwrap_or(0);
    let most = history.iter().copied().max().unwrap_or(0);
    let block = Block::bordered().title(format!("{name}: {last} (max {most})"));
    let inner = block.inner(area);
    let shown = history.iter().rev().take(usize::from(inner.width)).copied().collect::<Vec<_>>();
    let data: Vec<u64> = shown.into_iter().rev().collect();
    frame.render_widget(Sparkline::default().data(data).style(Style::new().fg(color)).block(block), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 18)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_view_shows_how_the_run_stands() {
        let mut view = View::new("m · http://127.0.0.1:8000".into(), Nanos::ZERO);
        let before = Snapshot { total: 200, in_flight: 3, ok: 1, events: 50, ..Snapshot::default() };
        view.advance(before, Vec::new(), Nanos::from_millis(100));
        let after =
            Snapshot { total: 200, in_flight: 7, ok: 48, failed: 2, events: 250, ..Snapshot::default() };
        let recent = (0..50)
            .map(|i| Recent {
                end: Nanos::from_millis(50 + i),
                ttft_ms: Some(40.0 + i as f64),
                itl_ms: Some(8.0),
                lateness_ms: Some(0.02),
                ok: true,
            })
            .collect();
        view.advance(after, recent, Nanos::from_millis(200));
        let screen = screen(&view);
        for shown in [
            "m · http://127.0.0.1:8000",
            "50/200 · 0 s · 250.00 req/s · 2 failed",
            "events/s: 2000 (max 2000)",
            "requests in flight: 7 (max 7)",
            "requests that ended in the last 10 s: 50",
            "TTFT (ms)              64.50",
            "mean ITL (ms)          8.00",
            "send lateness (ms)     0.02",
        ] {
            assert!(screen.contains(shown), "no {shown:?} in\n{screen}");
        }
    }

    #[test]
    fn an_empty_run_can_be_drawn() {
        let view = View::new(String::new(), Nanos::ZERO);
        assert!(screen(&view).contains("0/0"));
    }
}
