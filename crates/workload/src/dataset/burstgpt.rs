//! `burstgpt`: prompt and answer lengths from a BurstGPT trace. Its arrival times are for the dataset `trace`.

use servebench_core::Prompt;
use servebench_core::random::NumpyLegacy;

use super::texts::{Prefixes, native_texts};
use super::trace::{BurstGptRow, burstgpt_rows};
use super::{Context, Sample, request};
use crate::{BurstGptSettings, WorkloadError};

pub(super) fn sample(context: &Context<'_>, options: &BurstGptSettings) -> Result<Sample, WorkloadError> {
    let tokenizer = context.tokenizer()?;
    let path = &options.path;
    let all = burstgpt_rows(path)?;
    let total = all.len();
    let rows: Vec<BurstGptRow> =
        all.into_iter().filter(|row| row.model == "GPT-4" && row.output > 0).collect();
    if rows.is_empty() {
        return Err(WorkloadError::NoRows {
            path: path.clone(),
            message: format!("none of its {total} rows has Model GPT-4 and Response tokens above 0"),
        });
    }
    let count = context.count_or_all(rows.len());
    let repeats = count > rows.len();
    if repeats && !context.settings.oversample && !context.settings.is_vllm() {
        return Err(WorkloadError::TooShort { path: path.clone(), usable: rows.len(), asked: count });
    }
    let seed = u32::try_from(context.settings.seed)
        .map_err(|_| WorkloadError::setting("--seed", "must be below 2^32 for this dataset, as in NumPy"))?;
    let chosen = NumpyLegacy::new(seed).choice(rows.len(), count, repeats);
    let mut sample = Sample { with_ids: true, path: path.clone(), ..Sample::default() };
    if context.settings.is_vllm() {
        let vocab = tokenizer.vocab_size().max(1);
        sample.requests = context.parallel(count, |at| {
            let row = &rows[chosen[at]];
            let ids: Vec<u32> = (0..row.input).map(|step| ((at + step) % vocab) as u32).collect();
            request(Prompt::Text(tokenizer.decode(&ids)), row.input, Some(row.output as i64))
        });
        return Ok(sample);
    }
    let special = tokenizer.num_special_tokens_to_add();
    let lengths: Vec<usize> =
        chosen.iter().map(|&row| rows[row].input.saturating_sub(special).max(1)).collect();
    let texts = native_texts(context, tokenizer, Prefixes::NONE, &lengths, &mut sample.warnings)?;
    sample.requests = texts
        .into_iter()
        .zip(&chosen)
        .map(|((text, tokens), &row)| {
            request(Prompt::Text(text), tokens + special, Some(rows[row].output as i64))
        })
        .collect();
    Ok(sample)
}
