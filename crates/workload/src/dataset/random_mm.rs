//! `random-mm`: synthetic text with images of random pixels.
//!
//! In compatibility mode everything is vLLM's, which draws it from one generator: the lengths and
//! offsets of all texts, then for each request the tokens that its text lacks, the number of its
//! items, and for each item its size and its pixels. Natively every request has a stream of its
//! own, so that the texts are those of `random` and requests are made on all cores.

mod bucket;
#[cfg(test)]
mod tests;

use inferometer_core::random::{NumpyGenerator, StreamRng, indexed_stream};
use inferometer_core::{Prompt, Request};
use rand::Rng;
use rayon::prelude::*;
use serde_json::{Value, json};

pub use self::bucket::MmBucket;
use super::random::{self, vllm};
use super::spec::DatasetSpec;
use super::{Context, Emit, Sample, chunks, one_message, request};
use crate::{RandomSettings, Tokenizer, WorkloadError, media};

/// Options of `random-mm`.
#[derive(Clone, Debug)]
pub struct RandomMmSettings {
    /// The text.
    pub text: RandomSettings,
    /// Images of a request.
    pub base_items: u64,
    /// How far the number of images spreads around this, from 0 to 1.
    pub items_range_ratio: f64,
    /// Maximum images in a request; `None` when the limits leave images out.
    pub image_limit: Option<u64>,
    /// Maximum videos in a request; `None` when the limits leave videos out.
    pub video_limit: Option<u64>,
    /// Sizes and their probabilities.
    pub buckets: Vec<MmBucket>,
    /// Text and images are one ready message (`--enable-multimodal-chat`).
    pub multimodal_chat: bool,
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
            image_limit: Some(255),
            video_limit: Some(1),
            buckets: vec![
                bucket(256, 256, 1, 0.5),
                bucket(720, 1280, 1, 0.5),
                bucket(720, 1280, 16, 0.0),
            ],
            multimodal_chat: false,
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
            multimodal_chat,
        } = self;
        let buckets: Vec<Value> = buckets
            .iter()
            .map(|one| json!({"height": one.height, "width": one.width, "frames": one.frames, "probability": one.probability}))
            .collect();
        let options = json!({
            "base_items": base_items, "items_spread": items_range_ratio, "image_limit": image_limit,
            "video_limit": video_limit, "buckets": buckets,
            "multimodal_chat": multimodal_chat,
        });
        DatasetSpec::generated(text.lengths(), options)
    }
}

/// Requests of a chunk. Images are large, so chunks are small.
const CHUNK: usize = 64;
/// The same where pixels are drawn before they are encoded: 16 images of 720 by 1280 are 44 MB.
const DRAWN_CHUNK: usize = 16;
/// Most pixels of an image.
const PIXELS: u64 = 1 << 28;

/// Makes the requests chunk by chunk. What it returns holds everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &RandomMmSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    let is_vllm = context.settings.is_vllm();
    let plan = Plan::new(options, is_vllm)?;
    if is_vllm {
        return as_vllm(context, options, &plan, emit);
    }
    let mut first = 0;
    random::in_chunks(
        context,
        &options.text,
        &mut |mut texts: Vec<Request>, total| {
            for chunk in chunks(texts.len(), CHUNK) {
                let mut chunk: Vec<Request> = texts[chunk].iter_mut().map(std::mem::take).collect();
                plan.illustrate(context.settings.seed, options, first, &mut chunk)?;
                first += chunk.len();
                emit(chunk, total)?;
            }
            Ok::<_, E>(())
        },
    )
}

/// The requests of vLLM, byte for byte.
fn as_vllm<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &RandomMmSettings,
    plan: &Plan,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    random::check(context, &options.text)?;
    let tokenizer = context.tokenizer()?;
    let count = context.count()?;
    let mut rng = NumpyGenerator::new(context.settings.seed);
    let prohibited = prohibited(tokenizer);
    let drawn = random::Drawn::for_vllm(&mut rng, tokenizer, &options.text, count, &prohibited)?;
    let mut texts = vllm::Texts::new(context, tokenizer, rng, &drawn)?;
    for range in chunks(count, DRAWN_CHUNK) {
        let made = texts.chunk_with(range, &mut |rng| plan.draw(rng));
        let requests: Result<Vec<Request>, WorkloadError> = made
            .into_par_iter()
            .map(|((text, tokens, output), pictures)| {
                let parts = pictures
                    .into_iter()
                    .map(|picture| {
                        media::pixels_part(picture.pixels, picture.width, picture.height)
                    })
                    .collect::<Result<_, _>>()
                    .map_err(|message| no_image(&message))?;
                let mut request = request(Prompt::Text(text), tokens, Some(output));
                attach(options, &mut request, parts);
                Ok(request)
            })
            .collect();
        emit(requests?, count)?;
    }
    let mut sample = Sample {
        force_ignore_eos: true,
        with_ids: true,
        ..Sample::default()
    };
    texts.warn_of_lengths(&mut sample.warnings);
    Ok(sample)
}

