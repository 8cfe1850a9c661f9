//! Synthetic texts of exact lengths, all at once or chunk by chunk.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use inferometer_core::random::{StreamRng, indexed_stream};
use rand::Rng;

use super::words::Words;
use super::{Context, chunk_size, chunks};
use crate::{Tokenizer, WorkloadError};

/// Bytes at the start of a text by which texts are compared: far more than a prefix cache's block.
const COMPARED: usize = 512;

/// Prefixes that texts share: text `i` starts with number `i mod count`.
#[derive(Clone, Copy)]
pub(super) struct Prefixes {
    /// Tokens of each.
    pub(super) len: usize,
    /// How many there are.
    pub(super) count: usize,
}

impl Prefixes {
    /// No shared prefix.
    pub(super) const NONE: Self = Self { len: 0, count: 1 };
}

/// All of [`NativeTexts`] at once.
pub(super) fn native_texts(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    prefixes: Prefixes,
    lengths: &[usize],
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, usize)>, WorkloadError> {
    let mut maker = NativeTexts::new(context, tokenizer, prefixes, lengths)?;
    let texts = maker.chunk(0..lengths.len())?;
    maker.warn_of_duplicates(warnings);
    Ok(texts)
}

/// Texts of exactly `prefixes.len + lengths[i]` tokens, each with its number of tokens, chunk by
/// chunk.
///
/// Every text comes from a random stream of its own, so the result depends neither on threads nor
/// on the size of the chunks.
pub(super) struct NativeTexts<'a> {
    context: &'a Context<'a>,
    tokenizer: &'a Tokenizer,
    prefixes: Prefixes,
    lengths: &'a [usize],
    way: Way,
    known: Known,
}

/// What is known about the texts made so far.
#[derive(Default)]
struct Known {
    /// Fingerprints.
    seen: HashSet<u64>,
    /// Texts that were made again, and how often.
    attempts: HashMap<usize, u64>,
    /// Texts that still repeat others.
    repeated: usize,
}

/// How the texts are made.
enum Way {
    /// Of words that are one token each.
    Words(WordTexts),
    /// Of random tokens, decoded, encoded again and adjusted: the shared prefixes, and the ids to
    /// draw from.
    Adjusted {
        shared: Vec<Vec<u32>>,
        allowed: Vec<u32>,
    },
}

impl<'a> NativeTexts<'a> {
    /// Finds out how texts can be made with this tokenizer.
    pub(super) fn new(
        context: &'a Context<'a>,
        tokenizer: &'a Tokenizer,
        prefixes: Prefixes,
        lengths: &'a [usize],
    ) -> Result<Self, WorkloadError> {
        let seed = context.text_seed();
        let words = Words::find(tokenizer)
            .filter(|words| words.first_len() > 0)
            .map(|words| {
                let shared = (0..prefixes.count)
                    .map(|at| shared_prefix(&words, seed, at, prefixes.len))
                    .collect();
                WordTexts {
                    words,
                    seed,
                    prefixes: shared,
                }
            });
        let way = match words.filter(|words| spot_check(tokenizer, words, prefixes.len, lengths)) {
            Some(words) => Way::Words(words),
            None => adjusted(context, tokenizer, prefixes, lengths)?,
        };
        Ok(Self {
            context,
            tokenizer,
            prefixes,
            lengths,
            way,
            known: Known::default(),
        })
    }

    /// The texts of `range`, which begins where the last one ended.
    pub(super) fn chunk(
        &mut self,
        range: Range<usize>,
    ) -> Result<Vec<(String, usize)>, WorkloadError> {
        let (lengths, prefix, total) = (self.lengths, self.prefixes.len, self.lengths.len());
        match &self.way {
            Way::Words(words) => {
                let mut texts = self
                    .context
                    .parallel_of(range.clone(), total, |at| words.text(at, lengths[at], 0));
                words.remove_duplicates(&mut texts, range.clone(), lengths, &mut self.known);
                Ok(texts
                    .into_iter()
                    .zip(&lengths[range])
                    .map(|(text, len)| (text, prefix + len))
                    .collect())
            }
            Way::Adjusted { .. } => self
                .context
                .parallel_of(range, total, |at| self.text(at))
                .into_iter()
                .collect(),
        }
    }

