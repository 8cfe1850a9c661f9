//! Search on the virtual clock for the highest request rate that keeps latency limits.

use std::fmt::Write as _;

use inferometer_arrival::{ArrivalSettings, Rate};
use inferometer_core::Request;
use inferometer_engine::{VirtualRequest, VirtualRun, simulate};
use inferometer_metrics::{Metric, MetricSettings, Summary, summarise};
use inferometer_sim::engine::Content;
use rayon::prelude::*;

use crate::error::{Error, OrError};
use crate::observer::Observer;
use crate::prepare::arrivals as arrivals_of;
use crate::run_records::count_in_memory;
use crate::settings::Settings;
use crate::simulate::EngineModel;
use crate::spec::RunSpec;

/// First rate that is tried, in requests per second, unless `--request-rate` gives one.
const FIRST_RATE: f64 = 1.0;
/// Lowest rate that is tried, in requests per second. Chosen, not measured.
const MIN_RATE: f64 = 1e-3;
/// Maximum requests of one run, which take seconds to simulate. Chosen, not measured.
const MAX_REQUESTS: usize = 200_000;

/// A search whose limits and budget are valid.
#[derive(Debug)]
pub struct RateSearch {
    limits: Vec<Limit>,
    text: String,
    budget: SearchBudget,
    metrics: MetricSettings,
}

/// How much is simulated, and how exact the answer is.
#[derive(Clone, Copy, Debug)]
pub struct SearchBudget {
    /// Runs at each rate, each with its own seed.
    pub seeds: u64,
    /// Minimum time over which requests arrive in each run, in simulated seconds.
    pub seconds: f64,
    /// Relative precision of the rate, 0.0001 to 1.
    pub precision: f64,
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
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Error::usage(format!(
                "--find-rate {text}: {why}; expected STATISTIC_METRIC<MILLISECONDS, such as p99_ttft<500, with mean, \
                 median or pNN and ttft, tpot, itl, e2el"
            ))
        };
        let (name, limit) = text.split_once('<').ok_or_else(|| wrong("missing <"))?;
        let below_ms = limit
            .trim_start_matches('=')
            .trim()
            .parse()
            .ok()
            .filter(|limit: &f64| *limit > 0.0);
        let below_ms = below_ms.ok_or_else(|| wrong("invalid limit: expected a number above 0"))?;
        let (statistic, metric) = name
            .trim()
            .split_once('_')
            .ok_or_else(|| wrong("missing _"))?;
        let metric = Metric::from_key(metric).ok_or_else(|| wrong("unknown metric"))?;
        let statistic = match statistic {
            "mean" => Statistic::Mean,
            "median" => Statistic::Percentile(50.0),
            other => {
                let percentile = other
                    .strip_prefix('p')
                    .and_then(|number| number.parse().ok());
                let percentile = percentile.filter(|number| (0.0..=100.0).contains(number));
                Statistic::Percentile(percentile.ok_or_else(|| wrong("unknown statistic"))?)
            }
        };
        Ok(Self {
            metric,
            statistic,
            below_ms,
        })
    }

    fn name(self) -> String {
        match self.statistic {
            Statistic::Mean => format!("mean_{}", self.metric.key()),
            Statistic::Percentile(p) => format!("p{p}_{}", self.metric.key()),
        }
    }

    /// The value in a run; `None` when the run has no such metric.
    fn value(self, summary: &Summary) -> Option<f64> {
        let stats = summary
            .stats
            .iter()
            .find(|stats| stats.metric == self.metric && stats.samples > 0)?;
        match self.statistic {
            Statistic::Mean => Some(stats.mean_ms),
            Statistic::Percentile(wanted) => stats
                .percentiles
                .iter()
                .find(|&&(p, _)| p == wanted)
                .map(|&(_, value)| value),
        }
    }
}

/// The outcome at one rate.
#[derive(Clone, Debug)]
struct Point {
    rate: f64,
    kept: u64,
    /// Requests of each run.
    requests: usize,
    /// The worst value of each limit.
    worst: Vec<f64>,
}

