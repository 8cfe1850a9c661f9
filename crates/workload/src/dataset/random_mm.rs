//! `random-mm`: synthetic text with images of random pixels.
//!
//! Lengths and the probabilities of image sizes follow vLLM. The pixels do not: another JPEG
//! encoder writes other bytes anyway.

use inferometer_core::Request;
use inferometer_core::random::{StreamRng, indexed_stream};
use rand::Rng;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::random;
use super::spec::DatasetSpec;
use super::{Context, Emit, Sample, chunks};
use crate::{RandomSettings, WorkloadError, media};

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

impl RandomMmSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            text,
            base_items,
            items_range_ratio,
            image_limit,
            video_limit,
            buckets,
        } = self;
        let buckets: Vec<Value> = buckets
            .iter()
            .map(|one| json!({"height": one.height, "width": one.width, "frames": one.frames, "probability": one.probability}))
            .collect();
        let options = json!({
            "base_items": base_items, "items_spread": items_range_ratio, "image_limit": image_limit,
            "video_limit": video_limit, "buckets": buckets,
        });
        DatasetSpec::generated(text.lengths(), options)
    }
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
    ///
    /// # Errors
    ///
    /// Text of another form, and an empty set.
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

/// Requests of a chunk. Images are large, so chunks are small.
const CHUNK: usize = 64;

/// Makes the requests chunk by chunk. What it returns holds everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &RandomMmSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    let buckets = check(options)?;
    let range = item_range(options)?;
    let mut first = 0;
    let mut sample = random::in_chunks(
        context,
        &options.text,
        &mut |mut texts: Vec<Request>, total| {
            for chunk in chunks(texts.len(), CHUNK) {
                let mut chunk: Vec<Request> = texts[chunk].iter_mut().map(std::mem::take).collect();
                illustrate(context, options, &buckets, range, first, &mut chunk)?;
                first += chunk.len();
                emit(chunk, total)?;
            }
            Ok::<_, E>(())
        },
    )?;
    if context.settings.is_vllm() {
        sample.warnings.push(
            "The images of random-mm do not have vLLM's pixels; their sizes, frequencies and number are vLLM's."
                .into(),
        );
    }
    Ok(sample)
}

/// Adds images to requests, the first of which has the index `first`.
fn illustrate(
    context: &Context<'_>,
    options: &RandomMmSettings,
    buckets: &[MmBucket],
    (low, high): (u64, u64),
    first: usize,
    requests: &mut [Request],
) -> Result<(), WorkloadError> {
    let make = |at: usize| {
        let mut rng = indexed_stream(context.settings.seed, "random-mm/items", at as u64);
        let items = low + (unit(&mut rng) * (high - low + 1) as f64) as u64;
        let mut left = options.image_limit;
        let mut parts = Vec::new();
        for _ in 0..items {
            if left == 0 {
                break;
            }
            left -= 1;
            let bucket = choose(buckets, unit(&mut rng));
            parts.push(media::noise_part(&mut rng, bucket.width, bucket.height)?);
        }
        Ok(parts)
    };
    requests
        .par_iter_mut()
        .enumerate()
        .try_for_each(|(at, request)| {
            request.media = make(first + at).map_err(|message: String| {
                WorkloadError::setting(
                    "--random-mm-bucket-config",
                    format!("cannot generate an image: {message}"),
                )
            })?;
            Ok(())
        })
}

/// Images of each request, fewest and most.
fn item_range(options: &RandomMmSettings) -> Result<(u64, u64), WorkloadError> {
    let base = options.base_items as f64;
    let ratio = options.items_range_ratio;
    let low = (base * (1.0 - ratio)).floor().max(0.0) as u64;
    let high =
        ((base * (1.0 + ratio)).ceil() as u64).min(options.image_limit + options.video_limit);
    if low > high {
        return Err(WorkloadError::setting(
            "--random-mm-limit-mm-per-prompt",
            format!(
                "allows {high} items, but --random-mm-base-items-per-request asks for at least {low}"
            ),
        ));
    }
    Ok((low, high))
}

