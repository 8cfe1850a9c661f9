//! What the numbers of many runs show: ratings, best settings, saturation, limits.

use std::fmt;

use inferometer_metrics::Metric;
use serde::{Deserialize, Serialize};

use super::groups::{Level, Load, Series};
use super::rows::Stat;
use crate::Lang;

/// How good latencies are for a service like a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// Below the first pair of limits.
    Excellent,
    /// Below the second.
    Good,
    /// Below the third.
    Acceptable,
    /// Beyond all limits.
    NeedsOptimisation,
}

impl Rating {
    /// The rating as a word.
    pub const fn word(self, lang: Lang) -> &'static str {
        match self {
            Self::Excellent => lang.pick("excellent", "优秀"),
            Self::Good => lang.pick("good", "良好"),
            Self::Acceptable => lang.pick("acceptable", "可接受"),
            Self::NeedsOptimisation => lang.pick("needs optimisation", "需要优化"),
        }
    }
}

impl fmt::Display for Rating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word(Lang::En))
    }
}

/// Limits of the ratings in milliseconds; a value must be below its limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatingScale {
    /// (TTFT, TPOT) of "excellent".
    pub excellent: (f64, f64),
    /// (TTFT, TPOT) of "good".
    pub good: (f64, f64),
    /// (TTFT, TPOT) of "acceptable".
    pub acceptable: (f64, f64),
}

impl Default for RatingScale {
    fn default() -> Self {
        Self {
            excellent: (100.0, 20.0),
            good: (200.0, 40.0),
            acceptable: (500.0, 80.0),
        }
    }
}

impl RatingScale {
    /// Rates a pair of latencies in milliseconds. TPOT may be missing (answers of one token);
    /// without TTFT there is no rating.
    pub fn rate(&self, ttft_ms: Option<f64>, tpot_ms: Option<f64>) -> Option<Rating> {
        let ttft = ttft_ms?;
        let within =
            |limits: (f64, f64)| ttft < limits.0 && tpot_ms.is_none_or(|tpot| tpot < limits.1);
        Some(if within(self.excellent) {
            Rating::Excellent
        } else if within(self.good) {
            Rating::Good
        } else if within(self.acceptable) {
            Rating::Acceptable
        } else {
            Rating::NeedsOptimisation
        })
    }

    pub(super) fn of(&self, level: &Level<'_>, stat: Stat) -> Option<Rating> {
        let value = |metric| level.latency(metric, stat).map(|found| found.mean);
        self.rate(
            value(Metric::Ttft),
            value(Metric::Tpot).filter(|tpot| *tpot > 0.0),
        )
    }
}

/// Where more load stopped giving more throughput.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Saturation {
    /// At this load throughput is within 5 % of the highest, although higher loads were tried.
    At(f64),
    /// The last step still raised throughput, by this fraction.
    NotReached(f64),
    /// Fewer than two loads.
    Unknown,
}

/// What limits a series, judged from how latencies grow from its lowest to its highest load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// The first token waits: factors by which TTFT and TPOT grew.
    Queueing(f64, f64),
    /// Each step of generation slows as the batch grows: TPOT's factor.
    Batch(f64),
    /// TTFT's tail is this many times its median at the highest load.
    TtftTail(f64),
    /// ITL's tail is this many times its median at the highest load.
    Stutter(f64),
    /// The requests that failed at the worst load, over all of its runs.
    Failures {
        /// Requests that failed.
        failed: f64,
        /// Requests that failed or were answered.
        all: f64,
        /// The load.
        at: f64,
    },
    /// The server completes only this fraction of the offered rate at the highest rate.
    Overload(f64),
}

/// What was found about one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Findings {
    /// Position of the level with the best balance of throughput and latency.
    pub(super) knee: Option<usize>,
    pub(super) saturation: Saturation,
    pub(super) limits: Vec<Limit>,
}

/// Analyses one series. Levels whose runs must not be trusted are left out.
pub(super) fn study(one: &Series<'_>, load: Load) -> Findings {
    let sound: Vec<(usize, &Level<'_>)> = one
        .levels
        .iter()
        .enumerate()
        .filter(|(_, level)| !level.is_suspect())
        .collect();
    let throughput = |level: &Level<'_>| level.number("output_throughput").map(|found| found.mean);
    let knee = sound
        .iter()
        .filter_map(|(index, level)| Some((*index, throughput(level)? / delay_ms(one, level)?)))
        // The power of a queueing system (Kleinrock 1979): throughput over delay.
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(index, _)| index);
    let curve: Vec<(f64, f64)> = sound
        .iter()
        .filter_map(|(_, level)| Some((level.load, throughput(level)?)))
        .collect();
    let levels: Vec<&Level<'_>> = sound.iter().map(|(_, level)| *level).collect();
    Findings {
        knee,
        saturation: saturation(&curve),
        limits: limits(&levels, load)
            .into_iter()
            .chain(failures(one))
            .collect(),
    }
}

