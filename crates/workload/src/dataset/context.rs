//! What datasets take and return, and what several of them need.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use inferometer_core::{Prompt, Request};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::limits::MAX_REQUESTS;
use crate::{Tokenizer, WorkloadError, WorkloadSettings};

/// The input of a dataset.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a WorkloadSettings,
    pub(crate) tokenizer: Option<&'a Tokenizer>,
    pub(crate) progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// The output of a dataset.
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

    /// The error for a dataset without a usable row.
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

/// What [`load`] returns.
pub(crate) enum Loaded {
    /// The requests are synthetic and were emitted chunk by chunk, since they need not fit into
    /// memory; this is everything else.
    Emitted(Sample),
    /// The requests are in here: rows of a file, or conversations.
    Whole(Sample),
}

/// Cuts `0..count` into chunks of `size`.
pub(crate) fn chunks(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count)
        .step_by(size)
        .map(move |start| start..(start + size).min(count))
}

/// Number of prompts in a chunk, for prompts of `mean` tokens: enough to keep all cores busy, few
/// enough that a chunk is small (2 million tokens are of the order of 10 MB of text).
pub(crate) fn chunk_size(mean: usize) -> usize {
    const TOKENS: usize = 2 << 20;
    (TOKENS / mean.max(1)).clamp(32, 1024)
}

impl<'a> Context<'a> {
    /// The tokenizer, for a dataset that needs one.
    pub(crate) fn tokenizer(&self) -> Result<&'a Tokenizer, WorkloadError> {
        self.tokenizer.ok_or(WorkloadError::TokenizerNeeded {
            dataset: self.settings.dataset.name(),
        })
    }

    /// Seed of the synthetic text, as opposed to its lengths and order: the salt changes this one
    /// alone.
    pub(crate) fn text_seed(&self) -> u64 {
        let seed = self.settings.seed;
        self.settings
            .salt
            .as_ref()
            .map_or(seed, |salt| fnv1a(salt.bytes().chain(seed.to_le_bytes())))
    }

    /// The seed for NumPy's legacy generator, which takes 32 bits.
    pub(crate) fn numpy_seed(&self) -> Result<u32, WorkloadError> {
        u32::try_from(self.settings.seed).map_err(|_| {
            WorkloadError::setting("--seed", "must be below 2^32 for this dataset, as in NumPy")
        })
    }

    /// The number of requests, for a dataset that needs one.
    pub(crate) fn count(&self) -> Result<usize, WorkloadError> {
        usize::try_from(self.settings.num_prompts)
            .ok()
            .filter(|n| (1..=MAX_REQUESTS).contains(n))
            .ok_or_else(|| {
                WorkloadError::setting(
                    "--num-prompts",
                    format!(
                        "is {}, but {} needs at least 1 and at most {MAX_REQUESTS}",
                        self.settings.num_prompts,
                        self.settings.dataset.name()
                    ),
                )
            })
    }

    /// The number of requests from a dataset of `rows` rows, where zero or less means all.
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

    /// The same for `range`, a part of `0..n`.
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

    /// Like [`Self::parallel`] over candidates, until `wanted` of them are kept. Returns those, in
    /// order. Candidates are consumed, so that each leaves memory once it has been tried.
    pub(crate) fn parallel_until<C: Send, T: Send, E: Send>(
        &self,
        candidates: impl IntoIterator<Item = C>,
        wanted: usize,
        make: impl Fn(C) -> Result<Option<T>, E> + Sync,
    ) -> Result<Vec<T>, E> {
        // Candidates that are tried together, and so are in memory with what is made of them.
        const MAX_BATCH: usize = 4096;
        let mut kept = Vec::new();
        let mut candidates = candidates.into_iter();
        while kept.len() < wanted {
            let ask = ((wanted - kept.len()) * 5 / 4 + 16).min(MAX_BATCH);
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

/// The 64-bit FNV-1a hash, which is the same on every machine and in every version.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A request with a prompt and lengths, and nothing else.
pub(crate) fn request(prompt: Prompt, prompt_tokens: usize, output_tokens: Option<i64>) -> Request {
    Request {
        prompt,
        prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
        output_tokens: output_tokens.map(|n| u32::try_from(n.max(0)).unwrap_or(u32::MAX)),
        ..Request::default()
    }
}

/// Puts text and media of a request into one ready message (`--enable-multimodal-chat`). The keys of
/// the text are the other way round than in the messages that `openai-chat` makes, as in vLLM.
pub(crate) fn one_message(request: &mut Request) {
    if let Prompt::Text(text) = &request.prompt {
        let mut content = vec![json!({"text": text, "type": "text"})];
        content.append(&mut request.media);
        request.prompt = Prompt::Messages(vec![json!({"role": "user", "content": content})]);
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
