//! What the rules measure: quantities that take more than one number of the run.

use inferometer_core::{ClientHealth, Ending, Nanos, Outcome, ending};

use super::{Rule, VerdictSettings};
use crate::{Extras, Floor, Kind, Spread, Summary, Target};

/// A schedule below this many seconds has no rate.
const RATE_SECONDS: f64 = 1.0;
/// A run below this duration has no CPU use. A worker's first request takes 0.26 to 0.34 ms of CPU time
/// (one request to an embeddings server on the same host, six runs, unoptimised build), which is more
/// than such a run lasts, and each later one 0.04 ms. Of a tenth of a second it is 0.3 %, and 3 % on a
/// host a tenth as fast.
const CPU_TIME: Nanos = Nanos::from_millis(100);
/// Targets with fewer answers are not compared.
const FEWEST_OF_TARGET: u64 = 5;
/// With at least this many, a median beyond the other's 90th percentile is no chance: of equal
/// targets it is in less than one of a thousand runs.
const ENOUGH_OF_TARGET: u64 = 20;
/// Ratio of medians that targets with fewer answers must have.
const RATIO_OF_FEW: f64 = 4.0;

/// Everything that a rule may use.
#[derive(Clone, Copy)]
pub(super) struct Findings<'a> {
    pub(super) summary: &'a Summary,
    pub(super) extras: &'a Extras,
    pub(super) health: &'a ClientHealth,
    pub(super) settings: &'a VerdictSettings,
    /// The median that [`Limit::OfTtft`](super::Limit::OfTtft) refers to, in milliseconds.
    pub(super) median_ms: f64,
}

/// Two targets of different speed.
#[derive(Clone, Copy)]
pub(super) struct Unequal {
    /// The latency by which they differ.
    pub(super) metric: &'static str,
    /// Median of the slower one / median of the faster one.
    pub(super) ratio: f64,
    /// Position and median in milliseconds of the slowest target.
    pub(super) slow: (u16, f64),
    /// The same of the fastest one.
    pub(super) fast: (u16, f64),
}

impl<'a> Findings<'a> {
    pub(super) fn new(
        summary: &'a Summary,
        extras: &'a Extras,
        health: &'a ClientHealth,
        settings: &'a VerdictSettings,
    ) -> Self {
        // From the due instant where there is one: what is late must be compared with what the
        // user of the server sees.
        let latencies = extras.response.as_ref().unwrap_or(&extras.service);
        let median = latencies.ttft_ms.or(latencies.e2el_ms);
        Self {
            summary,
            extras,
            health,
            settings,
            median_ms: median.map_or(0.0, |spread| spread.p50),
        }
    }

    /// Requests that were sent. Those that were not can neither fail nor end early.
    pub(super) fn sent(&self) -> usize {
        self.extras.issued.saturating_sub(self.extras.not_sent)
    }

    /// `part` as a fraction of the requests that were sent.
    pub(super) fn fraction_of_sent(&self, part: usize) -> f64 {
        part as f64 / self.sent().max(1) as f64
    }

    /// Answers that ended early.
    pub(super) fn truncated(&self) -> usize {
        self.extras.outcomes.get(Outcome::Truncated)
    }

    /// CPU time of the busiest worker as a fraction of the run's duration. Spinning towards due
    /// instants is left out, because it does not indicate overload. `None` for a run below
    /// [`CPU_TIME`].
    pub(super) fn busiest_worker(&self) -> Option<f64> {
        let long = self.health.wall >= CPU_TIME;
        let workers = self.health.workers.iter().filter(|_| long);
        workers
            .map(|worker| self.of_wall(worker.cpu.since(worker.spin)))
            .reduce(f64::max)
    }

    pub(super) fn longest_stall_ms(&self) -> Option<f64> {
        let workers = self.health.workers.iter();
        workers
            .map(|worker| worker.largest_stall.as_millis_f64())
            .reduce(f64::max)
    }

    pub(super) fn throttled(&self) -> Option<f64> {
        let lost = self.health.cgroup_throttled?;
        Some(self.of_wall(lost.time))
    }

    fn of_wall(&self, part: Nanos) -> f64 {
        let wall = self.health.wall;
        if wall == Nanos::ZERO {
            0.0
        } else {
            part.0 as f64 / wall.0 as f64
        }
    }

    /// True when the cap alone explains a rate below the schedule's.
    pub(super) fn is_capped(&self) -> bool {
        Rule::find("cap_binding").is_some_and(|rule| rule.applies(self))
    }

