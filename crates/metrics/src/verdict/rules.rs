//! The thresholds of the verdict, all in one table.

use std::fmt;

use inferometer_core::Level;

/// One rule: what is measured, from where on it is a finding, and what to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Stable code of the finding.
    pub code: &'static str,
    /// What is compared.
    pub measure: &'static str,
    /// Unit of the measure: `ms`, `%` (kept as a fraction) or a plain number.
    pub unit: Unit,
    /// From where on it is a caution.
    pub caution: Limit,
    /// From where on the run is invalid.
    pub invalid: Limit,
    /// What it means for the numbers.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Unit of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// A fraction, shown in percent.
    Share,
    /// A plain number.
    Count,
}

/// From where on a measure counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// It never does.
    Never,
    /// As soon as it is above zero.
    Any,
    /// From this value on.
    From(f64),
    /// From this share of the median TTFT on (of the median E2EL without tokens), but not below so
    /// many milliseconds: what is late must be seen against what is measured.
    OfTtft {
        /// Share of the median.
        share: f64,
        /// Least value in milliseconds.
        least_ms: f64,
    },
}

use Limit::{Any, From, Never, OfTtft};

/// All rules, in the order in which findings of the same level are listed.
pub const RULES: [Rule; 21] = [
    Rule {
        code: "late_sends",
        measure: "p99 of the client's own lateness: send − (due, or slot free)",
        unit: Unit::Ms,
        caution: OfTtft {
            share: 0.02,
            least_ms: 3.0,
        },
        invalid: OfTtft {
            share: 0.05,
            least_ms: 10.0,
        },
        meaning: "the load was not offered at the instants of the schedule",
        remedy: "give the client more or faster cores (--workers), lower the rate, or use another machine",
    },
    Rule {
        code: "client_cpu",
        measure: "busiest worker: processor time without spinning / duration",
        unit: Unit::Share,
        caution: From(0.7),
        invalid: From(0.9),
        meaning: "the client was near its own limit or at it, so that it may have slowed the load",
        remedy: "use more workers (--workers) or more client machines",
    },
    Rule {
        code: "near_ceiling",
        measure: "load / the ceiling of this host that a self-test measured",
        unit: Unit::Share,
        caution: From(0.5),
        invalid: Never,
        meaning: "the client has little in reserve, so that bursts may have overrun it",
        remedy: "use more client machines, or measure the ceiling again if this host has changed",
    },
    Rule {
        code: "worker_stall",
        measure: "longest time that a worker did not run while it was needed",
        unit: Unit::Ms,
        caution: From(20.0),
        invalid: From(500.0),
        meaning: "sends that fell into the pause were late, and a full receive buffer may have held up the server",
        remedy: "stop other programs on this machine, pin the workers (--pin), and run again",
    },
    Rule {
        code: "stall_in_stamps",
        measure: "the same, when events were not stamped by the kernel",
        unit: Unit::Ms,
        caution: Never,
        invalid: OfTtft {
            share: 0.05,
            least_ms: 20.0,
        },
        meaning: "the pause is part of the reported latencies, because the process itself took the stamps",
        remedy: "run on Linux without a proxy in between, so that the kernel stamps what it receives",
    },
    Rule {
        code: "receive_lag",
        measure: "p99 of process stamp − kernel stamp",
        unit: Unit::Ms,
        caution: From(2.0),
        invalid: From(100.0),
        meaning: "the client was slow to read; latencies are right, but a closed loop reacted late",
        remedy: "use more workers (--workers), or stop other programs on this machine",
    },
    Rule {
        code: "coalesced",
        measure: "share of events that came in one read with a later one",
        unit: Unit::Share,
        caution: From(0.1),
        invalid: Never,
        meaning: "their stamps are upper bounds: gaps between tokens are partly zero and partly too long",
        remedy: "look at TPOT instead of ITL, or let the server send each token by itself",
    },
    Rule {
        code: "cap_binding",
        measure: "share of requests that waited for a slot for more than 1 ms",
        unit: Unit::Share,
        caution: From(0.01),
        invalid: Never,
        meaning: "the cap slowed the load: in effect a closed loop, and latency from the send leaves the wait out",
        remedy: "raise the limit that was given, --max-concurrency or --multi-turn-max-active, or leave it out, or read the \
                 response latencies",
    },
    Rule {
        code: "offered_rate",
        measure: "shortfall of the rate: 1 − last due instant / last send",
        unit: Unit::Share,
        caution: From(0.01),
        invalid: From(0.05),
        meaning: "the server was asked less often than it should have been",
        remedy: "lower --request-rate, or give the client more cores",
    },
    Rule {
        code: "too_few_samples",
        measure: "percentiles asked for by name with fewer good answers than they need",
        unit: Unit::Count,
        caution: Any,
        invalid: Never,
        meaning: "so high a percentile of so few requests is chance",
        remedy: "raise --num-prompts to the number named, or ask for a lower percentile",
    },
    Rule {
        code: "failures",
        measure: "share of requests that failed, truncated ones aside",
        unit: Unit::Share,
        caution: Any,
        invalid: From(0.05),
        meaning: "latencies cover the survivors only, and failed requests freed the server early",
        remedy: "read the errors in the result, and lower the load or mend the server",
    },
    Rule {
        code: "truncated",
        measure: "share of answers that broke off",
        unit: Unit::Share,
        caution: Any,
        invalid: From(0.05),
        meaning: "the server or something before it ended streams early",
        remedy: "look for time limits in proxies and for crashes in the server's log",
    },
    Rule {
        code: "output_length",
        measure: "output tokens against those asked for: difference under --ignore-eos, else excess",
        unit: Unit::Share,
        caution: From(0.1),
        invalid: Never,
        meaning: "the work done is not the work asked for, so that throughput cannot be compared",
        remedy: "check that the server honours max_tokens and ignore_eos",
    },
    Rule {
        code: "natural_end",
        measure: "output tokens missing from the limit, without --ignore-eos",
        unit: Unit::Share,
        caution: From(0.5),
        invalid: Never,
        meaning: "answers ended by themselves long before the limit, so that the load is lighter than it looks",
        remedy: "add --ignore-eos for fixed lengths, or ask for lengths that the model uses",
    },
    Rule {
        code: "usage_disagreement",
        measure: "difference between the server's output token count and the tokenizer's",
        unit: Unit::Share,
        caution: From(0.05),
        invalid: Never,
        meaning: "one of the two counts is wrong, and with it tokens per second",
        remedy: "check that --tokenizer is the served model's",
    },
    Rule {
        code: "clock_step",
        measure: "largest step of the wall clock",
        unit: Unit::Ms,
        caution: Any,
        invalid: From(10.0),
        meaning: "kernel stamps are on the wall clock, so that spans across the step are wrong by its size",
        remedy: "let the clock settle (chronyc tracking) and run again",
    },
    Rule {
        code: "throttled",
        measure: "time lost to the control group's CPU quota / duration",
        unit: Unit::Share,
        caution: From(0.005),
        invalid: From(0.1),
        meaning: "the client was stopped by its container's limit",
        remedy: "raise the CPU limit of the client's container",
    },
    Rule {
        code: "backlog_growing",
        measure: "growth of the requests in the system from the second to the last quarter of the arrivals, as a share of the arrivals between",
        unit: Unit::Share,
        caution: From(0.05),
        invalid: Never,
        meaning: "the server fell behind, so that latencies depend on the length of the run",
        remedy: "lower --request-rate below the server's capacity, or run for longer",
    },
    Rule {
        code: "identical_prompts",
        measure: "share of prompts that repeat an earlier one",
        unit: Unit::Share,
        caution: From(0.1),
        invalid: Never,
        meaning: "a prefix cache answers repetitions, so that the server looks faster than it is",
        remedy: "use a dataset with more rows, or fewer requests",
    },
    Rule {
        code: "cache_hits",
        measure: "share of prompt tokens that the server took from its prefix cache, unless meant",
        unit: Unit::Share,
        caution: From(0.05),
        invalid: Never,
        meaning: "part of the prompts was not computed",
        remedy: "reset the cache between runs, or change --seed",
    },
    Rule {
        code: "partial_run",
        measure: "share of requests that the end of the run cut off",
        unit: Unit::Share,
        caution: Any,
        invalid: From(0.05),
        meaning: "the run was stopped early, and slow requests are missing more often than fast ones",
        remedy: "let the run end by itself",
    },
];

