//! The content of the live view.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};

use crate::live::{Live, Spread};

/// Ticks in the curves: a minute at ten per second.
const HISTORY: usize = 600;
/// Number of messages shown.
pub(crate) const MESSAGES: usize = 5;
/// Ticks over which rates are averaged: two seconds.
const RATE_TICKS: usize = 20;
/// Minimum rows of the screen for the curves of latencies.
const LATENCY_ROWS: u16 = 26;

/// What is shown above the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// The run's name.
    pub title: String,
    /// The last log line of a command whose state is unknown.
    pub log_line: Option<String>,
    /// The progress of a sweep.
    pub campaign: Option<CampaignProgress>,
}

/// The progress of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CampaignProgress {
    /// Finished runs.
    pub ended: usize,
    /// All runs.
    pub total: usize,
    /// The remaining time, as text.
    pub left: String,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct View {
    head: Head,
    live: Live,
    messages: Vec<String>,
    events: VecDeque<u64>,
    in_flight: VecDeque<u64>,
    /// p99 of the last ten seconds, in microseconds.
    ttft: VecDeque<u64>,
    itl: VecDeque<u64>,
    counts: VecDeque<Count>,
}

/// Requests of the run at one instant.
#[derive(Clone, Copy, Debug)]
struct Count {
    at_s: f64,
    sent: u64,
    ended: u64,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    sent: f64,
    ended: f64,
}

/// A quantity over time.
struct Curve<'a> {
    name: &'a str,
    history: &'a VecDeque<u64>,
    /// The values are whole numbers of 1/`unit`.
    unit: f64,
    color: Color,
}

/// The parts of the screen, from top to bottom.
struct Areas {
    campaign: Rect,
    title: Rect,
    run: Rect,
    curves: Rect,
    table: Rect,
    messages: Rect,
    keys: Rect,
}

impl View {
    /// Adds the current state. An elapsed time that decreases marks the next run.
    pub(crate) fn advance(&mut self, head: Head, live: Option<Live>, messages: Vec<String>) {
        let live = live.unwrap_or_default();
        if live.elapsed_s < self.live.elapsed_s {
            *self = Self::default();
        }
        let span = live.elapsed_s - self.live.elapsed_s;
        if span > 0.0 {
            let more = live.events.saturating_sub(self.live.events);
            push(&mut self.events, (more as f64 / span) as u64);
            push(&mut self.in_flight, live.in_flight);
            let p99 = |spread: Option<Spread>| spread.map_or(0, |of| (of.p99 * 1000.0) as u64);
            push(&mut self.ttft, p99(live.recent.ttft));
            push(&mut self.itl, p99(live.recent.itl));
            let ended = live.ok + live.failed;
            self.counts.push_back(Count {
                at_s: live.elapsed_s,
                sent: ended + live.in_flight,
                ended,
            });
            if self.counts.len() > RATE_TICKS {
                self.counts.pop_front();
            }
        }
        (self.head, self.live, self.messages) = (head, live, messages);
    }

    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let areas = self.areas(frame.area());
        if let Some(campaign) = &self.head.campaign {
            let label = format!(
                "{} of {} runs · {}",
                campaign.ended, campaign.total, campaign.left
            );
            let fraction = fraction(campaign.ended as u64, campaign.total as u64);
            draw_gauge(frame, areas.campaign, fraction, label, Color::Blue);
        }
        let title = Line::from(self.head.title.as_str()).bold();
        frame.render_widget(title, areas.title);
        self.draw_run(frame, areas.run);
        self.draw_curves(frame, areas.curves);
        self.draw_table(frame, areas.table);
        self.draw_messages(frame, areas.messages);
        let keys =
            Paragraph::new("q or Ctrl-C: stop sending and finish; again: stop at once").dim();
        frame.render_widget(keys, areas.keys);
    }

    fn areas(&self, all: Rect) -> Areas {
        let is_campaign = self.head.campaign.is_some();
        let message_rows = if is_campaign {
            MESSAGES as u16 + 2
        } else {
            self.messages.len().min(MESSAGES) as u16
        };
        let [campaign, title, run, curves, table, messages, keys] = Layout::vertical([
            Constraint::Length(u16::from(is_campaign)),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(5),
            Constraint::Length(6),
            Constraint::Length(message_rows),
            Constraint::Length(1),
        ])
        .areas(all);
        Areas {
            campaign,
            title,
            run,
            curves,
            table,
            messages,
            keys,
        }
    }

    fn draw_curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let curve = |name, history, unit, color| Curve {
            name,
            history,
            unit,
            color,
        };
        let rows = [
            Constraint::Fill(1),
            Constraint::Fill(u16::from(frame.area().height >= LATENCY_ROWS)),
        ];
        let [upper, lower] = Layout::vertical(rows).areas(area);
        let halves = || Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
        let [left, right] = halves().areas(upper);
        curve("events/s", &self.events, 1.0, Color::Cyan).draw(frame, left);
        curve("requests in flight", &self.in_flight, 1.0, Color::Yellow).draw(frame, right);
        if lower.height > 2 {
            let [left, right] = halves().areas(lower);
            curve("p99 TTFT (ms)", &self.ttft, 1000.0, Color::Magenta).draw(frame, left);
            curve("p99 mean ITL (ms)", &self.itl, 1000.0, Color::Green).draw(frame, right);
        }
    }

    fn draw_messages(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines = self.messages.iter();
        let lines: Vec<Line<'_>> = lines.map(|line| Line::from(line.as_str())).collect();
        let mut messages = Paragraph::new(lines);
        if self.head.campaign.is_some() {
            messages = messages.block(Block::bordered().title("messages"));
        }
        frame.render_widget(messages, area);
    }

    /// Requests sent and ended per second over the last [`RATE_TICKS`].
    fn rates(&self) -> Rates {
        let (Some(first), Some(last)) = (self.counts.front(), self.counts.back()) else {
            return Rates::default();
        };
        let span = last.at_s - first.at_s;
        let rate = |from: u64, to: u64| {
            if span > 0.0 {
                to.saturating_sub(from) as f64 / span
            } else {
                0.0
            }
        };
        Rates {
            sent: rate(first.sent, last.sent),
            ended: rate(first.ended, last.ended),
        }
    }

    fn draw_run(&self, frame: &mut Frame<'_>, area: Rect) {
        let live = &self.live;
        if live.total == 0 {
            let line = self.head.log_line.as_deref().unwrap_or("no requests yet");
            return frame.render_widget(Paragraph::new(line).dim(), area);
        }
        let done = live.ok + live.failed;
        let rates = self.rates();
        let label = format!(
            "{done}/{} · {:.0} s · sent {:.1}/s, ended {:.1}/s · {} failed",
            live.total, live.elapsed_s, rates.sent, rates.ended, live.failed
        );
        let color = if live.failed > 0 {
            Color::Red
        } else {
            Color::Green
        };
        draw_gauge(frame, area, fraction(done, live.total), label, color);
    }

    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let recent = &self.live.recent;
        let row = |name: &str, spread: Option<Spread>| {
            let cell = |value: fn(Spread) -> f64| {
                spread.map_or_else(|| "–".into(), |spread| format!("{:.2}", value(spread)))
            };
            Row::new([
                name.to_owned(),
                cell(|spread| spread.p50),
                cell(|spread| spread.p90),
                cell(|spread| spread.p99),
                cell(|spread| spread.max),
            ])
        };
        let widths = [22, 10, 10, 10, 10].map(Constraint::Length);
        let rows = [
            row("TTFT (ms)", recent.ttft),
            row("mean ITL (ms)", recent.itl),
            row("send lateness (ms)", recent.lateness),
        ];
        let title = format!("requests that ended in the last 10 s: {}", recent.count);
        let table = Table::new(rows, widths)
            .header(Row::new(["", "p50", "p90", "p99", "max"]).dim())
            .block(Block::bordered().title(title));
        frame.render_widget(table, area);
    }
}

