//! Datasets: one file each.

mod burstgpt;
mod custom;
mod custom_media;
mod hf;
mod info;
mod multi_turn;
mod prefix_repetition;
mod random;
mod random_mm;
mod rerank;
mod shaped;
mod sharegpt;
mod sonnet;
mod spec_bench;
mod texts;
mod timed_trace;
mod trace;
mod words;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use inferometer_core::{Prompt, Request};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

pub use info::{ALL, Info, TextSource, find, flag_family};

use crate::{DatasetSettings, Tokenizer, WorkloadError, WorkloadSettings};

/// What a dataset gets to work with.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a WorkloadSettings,
    pub(crate) tokenizer: Option<&'a Tokenizer>,
    pub(crate) progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// What a dataset gives.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// Requests in order; `index` and `id` are filled in later.
    pub(crate) requests: Vec<Request>,
    pub(crate) warnings: Vec<String>,
    pub(crate) force_ignore_eos: bool,
    /// Too few requests may be repeated.
    pub(crate) may_oversample: bool,
    /// Requests carry an id.
    pub(crate) with_ids: bool,
    /// The file, for messages.
    pub(crate) path: PathBuf,
    /// Why rows were left out, for messages.
    pub(crate) skipped: String,
    /// Facts for the result.
    pub(crate) about: Map<String, Value>,
}

