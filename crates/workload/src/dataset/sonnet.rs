//! `sonnet`: prompts of lines from Shakespeare's sonnets, the first lines the same for all.

use std::path::PathBuf;

use inferometer_core::random::PythonRandom;
use inferometer_core::{Prompt, Request};
use serde_json::{Map, json};

use super::spec::{DatasetSpec, LengthsSpec};
use super::{Context, Sample, request};
use crate::{Tokenizer, TokenizerError, WorkloadError, read};

/// Options of `sonnet`.
#[derive(Clone, Debug)]
pub struct SonnetSettings {
    /// A text file to take lines from; `None` takes the sonnets inside the binary.
    pub path: Option<PathBuf>,
    /// Maximum tokens of a prompt, chat template included.
    pub input_len: i64,
    /// Tokens of an answer.
    pub output_len: i64,
    /// Tokens of the lines that all prompts share.
    pub prefix_len: i64,
}

impl Default for SonnetSettings {
    fn default() -> Self {
        Self {
            path: None,
            input_len: 550,
            output_len: 150,
            prefix_len: 200,
        }
    }
}

impl SonnetSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            input_len,
            output_len,
            prefix_len,
        } = self;
        let lengths = LengthsSpec {
            input: Some(*input_len),
            output: Some(*output_len),
            prefix: Some(*prefix_len),
            ..LengthsSpec::default()
        };
        DatasetSpec {
            path: path.clone(),
            ..DatasetSpec::generated(lengths, json!({}))
        }
    }
}

/// The sonnets, one verse a line. Public domain.
const SONNETS: &str = include_str!("../../data/sonnet.txt");
/// vLLM's instruction, so that prompts are the same.
const BASE: &str = "Pick as many lines as you can from these poem lines:\n";
/// Attempts per prompt before the lengths count as impossible: vLLM tries forever, which looks like
/// a hang.
const ATTEMPTS_PER_PROMPT: usize = 20;
/// The same for runs of few prompts, where chance decides more.
const MIN_ATTEMPTS: usize = 1000;

pub(super) fn sample(
    context: &Context<'_>,
    options: &SonnetSettings,
) -> Result<Sample, WorkloadError> {
    let tokenizer = context.tokenizer()?;
    let count = context.count()?;
    if options.output_len < 1 {
        return Err(WorkloadError::setting(
            "--sonnet-output-len",
            "must be at least 1",
        ));
    }
    let file = options.path.as_deref().map(read::text).transpose()?;
    let lines: Vec<&str> = file
        .as_deref()
        .unwrap_or(SONNETS)
        .split_inclusive('\n')
        .collect();
    if lines.is_empty() {
        let path = options.path.clone().unwrap_or_default();
        return Err(WorkloadError::NoRows {
            path,
            message: "it is empty".into(),
        });
    }
    let (input_lines, prefix_lines) = line_counts(context, options, tokenizer, &lines)?;
    let prefix = lines[..prefix_lines].concat();
    // Every attempt draws the same number of lines, kept or not, so all can be drawn ahead.
    let attempts = (count * ATTEMPTS_PER_PROMPT).max(MIN_ATTEMPTS);
    let extra = input_lines - prefix_lines;
    let mut rng = PythonRandom::new(context.settings.seed);
    let mut draws: Vec<Vec<u32>> = Vec::new();
    let mut requests = Vec::with_capacity(count);
    while requests.len() < count && draws.len() < attempts {
        let more = ((count - requests.len()) * 3 / 2 + 16).min(attempts - draws.len());
        let start = draws.len();
        draws.extend((0..more).map(|_| {
            (0..extra)
                .map(|_| (rng.random() * lines.len() as f64) as u32)
                .collect::<Vec<u32>>()
        }));
        let kept = context.parallel_until(0..more, count - requests.len(), |at| {
            let mut prompt = format!("{BASE}{prefix}");
            prompt.extend(draws[start + at].iter().map(|line| lines[*line as usize]));
            attempt(context, options, tokenizer, prompt)
        })?;
        requests.extend(kept);
    }
    if requests.len() < count {
        return Err(WorkloadError::setting(
            "--sonnet-input-len",
            format!(
                "prompts of {input_lines} lines almost never fit into {} tokens with this tokenizer; choose \
                 another length",
                options.input_len
            ),
        ));
    }
    Ok(Sample {
        requests,
        with_ids: true,
        ..Sample::default()
    })
}

