//! Numbers drawn from named distributions, written the way a command line takes them.

use std::fmt;
use std::str::FromStr;

use inferometer_core::Nanos;
use rand::RngExt;
use rand::distr::Distribution as _;
use rand_distr::{Exp1, StandardNormal};

/// A non-negative number that is either fixed or drawn anew each time.
///
/// Written as `50` or `fixed:50`, `normal:MEAN,SD`, `lognormal:MEDIAN,SIGMA`, `exp:MEAN`,
/// `uniform:LOW,HIGH`. Draws below zero (possible with `normal` only) become zero, so a normal with
/// a large deviation has a mean a little above the one asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Always this value.
    Fixed(f64),
    /// Normal with this mean and standard deviation, cut off at zero.
    Normal {
        /// Mean before the cut.
        mean: f64,
        /// Standard deviation before the cut.
        sd: f64,
    },
    /// The exponential of a normal: `median` is its median, and its mean is
    /// `median · exp(sigma² / 2)`.
    LogNormal {
        /// The median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Exponential with this mean.
    Exponential(f64),
    /// Evenly spread from `low` to `high`.
    Uniform {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
    },
}

impl Distribution {
    /// One draw.
    pub fn sample<R: rand::Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        let value = match *self {
            Self::Fixed(value) => value,
            Self::Normal { mean, sd } => {
                let unit: f64 = StandardNormal.sample(rng);
                mean + sd * unit
            }
            Self::LogNormal { median, sigma } => {
                let unit: f64 = StandardNormal.sample(rng);
                median * (sigma * unit).exp()
            }
            Self::Exponential(mean) => {
                let unit: f64 = Exp1.sample(rng);
                mean * unit
            }
            Self::Uniform { low, high } => low + (high - low) * rng.random::<f64>(),
        };
        value.max(0.0)
    }

    /// The value when it never varies.
    pub fn fixed(&self) -> Option<f64> {
        match *self {
            Self::Fixed(value) => Some(value),
            _ => None,
        }
    }

    /// The mean (for `normal`, before the cut at zero).
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed(value) => value,
            Self::Normal { mean, .. } | Self::Exponential(mean) => mean,
            Self::LogNormal { median, sigma } => median * (sigma * sigma / 2.0).exp(),
            Self::Uniform { low, high } => f64::midpoint(low, high),
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => write!(f, "{value}"),
            Self::Normal { mean, sd } => write!(f, "normal:{mean},{sd}"),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{median},{sigma}"),
            Self::Exponential(mean) => write!(f, "exp:{mean}"),
            Self::Uniform { low, high } => write!(f, "uniform:{low},{high}"),
        }
    }
}

/// Why a text is not a distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributionError {
    /// The name before the colon is not known.
    #[error(
        "unknown distribution `{0}`: expected a number, fixed:N, normal:MEAN,SD, lognormal:MEDIAN,SIGMA, \
         exp:MEAN or uniform:LOW,HIGH"
    )]
    UnknownName(String),
    /// Too few or too many numbers.
    #[error("invalid distribution `{text}`: {name} takes {wanted} number(s), not {found}")]
    WrongCount {
        /// Distribution named.
        name: &'static str,
        /// Numbers that it takes.
        wanted: usize,
        /// Numbers given.
        found: usize,
        /// The whole text.
        text: String,
    },
    /// Not a number, or not one that can be used here.
    #[error("invalid number `{0}` in the distribution: expected 0 or more")]
    BadNumber(String),
    /// `uniform` with its ends swapped.
    #[error("invalid distribution `{0}`: expected the smaller number first")]
    Swapped(String),
}

impl FromStr for Distribution {
    type Err = DistributionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, list) = text.split_once(':').unwrap_or(("fixed", text));
        let numbers: Vec<&str> = list.split(',').map(str::trim).collect();
        let number = |position: usize| -> Result<f64, DistributionError> {
            let text = numbers[position];
            let value: f64 = text
                .parse()
                .map_err(|_| DistributionError::BadNumber(text.into()))?;
            if value.is_finite() && value >= 0.0 {
                Ok(value)
            } else {
                Err(DistributionError::BadNumber(text.into()))
            }
        };
        let count = |name: &'static str, wanted: usize| -> Result<(), DistributionError> {
            if numbers.len() == wanted {
                Ok(())
            } else {
                Err(DistributionError::WrongCount {
                    name,
                    wanted,
                    found: numbers.len(),
                    text: text.into(),
                })
            }
        };
        match name.trim() {
            "fixed" => count("fixed", 1).and_then(|()| Ok(Self::Fixed(number(0)?))),
            "normal" => count("normal", 2).and_then(|()| {
                Ok(Self::Normal {
                    mean: number(0)?,
                    sd: number(1)?,
                })
            }),
            "lognormal" => count("lognormal", 2).and_then(|()| {
                Ok(Self::LogNormal {
                    median: number(0)?,
                    sigma: number(1)?,
                })
            }),
            "exp" => count("exp", 1).and_then(|()| Ok(Self::Exponential(number(0)?))),
            "uniform" => {
                count("uniform", 2)?;
                let (low, high) = (number(0)?, number(1)?);
                if low <= high {
                    Ok(Self::Uniform { low, high })
                } else {
                    Err(DistributionError::Swapped(text.into()))
                }
            }
            other => Err(DistributionError::UnknownName(other.into())),
        }
    }
}

/// A span of time in milliseconds, fixed or drawn. See [`Distribution`] for how it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay(pub Distribution);

impl Delay {
    /// Always `ms` milliseconds.
    pub const fn fixed(ms: f64) -> Self {
        Self(Distribution::Fixed(ms))
    }

    /// One draw.
    pub fn sample<R: rand::Rng + ?Sized>(&self, rng: &mut R) -> Nanos {
        Nanos::from_secs_f64(self.0.sample(rng) / 1e3)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Delay {
    type Err = DistributionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "50",
            "normal:50,5",
            "lognormal:50,0.3",
            "exp:12.5",
            "uniform:1,2",
        ] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        assert_eq!("fixed:50".parse::<Distribution>(), "50".parse());
    }

    #[test]
    fn an_invalid_distribution_is_named_in_the_error() {
        for (text, part) in [
            ("gauss:1,2", "unknown distribution `gauss`"),
            ("normal:5", "takes 2"),
            ("-1", "invalid number `-1`"),
            ("inf", "invalid number `inf`"),
            ("", "invalid number ``"),
            ("uniform:3,1", "smaller number first"),
        ] {
            let error = text.parse::<Distribution>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn draws_have_the_stated_mean() {
        let mut rng = inferometer_core::random::stream(1, "test");
        for text in [
            "7",
            "normal:50,5",
            "lognormal:50,0.3",
            "exp:12.5",
            "uniform:1,3",
        ] {
            let distribution: Distribution = text.parse().unwrap();
            let n = 20_000;
            let mean = (0..n).map(|_| distribution.sample(&mut rng)).sum::<f64>() / f64::from(n);
            assert!(
                (mean / distribution.mean() - 1.0).abs() < 0.03,
                "{text}: {mean}"
            );
        }
    }
}
