//! Did the server keep up? Growth of the backlog, as distinct from the start-up of a run.
//!
//! Every run begins with an empty server. The number of requests in the system therefore grows
//! until the first answers are complete; if the server slows down under load, it keeps growing for
//! a while after that. In a run that is not much longer than an answer, that is all there is to
//! see. A server that falls behind differs in that requests *wait* longer and longer for their
//! first token, or that answers take a multiple of the time that the first ones took.
//!
//! The limits below were chosen on 6,600 simulated runs of the engine model at 50 to 90 % load, of
//! 42 to 2,000 requests with answers of 0.1 to 1.17 times the span of the arrivals, so that none is
//! flagged, and about 1,350 at 1.1 to 3 times what it can serve. `crates/engine/tests/verdict_matrix/`
//! measures both error rates on other random streams.

use inferometer_core::Nanos;
use serde::{Deserialize, Serialize};

use super::sweep::{Span, in_system};

/// With fewer requests nothing is said.
const FEWEST: usize = 10;
/// A start-up of more than this fraction of the arrivals leaves too little to see.
const LONG_START: f64 = 0.4;
/// From this fraction on, the number in the system grows for a while after the start-up as well.
const SHORT_RUN: f64 = 0.15;
/// The number in the system grows when it does so by at least this fraction of the arrivals …
const GROWTH: f64 = 0.08;
/// … and by this many standard deviations of a stable system.
const SIGMAS: f64 = 2.5;
/// Means differ when they do so by this many standard errors.
const ERRORS: f64 = 4.0;
/// With fewer requests nothing is held against the server.
const ENOUGH: usize = 40;

/// How the backlog of a run with due instants developed. Fractions of time are relative to the span
/// of the arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    /// Requests that count: those that were sent.
    pub requests: usize,
    /// End of the start-up: the 90th percentile of the end-to-end latency (from the due instant) of
    /// the first tenth of the arrivals. Above 1, no arrival is after it.
    pub start_up: f64,
    /// Mean number of requests in the system in each third of the arrivals' time after the start-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_system: Option<[f64; 3]>,
    /// Growth of that number from the first to the last third / arrivals in between. 0 where chance
    /// explains it.
    pub growth: f64,
    /// Growth of the time to first token (from the due instant), from the first tenth of the requests
    /// to the last quarter. 0 where the spread of the times explains it.
    pub wait_growth: f64,
    /// The same growth of the end-to-end latency.
    pub latency_growth: f64,
    /// End-to-end time per output token in the last quarter / in the first tenth.
    pub slowdown: f64,
}

impl Backlog {
    /// The backlog of `spans`, in any order.
    pub(super) fn of(spans: &[Span]) -> Option<Self> {
        let mut spans: Vec<&Span> = spans.iter().collect();
        spans.sort_by_key(|span| span.due);
        let window = spans.last()?.due;
        let n = spans.len();
        if n < FEWEST || window == Nanos::ZERO {
            return None;
        }
        let early = &spans[..(n / 10).max(FEWEST)];
        let late = &spans[n - (n / 4).max(1)..];
        let mut firsts: Vec<Nanos> = early.iter().map(|span| span.latency()).collect();
        firsts.sort_unstable();
        let start = firsts[firsts.len() * 9 / 10];
        let relative = |seconds: f64| seconds / window.as_secs_f64();
        let latency_growth = relative(risen(early, late, Span::latency));
        let start_up = relative(start.as_secs_f64());
        let waits = |group: &[&Span]| group.iter().all(|span| span.first.is_some());
        let wait_growth = if waits(early) && waits(late) {
            relative(risen(early, late, Span::wait))
        } else if start_up < SHORT_RUN {
            // Without a first token the whole answer stands for it, where answers are short.
            latency_growth
        } else {
            0.0
        };
        let in_system = in_system(&spans.iter().copied(), start, window);
        let after = spans.iter().filter(|span| span.due >= start).count();
        Some(Self {
            requests: n,
            start_up,
            in_system,
            growth: in_system.map_or(0.0, |thirds| growth(thirds, after)),
            wait_growth,
            latency_growth,
            slowdown: pace(late) / pace(early),
        })
    }

    /// How fast the server fell behind, as a fraction of the time (or of the arrivals); `None` if it
    /// did not, or if the run cannot tell.
    ///
    /// Four signs, each of which no stable run shows:
    ///
    /// - waits that grow by 8 % of the time, and by 60 requests' worth of it;
    /// - a growing number in the system with waits that grow by 5 % and 50 requests' worth;
    /// - in runs not much longer than an answer, where that number is that of many requests at work,
    ///   the same with 3 % and 25 requests' worth;
    /// - there, too, answers that take twice as long for each token: a server that lets nobody wait.
    pub fn falls_behind(&self) -> Option<f64> {
        if self.requests < ENOUGH {
            return None;
        }
        let requests = self.requests as f64;
        let waits = |time: f64, worth: f64| {
            self.wait_growth >= time && self.wait_growth * requests >= worth
        };
        let grows = self.growth > 0.0;
        let short = self.start_up >= SHORT_RUN;
        let slows = self.slowdown >= 2.0 && self.latency_growth >= 0.15 && self.requests >= 200;
        let waiting =
            waits(0.08, 60.0) || grows && waits(0.05, 50.0) || grows && short && waits(0.03, 25.0);
        if waiting {
            Some(self.growth.max(self.wait_growth))
        } else {
            (short && slows).then(|| self.growth.max(self.latency_growth))
        }
    }