/// The completed fraction of `total`, 0 to 1.
fn fraction(done: u64, total: u64) -> f64 {
    if total > 0 {
        (done as f64 / total as f64).min(1.0)
    } else {
        0.0
    }
}

fn draw_gauge(frame: &mut Frame<'_>, area: Rect, fraction: f64, label: String, color: Color) {
    let gauge = Gauge::default()
        .ratio(fraction)
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

impl Curve<'_> {
    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let digits = if self.unit > 1.0 { 2 } else { 0 };
        let shown =
            |value: Option<u64>| format!("{:.digits$}", value.unwrap_or(0) as f64 / self.unit);
        let last = shown(self.history.back().copied());
        let max = shown(self.history.iter().copied().max());
        let block = Block::bordered().title(format!("{}: {last} (max {max})", self.name));
        let width = usize::from(block.inner(area).width);
        let hidden = self.history.len().saturating_sub(width);
        let data: Vec<u64> = self.history.iter().skip(hidden).copied().collect();
        frame.render_widget(
            Sparkline::default()
                .data(data)
                .style(Style::new().fg(self.color))
                .block(block),
            area,
        );
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::live::RecentRequests;

    fn screen(view: &View, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn same(value: f64) -> Spread {
        Spread {
            p50: value,
            p90: value,
            p99: value,
            max: value,
        }
    }

    fn live(elapsed_s: f64, events: u64) -> Live {
        Live {
            total: 200,
            ok: 48,
            failed: 2,
            in_flight: 7,
            events,
            elapsed_s,
            recent: RecentRequests {
                count: 50,
                ttft: Some(Spread {
                    p50: 64.5,
                    p90: 80.0,
                    p99: 88.0,
                    max: 89.0,
                }),
                itl: Some(same(8.0)),
                lateness: Some(same(0.02)),
            },
        }
    }

    #[test]
    fn the_view_shows_the_state_of_the_run() {
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
    fn a_sweep_is_shown_above_its_current_run_and_each_run_has_its_own_curves() {
        let mut view = View::default();
        let head = |done| Head {
            title: "io16x4 mc1 np4".into(),
            campaign: Some(CampaignProgress {
                ended: done,
                total: 4,
                left: "about 3 s left".into(),
            }),
            ..Head::default()
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
            "messages",
            "[1/4] io16x4 mc1 np4  1.0 s",
        ] {
            assert!(screen.contains(shown), "no {shown:?} in\n{screen}");
        }
    }

    #[test]
    fn an_empty_run_and_a_tiny_terminal_can_be_drawn() {
        assert!(screen(&View::default(), 18).contains("no requests yet"));
        let mut view = View::default();
        view.advance(
            Head {
                campaign: Some(CampaignProgress::default()),
                ..Head::default()
            },
            Some(live(1.0, 1)),
            vec!["a".into(); MESSAGES],
        );
        for height in 1..12 {
            drop(screen(&view, height));
        }
    }
}