/// How many lines a prompt has, and how many of those are the same for all prompts: the lengths in
/// tokens divided by the mean length of a line.
fn line_counts(
    context: &Context<'_>,
    options: &SonnetSettings,
    tokenizer: &Tokenizer,
    lines: &[&str],
) -> Result<(usize, usize), WorkloadError> {
    let total: usize = lines.iter().map(|line| tokenizer.count(line, true)).sum();
    let mean = total as f64 / lines.len() as f64;
    let base = tokenizer.count(&formatted(context, tokenizer, BASE)?, true) as i64;
    if options.input_len <= base {
        return Err(WorkloadError::setting(
            "--sonnet-input-len",
            format!(
                "is {}, but the instruction alone has {base} tokens with this tokenizer",
                options.input_len
            ),
        ));
    }
    let lines_of =
        |tokens: i64, least: f64| (tokens as f64 / mean).round_ties_even().max(least) as usize;
    let input_lines = lines_of(options.input_len - base, 1.0);
    let prefix_lines = lines_of(options.prefix_len - base, 0.0).min(lines.len());
    if prefix_lines > input_lines {
        return Err(WorkloadError::setting(
            "--sonnet-prefix-len",
            format!(
                "{} is longer than --sonnet-input-len {}",
                options.prefix_len, options.input_len
            ),
        ));
    }
    Ok((input_lines, prefix_lines))
}

/// The request for a prompt; `None` for one that is too long.
fn attempt(
    context: &Context<'_>,
    options: &SonnetSettings,
    tokenizer: &Tokenizer,
    prompt: String,
) -> Result<Option<Request>, WorkloadError> {
    let text = formatted(context, tokenizer, &prompt)?;
    let tokens = tokenizer.count(&text, true);
    if tokens as i64 > options.input_len {
        return Ok(None);
    }
    let sent = if context.settings.is_chat {
        prompt
    } else {
        text
    };
    Ok(Some(request(
        Prompt::Text(sent),
        tokens,
        Some(options.output_len),
    )))
}

/// The prompt with the chat template around it; without one, natively, as it is.
fn formatted(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    prompt: &str,
) -> Result<String, TokenizerError> {
    let settings = context.settings;
    if !settings.is_vllm() && (!tokenizer.has_chat_template() || settings.skip_chat_template) {
        return Ok(prompt.to_owned());
    }
    tokenizer.apply_chat_template(&[json!({"role": "user", "content": prompt})], &Map::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, WorkloadSettings, build};

    fn settings(options: SonnetSettings) -> WorkloadSettings {
        WorkloadSettings {
            num_prompts: 20,
            ..WorkloadSettings::new(DatasetSettings::Sonnet(options))
        }
    }

    #[test]
    fn prompts_share_their_first_lines_and_fit() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let workload = build(
            &settings(SonnetSettings::default()),
            Some(&tokenizer),
            &|_, _| {},
        )
        .unwrap();
        assert_eq!(workload.requests.len(), 20);
        let first = workload.requests[0].prompt.as_text().unwrap();
        for request in &workload.requests {
            let text = request.prompt.as_text().unwrap();
            assert!(text.starts_with("<|im_start|>user\nPick as many lines"));
            assert_eq!(text[..400], first[..400]);
            assert!(
                (400..=550).contains(&request.prompt_tokens),
                "{}",
                request.prompt_tokens
            );
            assert_eq!(tokenizer.encode(text).len(), request.prompt_tokens as usize);
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let tokenizer = Tokenizer::builtin().unwrap();
        for (options, flag) in [
            (
                SonnetSettings {
                    input_len: 10,
                    ..SonnetSettings::default()
                },
                "--sonnet-input-len",
            ),
            (
                SonnetSettings {
                    prefix_len: 900,
                    ..SonnetSettings::default()
                },
                "--sonnet-prefix-len",
            ),
        ] {
            let error = build(&settings(options), Some(&tokenizer), &|_, _| {}).unwrap_err();
            assert!(error.to_string().starts_with(flag), "{error}");
        }
    }
}