impl Rule {
    /// The rule with this code.
    pub fn find(code: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.code == code)
    }

    /// What `value` makes of the run; `ttft_ms` is the median that [`Limit::OfTtft`] refers to.
    pub fn level(&self, value: f64, ttft_ms: f64) -> Level {
        if self.invalid.is_reached(value, ttft_ms) {
            Level::Invalid
        } else if self.caution.is_reached(value, ttft_ms) {
            Level::Caution
        } else {
            Level::Valid
        }
    }

    /// The rules as a Markdown table, for the documentation.
    pub fn table() -> String {
        use std::fmt::Write as _;
        let mut text =
            String::from("| code | measure | CAUTION | INVALID | what it means | what to do |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- |\n");
        for rule in &RULES {
            let Self {
                code,
                measure,
                meaning,
                remedy,
                ..
            } = rule;
            let (caution, invalid) = (rule.caution.show(rule.unit), rule.invalid.show(rule.unit));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| `{code}` | {measure} | {caution} | {invalid} | {meaning} | {remedy} |"
            );
        }
        text
    }
}

impl Limit {
    fn is_reached(self, value: f64, ttft_ms: f64) -> bool {
        match self {
            Never => false,
            Any => value > 0.0,
            From(limit) => value >= limit,
            OfTtft { .. } => value >= self.value(ttft_ms),
        }
    }

