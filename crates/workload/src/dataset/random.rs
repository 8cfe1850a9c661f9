//! `random`: synthetic text of given lengths.
//!
//! Lengths are the same in both modes, and those that vLLM draws. In compatibility mode the prompts
//! are vLLM's too: a run of neighbouring token ids, decoded to text and adjusted until it has about
//! the right number of tokens. Natively they are texts of words that are one token each
//! ([`super::words::Words`]), which gives exact lengths and different prompts for different
//! requests, and takes a small part of the time (`examples/speed.rs` measures both).

use std::str::FromStr;

use inferometer_core::random::NumpyGenerator;
use inferometer_core::{Prompt, Request};
use serde_json::{Value, json};

use super::limits::check_tokens;
use super::spec::{DatasetSpec, LengthsSpec};
use super::texts::{NativeTexts, Prefixes, allowed_ids};
use super::{Context, Emit, Sample, chunk_size, chunks, request};
use crate::{Tokenizer, WorkloadError};

/// Options of `random`.
#[derive(Clone, Debug)]
pub struct RandomSettings {
    /// Tokens of a prompt, special tokens included, without the shared prefix.
    pub input_len: i64,
    /// Tokens of an answer.
    pub output_len: i64,
    /// How far lengths spread around these.
    pub range_ratio: RangeRatio,
    /// Tokens at the start of every prompt that are the same for all.
    pub prefix_len: i64,
    /// Prompts in one request (pooling backends only).
    pub batch_size: i64,
}

impl Default for RandomSettings {
    fn default() -> Self {
        Self {
            input_len: 1024,
            output_len: 128,
            range_ratio: RangeRatio::default(),
            prefix_len: 0,
            batch_size: 1,
        }
    }
}

impl RandomSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let options = json!({"batch_size": self.batch_size});
        DatasetSpec::generated(self.lengths(), options)
    }

    /// The requested lengths, as the manifest keeps them.
    pub(super) fn lengths(&self) -> LengthsSpec {
        let Self {
            input_len,
            output_len,
            range_ratio,
            prefix_len,
            batch_size: _,
        } = self;
        let RangeRatio { input, output } = *range_ratio;
        LengthsSpec {
            input: Some(*input_len),
            output: Some(*output_len),
            input_spread: Some(input),
            output_spread: Some(output),
            prefix: Some(*prefix_len),
        }
    }
}

/// Spread of lengths: uniform in `len·(1−r) ..= len·(1+r)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RangeRatio {
    /// Spread of the input length, in [0, 1).
    pub input: f64,
    /// Spread of the output length, in [0, 1).
    pub output: f64,
}

impl FromStr for RangeRatio {
    type Err = WorkloadError;

    /// A number for both, or `{"input": X, "output": Y}`.
    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let wrong = |message: String| WorkloadError::setting("--random-range-ratio", message);
        let number = text.trim().parse::<f64>().ok();
        let ratio = if let Some(both) = number {
            Self {
                input: both,
                output: both,
            }
        } else {
            let value: Value = serde_json::from_str(text).map_err(|_| {
                wrong(format!(
                    "{text:?} is neither a number nor JSON like {{\"input\": 0.1, \"output\": 0.5}}"
                ))
            })?;
            let part = |name: &str| {
                value[name].as_f64().ok_or_else(|| {
                    wrong(format!("{text} must hold the numbers `input` and `output`"))
                })
            };
            Self {
                input: part("input")?,
                output: part("output")?,
            }
        };
        ratio.check()?;
        Ok(ratio)
    }
}

impl RangeRatio {
    /// Refuses spreads outside [0, 1).
    ///
    /// # Errors
    ///
    /// A spread outside [0, 1).
    pub fn check(self) -> Result<(), WorkloadError> {
        for (name, ratio) in [("input", self.input), ("output", self.output)] {
            if !(0.0..1.0).contains(&ratio) {
                return Err(WorkloadError::setting(
                    "--random-range-ratio",
                    format!("the {name} ratio is {ratio}, but must be at least 0 and below 1"),
                ));
            }
        }
        Ok(())
    }
}

