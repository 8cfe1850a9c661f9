//! Options of synthetic datasets.

use std::str::FromStr;

use serde_json::Value;

use crate::WorkloadError;

/// Options of `random`.
#[derive(Clone, Debug)]
pub struct RandomSettings {
    /// Tokens of a prompt, special tokens included, without the shared prefix.
    pub input_len: i64,
    /// Tokens of an answer.
    pub output_len: i64,
    /// How far lengths spread around these.
    pub range_ratio: RangeRatio,
    /// Tokens at the start of every prompt that are the same for all.
    pub prefix_len: i64,
    /// Prompts in one request (pooling backends only).
    pub batch_size: i64,
}

impl Default for RandomSettings {
    fn default() -> Self {
        Self {
            input_len: 1024,
            output_len: 128,
            range_ratio: RangeRatio::default(),
            prefix_len: 0,
            batch_size: 1,
        }
    }
}

/// Spread of lengths: uniform in `len·(1−r) ..= len·(1+r)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RangeRatio {
    /// Spread of the input length, in [0, 1).
    pub input: f64,
    /// Spread of the output length, in [0, 1).
    pub output: f64,
}

impl FromStr for RangeRatio {
    type Err = WorkloadError;

    /// A number for both, or `{"input": X, "output": Y}`.
    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let wrong = |message: String| WorkloadError::setting("--random-range-ratio", message);
        let number = text.trim().parse::<f64>().ok();
        let ratio = if let Some(both) = number {
            Self {
                input: both,
                output: both,
            }
        } else {
            let value: Value = serde_json::from_str(text).map_err(|_| {
                wrong(format!(
                    "{text:?} is neither a number nor JSON like {{\"input\": 0.1, \"output\": 0.5}}"
                ))
            })?;
            let part = |name: &str| {
                value[name].as_f64().ok_or_else(|| {
                    wrong(format!("{text} must hold the numbers `input` and `output`"))
                })
            };
            Self {
                input: part("input")?,
                output: part("output")?,
            }
        };
        ratio.check()?;
        Ok(ratio)
    }
}

impl RangeRatio {
    /// Refuses spreads outside [0, 1).
    pub fn check(self) -> Result<(), WorkloadError> {
        for (name, ratio) in [("input", self.input), ("output", self.output)] {
            if !(0.0..1.0).contains(&ratio) {
                return Err(WorkloadError::setting(
                    "--random-range-ratio",
                    format!("the {name} ratio is {ratio}, but must be at least 0 and below 1"),
                ));
            }
        }
        Ok(())
    }
}

/// Options of `random-rerank`.
#[derive(Clone, Debug)]
pub struct RerankSettings {
    /// Tokens of a query and one document together.
    pub input_len: i64,
    /// How far lengths spread around this (`input` counts).
    pub range_ratio: RangeRatio,
    /// Documents in one request.
    pub batch_size: i64,
    /// The model is a reranker; else an embedding model, which gets the query as one more text
    /// (`--no-reranker`).
    pub is_reranker: bool,
}

impl Default for RerankSettings {
    fn default() -> Self {
        Self {
            input_len: 1024,
            range_ratio: RangeRatio::default(),
            batch_size: 1,
            is_reranker: true,
        }
    }
}

/// Options of `prefix_repetition`.
#[derive(Clone, Debug)]
pub struct PrefixRepetitionSettings {
    /// Tokens of a prefix.
    pub prefix_len: i64,
    /// Tokens after the prefix.
    pub suffix_len: i64,
    /// Number of prefixes.
    pub num_prefixes: i64,
    /// Tokens of an answer.
    pub output_len: i64,
}

impl Default for PrefixRepetitionSettings {
    fn default() -> Self {
        Self {
            prefix_len: 256,
            suffix_len: 256,
            num_prefixes: 10,
            output_len: 128,
        }
    }
}