fn saturation(curve: &[(f64, f64)]) -> Saturation {
    let [.., (_, before), (last_load, last)] = *curve else {
        return Saturation::Unknown;
    };
    let most = curve.iter().fold(0.0_f64, |most, point| most.max(point.1));
    match curve.iter().find(|point| point.1 >= 0.95 * most) {
        Some(&(at, _)) if at < last_load => Saturation::At(at),
        _ if before > 0.0 => Saturation::NotReached(last / before - 1.0),
        _ => Saturation::Unknown,
    }
}

/// End-to-end latency of the median request, computed from its parts where it was not stored.
pub(super) fn delay_ms(one: &Series<'_>, level: &Level<'_>) -> Option<f64> {
    let median = |metric| level.latency(metric, Stat::Median).map(|found| found.mean);
    median(Metric::E2el)
        .or_else(|| {
            let gaps = one.lens.1.unwrap_or(128.0) - 1.0;
            Some(median(Metric::Ttft)? + median(Metric::Tpot).unwrap_or(0.0) * gaps)
        })
        .filter(|delay| *delay > 0.0)
}

fn limits(levels: &[&Level<'_>], load: Load) -> Vec<Limit> {
    let mut found = Vec::new();
    let (Some(first), Some(last)) = (levels.first(), levels.last()) else {
        return found;
    };
    let median = |level: &Level<'_>, metric| level.latency(metric, Stat::Median).map(|e| e.mean);
    let growth =
        |metric| Some(median(last, metric)? / median(first, metric).filter(|low| *low > 0.0)?);
    if first.load < last.load {
        let tpot = growth(Metric::Tpot).unwrap_or(1.0);
        if let Some(ttft) = growth(Metric::Ttft).filter(|ttft| *ttft > 2.0 && *ttft > 1.5 * tpot) {
            found.push(Limit::Queueing(ttft, tpot));
        }
        if tpot > 1.5 {
            found.push(Limit::Batch(tpot));
        }
    }
    let tail_ratio = |metric| {
        Some(last.latency(metric, Stat::Tail)?.mean / median(last, metric).filter(|m| *m > 0.0)?)
    };
    if let Some(ratio) = tail_ratio(Metric::Ttft).filter(|ratio| *ratio > 3.0) {
        found.push(Limit::TtftTail(ratio));
    }
    if let Some(ratio) = tail_ratio(Metric::Itl).filter(|ratio| *ratio > 3.0) {
        found.push(Limit::Stutter(ratio));
    }
    if load == Load::Rate
        && let Some(rate) = last.number("request_throughput")
    {
        let fraction = rate.mean / last.load;
        // A finite run drains after its last arrival, so a few percent below the offered rate are
        // normal.
        if fraction < 0.9 {
            found.push(Limit::Overload(fraction));
        }
    }
    found
}

/// The level with the largest fraction of failed requests, counted over all of its runs: a failure is a
/// fact also of a run whose latencies are not data. Requests are counted, not runs, which may be of unequal
/// size.
fn failures(one: &Series<'_>) -> Option<Limit> {
    let counts = |level: &Level<'_>| {
        let runs = level.runs.iter().filter_map(|run| run.failed_of_all());
        runs.fold((0.0, 0.0), |sum, run| (sum.0 + run.0, sum.1 + run.1))
    };
    let levels = one.levels.iter().map(|level| (counts(level), level.load));
    levels
        .filter(|((failed, _), _)| *failed > 0.0)
        .max_by(|(a, _), (b, _)| (a.0 / a.1).total_cmp(&(b.0 / b.1)))
        .map(|((failed, all), at)| Limit::Failures { failed, all, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_latencies_must_be_below_their_limits() {
        let scale = RatingScale::default();
        assert_eq!(scale.rate(Some(99.0), Some(19.0)), Some(Rating::Excellent));
        assert_eq!(scale.rate(Some(100.0), Some(19.0)), Some(Rating::Good));
        assert_eq!(scale.rate(Some(50.0), Some(79.0)), Some(Rating::Acceptable));
        assert_eq!(
            scale.rate(Some(50.0), Some(80.0)),
            Some(Rating::NeedsOptimisation)
        );
        assert_eq!(scale.rate(Some(50.0), None), Some(Rating::Excellent));
        assert_eq!(scale.rate(None, Some(1.0)), None);
    }

    #[test]
    fn saturation_needs_a_higher_load_without_gain() {
        let rising = [(1.0, 100.0), (2.0, 200.0), (4.0, 380.0)];
        let flat = [(1.0, 100.0), (2.0, 200.0), (4.0, 210.0), (8.0, 208.0)];
        assert_eq!(
            saturation(&rising),
            Saturation::NotReached(380.0 / 200.0 - 1.0)
        );
        assert_eq!(saturation(&flat), Saturation::At(2.0));
        assert_eq!(saturation(&rising[..1]), Saturation::Unknown);
    }
}
