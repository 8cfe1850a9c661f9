//! May the numbers be trusted?

mod rules;

use inferometer_core::{ClientHealth, Level, Nanos, Outcome, Reason, Verdict};
use serde::{Deserialize, Serialize};

pub use rules::{Limit, RULES, Rule, Unit};

use crate::{Extras, Kind, Summary};

/// Below so many requests no growth of the backlog is told from chance.
const BACKLOG_REQUESTS: usize = 40;
/// So many standard deviations of a stable system's number of requests.
const BACKLOG_SIGMAS: f64 = 2.5;

/// What the verdict must know besides the numbers and the client's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictSettings {
    /// True when the request rate is finite.
    pub finite_rate: bool,
    /// True when the rate rises on purpose, so that a growing backlog is no finding.
    pub ramp: bool,
    /// True when every answer must have the length asked for (`--ignore-eos`).
    pub ignore_eos: bool,
    /// True when the user named the percentiles (`--metric-percentiles`) instead of taking the
    /// default.
    pub explicit_percentiles: bool,
    /// Share of prompts that repeat an earlier one, if it was determined.
    pub duplicate_prompts: Option<f64>,
    /// True when prompts are meant to share prefixes, so that repetitions and cache hits are no
    /// finding.
    pub cache_expected: bool,
    /// True when the run was stopped early.
    pub interrupted: bool,
    /// How much of this host's ceiling the run used, if the ceiling is known: the largest of the
    /// shares of the request rate, the event rate and the open streams.
    pub ceiling_used: Option<f64>,
}

/// The verdict on a run: every [`Rule`] that its numbers reach.
pub fn judge(
    summary: &Summary,
    extras: &Extras,
    health: &ClientHealth,
    settings: &VerdictSettings,
) -> Verdict {
    let findings = Findings {
        summary,
        extras,
        health,
        settings,
        ttft_ms: median_latency(extras),
    };
    Verdict::from_reasons(
        RULES
            .iter()
            .filter_map(|rule| findings.reason(rule))
            .collect(),
    )
}

/// The median that lateness is compared with: from the due instant where there is one.
fn median_latency(extras: &Extras) -> f64 {
    let latencies = extras.response.as_ref().unwrap_or(&extras.service);
    latencies
        .ttft_ms
        .or(latencies.e2el_ms)
        .map_or(0.0, |spread| spread.p50)
}

#[derive(Clone, Copy)]
struct Findings<'a> {
    summary: &'a Summary,
    extras: &'a Extras,
    health: &'a ClientHealth,
    settings: &'a VerdictSettings,
    ttft_ms: f64,
}

