//! The highest request rate that keeps limits, searched on the virtual clock.

use std::fmt::Write as _;

use rayon::prelude::*;
use servebench_arrival::{ArrivalSettings, Rate};
use servebench_core::Request;
use servebench_engine::{VirtualPlan, simulate};
use servebench_metrics::{Metric, MetricSettings, Summary, summarise};

use super::engine_model::EngineModel;
use super::run;
use crate::exit::{Failure, OrFail};
use crate::output::Output;
use crate::prepare;
use crate::settings::RunSettings;

/// Where the search begins unless `--request-rate` names a rate.
const FIRST_RATE: f64 = 1.0;
/// Rates beyond which no answer is looked for.
const RATES: std::ops::RangeInclusive<f64> = 1e-3..=1e6;
/// What a shorter run may hide, in seconds.
const SHORT: f64 = 60.0;

/// A search that can be made.
#[derive(Debug)]
pub(crate) struct Search {
    limits: Vec<Limit>,
    text: String,
    seeds: u64,
    precision: f64,
    metrics: MetricSettings,
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Found {
    /// The highest rate that kept the limits, if any did.
    pub(crate) rate: Option<Rate>,
    /// The answer as a sentence.
    pub(crate) answer: String,
}

/// A statistic of a metric that must stay below a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    metric: Metric,
    statistic: Statistic,
    below_ms: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Mean,
    Percentile(f64),
}

impl Limit {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::usage(format!(
                "--find-rate {text}: {why}; write STATISTIC_METRIC<MILLISECONDS, such as p99_ttft<500, with mean, \
                 median or pNN and ttft, tpot, itl, e2el"
            ))
        };
        let (name, limit) = text.split_once('<').ok_or_else(|| wrong("there is no <"))?;
        let below_ms = limit.trim_start_matches('=').trim().parse().ok().filter(|limit: &f64| *limit > 0.0);
        let below_ms = below_ms.ok_or_else(|| wrong("the limit is no number above 0"))?;
        let (statistic, metric) = name.trim().split_once('_').ok_or_else(|| wrong("there is no _"))?;
        let metric = Metric::from_key(metric).ok_or_else(|| wrong("there is no such metric"))?;
        let statistic = match statistic {
            "mean" => Statistic::Mean,
            "median" => Statistic::Percentile(50.0),
            other => {
                let percentile = other.strip_prefix('p').and_then(|number| number.parse().ok());
                let percentile = percentile.filter(|number| (0.0..=100.0).contains(number));
                Statistic::Percentile(percentile.ok_or_else(|| wrong("there is no such statistic"))?)
            }
        };
        Ok(Self { metric, statistic, below_ms })
    }

    fn name(self) -> String {
        match self.statistic {
            Statistic::Mean => format!("mean_{}", self.metric.key()),
            Statistic::Percentile(p) => format!("p{p}_{}", self.metric.key()),
        }
    }

    /// The value in a run; `None` when the run has no such metric.
    fn value(self, summary: &Summary) -> Option<f64> {
        let stats = summary.stats.iter().find(|stats| stats.metric == self.metric && stats.samples > 0)?;
        match self.statistic {
            Statistic::Mean => Some(stats.mean_ms),
            Statistic::Percentile(wanted) => {
                stats.percentiles.iter().find(|&&(p, _)| p == wanted).map(|&(_, value)| value)
            }
        }
    }
}

/// What happened at one rate.
#[derive(Clone, Debug)]
struct Point {
    rate: f64,
    kept: u64,
    /// The worst value of each limit.
    worst: Vec<f64>,
    /// Length of the shortest run in seconds.
    seconds: f64,
}

