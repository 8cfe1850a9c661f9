//! `prefix_repetition`: a few prefixes, each shared by many prompts, to exercise a prefix cache.

use inferometer_core::random::{NumpyLegacy, PythonRandom, stream};
use inferometer_core::{Prompt, Request};
use rand::Rng;
use serde_json::json;

use super::limits::check_tokens;
use super::random::vllm::Adjusting;
use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::{NativeTexts, Prefixes};
use super::{Context, Emit, Sample, chunk_size, chunks, request};
use crate::{Tokenizer, WorkloadError};

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

impl PrefixRepetitionSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            prefix_len,
            suffix_len,
            num_prefixes,
            output_len,
        } = self;
        let lengths = LengthsSpec {
            input: Some(prefix_len + suffix_len),
            output: Some(*output_len),
            prefix: Some(*prefix_len),
            ..LengthsSpec::default()
        };
        DatasetSpec::generated(lengths, json!({"num_prefixes": num_prefixes}))
    }
}

/// The lengths in tokens and the number of prefixes.
#[derive(Clone, Copy)]
struct Shape {
    prefix: usize,
    suffix: usize,
    prefixes: usize,
}

impl Shape {
    fn check(options: &PrefixRepetitionSettings, count: usize) -> Result<Self, WorkloadError> {
        let at_least = |flag, value: i64, least: usize| {
            check_tokens(flag, value)?;
            usize::try_from(value)
                .ok()
                .filter(|&value| value >= least)
                .ok_or_else(|| {
                    WorkloadError::setting(
                        flag,
                        format!("is {value}, but must be at least {least}"),
                    )
                })
        };
        let prefix = at_least("--prefix-repetition-prefix-len", options.prefix_len, 0)?;
        let suffix = at_least("--prefix-repetition-suffix-len", options.suffix_len, 0)?;
        let prefixes = at_least("--prefix-repetition-num-prefixes", options.num_prefixes, 1)?;
        at_least("--prefix-repetition-output-len", options.output_len, 1)?;
        if count < prefixes {
            return Err(WorkloadError::setting(
                "--prefix-repetition-num-prefixes",
                format!("is {prefixes}, more than the {count} prompts of --num-prompts"),
            ));
        }
        Ok(Self {
            prefix,
            suffix,
            prefixes,
        })
    }
}

/// Makes the requests chunk by chunk, except vLLM's in shuffled order: those come from one sequence
/// of draws and are sent in another order, so they are made as a whole.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &PrefixRepetitionSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    let tokenizer = context.tokenizer()?;
    let count = context.count()?;
    let shape = Shape::check(options, count)?;
    let Shape {
        prefix,
        suffix,
        prefixes,
    } = shape;
    let mut sample = Sample::default();
    if context.settings.is_vllm() {
        vllm_requests(context, tokenizer, shape, options.output_len, emit)?;
        let made = count / prefixes * prefixes;
        if made < count {
            sample.warnings.push(format!(
                "{made} requests are sent instead of {count}: vLLM drops the rest when the prompts do not divide \
                 evenly among {prefixes} prefixes."
            ));
        }
        return Ok(sample);
    }
    sample.with_ids = true;
    let special = tokenizer.num_special_tokens_to_add();
    if prefix + suffix <= special {
        return Err(WorkloadError::setting(
            "--prefix-repetition-suffix-len",
            format!("{suffix} leaves nothing to send: the tokenizer adds {special} special tokens"),
        )
        .into());
    }
    let text_suffix = suffix.saturating_sub(special);
    let shared = Prefixes {
        len: prefix + suffix - text_suffix - special,
        count: prefixes,
    };
    let lengths = vec![text_suffix; count];
    let mut texts = NativeTexts::new(context, tokenizer, shared, &lengths)?;
    let mut order: Vec<usize> = (0..count).collect();
    if context.settings.shuffle {
        let mut rng = stream(context.settings.seed, "prefix_repetition/order");
        for at in (1..count).rev() {
            let other = ((u64::from(rng.next_u32()) * (at as u64 + 1)) >> 32) as usize;
            order.swap(at, other);
        }
    }
    // Which texts would repeat others is known only in the order in which they are made.
    texts.look();
    for range in chunks(count, chunk_size(prefix + suffix)) {
        let made = texts.picked(&order, range)?.into_iter();
        let output = Some(options.output_len);
        emit(
            made.map(|(text, tokens)| request(Prompt::Text(text), tokens + special, output))
                .collect(),
            count,
        )?;
    }
    texts.warn_of_duplicates(&mut sample.warnings);
    Ok(sample)
}

