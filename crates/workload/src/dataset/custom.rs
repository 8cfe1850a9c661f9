//! `custom`: JSON Lines with a `prompt`, or chat `messages`, and, optionally, `output_tokens`.

use std::path::PathBuf;

use inferometer_core::random::PythonRandom;
use inferometer_core::{Prompt, Request};
use serde_json::{Value, json};

use super::spec::{DatasetSpec, LengthsSpec};
use super::{Context, MAX_TOKENS, Sample, request};
use crate::{Tokenizer, TokenizerError, WorkloadError, read};

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
    let name = path.to_string_lossy();
    if ![".jsonl", ".jsonl.gz"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        return Err(WorkloadError::setting(
            "--dataset-path",
            format!(
                "{} must be JSON Lines with the ending .jsonl or .jsonl.gz for the dataset custom",
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
        let output = match options.output_len {
            -1 => output_tokens(&row["output_tokens"]),
            len => Some(len),
        };
        let made = match (row["prompt"].as_str(), messages(row)) {
            (None, Some(messages)) => chat(context, unanswered(messages), output),
            (prompt, _) => templated(context, prompt.unwrap_or_default(), output),
        };
        made.map_err(|error| match error {
            WorkloadError::Tokenizer(error @ TokenizerError::Template { .. }) => {
                WorkloadError::format(path, Some(*line), error.to_string())
            }
            other => other,
        })
    });
    let mut sample = Sample::of_rows(path, prompts.into_iter().collect::<Result<_, _>>()?);
    let answered = rows[..wanted]
        .iter()
        .filter(|(_, row)| {
            row["prompt"].as_str().is_none()
                && messages(row).is_some_and(|all| unanswered(all).len() < all.len())
        })
        .count();
    if answered > 0 {
        sample.warnings.push(format!(
            "{answered} of {wanted} rows end with a message of the assistant, which is the recorded answer \
             and is not sent."
        ));
    }
    let has_prompts = rows[..wanted]
        .iter()
        .any(|(_, row)| row["prompt"].is_string());
    if has_prompts
        && needs_template(context)
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

/// The chat messages of a row.
fn messages(row: &Value) -> Option<&Vec<Value>> {
    row["messages"].as_array()
}

/// The messages without the answers at the end.
fn unanswered(messages: &[Value]) -> &[Value] {
    let answers = messages
        .iter()
        .rev()
        .take_while(|message| message["role"] == "assistant");
    &messages[..messages.len() - answers.count()]
}

/// A request of chat messages: as they are where the server applies its template, as the text of
/// the tokenizer's template elsewhere.
fn chat(
    context: &Context<'_>,
    messages: &[Value],
    output: Option<i64>,
) -> Result<Request, WorkloadError> {
    let settings = context.settings;
    if settings.is_chat {
        // Without what the server's template adds, as for plain prompts.
        let tokens = context.tokenizer.map_or(1, |tokenizer| {
            let texts = messages.iter().flat_map(texts);
            texts.map(|text| tokenizer.count(text, false)).sum()
        });
        return Ok(request(Prompt::Messages(messages.to_vec()), tokens, output));
    }
    if settings.skip_chat_template {
        return Err(WorkloadError::setting(
            "--skip-chat-template",
            "rows with `messages` need a chat template for this backend; omit the flag or use --backend \
             openai-chat",
        ));
    }
    from_template(context, context.tokenizer()?, messages, output)
}

/// The texts of a message: its content, or the texts of its content parts.
fn texts(message: &Value) -> Vec<&str> {
    match &message["content"] {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => Vec::new(),
    }
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
) -> Result<Request, WorkloadError> {
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
    from_template(context, tokenizer, &messages, output)
}

/// A request of the text that the tokenizer's template makes of messages.
fn from_template(
    context: &Context<'_>,
    tokenizer: &Tokenizer,
    messages: &[Value],
    output: Option<i64>,
) -> Result<Request, WorkloadError> {
    let settings = context.settings;
    let rendered = tokenizer.apply_chat_template(messages, settings.template_kwargs())?;
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

/// The output tokens of a row, which may be written as text (`"3"`, as tables that were exported do);
/// `None` for anything but a whole number that a request can ask for.
pub(super) fn output_tokens(value: &Value) -> Option<i64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|n| n.fract() == 0.0 && n.abs() <= MAX_TOKENS as f64)
        .map(|n| n as i64)
}

/// What is wrong with the prompt or the messages of a row.
fn wrong_prompt(row: &Value) -> Option<String> {
    if row["prompt"].is_string() {
        return None;
    }
    match (row.get("prompt"), row.get("messages")) {
        (_, Some(Value::Array(messages))) => {
            if let Some(at) = messages
                .iter()
                .position(|message| !message["role"].is_string())
            {
                return Some(format!(
                    "`messages`: message {} has no `role`; expected objects with `role` and `content`",
                    at + 1
                ));
            }
            unanswered(messages)
                .is_empty()
                .then(|| "`messages` must have a message before the assistant's answer".to_owned())
        }
        (_, Some(_)) => {
            Some("`messages` must be a list of objects with `role` and `content`".into())
        }
        (Some(_), None) => Some("`prompt` must be a string".into()),
        (None, None) => Some(format!(
            "missing column `prompt` or `messages`; the row has {}",
            read::columns(row)
        )),
    }
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
        if let Some(message) = wrong_prompt(row) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatasetSettings, WorkloadSettings, build};

    fn run(
        rows: &str,
        change: impl FnOnce(&mut WorkloadSettings),
    ) -> Result<inferometer_core::Workload, WorkloadError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, rows).unwrap();
        let mut settings = WorkloadSettings::new(DatasetSettings::Custom(CustomSettings {
            path,
            output_len: 8,
        }));
        settings.num_prompts = 0;
        settings.shuffle = false;
        change(&mut settings);
        build(&settings, Some(&Tokenizer::builtin().unwrap()), &|_, _| {})
    }

    const ROWS: &str = "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, \
        {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Q\"}]}, \
        {\"role\": \"assistant\", \"content\": \"A\"}]}\n{\"prompt\": \"plain\"}\n";

    #[test]
    fn messages_are_sent_as_they_are_where_the_server_has_the_template() {
        let workload = run(ROWS, |settings| settings.is_chat = true).unwrap();
        let Prompt::Messages(messages) = &workload.requests[0].prompt else {
            panic!("{:?}", workload.requests[0].prompt);
        };
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0]["role"], "system");
        assert_eq!(workload.requests[0].prompt_tokens, 2);
        assert_eq!(workload.requests[1].prompt.as_text(), Some("plain"));
        assert!(workload.warnings[0].starts_with("1 of 2 rows end with"));
    }

    #[test]
    fn messages_go_through_the_tokenizers_template_elsewhere() {
        let rows = "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}]}\n";
        let workload = run(rows, |_| {}).unwrap();
        let text = workload.requests[0].prompt.as_text().unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
        );
        let error = run(rows, |settings| settings.skip_chat_template = true).unwrap_err();
        assert!(
            error.to_string().starts_with("--skip-chat-template"),
            "{error}"
        );
    }

    /// vLLM's benchmark takes `int(item["output_tokens"])`.
    #[test]
    fn output_tokens_may_be_written_as_text() {
        for (value, expected) in [
            (json!("3"), Some(3)),
            (json!(" 12 "), Some(12)),
            (json!(3.0), Some(3)),
            (json!("3.5"), None),
            (json!("many"), None),
            (json!(null), None),
        ] {
            assert_eq!(output_tokens(&value), expected, "{value}");
        }
    }

    #[test]
    fn rows_without_a_question_name_what_is_missing() {
        for (row, part) in [
            (r#"{"messages": []}"#, "must have a message"),
            (
                r#"{"messages": [{"role": "assistant", "content": "A"}]}"#,
                "must have a message",
            ),
            (
                r#"{"messages": [{"content": "A"}]}"#,
                "message 1 has no `role`",
            ),
            (r#"{"messages": "A"}"#, "must be a list"),
            (r#"{"text": "A"}"#, "missing column `prompt` or `messages`"),
            (r#"{"prompt": 3}"#, "must be a string"),
        ] {
            let error = run(row, |_| {}).unwrap_err().to_string();
            assert!(
                error.contains("line 1") && error.contains(part),
                "{row}: {error}"
            );
        }
    }
}