    /// The value from which on it counts.
    pub(super) fn value(self, ttft_ms: f64) -> f64 {
        match self {
            Never => f64::INFINITY,
            Any => 0.0,
            From(limit) => limit,
            OfTtft { share, least_ms } => (share * ttft_ms).max(least_ms),
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Never => "–".into(),
            Any => "above 0".into(),
            From(limit) => format!("from {}", unit.show(limit)),
            OfTtft { share, least_ms } => {
                format!(
                    "from {} of the median TTFT, at least {}",
                    Unit::Share.show(share),
                    Unit::Ms.show(least_ms)
                )
            }
        }
    }
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Ms => format!("{} ms", Rounded(value)),
            Self::Share => format!("{} %", Rounded(value * 100.0)),
            Self::Count => format!("{}", Rounded(value)),
        }
    }
}

/// A number with three significant digits and no trailing zeros.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = if self.0 == 0.0 {
            0.0
        } else {
            self.0.abs().log10().floor()
        };
        let scale = 10_f64.powi((2.0 - magnitude).clamp(0.0, 6.0) as i32);
        write!(f, "{}", (self.0 * scale).round() / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_an_invalid_limit_is_beyond_the_caution() {
        for (i, rule) in RULES.iter().enumerate() {
            assert_eq!(Rule::find(rule.code), Some(&RULES[i]));
            assert!(
                rule.caution != Never || rule.invalid != Never,
                "{}",
                rule.code
            );
            if rule.caution != Never {
                assert!(
                    rule.invalid.value(100.0) > rule.caution.value(100.0),
                    "{}",
                    rule.code
                );
            }
        }
    }

    #[test]
    fn limits_are_met_at_their_value() {
        let late = Rule::find("late_sends").unwrap();
        assert_eq!(late.level(2.9, 100.0), Level::Valid);
        assert_eq!(late.level(3.0, 100.0), Level::Caution);
        assert_eq!(late.level(10.0, 100.0), Level::Invalid);
        assert_eq!(late.level(19.0, 1000.0), Level::Valid);
        assert_eq!(late.level(49.0, 1000.0), Level::Caution);
        let failures = Rule::find("failures").unwrap();
        assert_eq!(failures.level(0.0, 0.0), Level::Valid);
        assert_eq!(failures.level(0.001, 0.0), Level::Caution);
        assert_eq!(failures.level(0.05, 0.0), Level::Invalid);
    }

    #[test]
    fn numbers_are_shown_with_three_digits() {
        assert_eq!(Unit::Ms.show(12.345), "12.3 ms");
        assert_eq!(Unit::Share.show(0.05), "5 %");
        assert_eq!(Unit::Share.show(0.000_123_4), "0.0123 %");
        assert_eq!(Unit::Ms.show(1234.5), "1235 ms");
        assert_eq!(Unit::Count.show(0.0), "0");
    }
}