/// As vLLM makes them: prefix and suffix are adjusted to their lengths separately, from one
/// sequence of draws.
fn vllm_requests<E: From<WorkloadError>>(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    shape: Shape,
    output: i64,
    emit: Emit<'_, E>,
) -> Result<(), E> {
    let Shape {
        prefix,
        suffix,
        prefixes,
    } = shape;
    let mut rng = NumpyLegacy::new(context.numpy_seed()?);
    let vocab = tokenizer.vocab_size() as i64;
    if vocab < 1 {
        return Err(WorkloadError::setting("--tokenizer", "has no tokens").into());
    }
    let count = context.count()?;
    let mut exact = |len: usize| {
        let mut draw = |n: usize| {
            rng.randint_vec(0, vocab, n)
                .into_iter()
                .map(|id| id as u32)
                .collect::<Vec<u32>>()
        };
        let ids = draw(len);
        let mut state = Adjusting::new(tokenizer, ids, len);
        state.run(&mut draw);
        state.ids
    };
    let total = count / prefixes * prefixes;
    let shuffle = context.settings.shuffle;
    let chunk = if shuffle {
        total
    } else {
        chunk_size(prefix + suffix)
    };
    let mut requests: Vec<Request> = Vec::with_capacity(chunk.min(total));
    let mut made = 0;
    for _ in 0..prefixes {
        let shared = exact(prefix);
        for _ in 0..count / prefixes {
            let mut ids = shared.clone();
            ids.extend(exact(suffix));
            requests.push(request(
                Prompt::Text(tokenizer.decode(&ids)),
                ids.len(),
                Some(output),
            ));
            made += 1;
            (context.progress)(made, count);
            if !shuffle && requests.len() == chunk {
                emit(std::mem::take(&mut requests), total)?;
            }
        }
    }
    if shuffle {
        PythonRandom::new(context.settings.seed).shuffle(&mut requests);
    }
    emit(requests, total)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{DatasetSettings, WorkloadSettings, build};

    #[test]
    fn prompts_share_prefixes_and_all_requests_are_made() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let options = PrefixRepetitionSettings {
            prefix_len: 20,
            suffix_len: 12,
            num_prefixes: 4,
            output_len: 8,
        };
        let mut settings = WorkloadSettings::new(DatasetSettings::PrefixRepetition(options));
        settings.num_prompts = 10;
        let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
        assert_eq!(workload.requests.len(), 10);
        let mut groups: HashMap<Vec<u32>, usize> = HashMap::new();
        for request in &workload.requests {
            let ids = tokenizer.encode(request.prompt.as_text().unwrap());
            assert_eq!(ids.len(), 32);
            *groups.entry(ids[..20].to_vec()).or_default() += 1;
        }
        let mut sizes: Vec<usize> = groups.into_values().collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [2, 2, 3, 3]);

        settings.compat = crate::Compat::Vllm;
        let workload = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap();
        assert_eq!(workload.requests.len(), 8);
        assert_eq!(workload.requests[0].id, None);
        assert!(workload.warnings[0].contains("8 requests"));
    }

    #[test]
    fn more_prefixes_than_prompts_are_refused() {
        let settings = WorkloadSettings {
            num_prompts: 3,
            ..WorkloadSettings::new(DatasetSettings::PrefixRepetition(
                PrefixRepetitionSettings::default(),
            ))
        };
        let tokenizer = Tokenizer::builtin().unwrap();
        let error = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--prefix-repetition-num-prefixes"),
            "{error}"
        );
    }
}