    /// Makes all texts without keeping them, to know which would repeat others, so that
    /// [`Self::picked`] can make them in any order.
    pub(super) fn look(&mut self) {
        let Way::Words(words) = &self.way else { return };
        // As much of each as is compared: a word has at least one byte.
        let lengths: Vec<usize> = self.lengths.iter().map(|&len| len.min(COMPARED)).collect();
        let quiet = Context {
            progress: &|_, _| {},
            ..*self.context
        };
        let size = chunk_size(self.prefixes.len + lengths.iter().max().copied().unwrap_or(0));
        for range in chunks(lengths.len(), size) {
            let mut texts = quiet.parallel_of(range.clone(), lengths.len(), |at| {
                words.text(at, lengths[at], 0)
            });
            words.remove_duplicates(&mut texts, range, &lengths, &mut self.known);
        }
    }

    /// The texts with the numbers `order[range]`, after [`Self::look`].
    pub(super) fn picked(
        &self,
        order: &[usize],
        range: Range<usize>,
    ) -> Result<Vec<(String, usize)>, WorkloadError> {
        self.context
            .parallel_of(range, order.len(), |place| self.text(order[place]))
            .into_iter()
            .collect()
    }

    /// Text number `at`, as it is after all that is known.
    fn text(&self, at: usize) -> Result<(String, usize), WorkloadError> {
        let tokens = self.prefixes.len + self.lengths[at];
        match &self.way {
            Way::Words(words) => {
                let attempt = self.known.attempts.get(&at).copied().unwrap_or(0);
                Ok((words.text(at, self.lengths[at], attempt), tokens))
            }
            Way::Adjusted { shared, allowed } => {
                let mut rng = indexed_stream(self.context.text_seed(), "random/prompt", at as u64);
                exact_text(
                    self.tokenizer,
                    allowed,
                    &mut rng,
                    &shared[at % shared.len()],
                    tokens,
                )
            }
        }
    }

    /// Warns where there were not enough different texts.
    pub(super) fn warn_of_duplicates(&self, warnings: &mut Vec<String>) {
        if self.known.repeated > 0 {
            warnings.push(format!(
                "{} of {} random prompts repeat others, because there are not enough different texts of this \
                 length.",
                self.known.repeated,
                self.lengths.len()
            ));
        }
    }
}

/// Words that texts start with.
fn shared_prefix(words: &Words, seed: u64, at: usize, len: usize) -> String {
    let mut rng = indexed_stream(seed, "random/prefix", at as u64);
    let mut text = String::new();
    push_words(words, &mut rng, len, &mut text);
    text
}

/// Appends words, one token each; where the text is empty, the first has no space before it.
pub(super) fn push_words(words: &Words, rng: &mut StreamRng, count: usize, text: &mut String) {
    let mut left = count;
    if text.is_empty() && left > 0 {
        text.push_str(words.first(below(rng.next_u32(), words.first_len())));
        left -= 1;
    }
    let len = words.len();
    while left > 0 {
        let draw = rng.next_u32();
        text.push_str(words.spaced(below(draw << 16, len)));
        left -= 1;
        if left > 0 {
            text.push_str(words.spaced(below(draw & 0xffff_0000, len)));
            left -= 1;
        }
    }
}

/// An index below `len` from the upper bits of a draw. `len` is small, so the bias is too.
fn below(draw: u32, len: usize) -> usize {
    ((u64::from(draw) * len as u64) >> 32) as usize
}

struct WordTexts {
    words: Words,
    seed: u64,
    prefixes: Vec<String>,
}

impl WordTexts {
    /// Text number `at`; another `attempt` gives another text.
    fn text(&self, at: usize, len: usize, attempt: u64) -> String {
        let mut rng = if attempt == 0 {
            indexed_stream(self.seed, "random/prompt", at as u64)
        } else {
            indexed_stream(self.seed, &format!("random/prompt/{attempt}"), at as u64)
        };
        let prefix = &self.prefixes[at % self.prefixes.len()];
        let mut text = String::with_capacity(prefix.len() + len * 7);
        text.push_str(prefix);
        push_words(&self.words, &mut rng, len, &mut text);
        text
    }

    /// Makes texts again that were seen before. Some have to stay, because there are not enough
    /// different texts of their length.
    fn remove_duplicates(
        &self,
        texts: &mut [String],
        range: Range<usize>,
        lengths: &[usize],
        known: &mut Known,
    ) {
        const ATTEMPTS: u64 = 16;
        for (text, at) in texts.iter_mut().zip(range) {
            let mut attempt = 0;
            let prefix = self.prefixes[at % self.prefixes.len()].len();
            while !known.seen.insert(fingerprint(&text[prefix..])) {
                attempt += 1;
                if attempt > ATTEMPTS || lengths[at] == 0 {
                    known.repeated += 1;
                    break;
                }
                *text = self.text(at, lengths[at], attempt);
                known.attempts.insert(at, attempt);
            }
        }
    }
}