impl Search {
    /// Understands the flags.
    pub(crate) fn new(
        limits: &str,
        seeds: u64,
        precision: f64,
        settings: &RunSettings,
    ) -> Result<Self, Failure> {
        let text = limits.to_owned();
        let limits: Vec<Limit> = limits
            .split([',', ' '])
            .filter(|limit| !limit.is_empty())
            .map(Limit::parse)
            .collect::<Result<_, _>>()?;
        if limits.is_empty() {
            return Err(Failure::usage("--find-rate: name a limit, such as p99_ttft<500"));
        }
        if seeds == 0 {
            return Err(Failure::usage("--find-seeds 0: at least one run must be made at each rate"));
        }
        if !(1e-4..=1.0).contains(&precision) {
            return Err(Failure::usage(format!(
                "--find-precision {precision}: give a share from 0.0001 to 1"
            )));
        }
        if settings.load.self_timed {
            return Err(Failure::usage(
                "--find-rate: a trace has its own clock; give --no-self-timed to send it at a rate",
            ));
        }
        if matches!(settings.load.arrivals.rate, Rate::Ramp { .. }) {
            return Err(Failure::usage("--find-rate searches constant rates: leave --ramp-up-strategy out"));
        }
        let percentiles = limits.iter().filter_map(|limit| match limit.statistic {
            Statistic::Mean => None,
            Statistic::Percentile(p) => Some(p),
        });
        let metrics = MetricSettings {
            selected: limits.iter().map(|limit| limit.metric).collect(),
            percentiles: percentiles.collect(),
            finite_rate: true,
            ..settings.metrics.clone()
        };
        Ok(Self { limits, text, seeds, precision, metrics })
    }

    /// Brackets the rate by doubling and halving, then bisects, and prints every rate that was tried.
    pub(crate) fn run(
        &self,
        plan: &VirtualPlan,
        requests: &[Request],
        arrivals: &ArrivalSettings,
        model: &EngineModel,
        output: &Output,
    ) -> Result<Found, Failure> {
        output.say(&format!(
            "Searching the request rate that keeps {} on {}: {} runs of {} requests at each rate",
            self.text,
            model.title(),
            self.seeds,
            plan.requests.len()
        ));
        output.say(&self.head());
        let at = |rate: f64| {
            self.point(plan, requests, arrivals, rate).inspect(|point| output.say(&self.row(point)))
        };
        let first = match arrivals.rate {
            Rate::PerSecond(rate) => rate,
            Rate::Infinite | Rate::Ramp { .. } => FIRST_RATE,
        };
        let mut point = at(first)?;
        let (mut good, mut bad) = (None, None);
        let good_first = self.is_good(&point);
        while RATES.contains(&point.rate) && (good.is_none() || bad.is_none()) {
            let rate = point.rate;
            *(if self.is_good(&point) { &mut good } else { &mut bad }) = Some(point.clone());
            if good.is_none() || bad.is_none() {
                point = at(if good_first { rate * 2.0 } else { rate / 2.0 })?;
            }
        }
        let Some(mut good) = good else {
            return Ok(Found { rate: None, answer: self.never(&point) });
        };
        while let Some(above) = bad.as_ref().filter(|bad| bad.rate / good.rate > 1.0 + self.precision) {
            let middle = at((above.rate * good.rate).sqrt())?;
            if self.is_good(&middle) {
                good = middle;
            } else {
                bad = Some(middle);
            }
        }
        let answer = self.answer(&good, bad.as_ref(), model);
        Ok(Found { rate: Some(Rate::PerSecond(good.rate)), answer })
    }

    fn is_good(&self, point: &Point) -> bool {
        point.kept == self.seeds
    }