    /// Percentiles that were asked for and have fewer samples than they need.
    pub(super) fn short_percentiles(&self) -> impl Iterator<Item = &'a Floor> {
        self.extras.floors.iter().filter(|floor| !floor.is_met())
    }

    /// Requests that failed by themselves, truncated answers excluded.
    pub(super) fn failed(&self) -> usize {
        let aside = [
            Outcome::Ok,
            Outcome::Truncated,
            Outcome::Cancelled,
            Outcome::Unfinished,
        ];
        let outcomes = &self.extras.outcomes;
        let aside: usize = aside.into_iter().map(|outcome| outcomes.get(outcome)).sum();
        outcomes.total().saturating_sub(aside)
    }

    /// Requests cut off by the end of the run. In a run that reached its end, what was not sent are
    /// the later turns of conversations that failed.
    pub(super) fn unfinished(&self) -> usize {
        let unfinished = self.extras.outcomes.get(Outcome::Unfinished);
        if self.settings.interrupted {
            unfinished
        } else {
            unfinished.saturating_sub(self.extras.not_sent)
        }
    }

    /// Shortfall of the offered rate. A rate that the cap held down is a finding of its own, and a
    /// schedule below a second has no rate: one late send would be a large part of it.
    pub(super) fn rate_shortfall(&self) -> Option<f64> {
        let arrival = &self.extras.arrival;
        let shortfall = arrival.rate_shortfall.filter(|_| !self.is_capped())?;
        let last_send = arrival.sent as f64 / arrival.offered_rate?;
        (last_send * (1.0 - shortfall) >= RATE_SECONDS).then_some(shortfall)
    }

    /// Fraction of prompt tokens from the prefix cache: by the usage of the answers, else by the
    /// server's counters, which count all of its traffic.
    pub(super) fn cached_fraction(&self) -> Option<f64> {
        let cached = self.extras.tokens.cached.as_ref();
        cached
            .map(|cached| cached.share)
            .or(self.settings.counted_cached)
    }

    /// Fraction of prompt tokens that the workload itself repeats: its own prefixes, and the tokens that
    /// the chat template puts around every prompt.
    pub(super) fn predicted_cached(&self) -> f64 {
        let template = self.extras.tokens.prompts.as_ref().map_or(0.0, |prompts| {
            prompts.template_total as f64 / prompts.server_total.max(1) as f64
        });
        (self.settings.predicted_cached + template).min(1.0)
    }

    /// The slowest and the fastest target, where chance does not explain their ratio.
    ///
    /// With at least 20 requests each, the median of the one must be beyond the 90th percentile of
    /// the other; with at least 5, beyond its maximum, and the ratio at least 4.
    pub(super) fn unequal_targets(&self) -> Option<Unequal> {
        let by_ttft = self.unequal("TTFT", |target| target.service.ttft_ms);
        let by_e2el = self.unequal("E2EL", |target| target.service.e2el_ms);
        let found = [by_ttft, by_e2el].into_iter().flatten();
        found.max_by(|a, b| a.ratio.total_cmp(&b.ratio))
    }

    fn unequal(
        &self,
        metric: &'static str,
        latency: fn(&Target) -> Option<Spread>,
    ) -> Option<Unequal> {
        let rows = self.extras.targets.iter();
        let rows = rows.filter_map(|target| Some((target.target, latency(target)?)));
        let rows: Vec<(u16, Spread)> = rows
            .filter(|(_, spread)| spread.samples >= FEWEST_OF_TARGET)
            .collect();
        let median = |row: &&(u16, Spread)| row.1.p50;
        let fast = rows.iter().min_by(|a, b| median(a).total_cmp(&median(b)))?;
        let slow = rows.iter().max_by(|a, b| median(a).total_cmp(&median(b)))?;
        let ratio = slow.1.p50 / fast.1.p50;
        let enough = slow.1.samples.min(fast.1.samples) >= ENOUGH_OF_TARGET;
        let beyond_chance = if enough {
            slow.1.p50 > fast.1.p90
        } else {
            slow.1.p50 > fast.1.max && ratio >= RATIO_OF_FEW
        };
        (beyond_chance && ratio.is_finite()).then_some(Unequal {
            metric,
            ratio,
            slow: (slow.0, slow.1.p50),
            fast: (fast.0, fast.1.p50),
        })
    }

    /// Output tokens received per token requested; endpoints without generation have none.
    fn length_ratio(&self) -> Option<f64> {
        let lengths = self.extras.output_lengths.as_ref()?;
        (self.summary.kind == Kind::Generation).then_some(lengths.ratio)
    }

    pub(super) fn length_difference(&self) -> Option<f64> {
        let excess = self.length_ratio()? - 1.0;
        Some(if self.settings.ignore_eos {
            excess.abs()
        } else {
            excess.max(0.0)
        })
    }

    /// A transcript is as long as its clip: the limit is not a length that was requested.
    pub(super) fn missing_length(&self) -> Option<f64> {
        let ratio = self.length_ratio()?;
        let is_speech = self.summary.rtfx > 0.0;
        (!self.settings.ignore_eos && !is_speech).then(|| (1.0 - ratio).max(0.0))
    }

    /// Fraction of the good answers that ended for a reason that is not known.
    pub(super) fn unknown_endings(&self) -> Option<f64> {
        let unknown: usize = self.unknown_reasons().map(|(_, count)| count).sum();
        let all: usize = self.extras.finish_reasons.values().sum();
        (all > 0).then(|| unknown as f64 / all as f64)
    }

    /// The reasons that are not known, with their numbers of answers.
    pub(super) fn unknown_reasons(&self) -> impl Iterator<Item = (&'a str, usize)> {
        let reasons = self.extras.finish_reasons.iter();
        reasons
            .filter(|(reason, _)| ending(reason) == Ending::Unknown)
            .map(|(reason, &count)| (reason.as_str(), count))
    }

    /// Fraction of the good answers whose usage cannot be true.
    pub(super) fn impossible_usage(&self) -> Option<f64> {
        let all = self.answers();
        (all > 0).then(|| self.extras.tokens.usage_impossible as f64 / all as f64)
    }

    /// Good answers.
    pub(super) fn answers(&self) -> usize {
        self.extras.outcomes.get(Outcome::Ok)
    }

    pub(super) fn usage_difference(&self) -> Option<f64> {
        let agreement = self.extras.tokens.usage_against_tokenizer.as_ref()?;
        (!agreement.retokenised).then_some(agreement.relative_difference)
    }

    /// How fast the server fell behind; 0 if it did not.
    pub(super) fn backlog_growth(&self) -> Option<f64> {
        let backlog = self.extras.concurrency.backlog.as_ref()?;
        (!self.settings.ramp).then(|| backlog.falls_behind().unwrap_or(0.0))
    }
}
