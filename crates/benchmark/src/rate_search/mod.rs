//! Search on the virtual clock for the highest request rate that keeps latency limits.
//!
//! A rate is good when its users are served: limits hold for response latency, which begins at the due
//! instant, and the engine completes requests as fast as they arrive. Service latency would call every
//! rate good under a cap, because what waits for a slot was not sent yet.

mod limit;
mod repeat;
mod served;

use std::fmt::Write as _;

use inferometer_arrival::{ArrivalSettings, Rate};
use inferometer_core::{Record, Request};
use inferometer_engine::{VirtualRun, simulate};
use inferometer_metrics::{MetricSettings, Summary, summarise};
use rayon::prelude::*;

use crate::error::{Error, OrError};
use crate::observer::Observer;
use crate::prepare::arrivals as arrivals_of;
use crate::run_records::count_in_memory;
use crate::settings::Settings;
use crate::simulate::EngineModel;
use crate::spec::RunSpec;
use limit::{Limit, Statistic};
use repeat::{repeated, repeated_for_engine};
use served::{Served, Supply};

/// First rate that is tried, in requests per second, unless `--request-rate` gives one.
const FIRST_RATE: f64 = 1.0;
/// Lowest rate that is tried, in requests per second. Chosen, not measured.
const MIN_RATE: f64 = 1e-3;
/// Maximum requests of one run, which take seconds to simulate. Chosen, not measured.
const MAX_REQUESTS: usize = 200_000;
/// How often a rate that only a growing backlog speaks against is tried for longer, and how much longer.
/// The number of requests present rises for several times the length of an answer, because each of them
/// slows the others: 60 s of a conversation dataset at 64 requests per second, of the 73 that are served,
/// end with 5 % of the arrivals present. In a longer run a start-up is a smaller fraction; an overload is not.
const CONFIRMATIONS: usize = 2;
const LONGER: f64 = 4.0;

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

/// The outcome at one rate.
#[derive(Clone, Debug)]
struct Point {
    rate: f64,
    kept: u64,
    /// Requests of each run.
    requests: usize,
    /// The lowest rate, in requests per second, at which a run's requests were completed while others
    /// arrived.
    served: f64,
    /// Runs in which the backlog grew.
    behind: u64,
    /// True when a run's completions lag behind by more than chance.
    lags: bool,
    /// The worst value of each limit.
    worst: Vec<f64>,
}

impl Point {
    /// The answer of a search that ends with this point as the good one and `bad` as the next: what is
    /// served of its rate, where that is what speaks against more. A rate above the capacity by less than
    /// the tolerance is good, and is not served for long.
    fn answer(&self, bad: Option<&Self>) -> f64 {
        let at_capacity = self.lags || bad.is_some_and(|bad| bad.behind > 0);
        if at_capacity {
            self.rate.min(self.served)
        } else {
            self.rate
        }
    }
}

/// One run at one rate.
#[derive(Debug)]
struct Trial {
    served: Served,
    failed: usize,
    /// The value of each limit.
    values: Vec<f64>,
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
        let limits = Limit::parse_all(limits)?;
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
    /// that was tried. Returns the highest rate that kept the limits and was served, in requests per
    /// second, or `None`.
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
             or more; latencies are from the due instant, and a growing backlog breaks every limit",
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
        while rate > MIN_RATE
            && passes(requests, rate, self.budget.seconds) * requests.len() <= MAX_REQUESTS
        {
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
        Ok(Some(good.answer(bad.as_ref())))
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
        let mut seconds = self.budget.seconds;
        let mut confirmed = 0;
        loop {
            let passes = passes(requests, rate, seconds);
            let trials = self.trials(plan, requests, arrivals, rate, passes)?;
            let too_short = |trial: &Trial| match trial.served.supply {
                Supply::Unknown { seconds } => Some(seconds),
                Supply::KeepsUp | Supply::FallsBehind => None,
            };
            let affordable =
                |seconds| self::passes(requests, rate, seconds) * requests.len() <= MAX_REQUESTS;
            let Some(needed) = trials.iter().filter_map(too_short).reduce(f64::max) else {
                let longer = seconds * LONGER;
                if confirmed < CONFIRMATIONS
                    && affordable(longer)
                    && trials.iter().any(|trial| self.only_falls_behind(trial))
                {
                    confirmed += 1;
                    seconds = longer;
                    continue;
                }
                return Ok(self.judge(rate, passes * requests.len(), &trials));
            };
            seconds = needed;
            if !affordable(seconds) {
                return Err(Error::usage(format!(
                    "--find-rate: at {rate:.3} req/s requests must arrive for {seconds:.0} s before a growing backlog \
                     shows, which takes more than {MAX_REQUESTS} requests; shorten the answers"
                )));
            }
        }
    }