    /// True where the run is too short to tell whether the server kept up.
    pub(super) fn is_unknown(&self) -> bool {
        self.falls_behind().is_none() && (self.start_up > LONG_START || self.growth > 0.0)
    }
}

fn mean_of(spans: &[&Span], of: fn(&Span) -> Nanos) -> f64 {
    let sum: f64 = spans.iter().map(|span| of(span).as_secs_f64()).sum();
    sum / spans.len() as f64
}

/// By how many seconds the mean of a quantity rises from one group to the other; 0 where the spread
/// within the groups explains it, as in a burst that is much shorter than a single answer.
fn risen(early: &[&Span], late: &[&Span], of: fn(&Span) -> Nanos) -> f64 {
    let variance = |group: &[&Span], mean: f64| {
        let squares = group
            .iter()
            .map(|span| (of(span).as_secs_f64() - mean).powi(2));
        squares.sum::<f64>() / (group.len() * group.len()) as f64
    };
    let (before, after) = (mean_of(early, of), mean_of(late, of));
    let error = (variance(early, before) + variance(late, after)).sqrt();
    let rise = after - before;
    if rise.abs() > ERRORS * error {
        rise
    } else {
        0.0
    }
}

/// Time for each output token, or for each request where no tokens were counted.
fn pace(spans: &[&Span]) -> f64 {
    let tokens: u64 = spans.iter().map(|span| u64::from(span.tokens)).sum();
    mean_of(spans, Span::latency) * spans.len() as f64 / (tokens.max(1) as f64)
}

/// Growth from the first third to the last relative to the `arrivals` in between, which are two thirds
/// of those in all three; 0 where chance explains it.
///
/// In a stable system with Poisson arrivals the number N of requests in the system varies like its
/// square root; the mean over a third of length W varies less, by S / W where S is the time in the
/// system. By Little's law S / W is 3 N / n.
fn growth([first, second, third]: [f64; 3], arrivals: usize) -> f64 {
    let arrivals = arrivals.max(1) as f64;
    let both = first + third;
    let deviation = (both * (3.0 * both / arrivals).min(1.0)).sqrt();
    let grown = third - first;
    let relative = grown / (arrivals * 2.0 / 3.0);
    let steady = first < second && second < third;
    if steady && relative >= GROWTH && grown >= SIGMAS * deviation {
        relative
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests every 10 ms whose answers take `latency` ms, and wait `wait` ms for their first token.
    fn run(n: u64, latency: impl Fn(u64) -> u64, wait: impl Fn(u64) -> u64) -> Backlog {
        let ms = Nanos::from_millis;
        let spans: Vec<Span> = (0..n)
            .map(|i| Span {
                due: ms(10 * i),
                send: ms(10 * i),
                first: Some(ms(10 * i + wait(i))),
                end: ms(10 * i + latency(i)),
                tokens: 100,
                conversation: None,
                opens: true,
            })
            .collect();
        Backlog::of(&spans).unwrap()
    }

    #[test]
    fn fixed_delays_are_no_backlog_however_long_they_are() {
        for (latency, unknown) in [(20, false), (3_000, false), (4_500, true), (11_700, true)] {
            let backlog = run(1_000, |_| latency, |_| 15);
            assert_eq!(backlog.falls_behind(), None, "{backlog:?}");
            assert_eq!(backlog.is_unknown(), unknown, "{backlog:?}");
            assert!((backlog.slowdown - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn waits_that_grow_and_answers_that_slow_down_are_a_backlog() {
        // 20 % more arrivals than the server serves: each request waits 2 ms longer.
        let queue = run(1_000, |i| 100 + 2 * i, |i| 20 + 2 * i);
        assert!(queue.falls_behind().is_some_and(|growth| growth > 0.1));
        // Nobody waits, but all share the same speed: an answer takes as long as the run so far.
        let shared = run(1_000, |i| 100 + 30 * i, |_| 20);
        assert!(shared.falls_behind().is_some(), "{shared:?}");
        assert!(!shared.is_unknown());
    }

    #[test]
    fn a_run_of_few_requests_or_without_a_span_says_nothing() {
        assert_eq!(Backlog::of(&[]), None);
        let span = Span {
            due: Nanos::ZERO,
            send: Nanos::ZERO,
            first: None,
            end: Nanos(5),
            tokens: 1,
            conversation: None,
            opens: true,
        };
        assert_eq!(Backlog::of(&[span; 50]), None);
    }
}
