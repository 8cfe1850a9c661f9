//! The requested load.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ArrivalError;

/// What decides the due instants, besides the number of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivalSettings {
    /// Requests per second.
    pub rate: Rate,
    /// Shape of the gamma distribution of the gaps: 1 is a Poisson process, smaller is burstier,
    /// larger more even, infinity exactly even. Without effect at an infinite rate.
    #[serde(with = "number_or_inf")]
    pub burstiness: f64,
    /// Seed of NumPy's legacy generator, at most 2³² − 1.
    pub seed: u64,
}

impl Default for ArrivalSettings {
    fn default() -> Self {
        Self {
            rate: Rate::Infinite,
            burstiness: 1.0,
            seed: 0,
        }
    }
}

/// How many requests per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// All requests are due at once.
    #[default]
    Infinite,
    /// The same rate throughout.
    PerSecond(f64),
    /// A rate that rises from the first request to the last, by their number and not by time.
    Ramp {
        /// The curve.
        strategy: RampStrategy,
        /// Rate at the first request.
        start_rps: f64,
        /// Rate at the last request.
        end_rps: f64,
    },
}

/// Highest rate of a ramp, in requests per second. vLLM's result has an entry for each whole number
/// that the rate passes, 60 bytes each: 60 MB here.
const HIGHEST_RAMP: f64 = 1e6;

/// The curve of a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RampStrategy {
    /// The rate grows by the same amount with each request.
    Linear,
    /// The rate grows by the same factor with each request.
    Exponential,
}

impl RampStrategy {
    /// The name in flags and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Exponential => "exponential",
        }
    }
}

impl FromStr for RampStrategy {
    type Err = ArrivalError;

    fn from_str(name: &str) -> Result<Self, ArrivalError> {
        match name {
            "linear" => Ok(Self::Linear),
            "exponential" => Ok(Self::Exponential),
            _ => Err(ArrivalError::UnknownStrategy { name: name.into() }),
        }
    }
}

impl Rate {
    /// The rate of `--request-rate`, `--ramp-up-strategy`, `--ramp-up-start-rps` and
    /// `--ramp-up-end-rps`. vLLM ignores the ends of a ramp when no strategy is given; here
    /// that is an error, since the load would not be the intended one.
    ///
    /// # Errors
    ///
    /// A strategy without both ends or with a constant rate, an end without a strategy, and rates
    /// that are not positive.
    pub fn from_flags(
        request_rate: f64,
        strategy: Option<RampStrategy>,
        start_rps: Option<f64>,
        end_rps: Option<f64>,
    ) -> Result<Self, ArrivalError> {
        let rate = match (strategy, start_rps, end_rps) {
            (None, Some(_), _) => {
                return Err(ArrivalError::RampEndAlone {
                    flag: "--ramp-up-start-rps",
                });
            }
            (None, None, Some(_)) => {
                return Err(ArrivalError::RampEndAlone {
                    flag: "--ramp-up-end-rps",
                });
            }
            (None, None, None) if request_rate == f64::INFINITY => Self::Infinite,
            (None, None, None) => Self::PerSecond(request_rate),
            (Some(_), ..) if request_rate != f64::INFINITY => {
                return Err(ArrivalError::RampAndRate { rate: request_rate });
            }
            (Some(_), None, _) => {
                return Err(ArrivalError::RampEndMissing {
                    missing: "--ramp-up-start-rps",
                });
            }
            (Some(_), _, None) => {
                return Err(ArrivalError::RampEndMissing {
                    missing: "--ramp-up-end-rps",
                });
            }
            (Some(strategy), Some(start_rps), Some(end_rps)) => Self::Ramp {
                strategy,
                start_rps,
                end_rps,
            },
        };
        rate.check()?;
        Ok(rate)
    }

    /// True unless everything is due at once.
    pub fn is_finite(&self) -> bool {
        match *self {
            Self::Infinite => false,
            Self::PerSecond(rate) => rate.is_finite(),
            Self::Ramp { .. } => true,
        }
    }

    /// The rate at request `index` of `n`.
    pub fn at(&self, index: usize, n: usize) -> f64 {
        let progress = index as f64 / n.saturating_sub(1).max(1) as f64;
        match *self {
            Self::Infinite => f64::INFINITY,
            Self::PerSecond(rate) => rate,
            Self::Ramp {
                strategy: RampStrategy::Linear,
                start_rps,
                end_rps,
            } => start_rps + (end_rps - start_rps) * progress,
            Self::Ramp {
                strategy: RampStrategy::Exponential,
                start_rps,
                end_rps,
            } => start_rps * (end_rps / start_rps).powf(progress),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ArrivalError> {
        let (strategy, start, end) = match *self {
            Self::Infinite => return Ok(()),
            Self::PerSecond(rate) if rate > 0.0 => return Ok(()),
            Self::PerSecond(rate) => return Err(ArrivalError::Rate { rate }),
            Self::Ramp {
                strategy,
                start_rps,
                end_rps,
            } => (strategy, start_rps, end_rps),
        };
        for (flag, value) in [("--ramp-up-start-rps", start), ("--ramp-up-end-rps", end)] {
            if value.is_nan() || value < 0.0 || value.is_infinite() {
                return Err(ArrivalError::RampEndNegative { flag, value });
            }
        }
        if end > HIGHEST_RAMP {
            return Err(ArrivalError::RampTooHigh { end });
        }
        if start > end {
            return Err(ArrivalError::RampDown { start, end });
        }
        if start == 0.0 {
            let why = match strategy {
                RampStrategy::Linear => "the first request would never be due",
                RampStrategy::Exponential => "an exponential ramp cannot start at zero",
            };
            return Err(ArrivalError::RampFromZero {
                strategy: strategy.name(),
                why,
            });
        }
        Ok(())
    }
}

impl ArrivalSettings {
    /// Checks everything that does not depend on the number of requests.
    ///
    /// # Errors
    ///
    /// The first setting that no schedule can follow.
    pub fn check(&self) -> Result<(), ArrivalError> {
        self.rate.check()?;
        if self.burstiness.is_nan() || self.burstiness <= 0.0 {
            return Err(ArrivalError::Burstiness {
                burstiness: self.burstiness,
            });
        }
        if self.draws() && u32::try_from(self.seed).is_err() {
            return Err(ArrivalError::Seed { seed: self.seed });
        }
        Ok(())
    }

    /// True when the instants are random.
    pub fn draws(&self) -> bool {
        self.rate.is_finite() && self.burstiness.is_finite()
    }
}

/// JSON has no infinity, so that an infinite number is written as the text `inf`, as vLLM does for
/// rates.
mod number_or_inf {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(f64),
        Text(String),
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for this signature"
    )]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            NumberOrText::Number(*value).serialize(serializer)
        } else {
            NumberOrText::Text(value.to_string()).serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(value) => Ok(value),
            NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}