/// Puts images beside the text, or with `--enable-multimodal-chat` both into one message.
fn attach(options: &RandomMmSettings, request: &mut Request, parts: Vec<Value>) {
    request.media = parts;
    if options.multimodal_chat {
        one_message(request);
    }
}

/// The ids that vLLM keeps out of these texts, ascending: all added tokens that are marked special,
/// because one that stands for an image would be replaced by the server. `random` leaves out those
/// only that the configuration names.
fn prohibited(tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids = tokenizer.special_added_ids();
    // Python marks the named ones special when it loads the tokenizer.
    ids.extend(tokenizer.special_ids());
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn no_image(message: &str) -> WorkloadError {
    WorkloadError::setting(
        "--random-mm-bucket-config",
        format!("cannot generate an image: {message}"),
    )
}

/// Kinds of items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modality {
    Image,
    Video,
}

impl Modality {
    fn of(bucket: &MmBucket) -> Self {
        if bucket.frames == 1 {
            Self::Image
        } else {
            Self::Video
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
        }
    }

    fn limit(self, options: &RandomMmSettings) -> Option<u64> {
        match self {
            Self::Image => options.image_limit,
            Self::Video => options.video_limit,
        }
    }
}

/// What is drawn from, after all checks.
struct Plan {
    /// Buckets of a probability above 0; probabilities sum to 1.
    buckets: Vec<MmBucket>,
    /// Items of a request, fewest and most.
    low: u64,
    high: u64,
    image_limit: u64,
}

/// An image before it is encoded.
struct Picture {
    width: u32,
    height: u32,
    /// Red, green, blue, row by row.
    pixels: Vec<u8>,
}

impl Plan {
    fn new(options: &RandomMmSettings, is_vllm: bool) -> Result<Self, WorkloadError> {
        check_numbers(options)?;
        for bucket in &options.buckets {
            // vLLM wants a limit for buckets that are never drawn, too.
            if is_vllm || bucket.probability > 0.0 {
                check_modality(options, bucket)?;
            }
        }
        let mut buckets: Vec<MmBucket> = options
            .buckets
            .iter()
            .filter(|bucket| bucket.probability > 0.0)
            .cloned()
            .collect();
        if buckets.is_empty() {
            return Err(WorkloadError::setting(
                "--random-mm-bucket-config",
                "at least one bucket needs a probability above 0",
            ));
        }
        for bucket in &buckets {
            check_size(options, bucket)?;
        }
        let limit = |modality: Modality| {
            let has = buckets
                .iter()
                .any(|bucket| Modality::of(bucket) == modality);
            let limit = modality.limit(options).filter(|_| has);
            limit.unwrap_or_default()
        };
        let image_limit = limit(Modality::Image);
        let most = image_limit.saturating_add(limit(Modality::Video));
        let (low, high) = item_range(options, most)?;
        normalise(&mut buckets);
        Ok(Self {
            buckets,
            low,
            high,
            image_limit,
        })
    }

    /// The items of a request as vLLM draws them.
    fn draw(&self, rng: &mut NumpyGenerator) -> Vec<Picture> {
        let wanted = rng.integers(self.low as i64, self.high as i64 + 1) as usize;
        let mut buckets = self.buckets.clone();
        let mut pictures = Vec::new();
        while pictures.len() < wanted && !buckets.is_empty() {
            let weights: Vec<f64> = buckets.iter().map(|bucket| bucket.probability).collect();
            let drawn = buckets[rng.choice_weighted(&weights)].clone();
            let modality = Modality::of(&drawn);
            // Videos have a limit of 0 here.
            if modality == Modality::Image && (pictures.len() as u64) < self.image_limit {
                let bytes = drawn.width as usize * drawn.height as usize * 3;
                pictures.push(Picture {
                    width: drawn.width,
                    height: drawn.height,
                    pixels: rng.integers_u8(0, 256, bytes),
                });
            } else {
                buckets.retain(|bucket| Modality::of(bucket) != modality);
                normalise(&mut buckets);
            }
        }
        pictures
    }