/// Makes the requests chunk by chunk. What it returns holds everything but the requests.
pub(super) fn in_chunks<E: From<WorkloadError>>(
    context: &Context<'_>,
    options: &RandomSettings,
    emit: Emit<'_, E>,
) -> Result<Sample, E> {
    check(context, options)?;
    let tokenizer = context.tokenizer()?;
    let count = context.count()?;
    let mut rng = NumpyGenerator::new(context.settings.seed);
    let prefix = usize::try_from(options.prefix_len).unwrap_or(0);
    let batch = usize::try_from(options.batch_size).unwrap_or(1).max(1);
    let mean = prefix + usize::try_from(options.input_len).unwrap_or(0);
    let ranges = chunks(count, chunk_size(mean).next_multiple_of(batch));
    let requests = count.div_ceil(batch);
    let mut sample = Sample {
        force_ignore_eos: true,
        with_ids: true,
        ..Sample::default()
    };
    if context.settings.is_vllm() {
        let prohibited = tokenizer.special_ids();
        let drawn = Drawn::for_vllm(&mut rng, tokenizer, options, count, prohibited)?;
        let mut texts = vllm::Texts::new(context, tokenizer, rng, &drawn)?;
        for range in ranges {
            emit(batched(texts.chunk(range), batch), requests)?;
        }
        texts.warn_of_lengths(&mut sample.warnings);
        return Ok(sample);
    }
    let lengths = Lengths::draw(&mut rng, tokenizer, options, count)?;
    let special = tokenizer.num_special_tokens_to_add();
    let mut texts = NativeTexts::new(
        context,
        tokenizer,
        Prefixes {
            len: prefix,
            count: 1,
        },
        &lengths.input,
    )?;
    for range in ranges {
        let made = texts
            .chunk(range.clone())?
            .into_iter()
            .zip(&lengths.output[range]);
        let made = made
            .map(|((text, tokens), &output)| (text, tokens + special, output))
            .collect();
        emit(batched(made, batch), requests)?;
    }
    texts.warn_of_duplicates(&mut sample.warnings);
    Ok(sample)
}

/// A prompt with its number of tokens and its output tokens.
pub(super) type Text = (String, usize, i64);

pub(super) fn check(context: &Context<'_>, options: &RandomSettings) -> Result<(), WorkloadError> {
    options.range_ratio.check()?;
    if options.prefix_len < 0 {
        return Err(WorkloadError::setting(
            "--random-prefix-len",
            "must not be negative",
        ));
    }
    if options.input_len < 0 {
        return Err(WorkloadError::setting(
            "--random-input-len",
            "must not be negative",
        ));
    }
    if options.output_len < 1 {
        return Err(WorkloadError::setting(
            "--random-output-len",
            "must be at least 1",
        ));
    }
    if options.batch_size < 1 {
        return Err(WorkloadError::setting(
            "--random-batch-size",
            "must be at least 1",
        ));
    }
    // vLLM sends a list of prompts to completions too, and reads the answer to the first.
    if options.batch_size > 1 && !context.settings.is_pooling && !context.settings.is_vllm() {
        return Err(WorkloadError::setting(
            "--random-batch-size",
            "several prompts in one request are for pooling backends (embeddings) only",
        ));
    }
    Ok(())
}

/// The lengths of all requests, as vLLM draws them.
pub(super) struct Lengths {
    /// Tokens of the text, without special tokens and prefix.
    pub(super) input: Vec<usize>,
    pub(super) output: Vec<i64>,
}

impl Lengths {
    pub(super) fn draw(
        rng: &mut NumpyGenerator,
        tokenizer: &Tokenizer,
        options: &RandomSettings,
        count: usize,
    ) -> Result<Self, WorkloadError> {
        check_tokens("--random-input-len", options.input_len)?;
        check_tokens("--random-output-len", options.output_len)?;
        check_tokens("--random-prefix-len", options.prefix_len)?;
        let special = tokenizer.num_special_tokens_to_add() as i64;
        let real = (options.input_len - special).max(0);
        let ratio = options.range_ratio;
        let low = |len: i64, ratio: f64| (len as f64 * (1.0 - ratio)).floor() as i64;
        let high = |len: i64, ratio: f64| (len as f64 * (1.0 + ratio)).ceil() as i64;
        let input = (low(real, ratio.input), high(real, ratio.input));
        let output = (
            low(options.output_len, ratio.output).max(1),
            high(options.output_len, ratio.output).max(1),
        );
        if options.prefix_len + input.0 < 1 {
            return Err(WorkloadError::setting(
                "--random-input-len",
                format!(
                    "{} tokens leave nothing to send: the tokenizer adds {special} special tokens, and with \
                     --random-range-ratio {} the shortest prompt would be empty",
                    options.input_len, ratio.input
                ),
            ));
        }
        let input = rng.integers_vec(input.0, input.1 + 1, count);
        let output = rng.integers_vec(output.0, output.1 + 1, count);
        Ok(Self {
            input: input.into_iter().map(|len| len as usize).collect(),
            output,
        })
    }
}

