//! `random-rerank`: a query and documents to rank, of given lengths.

use std::ops::Range;

use inferometer_core::Prompt;
use inferometer_core::random::NumpyGenerator;
use serde_json::json;

use super::random::{Drawn, Lengths, vllm};
use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::{NativeTexts, Prefixes, allowed_ids};
use super::{Context, Emit, Sample, chunk_size, chunks, request};
use crate::{RandomSettings, RangeRatio, Tokenizer, WorkloadError};

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

impl RerankSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            input_len,
            range_ratio,
            batch_size,
            is_reranker,
        } = self;
        let lengths = LengthsSpec {
            input: Some(*input_len),
            input_spread: Some(range_ratio.input),
            ..LengthsSpec::default()
        };
        let options = json!({"batch_size": batch_size, "is_reranker": is_reranker});
        DatasetSpec::generated(lengths, options)
    }
}

/// Makes the requests chunk by chunk. What it returns holds everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &RerankSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    options.range_ratio.check()?;
    let tokenizer = context.tokenizer()?;
    let mut count = context.count()?;
    let mut batch = usize::try_from(options.batch_size)
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| WorkloadError::setting("--random-batch-size", "must be at least 1"))?;
    if !options.is_reranker {
        if count < 2 || batch < 2 {
            return Err(WorkloadError::setting(
                "--no-reranker",
                "needs --num-prompts and --random-batch-size of at least 2: one text of each batch is the query",
            )
            .into());
        }
        count -= 1;
        batch -= 1;
    }
    let mut rng = NumpyGenerator::new(context.settings.seed);
    let (lengths, offsets) = draw(tokenizer, options, count, &mut rng)?;
    let mut sample = Sample {
        with_ids: true,
        ..Sample::default()
    };
    let size = chunk_size(usize::try_from(options.input_len).unwrap_or(0)).next_multiple_of(batch);
    let layout = Layout {
        documents: count,
        chunk: size,
        batch,
        is_reranker: options.is_reranker,
    };
    if context.settings.is_vllm() {
        let allowed = allowed_ids(tokenizer, tokenizer.special_ids());
        let drawn = Drawn {
            lengths,
            offsets,
            allowed,
            prefix: Vec::new(),
        };
        let mut texts = vllm::Texts::new(context, tokenizer, rng, &drawn)?;
        let mut chunk = |range| {
            Ok(texts
                .chunk(range)
                .into_iter()
                .map(|(text, tokens, _)| (text, tokens))
                .collect::<Vec<_>>())
        };
        with_query(layout, &mut chunk, emit)?;
        texts.warn_of_lengths(&mut sample.warnings);
    } else {
        let mut texts = NativeTexts::new(context, tokenizer, Prefixes::NONE, &lengths.input)?;
        with_query(layout, &mut |range| texts.chunk(range), emit)?;
        texts.warn_of_duplicates(&mut sample.warnings);
    }
    Ok(sample)
}

/// Draws the lengths and the random offsets of the query and of `count` documents behind it.
fn draw(
    tokenizer: &Tokenizer,
    options: &RerankSettings,
    count: usize,
    rng: &mut NumpyGenerator,
) -> Result<(Lengths, Vec<i64>), WorkloadError> {
    let vocab = tokenizer.vocab_size() as i64;
    let mut draw = |input_len: i64, count: usize| -> Result<(Lengths, Vec<i64>), WorkloadError> {
        let options = RandomSettings {
            input_len,
            output_len: 0,
            range_ratio: options.range_ratio,
            prefix_len: 0,
            batch_size: 1,
        };
        let lengths = Lengths::draw(rng, tokenizer, &options, count)?;
        let offsets = rng.integers_vec(0, vocab.max(1), count);
        Ok((lengths, offsets))
    };
    // A reranker joins query and document by one separator, and all three have the length asked
    // for; an embedding model gets both as texts of their own.
    let query_len = if options.is_reranker {
        options.input_len / 2 - 1
    } else {
        options.input_len
    };
    let (mut lengths, mut offsets) = draw(query_len, 1)?;
    let document_len = if options.is_reranker {
        options.input_len - lengths.input[0] as i64 - 1
    } else {
        options.input_len
    };
    let (documents, document_offsets) = draw(document_len, count)?;
    lengths.input.extend(documents.input);
    lengths.output.extend(documents.output);
    offsets.extend(document_offsets);
    Ok((lengths, offsets))
}

/// How documents become requests.
#[derive(Clone, Copy)]
struct Layout {
    /// Documents in all.
    documents: usize,
    /// Documents made at a time, a multiple of `batch`.
    chunk: usize,
    /// Documents in one request.
    batch: usize,
    is_reranker: bool,
}

/// Texts of a range with their numbers of tokens.
type MakeTexts<'a> = &'a mut dyn FnMut(Range<usize>) -> Result<Vec<(String, usize)>, WorkloadError>;

/// Puts text 0, the query, before each batch of the documents that follow it.
fn with_query<E: From<WorkloadError>>(
    layout: Layout,
    make: MakeTexts<'_>,
    emit: Emit<'_, E>,
) -> Result<(), E> {
    let query = make(0..1)?;
    let (query, query_tokens) = &query[0];
    for range in chunks(layout.documents, layout.chunk) {
        let documents = make(range.start + 1..range.end + 1)?;
        let requests = documents.chunks(layout.batch).map(|documents| {
            let of_query = if layout.is_reranker {
                // The query and a separator stand before every document.
                (query_tokens + 1) * documents.len()
            } else {
                *query_tokens
            };
            let of_documents: usize = documents.iter().map(|(_, tokens)| tokens).sum();
            let prompts = std::iter::once(query)
                .chain(documents.iter().map(|(text, _)| text))
                .cloned()
                .collect();
            request(Prompt::Texts(prompts), of_query + of_documents, Some(0))
        });
        emit(requests.collect(), layout.documents.div_ceil(layout.batch))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, Tokenizer, WorkloadSettings, build};

    fn workload(
        options: RerankSettings,
        count: i64,
    ) -> Result<inferometer_core::Workload, WorkloadError> {
        let tokenizer = Tokenizer::builtin().unwrap();
        let settings = WorkloadSettings {
            num_prompts: count,
            is_pooling: true,
            ..WorkloadSettings::new(DatasetSettings::RandomRerank(options))
        };
        build(&settings, Some(&tokenizer), &|_, _| {})
    }

    #[test]
    fn every_request_has_the_query_first_and_the_length_asked_for() {
        let options = RerankSettings {
            input_len: 64,
            batch_size: 3,
            ..RerankSettings::default()
        };
        let requests = workload(options, 7).unwrap().requests;
        let sizes: Vec<usize> = requests
            .iter()
            .map(|request| request.prompt.sequences())
            .collect();
        assert_eq!(sizes, [4, 4, 2]);
        let Prompt::Texts(first) = &requests[0].prompt else {
            panic!("a batch")
        };
        let Prompt::Texts(last) = &requests[2].prompt else {
            panic!("a batch")
        };
        assert_eq!(first[0], last[0]);
        assert_ne!(first[1], last[1]);
        // Query, separator and document together, for each document.
        assert_eq!(requests[2].prompt_tokens, 64);
        assert_eq!(requests[0].prompt_tokens, 3 * 64);
    }

    #[test]
    fn an_embedding_model_needs_batches() {
        let options = RerankSettings {
            is_reranker: false,
            ..RerankSettings::default()
        };
        let error = workload(options, 5).unwrap_err();
        assert!(error.to_string().starts_with("--no-reranker"), "{error}");
    }
}