    /// The runs at one rate, with the requests repeated `passes` times.
    fn trials(
        &self,
        plan: &VirtualRun,
        requests: &[Request],
        arrivals: &ArrivalSettings,
        rate: f64,
        passes: usize,
    ) -> Result<Vec<Trial>, Error> {
        let all: Vec<Request> = if passes > 1 {
            repeated(requests, passes)
        } else {
            Vec::new()
        };
        let requests = if passes > 1 { &all } else { requests };
        let offsets = (0..self.budget.seeds).into_par_iter();
        let trials = offsets.map(|offset| {
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
            self.trial(finished.records, arrivals.burstiness)
        });
        trials.collect()
    }

    /// What one run shows.
    fn trial(&self, mut records: Vec<Record>, burstiness: f64) -> Result<Trial, Error> {
        let served = Served::of(&records, burstiness);
        // The client's queue is the time before the send; everything else begins at the due instant.
        let of_queue = self.limits.iter().any(|limit| limit.is_of_queue());
        let queue = of_queue.then(|| summarise(&records, &self.metrics));
        for record in &mut records {
            record.send_start = record.send_start.map(|_| record.due);
        }
        let response = summarise(&records, &self.metrics);
        let values = self.limits.iter().map(|limit| {
            let queue = queue.as_ref().filter(|_| limit.is_of_queue());
            let summary: &Summary = queue.unwrap_or(&response);
            limit.value(summary).ok_or_else(|| {
                Error::usage(format!(
                    "--find-rate: these requests have no {} (answers of one token have no gaps, and without \
                     --max-concurrency no request waits in the client)",
                    limit.metric.key()
                ))
            })
        });
        Ok(Trial {
            served,
            failed: response.failed,
            values: values.collect::<Result<_, _>>()?,
        })
    }

    /// True when every limit is kept, and only the growing backlog speaks against the rate.
    fn only_falls_behind(&self, trial: &Trial) -> bool {
        trial.served.supply == Supply::FallsBehind && self.keeps_limits(trial)
    }

    fn keeps_limits(&self, trial: &Trial) -> bool {
        let mut limits = self.limits.iter().zip(&trial.values);
        trial.failed == 0 && limits.all(|(limit, value)| *value < limit.below_ms)
    }

    fn judge(&self, rate: f64, requests: usize, trials: &[Trial]) -> Point {
        let mut point = Point {
            rate,
            kept: 0,
            requests,
            served: f64::INFINITY,
            behind: 0,
            lags: false,
            worst: vec![0.0; self.limits.len()],
        };
        for trial in trials {
            let is_behind = trial.served.supply == Supply::FallsBehind;
            for (worst, value) in point.worst.iter_mut().zip(&trial.values) {
                *worst = worst.max(*value);
            }
            point.kept += u64::from(!is_behind && self.keeps_limits(trial));
            point.behind += u64::from(is_behind);
            point.lags |= trial.served.lags;
            point.served = point.served.min(trial.served.rate);
        }
        point
    }

    fn head(&self) -> String {
        let mut text = format!(
            "{:>12}  {:>8}  {:>12}  {:>9}",
            "req/s", "requests", "served req/s", "met"
        );
        for limit in &self.limits {
            let _ = write!(text, "  {:>16}", limit.name());
        }
        text + "  (ms, the worst run)"
    }

    fn row(&self, point: &Point) -> String {
        let kept = format!("{} of {}", point.kept, self.budget.seeds);
        let mut text = format!(
            "{:>12.3}  {:>8}  {:>12.3}  {kept:>9}",
            point.rate, point.requests, point.served
        );
        for worst in &point.worst {
            let _ = write!(text, "  {worst:>16.2}");
        }
        if point.behind > 0 {
            let _ = write!(text, "  the backlog grew in {}", point.behind);
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
        let answer = good.answer(bad);
        let offered = if answer < good.rate {
            format!(" (served of {:.2} req/s offered)", good.rate)
        } else {
            String::new()
        };
        let mut text = format!(
            "Answer: {answer:.2} req/s{offered} on {} meet {}; {n} of {n} runs did, so with 95 % confidence at least \
             {percent:.0} % of such runs do.",
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

/// How many times the requests are repeated so that they arrive for this many seconds.
fn passes(requests: &[Request], rate: f64, seconds: f64) -> usize {
    let opens = |request: &&Request| request.session.as_ref().is_none_or(|turn| turn.turn == 0);
    let arrivals = requests.iter().filter(opens).count().max(1);
    ((rate * seconds / arrivals as f64).ceil() as usize).max(1)
}
