//! What can be wrong with the requested load.

/// Why the settings have no schedule. Each message names the flag, the value and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrivalError {
    /// A rate that is negative, zero or not a number.
    #[error(
        "--request-rate must be greater than 0, got {rate}: give requests per second, or inf to send everything at once"
    )]
    Rate {
        /// The rate that was given.
        rate: f64,
    },
    /// A burstiness that is negative, zero or not a number.
    #[error(
        "--burstiness must be greater than 0, got {burstiness}: 1 is a Poisson process, smaller is burstier, inf is evenly spaced"
    )]
    Burstiness {
        /// The burstiness that was given.
        burstiness: f64,
    },
    /// A ramp together with a constant rate.
    #[error(
        "--request-rate {rate} cannot be combined with --ramp-up-strategy, which sets the rate; leave out --request-rate"
    )]
    RampAndRate {
        /// The rate that was given.
        rate: f64,
    },
    /// A ramp without its start or its end.
    #[error(
        "--ramp-up-strategy requires {missing}; give both --ramp-up-start-rps and --ramp-up-end-rps"
    )]
    RampEndMissing {
        /// The flag that is missing.
        missing: &'static str,
    },
    /// A ramp's start or end without a ramp.
    #[error(
        "{flag} has no effect without --ramp-up-strategy; add --ramp-up-strategy linear or exponential, or leave it out"
    )]
    RampEndAlone {
        /// The flag that was given.
        flag: &'static str,
    },
    /// A ramp's start or end that is negative or not a number.
    #[error("{flag} must not be negative, got {value}")]
    RampEndNegative {
        /// The flag that is wrong.
        flag: &'static str,
        /// Its value.
        value: f64,
    },
    /// A ramp to a rate that no client sends at.
    #[error("--ramp-up-end-rps must be at most 1000000 requests per second, got {end}")]
    RampTooHigh {
        /// The end of the ramp.
        end: f64,
    },
    /// A ramp that goes down.
    #[error(
        "--ramp-up-start-rps {start} is above --ramp-up-end-rps {end}; a ramp goes up, so swap them"
    )]
    RampDown {
        /// The start of the ramp.
        start: f64,
        /// Its end.
        end: f64,
    },
    /// A ramp from zero, at which rate the first request would never come.
    #[error("--ramp-up-start-rps 0 with --ramp-up-strategy {strategy}: {why}; start at 1 or more")]
    RampFromZero {
        /// The strategy's name.
        strategy: &'static str,
        /// What would happen.
        why: &'static str,
    },
    /// A strategy that does not exist.
    #[error("invalid --ramp-up-strategy \"{name}\": expected linear or exponential")]
    UnknownStrategy {
        /// The name that was given.
        name: String,
    },
    /// A seed that NumPy's legacy generator does not take.
    #[error(
        "--seed must be at most 4294967295, got {seed}: arrivals are drawn with NumPy's generator"
    )]
    Seed {
        /// The seed that was given.
        seed: u64,
    },
    /// An instant further away than can be counted.
    #[error("request {index} would be due after {}; raise {flag}", span(*seconds))]
    TooFar {
        /// The request.
        index: usize,
        /// Its due instant.
        seconds: f64,
        /// The flag that decides.
        flag: &'static str,
    },
}

/// Seconds for people; of a sum that overflowed nothing is known but that it is large.
fn span(seconds: f64) -> String {
    if seconds.is_finite() {
        format!("{seconds:e} seconds")
    } else {
        "more seconds than can be counted".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::ArrivalError;

    #[test]
    fn instants_beyond_all_counting_are_no_number() {
        for (seconds, words) in [
            (1e40, "after 1e40 seconds"),
            (f64::NAN, "after more seconds than can be counted"),
            (f64::INFINITY, "after more seconds than can be counted"),
        ] {
            let error = ArrivalError::TooFar {
                index: 3,
                seconds,
                flag: "--request-rate",
            };
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