impl Findings<'_> {
    fn reason(self, rule: &Rule) -> Option<Reason> {
        let value = self.measure(rule.code)?;
        let level = rule.level(value, self.ttft_ms);
        (level != Level::Valid).then(|| Reason {
            code: rule.code.into(),
            level,
            message: self.message(rule, value, level),
            remedy: rule.remedy.into(),
        })
    }

    fn message(self, rule: &Rule, value: f64, level: Level) -> String {
        let limit = if level == Level::Invalid {
            rule.invalid
        } else {
            rule.caution
        };
        let allowed = rule.unit.show(limit.value(self.ttft_ms));
        let detail = self
            .detail(rule.code)
            .map(|detail| format!(" ({detail})"))
            .unwrap_or_default();
        format!(
            "{} is {}{detail}, limit {allowed}: {}",
            rule.measure,
            rule.unit.show(value),
            rule.meaning
        )
    }

    /// The value of a rule's measure; `None` where the run has no such thing.
    fn measure(self, code: &str) -> Option<f64> {
        let Self {
            extras,
            health,
            settings,
            ..
        } = self;
        let issued = extras.issued.max(1) as f64;
        let share = |outcome| extras.outcomes.get(outcome) as f64 / issued;
        let stall = health
            .workers
            .iter()
            .map(|worker| worker.largest_stall.as_millis_f64())
            .reduce(f64::max);
        match code {
            "late_sends" => extras.arrival.own_lateness_ms.map(|spread| spread.p99),
            "client_cpu" => self.busiest_worker(),
            "near_ceiling" => settings.ceiling_used,
            "worker_stall" => stall,
            "stall_in_stamps" => {
                stall.filter(|_| !health.kernel_stamps && extras.receive.events > 0)
            }
            "receive_lag" => extras.receive.lag_ms.map(|spread| spread.p99),
            "coalesced" => Some(extras.receive.coalesced_share),
            "cap_binding" => extras.arrival.cap_bound_share,
            // A rate that the cap held down is a finding of its own.
            "offered_rate" => extras.arrival.rate_shortfall.filter(|_| !self.is_capped()),
            "too_few_samples" => settings
                .explicit_percentiles
                .then(|| self.short_percentiles().count() as f64),
            "failures" => Some(self.failed() as f64 / issued),
            "truncated" => Some(share(Outcome::Truncated)),
            "output_length" => self.length_difference(),
            "natural_end" => self.missing_length(),
            // A count that cannot be true is all wrong, however few answers have one.
            "usage_disagreement" if extras.tokens.usage_impossible > 0 => Some(1.0),
            "usage_disagreement" => extras
                .tokens
                .usage_against_tokenizer
                .as_ref()
                .map(|a| a.relative_difference),
            "clock_step" => {
                (health.clock_steps > 0).then(|| health.largest_clock_step.as_millis_f64())
            }
            "throttled" => health
                .cgroup_throttled
                .map(|lost| of_wall(lost.time, health.wall)),
            "backlog_growing" => self.backlog_growth(),
            "identical_prompts" => settings
                .duplicate_prompts
                .filter(|_| !settings.cache_expected),
            "cache_hits" => extras
                .tokens
                .cached
                .as_ref()
                .map(|cached| cached.share)
                .filter(|_| !settings.cache_expected),
            "partial_run" => {
                // Stopped right before its end, a run still counts as stopped.
                let least = if settings.interrupted {
                    1.0 / issued
                } else {
                    0.0
                };
                Some(share(Outcome::Unfinished).max(least))
            }
            _ => None,
        }
    }

    /// Numbers that a rule's measure does not show.
    fn detail(self, code: &str) -> Option<String> {
        let extras = self.extras;
        match code {
            "too_few_samples" => {
                let named = self.short_percentiles().map(|floor| {
                    format!(
                        "p{} needs {} good answers and has {}",
                        floor.percentile, floor.needed, floor.have
                    )
                });
                Some(named.collect::<Vec<_>>().join(", "))
            }
            "failures" => Some(format!("{} of {}", self.failed(), extras.issued)),
            "truncated" => Some(format!(
                "{} of {}",
                extras.outcomes.get(Outcome::Truncated),
                extras.issued
            )),
            "partial_run" => Some(format!(
                "{} of {}",
                extras.outcomes.get(Outcome::Unfinished),
                extras.issued
            )),
            "output_length" | "natural_end" => extras.output_lengths.as_ref().map(|lengths| {
                format!(
                    "{:.1} tokens on average instead of {:.1}",
                    lengths.mean_got, lengths.mean_asked
                )
            }),
            "usage_disagreement" if extras.tokens.usage_impossible > 0 => Some(format!(
                "{} answers tell more output tokens than they have bytes; these counts were not used",
                extras.tokens.usage_impossible
            )),
            "usage_disagreement" => {
                extras
                    .tokens
                    .usage_against_tokenizer
                    .as_ref()
                    .map(|agreement| {
                        format!(
                            "usage {}, tokenizer {}",
                            agreement.usage_total, agreement.tokenizer_total
                        )
                    })
            }
            "offered_rate" => {
                let (offered, scheduled) =
                    (extras.arrival.offered_rate?, extras.arrival.scheduled_rate?);
                Some(format!(
                    "{offered:.2}/s offered, {scheduled:.2}/s scheduled"
                ))
            }
            "clock_step" => Some(format!("{} steps", self.health.clock_steps)),
            "backlog_growing" => {
                let quarters = extras.concurrency.in_system_by_quarter?;
                Some(format!(
                    "{:.1} → {:.1} → {:.1} → {:.1}",
                    quarters[0], quarters[1], quarters[2], quarters[3]
                ))
            }
            _ => None,
        }
    }

    fn is_capped(self) -> bool {
        let binding = Rule::find("cap_binding").zip(self.extras.arrival.cap_bound_share);
        binding.is_some_and(|(rule, share)| rule.level(share, self.ttft_ms) != Level::Valid)
    }

    fn busiest_worker(self) -> Option<f64> {
        let wall = self.health.wall;
        self.health
            .workers
            .iter()
            .map(|worker| of_wall(worker.cpu.since(worker.spin), wall))
            .reduce(f64::max)
    }

    fn short_percentiles(self) -> impl Iterator<Item = crate::Floor> {
        self.extras
            .floors
            .clone()
            .into_iter()
            .filter(|floor| !floor.is_met())
    }

    /// Requests that failed by themselves, other than by breaking off.
    fn failed(self) -> usize {
        let aside = [Outcome::Truncated, Outcome::Cancelled, Outcome::Unfinished];
        let aside: usize = aside
            .into_iter()
            .map(|outcome| self.extras.outcomes.get(outcome))
            .sum();
        self.summary.failed.saturating_sub(aside)
    }

    /// Output tokens got for each one asked; endpoints without generation have none to compare.
    fn length_ratio(self) -> Option<f64> {
        let lengths = self.extras.output_lengths.as_ref()?;
        (self.summary.kind == Kind::Generation).then_some(lengths.ratio)
    }

    fn length_difference(self) -> Option<f64> {
        let ratio = self.length_ratio()?;
        Some(if self.settings.ignore_eos {
            (ratio - 1.0).abs()
        } else {
            (ratio - 1.0).max(0.0)
        })
    }

    fn missing_length(self) -> Option<f64> {
        let ratio = self.length_ratio()?;
        (!self.settings.ignore_eos).then(|| (1.0 - ratio).max(0.0))
    }

    /// The part of the arrivals by which the number of requests in the system grew from the second
    /// quarter to the last, which lie half of the arrivals apart; 0 where chance explains it. In a
    /// stable system with Poisson arrivals the number of requests N varies like its square root;
    /// the mean over a quarter of length W varies less, by 2 S / W where S is the time in the
    /// system. By Little's law S / W is 4 N / n.
    fn backlog_growth(self) -> Option<f64> {
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

fn of_wall(part: Nanos, wall: Nanos) -> f64 {
    if wall == Nanos::ZERO {
        0.0
    } else {
        part.0 as f64 / wall.0 as f64
    }
}