/// Options of `random-mm`.
#[derive(Clone, Debug)]
pub struct RandomMmSettings {
    /// The text.
    pub text: RandomSettings,
    /// Images of a request.
    pub base_items: u64,
    /// How far the number of images spreads around this, from 0 to 1.
    pub items_range_ratio: f64,
    /// Maximum images in a request.
    pub image_limit: u64,
    /// Maximum videos in a request.
    pub video_limit: u64,
    /// Sizes and their probabilities.
    pub buckets: Vec<MmBucket>,
}

/// A size of images or videos, and its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct MmBucket {
    /// Pixels from top to bottom.
    pub height: u32,
    /// Pixels from left to right.
    pub width: u32,
    /// 1 for an image; more for a video.
    pub frames: u32,
    /// Probability; need not sum to 1.
    pub probability: f64,
}

impl MmBucket {
    /// Reads `{(256, 256, 1): 0.5, (720, 1280, 1): 0.5}`: height, width, frames and probability.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, WorkloadError> {
        const FLAG: &str = "--random-mm-bucket-config";
        let wrong = || {
            WorkloadError::setting(
                FLAG,
                format!("{text:?} must look like {{(256, 256, 1): 0.5, (720, 1280, 1): 0.5}}"),
            )
        };
        let body = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(wrong)?;
        let mut buckets = Vec::new();
        for entry in body.split('(').skip(1) {
            let (size, probability) = entry.split_once(')').ok_or_else(wrong)?;
            let size: Option<Vec<u32>> = size
                .trim_end_matches([' ', ','])
                .split(',')
                .map(|part| part.trim().parse().ok())
                .collect();
            let probability = probability.trim().strip_prefix(':').ok_or_else(wrong)?;
            let probability = probability
                .trim()
                .trim_end_matches(',')
                .trim()
                .parse()
                .map_err(|_| wrong())?;
            match size.ok_or_else(wrong)?.as_slice() {
                &[height, width, frames] => buckets.push(Self {
                    height,
                    width,
                    frames,
                    probability,
                }),
                _ => return Err(wrong()),
            }
        }
        if buckets.is_empty() {
            Err(wrong())
        } else {
            Ok(buckets)
        }
    }
}

impl Default for RandomMmSettings {
    fn default() -> Self {
        let bucket = |height, width, frames, probability| MmBucket {
            height,
            width,
            frames,
            probability,
        };
        Self {
            text: RandomSettings::default(),
            base_items: 1,
            items_range_ratio: 0.0,
            image_limit: 255,
            video_limit: 1,
            buckets: vec![
                bucket(256, 256, 1, 0.5),
                bucket(720, 1280, 1, 0.5),
                bucket(720, 1280, 16, 0.0),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_from_pythons_spelling() {
        let buckets = MmBucket::parse_all("{(256, 256, 1): 0.5, (720, 1280, 16): 0.25,}").unwrap();
        assert_eq!(
            buckets[1],
            MmBucket {
                height: 720,
                width: 1280,
                frames: 16,
                probability: 0.25
            }
        );
        assert_eq!(buckets.len(), 2);
        for bad in [
            "",
            "{}",
            "{(1,2): 3}",
            "{(1,2,3) 4}",
            "(1,2,3): 0.5",
            "{(a,2,3): 0.5}",
        ] {
            assert!(MmBucket::parse_all(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_ratio_is_a_number_or_json() {
        assert_eq!(
            "0.25".parse::<RangeRatio>().unwrap(),
            RangeRatio {
                input: 0.25,
                output: 0.25
            }
        );
        let json = r#"{"input": 0.1, "output": 0}"#;
        assert_eq!(
            json.parse::<RangeRatio>().unwrap(),
            RangeRatio {
                input: 0.1,
                output: 0.0
            }
        );
        for bad in [
            "-0.1",
            "1",
            "nan",
            "inf",
            "x",
            "{}",
            r#"{"input": 0.1}"#,
            r#"{"input": 2, "output": 0}"#,
        ] {
            let error = bad.parse::<RangeRatio>().unwrap_err().to_string();
            assert!(error.contains("--random-range-ratio"), "{bad}: {error}");
        }
    }
}
