//! `burstgpt`: prompt and answer lengths from a BurstGPT trace. Its arrival times are for the
//! dataset `trace`.

use std::path::{Path, PathBuf};

use inferometer_core::Prompt;
use inferometer_core::random::NumpyLegacy;
use serde_json::json;

use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::{NativeTexts, Prefixes};
use super::trace::{BurstGptRow, burstgpt_rows};
use super::{Context, Emit, Sample, chunk_size, chunks, request};
use crate::WorkloadError;

/// Options of `burstgpt`.
#[derive(Clone, Debug, Default)]
pub struct BurstGptSettings {
    /// The CSV file.
    pub path: PathBuf,
}

impl BurstGptSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self { path } = self;
        DatasetSpec::of_file(path, LengthsSpec::default(), json!({}))
    }
}

/// Makes the requests chunk by chunk. What it returns holds everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &BurstGptSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    let tokenizer = context.tokenizer()?;
    let rows = usable_rows(&options.path)?;
    let count = context.count_or_all(rows.len());
    let repeats = count > rows.len();
    if repeats && !context.settings.oversample && !context.settings.is_vllm() {
        return Err(WorkloadError::TooShort {
            path: options.path.clone(),
            usable: rows.len(),
            asked: count,
        }
        .into());
    }
    let chosen = NumpyLegacy::new(context.numpy_seed()?).choice(rows.len(), count, repeats);
    let mut sample = Sample {
        with_ids: true,
        path: options.path.clone(),
        ..Sample::default()
    };
    let ranges = chunks(
        count,
        chunk_size(rows.iter().map(|row| row.input).sum::<usize>() / rows.len()),
    );
    if context.settings.is_vllm() {
        let vocab = tokenizer.vocab_size().max(1);
        for range in ranges {
            let made = context.parallel_of(range, count, |at| {
                let row = &rows[chosen[at]];
                let ids: Vec<u32> = (0..row.input)
                    .map(|step| ((at + step) % vocab) as u32)
                    .collect();
                request(
                    Prompt::Text(tokenizer.decode(&ids)),
                    row.input,
                    Some(row.output as i64),
                )
            });
            emit(made, count)?;
        }
        return Ok(sample);
    }
    let special = tokenizer.num_special_tokens_to_add();
    let lengths: Vec<usize> = chosen
        .iter()
        .map(|&row| rows[row].input.saturating_sub(special).max(1))
        .collect();
    let mut texts = NativeTexts::new(context, tokenizer, Prefixes::NONE, &lengths)?;
    for range in ranges {
        let made = texts.chunk(range.clone())?.into_iter().zip(&chosen[range]);
        let made = made.map(|((text, tokens), &row)| {
            request(
                Prompt::Text(text),
                tokens + special,
                Some(rows[row].output as i64),
            )
        });
        emit(made.collect(), count)?;
    }
    texts.warn_of_duplicates(&mut sample.warnings);
    Ok(sample)
}

/// The rows that vLLM's benchmark takes: those of GPT-4 whose answer did not fail.
fn usable_rows(path: &Path) -> Result<Vec<BurstGptRow>, WorkloadError> {
    let mut rows = burstgpt_rows(path)?;
    let total = rows.len();
    rows.retain(|row| row.model == "GPT-4" && row.output > 0);
    if rows.is_empty() {
        return Err(WorkloadError::NoRows {
            path: path.to_owned(),
            message: format!(
                "none of its {total} rows has Model GPT-4 and Response tokens above 0"
            ),
        });
    }
    Ok(rows)
}
