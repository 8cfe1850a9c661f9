//! `random-rerank`: a query and documents to rank, of given lengths.

use std::ops::Range;

use inferometer_core::Prompt;
use inferometer_core::random::NumpyGenerator;

use super::random::{Drawn, Lengths, vllm};
use super::texts::{NativeTexts, Prefixes};
use super::{Context, Emit, Sample, chunk_size, chunks, request};
use crate::{RandomSettings, RerankSettings, WorkloadError};

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
    let separator = i64::from(options.is_reranker);
    let query_len = if options.is_reranker {
        options.input_len / 2 - 1
    } else {
        options.input_len
    };
    let mut rng = NumpyGenerator::new(context.settings.seed);
    let vocab = tokenizer.vocab_size() as i64;
    let mut draw = |input_len: i64, count: usize| -> Result<(Lengths, Vec<i64>), WorkloadError> {
        let options = RandomSettings {
            input_len,
            output_len: 0,
            range_ratio: options.range_ratio,
            prefix_len: 0,
            batch_size: 1,
        };
        let lengths = Lengths::draw(&mut rng, tokenizer, &options, count)?;
        let offsets = rng.integers_vec(0, vocab.max(1), count);
        Ok((lengths, offsets))
    };
    let (mut lengths, mut offsets) = draw(query_len, 1)?;
    let query_tokens = lengths.input[0] as i64;
    let doc_len = if options.is_reranker {
        options.input_len - query_tokens - separator
    } else {
        options.input_len
    };
    let (docs, doc_offsets) = draw(doc_len, count)?;
    lengths.input.extend(docs.input);
    lengths.output.extend(docs.output);
    offsets.extend(doc_offsets);

    let mut sample = Sample {
        with_ids: true,
        ..Sample::default()
    };
    let size = chunk_size(usize::try_from(options.input_len).unwrap_or(0)).next_multiple_of(batch);
    let is_reranker = options.is_reranker;
    if context.settings.is_vllm() {
        let allowed = vllm::allowed(tokenizer, tokenizer.special_ids());
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
        with_query(count, [size, batch], is_reranker, &mut chunk, emit)?;
        texts.warn_of_lengths(&mut sample.warnings);
    } else {
        let mut texts = NativeTexts::new(context, tokenizer, Prefixes::NONE, &lengths.input)?;
        with_query(
            count,
            [size, batch],
            is_reranker,
            &mut |range| texts.chunk(range),
            emit,
        )?;
        texts.warn_of_duplicates(&mut sample.warnings);
    }
    Ok(sample)
}

/// Texts of a range with their numbers of tokens.
type MakeTexts<'a> = &'a mut dyn FnMut(Range<usize>) -> Result<Vec<(String, usize)>, WorkloadError>;

/// Puts text 0, the query, before batches of the `count` documents that follow, `size` documents at
/// a time.
fn with_query<E: From<WorkloadError>>(
    count: usize,
    [size, batch]: [usize; 2],
    is_reranker: bool,
    make: MakeTexts<'_>,
    emit: Emit<'_, E>,
) -> Result<(), E> {
    let query = make(0..1)?;
    let (query, query_tokens) = &query[0];
    for range in chunks(count, size) {
        let docs = make(range.start + 1..range.end + 1)?;
        let requests = docs.chunks(batch).map(|docs| {
            let query_share = if is_reranker {
                (query_tokens + 1) * docs.len()
            } else {
                *query_tokens
            };
            let tokens = query_share + docs.iter().map(|(_, tokens)| tokens).sum::<usize>();
            let prompts = std::iter::once(query)
                .chain(docs.iter().map(|(text, _)| text))
                .cloned()
                .collect();
            request(Prompt::Texts(prompts), tokens, Some(0))
        });
        emit(requests.collect(), count.div_ceil(batch))?;
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
