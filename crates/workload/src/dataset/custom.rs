//! `custom`: JSON Lines with a `prompt` and, optionally, `output_tokens`.

use std::path::PathBuf;

use inferometer_core::Prompt;
use inferometer_core::random::PythonRandom;
use serde_json::{Value, json};

use super::spec::{DatasetSpec, LengthsSpec};
use super::{Context, Sample, request};
use crate::{WorkloadError, read};

/// Options of `custom`.
#[derive(Clone, Debug)]
pub struct CustomSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Output tokens for every request; -1 takes `output_tokens` of the row.
    pub output_len: i64,
}

impl CustomSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self { path, output_len } = self;
        DatasetSpec::of_file(path, LengthsSpec::output(Some(*output_len)), json!({}))
    }
}

pub(super) fn sample(
    context: &Context<'_>,
    options: &CustomSettings,
) -> Result<Sample, WorkloadError> {
    let path = &options.path;
    if path
        .extension()
        .is_none_or(|extension| extension != "jsonl")
    {
        return Err(WorkloadError::setting(
            "--dataset-path",
            format!(
                "{} must be JSON Lines with the ending .jsonl for the dataset custom",
                path.display()
            ),
        ));
    }
    if options.output_len < -1 || options.output_len == 0 {
        return Err(WorkloadError::setting(
            "--custom-output-len",
            format!(
                "is {}, but must be at least 1, or -1 for the row's own output_tokens",
                options.output_len
            ),
        ));
    }
    let mut rows = read::json_lines(path)?;
    check_columns(options, &rows)?;
    if context.settings.shuffle {
        PythonRandom::new(context.settings.seed).shuffle(&mut rows);
    }
    let wanted = context.count_or_all(rows.len()).min(rows.len());
    let prompts = context.parallel(wanted, |at| {
        let (line, row) = &rows[at];
        let prompt = row["prompt"].as_str().unwrap_or_default();
        let output = match options.output_len {
            -1 => output_tokens(&row["output_tokens"]),
            len => Some(len),
        };
        templated(context, prompt, output).map_err(|error| match error {
            WorkloadError::Tokenizer(error @ crate::TokenizerError::Template { .. }) => {
                WorkloadError::format(path, Some(*line), error.to_string())
            }
            other => other,
        })
    });
    let mut sample = Sample::of_rows(path, prompts.into_iter().collect::<Result<_, _>>()?);
    if needs_template(context)
        && context
            .tokenizer
            .is_some_and(|tokenizer| !tokenizer.has_chat_template())
    {
        sample.warnings.push(
            "The tokenizer has no chat template, so prompts are sent as they are (as with \
             --skip-chat-template)."
                .into(),
        );
    }
    Ok(sample)
}

/// True when the client, not the server, puts the chat template around a prompt.
///
/// vLLM's benchmark does it for chat backends too, whose server then does it a second time.
fn needs_template(context: &Context<'_>) -> bool {
    let settings = context.settings;
    !settings.skip_chat_template && (settings.is_vllm() || !settings.is_chat)
}

/// A request for one prompt, with the chat template around it where the client applies it.
pub(super) fn templated(
    context: &Context<'_>,
    prompt: &str,
    output: Option<i64>,
) -> Result<inferometer_core::Request, WorkloadError> {
    let settings = context.settings;
    let Some(tokenizer) = context.tokenizer else {
        return Ok(request(Prompt::Text(prompt.to_owned()), 1, Some(1)));
    };
    let missing_is_fine = !settings.is_vllm() && !tokenizer.has_chat_template();
    if !needs_template(context) || missing_is_fine {
        let tokens = tokenizer.count(prompt, true);
        return Ok(request(Prompt::Text(prompt.to_owned()), tokens, output));
    }
    let messages = [json!({"role": "user", "content": prompt})];
    let rendered = tokenizer.apply_chat_template(&messages, &settings.chat_template_kwargs)?;
    let mut text = rendered.as_str();
    // The server puts its own token in front; a second one would change what the model sees.
    if !settings.is_vllm()
        && tokenizer.num_special_tokens_to_add() > 0
        && let Some(rest) = tokenizer.bos_token().and_then(|bos| text.strip_prefix(bos))
    {
        text = rest;
    }
    let tokens = tokenizer.count(text, true);
    Ok(request(Prompt::Text(text.to_owned()), tokens, output))
}

pub(super) fn output_tokens(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        value
            .as_f64()
            .filter(|n| n.fract() == 0.0)
            .map(|n| n as i64)
    })
}

fn check_columns(options: &CustomSettings, rows: &[(usize, Value)]) -> Result<(), WorkloadError> {
    let path = &options.path;
    if rows.is_empty() {
        return Err(WorkloadError::NoRows {
            path: path.clone(),
            message: "it is empty".into(),
        });
    }
    for (line, row) in rows {
        if !row["prompt"].is_string() {
            let message = if row.get("prompt").is_some() {
                "`prompt` must be a string".to_owned()
            } else {
                format!(
                    "missing column `prompt`; the row has {}",
                    read::columns(row)
                )
            };
            return Err(WorkloadError::format(path, Some(*line), message));
        }
        if options.output_len == -1 && output_tokens(&row["output_tokens"]).is_none_or(|n| n < 1) {
            return Err(WorkloadError::format(
                path,
                Some(*line),
                format!(
                    "--custom-output-len -1 takes `output_tokens` from each row, but this one has {}; the row \
                     has {}",
                    row.get("output_tokens")
                        .map_or("none".to_owned(), Value::to_string),
                    read::columns(row)
                ),
            ));
        }
    }
    Ok(())
}