    /// Adds images to requests, the first of which has the index `first`, from their own streams.
    fn illustrate(
        &self,
        seed: u64,
        options: &RandomMmSettings,
        first: usize,
        requests: &mut [Request],
    ) -> Result<(), WorkloadError> {
        let images: Vec<&MmBucket> = self
            .buckets
            .iter()
            .filter(|bucket| Modality::of(bucket) == Modality::Image)
            .collect();
        let make = |at: usize| {
            let mut rng = indexed_stream(seed, "random-mm/items", at as u64);
            let items = self.low + (unit(&mut rng) * (self.high - self.low + 1) as f64) as u64;
            (0..items.min(self.image_limit))
                .map_while(|_| choose(&images, unit(&mut rng)))
                .map(|bucket| (bucket.width, bucket.height))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|(width, height)| media::noise_part(&mut rng, width, height))
                .collect::<Result<Vec<Value>, String>>()
        };
        requests
            .par_iter_mut()
            .enumerate()
            .try_for_each(|(at, request)| {
                let parts = make(first + at).map_err(|message| no_image(&message))?;
                attach(options, request, parts);
                Ok(())
            })
    }
}

fn normalise(buckets: &mut [MmBucket]) {
    let total: f64 = buckets.iter().map(|bucket| bucket.probability).sum();
    for bucket in buckets {
        bucket.probability /= total;
    }
}

/// Items of each request, fewest and most, of which `limit` are allowed.
fn item_range(options: &RandomMmSettings, limit: u64) -> Result<(u64, u64), WorkloadError> {
    let base = options.base_items as f64;
    let ratio = options.items_range_ratio;
    let low = (base * (1.0 - ratio)).floor().max(0.0) as u64;
    let high = ((base * (1.0 + ratio)).ceil() as u64).min(limit);
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

fn check_numbers(options: &RandomMmSettings) -> Result<(), WorkloadError> {
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
            "--random-mm-bucket-config",
            "a probability must not be negative",
        ));
    }
    Ok(())
}

/// Refuses a bucket whose kind of item has no limit.
fn check_modality(options: &RandomMmSettings, bucket: &MmBucket) -> Result<(), WorkloadError> {
    let MmBucket {
        height,
        width,
        frames,
        ..
    } = *bucket;
    if frames == 0 {
        return Err(WorkloadError::setting(
            "--random-mm-bucket-config",
            format!("invalid bucket ({height}, {width}, 0): expected at least 1 frame"),
        ));
    }
    let modality = Modality::of(bucket);
    if modality.limit(options).is_some() {
        return Ok(());
    }
    let name = modality.name();
    Err(WorkloadError::setting(
        "--random-mm-limit-mm-per-prompt",
        format!(
            "no limit for {name:?}, and --random-mm-bucket-config has the bucket ({height}, {width}, {frames}); \
             add \"{name}\": N, where 0 allows none"
        ),
    ))
}

/// Refuses a bucket that can be drawn and cannot be made.
fn check_size(options: &RandomMmSettings, bucket: &MmBucket) -> Result<(), WorkloadError> {
    const FLAG: &str = "--random-mm-bucket-config";
    let MmBucket {
        height,
        width,
        frames,
        ..
    } = *bucket;
    if Modality::of(bucket) == Modality::Video {
        if options.video_limit == Some(0) {
            return Ok(());
        }
        return Err(WorkloadError::setting(
            FLAG,
            format!(
                "the bucket ({height}, {width}, {frames}) is a video of {frames} frames, and there is no video \
                 encoder here; give buckets of one frame, (HEIGHT, WIDTH, 1), or send real videos with \
                 --dataset-name hf --dataset-path yale-nlp/MMVU"
            ),
        ));
    }
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > PIXELS {
        return Err(WorkloadError::setting(
            FLAG,
            "an image has no size, or more than 268 million pixels",
        ));
    }
    Ok(())
}

fn unit(rng: &mut StreamRng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The bucket that `draw`, from 0 to 1, falls into; `None` without buckets.
fn choose<'a>(buckets: &[&'a MmBucket], draw: f64) -> Option<&'a MmBucket> {
    let total: f64 = buckets.iter().map(|bucket| bucket.probability).sum();
    let mut left = draw * total;
    let found = buckets.iter().find(|bucket| {
        left -= bucket.probability;
        left < 0.0
    });
    found.or(buckets.last()).copied()
}