impl RateSearch {
    /// Checks the flags: `limits` as `p99_ttft<500,mean_itl<30`, and the budget.
    ///
    /// # Errors
    ///
    /// A usage error when a limit or the budget is invalid, or when the settings do not have a constant
    /// rate to search for.
    pub fn new(limits: &str, budget: SearchBudget, settings: &Settings) -> Result<Self, Error> {
        let text = limits.to_owned();
        let limits: Vec<Limit> = limits
            .split([',', ' '])
            .filter(|limit| !limit.is_empty())
            .map(Limit::parse)
            .collect::<Result<_, _>>()?;
        if limits.is_empty() {
            return Err(Error::usage(
                "--find-rate: missing limit, such as p99_ttft<500",
            ));
        }
        let SearchBudget {
            seeds,
            seconds,
            precision,
        } = budget;
        if seeds == 0 {
            return Err(Error::usage("--find-seeds must be at least 1"));
        }
        if !(1e-4..=1.0).contains(&precision) {
            return Err(Error::usage(format!(
                "invalid --find-precision {precision}: expected a fraction from 0.0001 to 1"
            )));
        }
        if !(1.0..=1e5).contains(&seconds) {
            return Err(Error::usage(format!(
                "invalid --find-duration {seconds}: expected 1 to 100000 seconds"
            )));
        }
        if settings.saving.save {
            return Err(Error::usage(
                "--find-rate writes no result: remove --save-result, and simulate the rate that it finds with \
                 --request-rate",
            ));
        }
        if settings.load.self_timed {
            return Err(Error::usage(
                "--find-rate: a trace sets its own times; add --no-self-timed to send it at a rate",
            ));
        }
        if matches!(settings.load.arrivals.rate, Rate::Ramp { .. }) {
            return Err(Error::usage(
                "--find-rate searches for a constant rate: remove --ramp-up-strategy",
            ));
        }
        let percentiles = limits.iter().filter_map(|limit| match limit.statistic {
            Statistic::Mean => None,
            Statistic::Percentile(p) => Some(p),
        });
        let metrics = MetricSettings {
            selected: limits.iter().map(|limit| limit.metric).collect(),
            percentiles: percentiles.collect(),
            finite_rate: true,
            ..RunSpec::of(settings).metric_settings()
        };
        Ok(Self {
            limits,
            text,
            budget,
            metrics,
        })
    }

    /// Brackets the rate by doubling and halving, then bisects; `observer` gets a line for every rate
    /// that was tried. Returns the highest rate that kept the limits, in requests per second, or `None`.
    ///
    /// # Errors
    ///
    /// A usage error when the requests do not have a limit's metric; a failure of the simulation.
    pub fn run(
        &self,
        plan: &VirtualRun,
        requests: &[Request],
        arrivals: &ArrivalSettings,
        model: &EngineModel,
        observer: &dyn Observer,
    ) -> Result<Option<f64>, Error> {
        observer.line(&format!(
            "Searching for the highest request rate that meets {} on {}: {} runs at each rate, requests arriving for {} s \
             or more",
            self.text,
            model.title(),
            self.budget.seeds,
            self.budget.seconds
        ));
        observer.line(&self.head());
        let at = |rate: f64| {
            self.point(plan, requests, arrivals, rate)
                .inspect(|point| observer.line(&self.row(point)))
        };
        let mut rate = match arrivals.rate {
            Rate::PerSecond(rate) => rate,
            Rate::Infinite | Rate::Ramp { .. } => FIRST_RATE,
        };
        let (mut good, mut bad): (Option<Point>, Option<Point>) = (None, None);
        while rate > MIN_RATE && self.passes(requests, rate) * requests.len() <= MAX_REQUESTS {
            let point = at(rate)?;
            if self.is_good(&point) {
                rate *= 2.0;
                good = Some(point);
            } else {
                rate /= 2.0;
                bad = Some(point);
            }
            if good.is_some() && bad.is_some() {
                break;
            }
        }
        let Some(mut good) = good else {
            observer.line(&self.never(bad.as_ref()));
            return Ok(None);
        };
        while let Some(above) = bad
            .as_ref()
            .filter(|bad| bad.rate / good.rate > 1.0 + self.budget.precision)
        {
            let middle = at((above.rate * good.rate).sqrt())?;
            if self.is_good(&middle) {
                good = middle;
            } else {
                bad = Some(middle);
            }
        }
        observer.line(&self.answer(&good, bad.as_ref(), model));
        Ok(Some(good.rate))
    }