    /// All runs at one rate. The requests are the same; arrivals and the engines' randomness are drawn anew.
    fn point(
        &self,
        plan: &VirtualPlan,
        requests: &[Request],
        arrivals: &ArrivalSettings,
        rate: f64,
    ) -> Result<Point, Failure> {
        let runs = (0..self.seeds)
            .into_par_iter()
            .map(|offset| {
                // NumPy's generator takes 32 bits.
                let seed = arrivals.seed.wrapping_add(offset) % (1 << 32);
                let arrivals = ArrivalSettings { rate: Rate::PerSecond(rate), seed, ..arrivals.clone() };
                let schedule = prepare::arrivals(requests, &arrivals)?;
                let plan = VirtualPlan { schedule, seed, ..plan.clone() };
                let (mut finished, _) = simulate(plan).or_run()?;
                run::count_tokens(&mut finished.records, None);
                Ok(summarise(&finished.records, &self.metrics))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let mut point = Point { rate, kept: 0, worst: vec![0.0; self.limits.len()], seconds: f64::INFINITY };
        for summary in &runs {
            let mut kept = summary.failed == 0;
            point.seconds = point.seconds.min(summary.duration_s);
            for (limit, worst) in self.limits.iter().zip(&mut point.worst) {
                let value = limit.value(summary).ok_or_else(|| {
                    Failure::usage(format!(
                        "--find-rate: these requests have no {} (answers of one token have no gaps, and without \
                         --max-concurrency there is no client queue)",
                        limit.metric.key()
                    ))
                })?;
                kept &= value < limit.below_ms;
                *worst = worst.max(value);
            }
            point.kept += u64::from(kept);
        }
        Ok(point)
    }

    fn head(&self) -> String {
        let names = self.limits.iter().map(|limit| format!("  {:>16}", limit.name()));
        format!("{:>12}  {:>9}{}  (ms, the worst run)", "req/s", "kept", names.collect::<String>())
    }

    fn row(&self, point: &Point) -> String {
        let worst = point.worst.iter().map(|value| format!("  {value:>16.2}"));
        let kept = format!("{} of {}", point.kept, self.seeds);
        format!("{:>12.3}  {kept:>9}{}", point.rate, worst.collect::<String>())
    }

    fn never(&self, last: &Point) -> String {
        format!(
            "No rate keeps {}: even at {:.3} req/s only {} of {} runs did.",
            self.text, last.rate, last.kept, self.seeds
        )
    }

    fn answer(&self, good: &Point, bad: Option<&Point>, model: &EngineModel) -> String {
        let n = self.seeds;
        // If a share q of such runs kept the limits, all n would do so with probability q^n.
        let share = 0.05_f64.powf(1.0 / n as f64) * 100.0;
        let mut text = format!(
            "Answer: {:.2} req/s on {} keep {}; {n} of {n} runs did, so with 95 % confidence at least {share:.0} % of \
             such runs do.",
            good.rate,
            model.title(),
            self.text
        );
        let _ = match bad {
            Some(bad) => write!(text, " At {:.2} req/s {} of {n} did.", bad.rate, bad.kept),
            None => {
                write!(text, " All requests came nearly at once: raise --num-prompts to try higher rates.")
            }
        };
        if good.seconds < SHORT {
            let seconds = good.seconds;
            let _ = write!(
                text,
                " A run at this rate lasts {seconds:.0} s; a longer one (--num-prompts) may find a lower rate, \
                 because a queue that grows slowly takes time to show."
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        let limit = Limit::parse("p99_ttft<500").unwrap();
        assert_eq!((limit.metric, limit.statistic), (Metric::Ttft, Statistic::Percentile(99.0)));
        assert_eq!((limit.below_ms, limit.name().as_str()), (500.0, "p99_ttft"));
        assert_eq!(Limit::parse("median_itl <= 30").unwrap().statistic, Statistic::Percentile(50.0));
        for (wrong, why) in [
            ("p99_ttft", "no <"),
            ("p99<5", "no _"),
            ("p101_ttft<5", "statistic"),
            ("p99_speed<5", "metric"),
            ("p99_ttft<0", "above 0"),
        ] {
            let (_, error) = Limit::parse(wrong).unwrap_err().into_parts();
            assert!(error.to_string().contains(why), "{wrong}: {error}");
        }
    }
}