/// The buckets that can be drawn.
fn check(options: &RandomMmSettings) -> Result<Vec<MmBucket>, WorkloadError> {
    const FLAG: &str = "--random-mm-bucket-config";
    if options.text.batch_size != 1 {
        return Err(WorkloadError::setting(
            "--random-batch-size",
            "must be 1 with random-mm",
        ));
    }
    if !(0.0..=1.0).contains(&options.items_range_ratio) {
        return Err(WorkloadError::setting(
            "--random-mm-num-mm-items-range-ratio",
            "must be from 0 to 1",
        ));
    }
    if options
        .buckets
        .iter()
        .any(|bucket| !(bucket.probability >= 0.0 && bucket.probability.is_finite()))
    {
        return Err(WorkloadError::setting(
            FLAG,
            "a probability must not be negative",
        ));
    }
    let buckets: Vec<MmBucket> = options
        .buckets
        .iter()
        .filter(|bucket| bucket.probability > 0.0)
        .cloned()
        .collect();
    if buckets.is_empty() {
        return Err(WorkloadError::setting(
            FLAG,
            "at least one bucket needs a probability above 0",
        ));
    }
    for bucket in &buckets {
        if bucket.frames != 1 {
            return Err(WorkloadError::setting(
                FLAG,
                format!(
                    "the bucket ({}, {}, {}) is a video of {} frames, and there is no video encoder here; give \
                     buckets of one frame, (HEIGHT, WIDTH, 1), or send real videos with --dataset-name hf \
                     --dataset-path yale-nlp/MMVU",
                    bucket.height, bucket.width, bucket.frames, bucket.frames
                ),
            ));
        }
        if bucket.width == 0
            || bucket.height == 0
            || u64::from(bucket.width) * u64::from(bucket.height) > 1 << 28
        {
            return Err(WorkloadError::setting(
                FLAG,
                "an image has no size, or more than 268 million pixels",
            ));
        }
    }
    Ok(buckets)
}

fn unit(rng: &mut StreamRng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn choose(buckets: &[MmBucket], draw: f64) -> &MmBucket {
    let total: f64 = buckets.iter().map(|bucket| bucket.probability).sum();
    let mut left = draw * total;
    buckets
        .iter()
        .find(|bucket| {
            left -= bucket.probability;
            left < 0.0
        })
        .unwrap_or(&buckets[buckets.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, RandomSettings, Tokenizer, WorkloadSettings, build};

    fn run(
        change: impl FnOnce(&mut RandomMmSettings),
    ) -> Result<inferometer_core::Workload, WorkloadError> {
        let mut options = RandomMmSettings {
            text: RandomSettings {
                input_len: 16,
                ..RandomSettings::default()
            },
            base_items: 2,
            buckets: vec![
                MmBucket {
                    height: 8,
                    width: 16,
                    frames: 1,
                    probability: 0.5,
                },
                MmBucket {
                    height: 8,
                    width: 8,
                    frames: 1,
                    probability: 0.5,
                },
                MmBucket {
                    height: 8,
                    width: 8,
                    frames: 16,
                    probability: 0.0,
                },
            ],
            ..RandomMmSettings::default()
        };
        change(&mut options);
        let settings = WorkloadSettings {
            num_prompts: 12,
            is_chat: true,
            ..WorkloadSettings::new(DatasetSettings::RandomMm(options))
        };
        build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
    }

    #[test]
    fn every_request_has_its_images() {
        let workload = run(|options| options.items_range_ratio = 0.5).unwrap();
        let counts: Vec<usize> = workload
            .requests
            .iter()
            .map(|request| request.media.len())
            .collect();
        assert!(counts.iter().all(|n| (1..=3).contains(n)), "{counts:?}");
        assert!(
            counts.windows(2).any(|pair| pair[0] != pair[1]),
            "{counts:?}"
        );
        assert_eq!(
            workload.requests,
            run(|options| options.items_range_ratio = 0.5)
                .unwrap()
                .requests
        );
    }

    #[test]
    fn invalid_settings_are_refused() {
        type Change = fn(&mut RandomMmSettings);
        let cases: [(Change, &str); 4] = [
            (
                |options| options.image_limit = 0,
                "--random-mm-limit-mm-per-prompt",
            ),
            (
                |options| options.buckets[2].probability = 0.1,
                "--random-mm-bucket-config: the bucket (",
            ),
            (
                |options| options.buckets[0].probability = -1.0,
                "must not be negative",
            ),
            (
                |options| options.items_range_ratio = 2.0,
                "--random-mm-num-mm-items-range-ratio",
            ),
        ];
        for (change, part) in cases {
            let error = run(|options| {
                options.video_limit = 0;
                change(options);
            });
            let error = error.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

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
}
