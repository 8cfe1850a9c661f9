//! Intervals of the rates of a run: requests, tokens and good requests per second.
//!
//! A rate is a total X divided by the duration D, and both vary. What D is made of depends on the
//! load:
//!
//! - In a **closed loop**, C slots are busy until the last requests: C · D = L + W, where L is the sum
//!   of all requests' times in flight and W the idle time of slots at the end. X − (X/L) · L is a sum
//!   over requests, whose variance comes from batches.
//! - In an **open loop** that keeps up, the schedule sets the last send, and D = last send + W. X is a
//!   sum over requests.
//!
//! The variance of W comes from the run itself: what W would be if the run had ended after k requests,
//! for many k. Slices of time would not do: their counts vary with the arrivals of a schedule, which
//! is the same however slow the server is, and the first and last slices are never like the others.

use super::batches::{Division, TotalVariance, above_median, around, t_quantile};
use super::sent::Sent;
use super::{Found, Refusal};
use crate::estimate::NORMAL;

/// Requests within and beyond the limits that a fraction needs in an open loop.
const FEWEST_OF_A_KIND: usize = 20;
/// Mean number of busy slots, as a fraction, from which on the slots of a closed loop count as full.
const FULL: f64 = 0.9;
/// Fraction of requests delayed by a cap up to which a loop with a rate counts as open.
const CAP_BINDS: f64 = 0.01;

/// What the load of a run is, as far as it decides about intervals.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadFacts {
    /// Requests that may be in flight at once.
    pub(super) cap: Option<usize>,
    pub(super) finite_rate: bool,
    pub(super) cap_bound: Option<f64>,
    /// From the start of the run to the last instant, in seconds.
    pub(super) duration_s: f64,
}

/// How the rates of a run come about.
#[derive(Clone, Copy, Debug)]
enum Loop {
    Closed { slots: f64 },
    Open,
}

/// The requests that were sent, in order of their sends, with what their rates need.
#[derive(Debug)]
pub(super) struct Rates<'a> {
    sent: &'a [Sent],
    kind: Result<Loop, Refusal>,
    division: Division,
    /// Relative standard deviation of the duration because of how the run ends.
    end_error: f64,
}

impl<'a> Rates<'a> {
    pub(super) fn of(sent: &'a [Sent], facts: LoadFacts, division: Division) -> Self {
        let kind = loop_of(sent, facts);
        let end_error = kind.map_or(0.0, |kind| end_error(sent, kind, facts.duration_s));
        Self {
            sent,
            kind,
            division,
            end_error,
        }
    }

    /// Interval of the sum of `amount` over the requests, divided by the duration and reported as
    /// `value`.
    pub(super) fn interval(&self, value: f64, amount: impl Fn(&Sent) -> f64) -> Found {
        let kind = self.kind?;
        let n = self.sent.len();
        let total: f64 = self.sent.iter().map(&amount).sum();
        if total <= 0.0 {
            return Err(Refusal::Zero);
        }
        let deviations: Vec<f64> = match kind {
            Loop::Closed { .. } => {
                let busy: f64 = self.sent.iter().map(Sent::in_flight).sum();
                let rate = total / busy;
                let deviation = |one: &Sent| amount(one) - rate * one.in_flight();
                self.sent.iter().map(deviation).collect()
            }
            Loop::Open => {
                let mean = total / n as f64;
                self.sent.iter().map(|one| amount(one) - mean).collect()
            }
        };
        if matches!(kind, Loop::Open) && deviations.iter().all(|&deviation| deviation == 0.0) {
            return Err(Refusal::SetBySchedule);
        }
        let batches = self.division.batches(None, &above_median(&deviations))?;
        let variance = TotalVariance::of(&deviations, batches);
        let requests = t_quantile(batches) * variance.batches.sqrt() / total;
        let half = requests.hypot(NORMAL * self.end_error);
        Ok(around(value, half, batches, variance.n_eff(n)))
    }

    /// As [`Rates::interval`], of the requests of one kind per second.
    pub(super) fn of_kind(&self, value: f64, counts: impl Fn(&Sent) -> bool) -> Found {
        let those = self.sent.iter().filter(|one| counts(one)).count();
        let rarer = those.min(self.sent.len() - those);
        if matches!(self.kind, Ok(Loop::Open)) && (1..FEWEST_OF_A_KIND).contains(&rarer) {
            return Err(Refusal::FewOfAKind {
                needed: FEWEST_OF_A_KIND,
                have: rarer,
            });
        }
        self.interval(value, |one| f64::from(u8::from(counts(one))))
    }
}

fn loop_of(sent: &[Sent], facts: LoadFacts) -> Result<Loop, Refusal> {
    match facts.cap {
        Some(slots) if !facts.finite_rate => {
            let slots = slots as f64;
            if busy_slots(sent) < FULL * slots {
                Err(Refusal::SlotsNotFull)
            } else {
                Ok(Loop::Closed { slots })
            }
        }
        Some(_) if facts.cap_bound.is_some_and(|bound| bound > CAP_BINDS) => {
            Err(Refusal::CapSometimesBinds)
        }
        _ => Ok(Loop::Open),
    }
}

/// Mean number of requests in flight from the first send to the last.
fn busy_slots(sent: &[Sent]) -> f64 {
    let (Some(first), Some(last)) = (sent.first(), sent.last()) else {
        return 0.0;
    };
    let busy: f64 = sent
        .iter()
        .map(|one| (one.end.min(last.send).since(one.send)).as_secs_f64())
        .sum();
    busy / last.send.since(first.send).as_secs_f64()
}

/// Standard deviation of W (see the module) / D, or / (C · D) in a closed loop.
fn end_error(sent: &[Sent], kind: Loop, duration_s: f64) -> f64 {
    // The first requests find an empty server.
    let skipped = sent.len() / 5;
    let (mut last_end, mut busy) = (0.0_f64, 0.0);
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (index, one) in sent.iter().enumerate() {
        last_end = last_end.max(one.end.as_secs_f64());
        busy += one.in_flight();
        let rest = match kind {
            Loop::Closed { slots } => last_end - busy / slots,
            Loop::Open => last_end - one.send.as_secs_f64(),
        };
        if index >= skipped {
            count += 1.0;
            sum += rest;
            squares += rest * rest;
        }
    }
    let mean = sum / count;
    (squares / count - mean * mean).max(0.0).sqrt() / duration_s
}