/// Everything that vLLM draws before the prompts are made.
pub(super) struct Drawn {
    pub(super) lengths: Lengths,
    pub(super) offsets: Vec<i64>,
    /// Ids that prompts are made of, ascending.
    pub(super) allowed: Vec<u32>,
    pub(super) prefix: Vec<u32>,
}

impl Drawn {
    /// `prohibited` are the ids, ascending, that no prompt is made of.
    pub(super) fn for_vllm(
        rng: &mut NumpyGenerator,
        tokenizer: &Tokenizer,
        options: &RandomSettings,
        count: usize,
        prohibited: &[u32],
    ) -> Result<Self, WorkloadError> {
        let vocab = tokenizer.vocab_size();
        let allowed = allowed_ids(tokenizer, prohibited);
        let lengths = Lengths::draw(rng, tokenizer, options, count)?;
        let offsets = rng.integers_vec(0, vocab as i64, count);
        let prefix_len = usize::try_from(options.prefix_len).unwrap_or(0);
        let prefix = vllm::prefix(rng, tokenizer, &allowed, prefix_len);
        Ok(Self {
            lengths,
            offsets,
            allowed,
            prefix,
        })
    }
}

/// Puts `size` prompts into each request.
fn batched(texts: Vec<Text>, size: usize) -> Vec<Request> {
    if size == 1 {
        return texts
            .into_iter()
            .map(|(text, tokens, output)| request(Prompt::Text(text), tokens, Some(output)))
            .collect();
    }
    texts
        .chunks(size)
        .map(|batch| {
            let tokens = batch.iter().map(|(_, tokens, _)| tokens).sum();
            let prompts = batch.iter().map(|(text, ..)| text.clone()).collect();
            request(Prompt::Texts(prompts), tokens, Some(0))
        })
        .collect()
}

/// The prompts as vLLM makes them, step for step.
pub(super) mod vllm {
    use std::ops::Range;

    use super::{Context, Drawn, NumpyGenerator, Text, Tokenizer, WorkloadError};

    /// The tokens that all prompts start with.
    pub(super) fn prefix(
        rng: &mut NumpyGenerator,
        tokenizer: &Tokenizer,
        allowed: &[u32],
        len: usize,
    ) -> Vec<u32> {
        if len == 0 {
            return Vec::new();
        }
        let ids = rng.integers_vec(0, allowed.len() as i64, len);
        let ids = ids.into_iter().map(|at| allowed[at as usize]).collect();
        let mut state = Adjusting::new(tokenizer, ids, len);
        let vocab = tokenizer.vocab_size() as i64;
        state.run(&mut |n| {
            rng.integers_vec(0, vocab, n)
                .into_iter()
                .map(|id| id as u32)
                .collect()
        });
        state.ids
    }

