//! What the rules measure: quantities that take more than one number of the run.

use inferometer_core::{ClientHealth, Ending, Nanos, Outcome, ending};

use super::{Rule, VerdictSettings};
use crate::{Extras, Floor, Kind, Summary};

/// With fewer requests, growth of the backlog cannot be distinguished from chance.
const BACKLOG_REQUESTS: usize = 40;
/// Growth must exceed this many standard deviations of the number of requests in a stable system.
/// `docs/verdict.md` gives the error rates that were found in simulations of queues.
const BACKLOG_SIGMAS: f64 = 2.5;

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

    /// Number of requests, at least 1 so that it can be divided by.
    pub(super) fn issued(&self) -> f64 {
        self.extras.issued.max(1) as f64
    }

    /// Fraction of all requests that ended like this.
    pub(super) fn fraction_of(&self, outcome: Outcome) -> f64 {
        self.extras.outcomes.get(outcome) as f64 / self.issued()
    }

    /// "3 of 100" for the requests that ended like this.
    pub(super) fn count_of(&self, outcome: Outcome) -> String {
        format!(
            "{} of {}",
            self.extras.outcomes.get(outcome),
            self.extras.issued
        )
    }

    /// CPU time of the busiest worker as a fraction of the run's duration. Spinning towards due
    /// instants is left out, because it does not indicate overload.
    pub(super) fn busiest_worker(&self) -> Option<f64> {
        let workers = self.health.workers.iter();
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
        let aside = [Outcome::Truncated, Outcome::Cancelled, Outcome::Unfinished];
        let aside: usize = aside
            .into_iter()
            .map(|outcome| self.extras.outcomes.get(outcome))
            .sum();
        self.summary.failed.saturating_sub(aside)
    }

    /// Fraction of requests cut off by the end of the run. An interrupted run counts as having at
    /// least one, even if it was stopped right before its end.
    pub(super) fn unfinished(&self) -> f64 {
        let at_least = if self.settings.interrupted {
            1.0 / self.issued()
        } else {
            0.0
        };
        self.fraction_of(Outcome::Unfinished).max(at_least)
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

    pub(super) fn missing_length(&self) -> Option<f64> {
        let ratio = self.length_ratio()?;
        (!self.settings.ignore_eos).then(|| (1.0 - ratio).max(0.0))
    }

    pub(super) fn mean_lengths(&self) -> Option<String> {
        let lengths = self.extras.output_lengths.as_ref()?;
        Some(format!(
            "{:.1} tokens on average instead of {:.1}",
            lengths.mean_got, lengths.mean_asked
        ))
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

    pub(super) fn usage_difference(&self) -> Option<f64> {
        let tokens = &self.extras.tokens;
        if tokens.usage_impossible > 0 {
            // An impossible count is all wrong, however few answers have one.
            return Some(1.0);
        }
        let agreement = tokens.usage_against_tokenizer.as_ref()?;
        Some(agreement.relative_difference)
    }

    pub(super) fn usage_detail(&self) -> Option<String> {
        let tokens = &self.extras.tokens;
        if tokens.usage_impossible > 0 {
            return Some(format!(
                "answers whose usage cannot be true (more output tokens than bytes, none in spite of output, no prompt \
                 tokens, more cached than prompt tokens): {}; these counts were not used",
                tokens.usage_impossible
            ));
        }
        let agreement = tokens.usage_against_tokenizer.as_ref()?;
        Some(format!(
            "usage {}, tokenizer {}",
            agreement.usage_total, agreement.tokenizer_total
        ))
    }

    /// Growth of the number of requests in the system from the second quarter of the arrivals to
    /// the last, as a fraction of the arrivals between the two (half of all); 0 where chance
    /// explains it.
    ///
    /// In a stable system with Poisson arrivals the number of requests N varies like its square
    /// root; the mean over a quarter of length W varies less, by 2 S / W where S is the time in the
    /// system. By Little's law S / W is 4 N / n.
    pub(super) fn backlog_growth(&self) -> Option<f64> {
        let [_, second, third, last] = self.extras.concurrency.in_system_by_quarter?;
        if self.settings.ramp || self.extras.arrival.sent < BACKLOG_REQUESTS {
            return None;
        }
        let grows = second < third && third < last;
        let both = second + last;
        let sent = self.extras.arrival.sent as f64;
        let variance = both * (4.0 * both / sent).min(1.0);
        let beyond_chance = last - second > BACKLOG_SIGMAS * variance.sqrt();
        Some(if grows && beyond_chance {
            (last - second) / (sent / 2.0)
        } else {
            0.0
        })
    }
}