    /// How many times the requests are repeated so that they arrive for long enough.
    fn passes(&self, requests: &[Request], rate: f64) -> usize {
        let opens = |request: &&Request| request.session.as_ref().is_none_or(|turn| turn.turn == 0);
        let arrivals = requests.iter().filter(opens).count().max(1);
        ((rate * self.budget.seconds / arrivals as f64).ceil() as usize).max(1)
    }

    fn is_good(&self, point: &Point) -> bool {
        point.kept == self.budget.seeds
    }

    /// All runs at one rate. The requests are the same; arrivals and the engines' random numbers differ.
    fn point(
        &self,
        plan: &VirtualRun,
        requests: &[Request],
        arrivals: &ArrivalSettings,
        rate: f64,
    ) -> Result<Point, Error> {
        let passes = self.passes(requests, rate);
        let all: Vec<Request> = if passes > 1 {
            repeated(requests, passes)
        } else {
            Vec::new()
        };
        let requests = if passes > 1 { &all } else { requests };
        let runs = (0..self.budget.seeds)
            .into_par_iter()
            .map(|offset| {
                // NumPy's generator has a seed of 32 bits.
                let seed = arrivals.seed.wrapping_add(offset) % (1 << 32);
                let arrivals = ArrivalSettings {
                    rate: Rate::PerSecond(rate),
                    seed,
                    ..arrivals.clone()
                };
                let plan = VirtualRun {
                    requests: repeated_for_engine(&plan.requests, passes),
                    schedule: arrivals_of(requests, &arrivals)?,
                    seed,
                    max_concurrency: plan.max_concurrency,
                    max_conversations: plan.max_conversations,
                    cluster: plan.cluster.clone(),
                };
                let (mut finished, _) = simulate(plan).or_failure()?;
                count_in_memory(&mut finished.records, None);
                Ok(summarise(&finished.records, &self.metrics))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut point = Point {
            rate,
            kept: 0,
            requests: requests.len(),
            worst: vec![0.0; self.limits.len()],
        };
        for summary in &runs {
            let mut kept = summary.failed == 0;
            for (limit, worst) in self.limits.iter().zip(&mut point.worst) {
                let value = limit.value(summary).ok_or_else(|| {
                    Error::usage(format!(
                        "--find-rate: these requests have no {} (answers of one token have no gaps, and without \
                         --max-concurrency no request waits in the client)",
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
        let mut text = format!("{:>12}  {:>8}  {:>9}", "req/s", "requests", "met");
        for limit in &self.limits {
            let _ = write!(text, "  {:>16}", limit.name());
        }
        text + "  (ms, the worst run)"
    }

    fn row(&self, point: &Point) -> String {
        let kept = format!("{} of {}", point.kept, self.budget.seeds);
        let mut text = format!("{:>12.3}  {:>8}  {kept:>9}", point.rate, point.requests);
        for worst in &point.worst {
            let _ = write!(text, "  {worst:>16.2}");
        }
        text
    }

    fn never(&self, last: Option<&Point>) -> String {
        match last {
            Some(last) => format!(
                "No rate meets {}: even at {:.3} req/s only {} of {} runs did.",
                self.text, last.rate, last.kept, self.budget.seeds
            ),
            None => {
                "No rate was tried: start lower with --request-rate, or shorten --find-duration."
                    .to_owned()
            }
        }
    }

    fn answer(&self, good: &Point, bad: Option<&Point>, model: &EngineModel) -> String {
        let n = self.budget.seeds;
        // If a fraction q of such runs kept the limits, all n would do so with probability q^n.
        let percent = 0.05_f64.powf(1.0 / n as f64) * 100.0;
        let mut text = format!(
            "Answer: {:.2} req/s on {} meet {}; {n} of {n} runs did, so with 95 % confidence at least {percent:.0} % of \
             such runs do.",
            good.rate,
            model.title(),
            self.text
        );
        let _ = match bad {
            Some(bad) => write!(text, " At {:.2} req/s {} of {n} did.", bad.rate, bad.kept),
            None => write!(
                text,
                " Higher rates were not tried: their runs would have more than {MAX_REQUESTS} requests."
            ),
        };
        text.push_str(" This is simulated: no server was measured.");
        text
    }
}

/// The requests repeated `passes` times, for their arrivals.
fn repeated(requests: &[Request], passes: usize) -> Vec<Request> {
    // Only the place in a conversation matters here, so the prompts need not be copied.
    let bare = requests.iter().map(|request| Request {
        session: request.session.clone(),
        ..Request::default()
    });
    let bare: Vec<Request> = bare.collect();
    std::iter::repeat_n(bare, passes).flatten().collect()
}

/// The requests repeated `passes` times. Each pass has different tokens, so that the prefix cache hits
/// within a pass as it would without repetition, and never across passes.
fn repeated_for_engine(requests: &[VirtualRequest], passes: usize) -> Vec<VirtualRequest> {
    let mut all = Vec::with_capacity(requests.len() * passes);
    for pass in 0..passes {
        let salt = (pass as u32).wrapping_mul(0x9e37_79b1);
        for request in requests {
            let mut copy = request.clone();
            copy.engine.id = all.len() as u64;
            // Each pass has conversations of its own.
            copy.engine.conversation = copy
                .engine
                .conversation
                .map(|session| session + (pass * requests.len()) as u64);
            if let Content::Tokens(tokens) = &mut copy.engine.prompt {
                salted(tokens, salt);
            }
            salted(&mut copy.engine.answer, salt);
            all.push(copy);
        }
    }
    all
}

fn salted(tokens: &mut [u32], salt: u32) {
    for token in tokens {
        *token ^= salt;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        let limit = Limit::parse("p99_ttft<500").unwrap();
        assert_eq!(
            (limit.metric, limit.statistic),
            (Metric::Ttft, Statistic::Percentile(99.0))
        );
        assert_eq!((limit.below_ms, limit.name().as_str()), (500.0, "p99_ttft"));
        assert_eq!(
            Limit::parse("median_itl <= 30").unwrap().statistic,
            Statistic::Percentile(50.0)
        );
        for (wrong, why) in [
            ("p99_ttft", "missing <"),
            ("p99<5", "missing _"),
            ("p101_ttft<5", "statistic"),
            ("p99_speed<5", "metric"),
            ("p99_ttft<0", "above 0"),
        ] {
            let error = Limit::parse(wrong).unwrap_err();
            assert!(error.to_string().contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn repeated_requests_share_tokens_within_a_pass_and_not_between_passes() {
        let request = |tokens: &[u32]| VirtualRequest {
            engine: inferometer_sim::engine::EngineRequest::new(
                0,
                Content::Tokens(tokens.to_vec()),
                1,
            ),
            facts: inferometer_core::Record::default(),
            cancel_after: None,
            think: None,
        };
        let all = repeated_for_engine(&[request(&[1, 2]), request(&[1, 3])], 2);
        let tokens: Vec<_> = all
            .iter()
            .map(|one| match &one.engine.prompt {
                Content::Tokens(tokens) => tokens.clone(),
                Content::Unshared(_) => Vec::new(),
            })
            .collect();
        assert_eq!((&tokens[0], &tokens[1]), (&vec![1, 2], &vec![1, 3]));
        assert_eq!(tokens[2][0], tokens[3][0]);
        assert_ne!(tokens[2][0], tokens[0][0]);
        assert_eq!(
            all.iter().map(|one| one.engine.id).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
    }
}