/// Identifies a text by its start. Texts that start alike count as equal, which costs a new draw
/// and keeps a prefix cache from finding one in the other.
fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.as_bytes()[..text.len().min(COMPARED)].hash(&mut hasher);
    hasher.finish()
}

/// Counts the tokens of some texts spread over all: few enough not to delay the start.
fn spot_check(tokenizer: &Tokenizer, words: &WordTexts, prefix: usize, lengths: &[usize]) -> bool {
    const TOKENS: usize = 32_768;
    let mean = prefix + lengths.iter().sum::<usize>() / lengths.len().max(1);
    let checked = (TOKENS / mean.max(1)).clamp(2, lengths.len().max(2));
    let step = lengths.len().div_ceil(checked).max(1);
    (0..lengths.len()).step_by(step).all(|at| {
        let text = words.text(at, lengths[at], 0);
        tokenizer.count(&text, false) == prefix + lengths[at]
    })
}

/// All ids of the vocabulary but `prohibited`, ascending.
pub(super) fn allowed_ids(tokenizer: &Tokenizer, prohibited: &[u32]) -> Vec<u32> {
    (0..tokenizer.vocab_size() as u32)
        .filter(|id| prohibited.binary_search(id).is_err())
        .collect()
}

/// For tokenizers without enough words.
fn adjusted(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    prefixes: Prefixes,
    lengths: &[usize],
) -> Result<Way, WorkloadError> {
    let seed = context.text_seed();
    let allowed = allowed_ids(tokenizer, tokenizer.special_ids());
    if allowed.is_empty() {
        return Err(WorkloadError::Unreachable {
            tokenizer: tokenizer.name().to_owned(),
            wanted: prefixes.len + lengths.first().copied().unwrap_or(0),
            message: "its vocabulary is empty".into(),
        });
    }
    let shared = (0..prefixes.count).map(|at| {
        let mut rng = indexed_stream(seed, "random/prefix", at as u64);
        (0..prefixes.len)
            .map(|_| allowed[below(rng.next_u32(), allowed.len())])
            .collect()
    });
    Ok(Way::Adjusted {
        shared: shared.collect(),
        allowed,
    })
}

fn exact_text(
    tokenizer: &Tokenizer,
    allowed: &[u32],
    rng: &mut StreamRng,
    shared: &[u32],
    wanted: usize,
) -> Result<(String, usize), WorkloadError> {
    const ATTEMPTS: usize = 200;
    let mut ids = shared.to_vec();
    let mut reached = 0;
    for attempt in 0..ATTEMPTS {
        // Each attempt cuts further back, past the tokens near the end that keep merging.
        if attempt > 0 {
            ids.truncate(
                wanted
                    .saturating_sub(attempt.min(wanted / 2))
                    .max(shared.len()),
            );
        }
        while ids.len() < wanted {
            ids.push(allowed[below(rng.next_u32(), allowed.len())]);
        }
        let text = tokenizer.decode(&ids);
        ids = tokenizer.encode(&text);
        reached = ids.len();
        if reached == wanted {
            return Ok((text, wanted));
        }
    }
    Err(WorkloadError::Unreachable {
        tokenizer: tokenizer.name().to_owned(),
        wanted,
        message: format!("{ATTEMPTS} attempts gave {reached} at best"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, RandomSettings, WorkloadSettings};

    #[test]
    fn texts_are_exact_without_words_too() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let settings = WorkloadSettings::new(DatasetSettings::Random(RandomSettings::default()));
        let context = Context {
            settings: &settings,
            tokenizer: Some(&tokenizer),
            progress: &|_, _| {},
        };
        let (lengths, prefixes) = ([1, 2, 17, 300], Prefixes { len: 3, count: 1 });
        let mut maker = NativeTexts::new(&context, &tokenizer, prefixes, &lengths).unwrap();
        maker.way = adjusted(&context, &tokenizer, prefixes, &lengths)
            .ok()
            .unwrap();
        let texts = [maker.chunk(0..3).unwrap(), maker.chunk(3..4).unwrap()].concat();
        for ((text, tokens), len) in texts.iter().zip(lengths) {
            assert_eq!(*tokens, len + 3);
            assert_eq!(tokenizer.encode(text).len(), len + 3);
        }
    }
}