    /// The prompts with the lengths that came out.
    pub(in super::super) struct Texts<'a> {
        context: &'a Context<'a>,
        tokenizer: &'a Tokenizer,
        rng: NumpyGenerator,
        drawn: &'a Drawn,
        /// Tokens above the requested lengths, summed so far.
        off: i64,
    }

    impl<'a> Texts<'a> {
        /// `rng` has drawn what is `drawn`, and nothing more.
        pub(in super::super) fn new(
            context: &'a Context<'a>,
            tokenizer: &'a Tokenizer,
            rng: NumpyGenerator,
            drawn: &'a Drawn,
        ) -> Result<Self, WorkloadError> {
            if drawn.allowed.is_empty() {
                return Err(WorkloadError::Unreachable {
                    tokenizer: tokenizer.name().to_owned(),
                    wanted: 1,
                    message: "its vocabulary is empty".into(),
                });
            }
            Ok(Self {
                context,
                tokenizer,
                rng,
                drawn,
                off: 0,
            })
        }

        /// The prompts of `range`, which begins where the last one ended.
        pub(in super::super) fn chunk(&mut self, range: Range<usize>) -> Vec<Text> {
            self.chunk_with(range, &mut |_| ())
                .into_iter()
                .map(|(text, ())| text)
                .collect()
        }

        /// Like [`Self::chunk`]; `draw` draws what belongs to each prompt right behind it.
        pub(in super::super) fn chunk_with<T>(
            &mut self,
            range: Range<usize>,
            draw: &mut dyn FnMut(&mut NumpyGenerator) -> T,
        ) -> Vec<(Text, T)> {
            let Self {
                context,
                tokenizer,
                rng,
                drawn,
                off,
            } = self;
            let vocab = tokenizer.vocab_size() as i64;
            let allowed = &drawn.allowed;
            // Adjusting draws from one generator in the order of the requests. Everything before
            // the first draw of a request is independent of the others and runs on all cores.
            let mut states = context.parallel_of(range.clone(), drawn.offsets.len(), |at| {
                let start = drawn.offsets[at] as usize + at;
                let len = drawn.lengths.input[at];
                let inner = (0..len).map(|step| allowed[(start + step) % allowed.len()]);
                let ids: Vec<u32> = drawn.prefix.iter().copied().chain(inner).collect();
                let wanted = drawn.prefix.len() + len;
                let mut state = Adjusting::new(tokenizer, ids, wanted);
                state.run_until_draw();
                state
            });
            let mut more = Vec::with_capacity(states.len());
            for state in &mut states {
                state.run(&mut |n| {
                    rng.integers_vec(0, vocab, n)
                        .into_iter()
                        .map(|id| id as u32)
                        .collect()
                });
                *off += state.ids.len() as i64 - state.wanted as i64;
                more.push(draw(rng));
            }
            let outputs = &drawn.lengths.output[range];
            let made = states.into_iter().zip(outputs).zip(more);
            made.map(|((state, output), more)| ((state.text, state.ids.len(), *output), more))
                .collect()
        }

        /// Warns where lengths were missed, with the sum.
        pub(in super::super) fn warn_of_lengths(&self, warnings: &mut Vec<String>) {
            if self.off == 0 {
                return;
            }
            warnings.push(format!(
                "In total, the random prompts have {} tokens {} than requested: the text of some random tokens \
                 never encodes to the same number of tokens (without --compat vllm, lengths are exact).",
                self.off.abs(),
                if self.off > 0 { "more" } else { "fewer" }
            ));
        }
    }

    /// A prompt on its way to the wanted number of tokens.
    pub(in super::super) struct Adjusting<'a> {
        tokenizer: &'a Tokenizer,
        pub(in super::super) ids: Vec<u32>,
        pub(in super::super) text: String,
        wanted: usize,
        tries: u32,
        /// Tokens that must be drawn before it can continue.
        missing: usize,
        done: bool,
    }

    const TRIES: u32 = 10;

    impl<'a> Adjusting<'a> {
        pub(in super::super) fn new(
            tokenizer: &'a Tokenizer,
            ids: Vec<u32>,
            wanted: usize,
        ) -> Self {
            Self {
                tokenizer,
                ids,
                text: String::new(),
                wanted,
                tries: TRIES,
                missing: 0,
                done: false,
            }
        }

        /// Continues until it is done; `draw` gives random tokens.
        pub(in super::super) fn run(&mut self, draw: &mut dyn FnMut(usize) -> Vec<u32>) {
            self.run_until_draw();
            while self.missing > 0 {
                self.ids.extend(draw(self.missing));
                self.missing = 0;
                self.run_until_draw();
            }
        }

        /// Continues until it is done or needs random tokens.
        fn run_until_draw(&mut self) {
            while !self.done && self.missing == 0 {
                self.text = self.tokenizer.decode(&self.ids);
                self.tokenizer.encode_into(&self.text, &mut self.ids);
                let len = self.ids.len();
                if self.tries == 0 || len == self.wanted {
                    self.done = true;
                    return;
                }
                self.tries -= 1;
                if len < self.wanted {
                    self.missing = self.wanted - len;
                } else {
                    self.ids.truncate(self.wanted);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
