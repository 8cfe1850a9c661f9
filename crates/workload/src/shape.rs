//! Shapes of synthetic traffic: distributions of lengths and mixes of classes.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use inferometer_os::files::{self, SMALL_FILE};

use crate::WorkloadError;
use crate::dataset::MAX_TOKENS;

/// How lengths in tokens are distributed.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthDistribution {
    /// A fixed length: `256`.
    Constant(u64),
    /// Every length from `low` to `high` equally often: `uniform(128,512)`.
    Uniform {
        /// Shortest.
        low: u64,
        /// Longest.
        high: u64,
    },
    /// `normal(MEAN,DEVIATION)`, cut at 1.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        deviation: f64,
    },
    /// `lognormal(MEDIAN,SIGMA)`, with the deviation of the logarithm.
    LogNormal {
        /// Median.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
    },
    /// One of the numbers in a file, one per line: `file(PATH)`.
    Empirical(Vec<u64>),
    /// `zipf(S)`: length k in proportion to 1/k^S, S above 1.
    Zipf(f64),
    /// `poisson(MEAN)`.
    Poisson(f64),
    /// Another distribution, limited to a greatest length.
    AtMost(Box<Self>, u64),
}

/// As it is written in flags; of a file, the number of its lengths.
impl fmt::Display for LengthDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(length) => write!(f, "{length}"),
            Self::Uniform { low, high } => write!(f, "uniform({low},{high})"),
            Self::Normal { mean, deviation } => write!(f, "normal({mean},{deviation})"),
            Self::LogNormal { median, sigma } => write!(f, "lognormal({median},{sigma})"),
            Self::Empirical(lengths) => write!(f, "file({} lengths)", lengths.len()),
            Self::Zipf(exponent) => write!(f, "zipf({exponent})"),
            Self::Poisson(mean) => write!(f, "poisson({mean})"),
            Self::AtMost(inner, most) => write!(f, "{inner} at most {most}"),
        }
    }
}

/// Prefixes that groups of requests share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SharedPrefixes {
    /// Number of groups; 0 shares nothing.
    pub groups: usize,
    /// Tokens that a group shares, in front of a prompt's own.
    pub len: u64,
    /// Group k gets requests in proportion to 1/k^zipf.
    pub zipf: f64,
    /// Fraction of each prompt's tokens that it has in common with its group, in place of `len`.
    pub fraction: Option<f64>,
}

/// A class of traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficClass {
    /// Name in tables: the text after the weight.
    pub name: String,
    /// Weight: the number of requests relative to the other classes.
    pub weight: f64,
    /// Lengths of prompts, special tokens included.
    pub input: LengthDistribution,
    /// Lengths of answers.
    pub output: LengthDistribution,
}

/// Options of `mix`.
#[derive(Clone, Debug, PartialEq)]
pub struct MixSettings {
    /// The classes.
    pub classes: Vec<TrafficClass>,
    /// Prefixes that requests share, across the classes.
    pub shared: SharedPrefixes,
}

const FLAG: &str = "--mix";

impl MixSettings {
    /// Reads `70:256/128,30:lognormal(2048,0.5)/512`: weight, input lengths, output lengths.
    ///
    /// # Errors
    ///
    /// Text of another form, and lengths or weights that are not positive.
    pub fn parse(text: &str) -> Result<Self, WorkloadError> {
        let classes = split(text, ',')
            .into_iter()
            .map(class)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            classes,
            shared: SharedPrefixes::default(),
        })
    }
}

fn class(text: &str) -> Result<TrafficClass, WorkloadError> {
    let wrong = || {
        WorkloadError::setting(
            FLAG,
            format!("{text:?} must look like WEIGHT:INPUT/OUTPUT, as in 70:256/128"),
        )
    };
    let (weight, lengths) = text.split_once(':').ok_or_else(wrong)?;
    let parts = split(lengths, '/');
    let &[input, output] = parts.as_slice() else {
        return Err(wrong());
    };
    let weight = weight
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|w| w.is_finite() && *w >= 0.0)
        .ok_or_else(wrong)?;
    Ok(TrafficClass {
        name: lengths.trim().to_owned(),
        weight,
        input: input.parse()?,
        output: output.parse()?,
    })
}

