//! Synthetic runs whose true numbers are known: lognormal latencies that depend on those of the
//! requests before.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::f64::consts::TAU;

use inferometer_core::{Event, EventKind, Nanos, Outcome, Record, random};
use inferometer_metrics::{MetricSettings, Slo};
use rand::RngExt;

/// Requests in flight in a closed loop, and about as many in an open one.
const SLOTS: usize = 16;
/// Requests that share an effect in [`Dependence::Batches`].
const TOGETHER: usize = 32;
/// Median TTFT, and the standard deviation of its logarithm.
const TTFT_MS: f64 = 50.0;
const TTFT_SIGMA: f64 = 0.5;
/// Median gap, and the standard deviations of its logarithm between answers and within one.
const GAP_MS: f64 = 10.0;
const GAP_SIGMA: f64 = 0.3;
/// Fewest and most events of an answer.
const EVENTS: [usize; 2] = [4, 13];
/// Limit on TTFT for the goodput, which 92 % of the requests meet.
const LIMIT_MS: f64 = 100.0;
/// Requests per second in the open loop.
const RATE: f64 = 110.0;

/// How latencies depend on those of neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Dependence {
    /// The latent variable is autoregressive in the order of the sends, with this correlation of
    /// neighbours.
    Neighbours(f64),
    /// Each 32 successive requests share half of the variance.
    Batches,
}

/// The load of a synthetic run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// 16 slots.
    Closed,
    /// A Poisson process whose last arrival is at requests / rate, as vLLM's are.
    Open,
}

/// A kind of run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) load: Load,
    pub(crate) dependence: Dependence,
    pub(crate) requests: usize,
}

/// A sequence of latencies' latent variables, each standard normal.
struct Latent {
    dependence: Dependence,
    state: f64,
    drawn: usize,
}

impl Latent {
    const fn new(dependence: Dependence) -> Self {
        Self {
            dependence,
            state: 0.0,
            drawn: 0,
        }
    }

    fn next(&mut self, mut normal: impl FnMut() -> f64) -> f64 {
        let index = self.drawn;
        self.drawn += 1;
        match self.dependence {
            Dependence::Neighbours(_) if index == 0 => {
                self.state = normal();
                self.state
            }
            Dependence::Neighbours(rho) => {
                self.state = rho * self.state + (1.0 - rho * rho).sqrt() * normal();
                self.state
            }
            Dependence::Batches => {
                if index.is_multiple_of(TOGETHER) {
                    self.state = normal();
                }
                (self.state + normal()) * 0.5_f64.sqrt()
            }
        }
    }
}

impl Scenario {
    pub(crate) fn settings(&self) -> MetricSettings {
        MetricSettings {
            percentiles: vec![90.0, 99.0],
            goodput: vec![(Slo::Ttft, LIMIT_MS)],
            cap: (self.load == Load::Closed).then_some(SLOTS),
            finite_rate: self.load == Load::Open,
            ..MetricSettings::default()
        }
    }

    /// The records of one run.
    pub(crate) fn run(&self, seed: u64) -> Vec<Record> {
        let mut rng = random::stream(seed, "interval coverage");
        let mut uniform = move || f64::from(rng.random::<u32>().max(1)) / f64::from(u32::MAX);
        let mut spare = None;
        let mut first = Latent::new(self.dependence);
        let mut pace = Latent::new(self.dependence);
        let mut slots: BinaryHeap<Reverse<u64>> = (0..SLOTS as u64).map(Reverse).collect();
        let arrivals = self.arrivals(&mut uniform);
        (0..self.requests)
            .map(|index| {
                let mut normal = || {
                    spare.take().unwrap_or_else(|| {
                        let radius = (-2.0 * uniform().ln()).sqrt();
                        let (sine, cosine) = (TAU * uniform()).sin_cos();
                        spare = Some(radius * sine);
                        radius * cosine
                    })
                };
                let ttft = TTFT_MS * (TTFT_SIGMA * first.next(&mut normal)).exp();
                let pace = GAP_MS * (GAP_SIGMA * pace.next(&mut normal)).exp();
                let mut gaps = [0.0; EVENTS[1]];
                for gap in &mut gaps {
                    *gap = pace * (GAP_SIGMA * normal()).exp();
                }
                let width = (EVENTS[1] - EVENTS[0] + 1) as f64;
                let events = (EVENTS[0] + (uniform() * width) as usize).min(EVENTS[1]);
                let send = match self.load {
                    Load::Open => arrivals[index],
                    Load::Closed => slots.pop().map_or(0, |Reverse(at)| at),
                };
                let record = record(index, send, ttft, &gaps[1..events]);
                slots.push(Reverse(record.end.map_or(0, |end| end.0)));
                record
            })
            .collect()
    }

    fn arrivals(&self, uniform: &mut impl FnMut() -> f64) -> Vec<u64> {
        if self.load == Load::Closed {
            return Vec::new();
        }
        let gaps = (0..self.requests).map(|_| -uniform().ln());
        let at: Vec<f64> = gaps
            .scan(0.0, |at, gap| {
                *at += gap;
                Some(*at)
            })
            .collect();
        let last = at.last().copied().unwrap_or(1.0);
        let scale = self.requests as f64 / RATE / last * 1e9;
        at.iter().map(|at| (at * scale) as u64).collect()
    }
}

fn record(index: usize, send: u64, ttft_ms: f64, gaps_ms: &[f64]) -> Record {
    let after = |at: u64, ms: f64| at + (ms * 1e6) as u64;
    let mut at = after(send, ttft_ms);
    let event = |at: u64| {
        let mut event = Event::new(Nanos(at), Nanos::ZERO, EventKind::Text, false, true);
        event.tokens = 1;
        event
    };
    let mut events = vec![event(at)];
    for &gap in gaps_ms {
        at = after(at, gap);
        events.push(event(at));
    }
    Record {
        index,
        due: Nanos(send),
        dequeued: Some(Nanos(send)),
        send_start: Some(Nanos(send)),
        send_end: Some(Nanos(send)),
        end: Some(Nanos(at)),
        output_tokens: events.len() as u32,
        events,
        outcome: Outcome::Ok,
        sequences: 1,
        ..Record::default()
    }
}

/// The true value of a number, or `None` if it is the mean of what runs report.
pub(crate) fn truth(metric: &str) -> Option<f64> {
    const P90: f64 = 1.281_551_565_5;
    const P99: f64 = 2.326_347_874;
    let (name, median, sigma) = if metric.contains("ttft") {
        (metric, TTFT_MS, TTFT_SIGMA)
    } else if metric.contains("itl") {
        (metric, GAP_MS, GAP_SIGMA * 2.0_f64.sqrt())
    } else {
        return None;
    };
    let deviations = match name.split('_').next()? {
        "mean" => sigma / 2.0,
        "median" => 0.0,
        "p90" => P90,
        "p99" => P99,
        _ => return None,
    };
    Some(median * (sigma * deviations).exp())
}
