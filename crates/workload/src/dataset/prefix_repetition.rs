//! `prefix_repetition`: a few prefixes, each shared by many prompts, to exercise a prefix cache.

use rand::Rng;
use servebench_core::random::{NumpyLegacy, PythonRandom, stream};
use servebench_core::{Prompt, Request};

use super::random::vllm::Adjusting;
use super::texts::{Prefixes, native_texts};
use super::{Context, Sample, request};
use crate::{PrefixRepetitionSettings, Tokenizer, WorkloadError};

pub(super) fn sample(
    context: &Context<'_>,
    options: &PrefixRepetitionSettings,
) -> Result<Sample, WorkloadError> {
    let tokenizer = context.tokenizer()?;
    let count = context.count()?;
    let at_least = |flag, value: i64, least: usize| {
        usize::try_from(value)
            .ok()
            .filter(|&value| value >= least)
            .ok_or_else(|| WorkloadError::setting(flag, format!("is {value}, but must be at least {least}")))
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
    let mut sample = Sample::default();
    if context.settings.is_vllm() {
        sample.requests = vllm_requests(context, tokenizer, [prefix, suffix, prefixes], options.output_len)?;
        if sample.requests.len() < count {
            sample.warnings.push(format!(
                "{} requests are sent instead of {count}: vLLM drops the rest when the prompts do not divide \
                 evenly among {prefixes} prefixes.",
                sample.requests.len()
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
        ));
    }
    let text_suffix = suffix.saturating_sub(special);
    let shared = Prefixes { len: prefix + suffix - text_suffix - special, count: prefixes };
    let texts = native_texts(context, tokenizer, shared, &vec![text_suffix; count], &mut sample.warnings)?;
    sample.requests = texts
        .into_iter()
        .map(|(text, tokens)| request(Prompt::Text(text), tokens + special, Some(options.output_len)))
        .collect();
    if context.settings.shuffle {
        let mut rng = stream(context.settings.seed, "prefix_repetition/order");
        for at in (1..sample.requests.len()).rev() {
            let other = ((u64::from(rng.next_u32()) * (at as u64 + 1)) >> 32) as usize;
            sample.requests.swap(at, other);
        }
    }
    Ok(sample)
}

/// vLLM's own way: both parts are mended apart from each other, in one sequence of draws.
fn vllm_requests(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    [prefix, suffix, prefixes]: [usize; 3],
    output: i64,
) -> Result<Vec<Request>, WorkloadError> {
    let seed = context.settings.seed;
    let numpy_seed = u32::try_from(seed)
        .map_err(|_| WorkloadError::setting("--seed", "must be below 2^32 for this dataset, as in NumPy"))?;
    let mut rng = NumpyLegacy::new(numpy_seed);
    let vocab = tokenizer.vocab_size() as i64;
    if vocab < 1 {
        return Err(WorkloadError::setting("--tokenizer", "has no tokens"));
    }
    let count = context.count()?;
    let mut exact = |len: usize| {
        let mut draw =
            |n: usize| rng.randint_vec(0, vocab, n).into_iter().map(|id| id as u32).collect::<Vec<u32>>();
        let ids = draw(len);
        let mut state = Adjusting::new(tokenizer, ids, len);
        state.run(&mut draw);
        state.ids
    };
    let mut requests = Vec::with_capacity(count);
    for _ in 0..prefixes {
        let shared = exact(prefix);
        for _ in 0..count / prefixes {
            let mut ids = shared.clone();
            ids.extend(exact(suffix));
            requests.push(request(Prompt::Text(tokenizer.decode(&ids)), ids.len(), Some(output)));
            (context.progress)(requests.len(), count);
        }
    }
    if context.settings.shuffle {
        PythonRandom::new(seed).shuffle(&mut requests);
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{DatasetSettings, WorkloadSettings, build};

    #[test]
    fn prompts_share_prefixes_and_all_requests_are_made() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let options =
            PrefixRepetitionSettings { prefix_len: 20, suffix_len: 12, num_prefixes: 4, output_len: 8 };
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
            ..WorkloadSettings::new(DatasetSettings::PrefixRepetition(PrefixRepetitionSettings::default()))
        };
        let tokenizer = Tokenizer::builtin().unwrap();
        let error = build(&settings, Some(&tokenizer), &|_, _| {}).unwrap_err();
        assert!(error.to_string().starts_with("--prefix-repetition-num-prefixes"), "{error}");
    }
}