impl Sample {
    /// The sample of a dataset made of rows.
    pub(crate) fn of_rows(path: &Path, requests: Vec<Request>) -> Self {
        Self {
            requests,
            may_oversample: true,
            with_ids: true,
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// The error for a dataset of which nothing is left.
    pub(crate) fn no_rows(&self) -> WorkloadError {
        let message = if self.skipped.is_empty() {
            "it is empty".into()
        } else {
            self.skipped.clone()
        };
        WorkloadError::NoRows {
            path: self.path.clone(),
            message,
        }
    }
}

/// Takes requests chunk by chunk, in order, with the number of requests that there will be in all.
pub(crate) type Emit<'a, E> = &'a mut dyn FnMut(Vec<Request>, usize) -> Result<(), E>;

/// Where the requests of a dataset are.
pub(crate) enum Loaded {
    /// Given away chunk by chunk, since they are made up and need not fit into memory; this is
    /// everything else.
    Emitted(Sample),
    /// In here: rows of a file, or conversations.
    Whole(Sample),
}

/// Takes the requests from the dataset that the settings name. Those that are made up go to `emit`.
pub(crate) fn load<E: From<WorkloadError>>(
    context: &Context<'_>,
    emit: Emit<'_, E>,
) -> Result<Loaded, E> {
    let whole = match &context.settings.dataset {
        DatasetSettings::Random(options) => {
            return random::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::RandomMm(options) => {
            return random_mm::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::RandomRerank(options) => {
            return rerank::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::PrefixRepetition(options) => {
            return prefix_repetition::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::BurstGpt(options) => {
            return burstgpt::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::TimedTrace(options) => {
            return timed_trace::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::Trace(options) => {
            return trace::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::Mix(options) => {
            return shaped::in_chunks(context, options, emit).map(Loaded::Emitted);
        }
        DatasetSettings::ShareGpt(options) => sharegpt::sample(context, options),
        DatasetSettings::Custom(options) => custom::sample(context, options),
        DatasetSettings::Sonnet(options) => sonnet::sample(context, options),
        DatasetSettings::SpecBench(options) => spec_bench::sample(context, options),
        DatasetSettings::SpeedBench(options) => spec_bench::sample_speed(context, options),
        DatasetSettings::CustomImage(options) => custom_media::sample_images(context, options),
        DatasetSettings::CustomAudio(options) => custom_media::sample_audio(context, options),
        DatasetSettings::Hf(options) => hf::sample(context, options),
        DatasetSettings::MultiTurn(options) => multi_turn::sample(context, options),
    };
    Ok(Loaded::Whole(whole?))
}

/// Takes all requests from the dataset that the settings name.
pub(crate) fn sample(context: &Context<'_>) -> Result<Sample, WorkloadError> {
    let mut requests = Vec::new();
    let loaded = load::<WorkloadError>(context, &mut |chunk, total| {
        if requests.is_empty() {
            requests.reserve_exact(total);
        }
        requests.extend(chunk);
        Ok(())
    })?;
    Ok(match loaded {
        Loaded::Emitted(sample) => Sample { requests, ..sample },
        Loaded::Whole(sample) => sample,
    })
}

/// Cuts `0..count` into chunks of `size`.
pub(crate) fn chunks(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count)
        .step_by(size)
        .map(move |start| start..(start + size).min(count))
}

/// Prompts of a chunk whose prompts have `mean` tokens: enough to keep all cores busy, few enough
/// to be small.
pub(crate) fn chunk_size(mean: usize) -> usize {
    const TOKENS: usize = 2 << 20;
    (TOKENS / mean.max(1)).clamp(32, 1024)
}

impl<'a> Context<'a> {
    /// The tokenizer, where the dataset cannot do without.
    pub(crate) fn tokenizer(&self) -> Result<&'a Tokenizer, WorkloadError> {
        self.tokenizer.ok_or(WorkloadError::TokenizerNeeded {
            dataset: self.settings.dataset.name(),
        })
    }

    /// Seed of everything that is made up to be sent, as opposed to its lengths and order.
    pub(crate) fn text_seed(&self) -> u64 {
        let seed = self.settings.seed;
        self.settings.salt.as_ref().map_or(seed, |salt| {
            let bytes = salt.bytes().chain(seed.to_le_bytes());
            bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        })
    }

    /// Requests wanted from a dataset that cannot do without a number.
    pub(crate) fn count(&self) -> Result<usize, WorkloadError> {
        usize::try_from(self.settings.num_prompts)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| {
                WorkloadError::setting(
                    "--num-prompts",
                    format!(
                        "is {}, but {} needs at least 1",
                        self.settings.num_prompts,
                        self.settings.dataset.name()
                    ),
                )
            })
    }

    /// Requests wanted from a dataset of `rows` rows, where zero or less means all.
    pub(crate) fn count_or_all(&self, rows: usize) -> usize {
        usize::try_from(self.settings.num_prompts)
            .ok()
            .filter(|&n| n > 0)
            .unwrap_or(rows)
    }

    /// Applies `make` to `0..n` on all cores and keeps the order; reports progress.
    pub(crate) fn parallel<T: Send>(&self, n: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
        self.parallel_of(0..n, n, make)
    }

    /// The same for a part of `0..n`.
    pub(crate) fn parallel_of<T: Send>(
        &self,
        range: Range<usize>,
        n: usize,
        make: impl Fn(usize) -> T + Sync,
    ) -> Vec<T> {
        let done = AtomicUsize::new(range.start);
        let chunk = (n / 256).clamp(1, 64);
        range
            .into_par_iter()
            .with_min_len(chunk.min(8))
            .map(|at| {
                let item = make(at);
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if done.is_multiple_of(chunk) || done == n {
                    (self.progress)(done, n);
                }
                item
            })
            .collect()
    }

    /// Like [`Self::parallel`] over candidates, until `wanted` of them were kept; stops early.
    /// Gives what was kept, in order. Candidates are used up, so that each is gone from memory once
    /// it was looked at.
    pub(crate) fn parallel_until<C: Send, T: Send, E: Send>(
        &self,
        candidates: impl IntoIterator<Item = C>,
        wanted: usize,
        make: impl Fn(C) -> Result<Option<T>, E> + Sync,
    ) -> Result<Vec<T>, E> {
        const MOST: usize = 4096;
        let mut kept = Vec::new();
        let mut candidates = candidates.into_iter();
        while kept.len() < wanted {
            let ask = ((wanted - kept.len()) * 5 / 4 + 16).min(MOST);
            let batch: Vec<C> = candidates.by_ref().take(ask).collect();
            if batch.is_empty() {
                break;
            }
            let made: Vec<Result<Option<T>, E>> = batch.into_par_iter().map(&make).collect();
            for item in made {
                if kept.len() == wanted {
                    break;
                }
                kept.extend(item?);
            }
            (self.progress)(kept.len(), wanted);
        }
        Ok(kept)
    }
}

/// A plain request.
pub(crate) fn request(prompt: Prompt, prompt_tokens: usize, output_tokens: Option<i64>) -> Request {
    Request {
        prompt,
        prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
        output_tokens: output_tokens.map(|n| u32::try_from(n.max(0)).unwrap_or(u32::MAX)),
        ..Request::default()
    }
}

/// vLLM's filter for conversations: neither too short to mean anything nor too long for small
/// models.
pub(crate) fn is_valid_sequence(prompt: usize, output: usize, skip_min_output: bool) -> bool {
    prompt >= 4 && (output >= 4 || skip_min_output) && prompt <= 1024 && prompt + output <= 2048
}

/// An OpenAI content part for an image or video named by URL, data URL or local path.
pub(crate) fn media_part(kind: &str, source: &Value) -> Value {
    let url = match source {
        Value::String(url)
            if ["http://", "https://", "file://", "data:"]
                .iter()
                .any(|s| url.starts_with(s)) =>
        {
            url.clone()
        }
        Value::String(path) => format!("file://{path}"),
        other => other["url"].as_str().unwrap_or_default().to_owned(),
    };
    json!({"type": kind, kind: {"url": url}})
}