/// Splits at a separator outside parentheses.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0_i32;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, symbol) in text.char_indices() {
        match symbol {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if symbol == separator && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + symbol.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

impl FromStr for LengthDistribution {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let text = text.trim();
        let wrong = |why: &str| {
            WorkloadError::setting(
                FLAG,
                format!(
                    "{text:?}: {why}; lengths are N, uniform(LOW,HIGH), normal(MEAN,DEVIATION), \
                     lognormal(MEDIAN,SIGMA), zipf(S), poisson(MEAN) or file(PATH)"
                ),
            )
        };
        if let Ok(len) = text.parse::<u64>() {
            return if (1..=MAX_TOKENS as u64).contains(&len) {
                Ok(Self::Constant(len))
            } else {
                Err(wrong(&format!("a length must be 1 to {MAX_TOKENS}")))
            };
        }
        let call = text.strip_suffix(')').and_then(|text| text.split_once('('));
        let (name, inside) = call.ok_or_else(|| wrong("unknown distribution"))?;
        if name == "file" {
            return empirical(inside);
        }
        let numbers: Option<Vec<f64>> = inside
            .split(',')
            .map(|n| {
                let number = n.trim().parse::<f64>().ok();
                number.filter(|n| n.abs() <= MAX_TOKENS as f64)
            })
            .collect();
        let numbers = numbers.ok_or_else(|| {
            wrong(&format!(
                "expected numbers up to {MAX_TOKENS} in the parentheses"
            ))
        })?;
        match (name, numbers.as_slice()) {
            ("uniform", &[low, high]) if low >= 0.0 && high >= low.max(1.0) => Ok(Self::Uniform {
                low: low as u64,
                high: high as u64,
            }),
            ("normal", &[mean, deviation]) if mean > 0.0 && deviation >= 0.0 => {
                Ok(Self::Normal { mean, deviation })
            }
            ("lognormal", &[median, sigma]) if median > 0.0 && sigma >= 0.0 => {
                Ok(Self::LogNormal { median, sigma })
            }
            ("zipf", &[exponent]) if exponent > 1.0 => Ok(Self::Zipf(exponent)),
            ("poisson", &[mean]) if mean > 0.0 => Ok(Self::Poisson(mean)),
            ("uniform" | "normal" | "lognormal" | "zipf" | "poisson", _) => {
                Err(wrong("the numbers are out of range"))
            }
            _ => Err(wrong("unknown distribution")),
        }
    }
}

fn empirical(path: &str) -> Result<LengthDistribution, WorkloadError> {
    let text = files::text(Path::new(path), SMALL_FILE).map_err(|source| WorkloadError::Io {
        path: path.into(),
        source,
    })?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let values = lines
        .map(|(at, line)| {
            line.trim()
                .parse::<u64>()
                .ok()
                .filter(|len| (1..=MAX_TOKENS as u64).contains(len))
                .ok_or_else(|| {
                    WorkloadError::format(
                        path,
                        Some(at + 1),
                        format!("invalid length {line:?}: expected 1 to {MAX_TOKENS}"),
                    )
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() {
        return Err(WorkloadError::NoRows {
            path: path.into(),
            message: "it is empty".into(),
        });
    }
    Ok(LengthDistribution::Empirical(values))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_mix_is_read() {
        let mix = MixSettings::parse("70:256/128, 30:uniform(1,9)/lognormal(512,0.4)").unwrap();
        assert_eq!(mix.classes.len(), 2);
        assert_eq!(
            mix.classes[1].input,
            LengthDistribution::Uniform { low: 1, high: 9 }
        );
        assert_eq!(
            mix.classes[1].output,
            LengthDistribution::LogNormal {
                median: 512.0,
                sigma: 0.4
            }
        );
        assert_eq!(mix.classes[1].name, "uniform(1,9)/lognormal(512,0.4)");
    }

    #[test]
    fn a_file_gives_lengths() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lengths.txt");
        fs::write(&path, "10\n\n20\n").unwrap();
        let parsed = format!("file({})", path.display())
            .parse::<LengthDistribution>()
            .unwrap();
        assert_eq!(parsed, LengthDistribution::Empirical(vec![10, 20]));
        fs::write(&path, "10\nx\n").unwrap();
        let error = format!("file({})", path.display())
            .parse::<LengthDistribution>()
            .unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn invalid_mixes_are_refused() {
        for bad in [
            "",
            "256/128",
            "70:256",
            "x:1/1",
            "-1:1/1",
            "1:0/1",
            "1:uniform(9,1)/1",
            "1:normal(nan,1)/1",
            "1:zipf(1)/1",
            "1:gamma(2)/1",
            "1:uniform(1)/1",
            "1:99999999999/1",
            "1:1/uniform(1,1e300)",
        ] {
            let error = MixSettings::parse(bad).unwrap_err().to_string();
            assert!(error.contains("--mix"), "{bad}: {error}");
        }
    }
}
