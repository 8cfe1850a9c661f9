//! The Berkeley function-calling questions: messages with tools.

use std::path::Path;

use inferometer_core::random::PythonRandom;
use inferometer_core::{Prompt, Request};
use serde_json::{Map, Value, json};

use super::super::{Context, Sample, request};
use crate::{HfSettings, RepoKind, Tokenizer, WorkloadError, read};

pub(super) fn sample(context: &Context<'_>, options: &HfSettings) -> Result<Sample, WorkloadError> {
    if !context.settings.is_openai_chat {
        return Err(WorkloadError::setting(
            "--dataset-path",
            "the function-calling questions need --backend openai-chat",
        ));
    }
    let tokenizer = context.tokenizer()?;
    let folder = std::path::PathBuf::from(&options.path);
    let mut rows = read_rows(options, &folder)?;
    if context.settings.shuffle {
        PythonRandom::new(context.settings.seed).shuffle(&mut rows);
    }
    let wanted = context.count_or_all(rows.len());
    let output = options.output_len.unwrap_or(512);
    let mut requests = Vec::new();
    for row in &rows {
        if requests.len() == wanted {
            break;
        }
        requests.extend(make(tokenizer, output, row));
    }
    let mut sample = Sample::of_rows(&folder, requests);
    sample.skipped = format!("none of its {} rows has messages in `question`", rows.len());
    if sample.requests.is_empty() {
        return Err(sample.no_rows());
    }
    Ok(sample)
}

/// The rows of all categories, one row of each category in turn.
fn read_rows(options: &HfSettings, folder: &Path) -> Result<Vec<Value>, WorkloadError> {
    let mut categories = Vec::new();
    for category in &options.bfcl_categories {
        let name = format!("BFCL_v3_{category}.json");
        let local = folder.join(&name);
        let path = if folder.is_dir() {
            if !local.is_file() {
                let message = format!("the folder {} has no file {name}", folder.display());
                return Err(WorkloadError::setting("--bfcl-categories", message));
            }
            local
        } else {
            options.hub.file(RepoKind::Dataset, &options.path, &name)?
        };
        categories.push(read::json_rows(&path)?.into_iter());
    }
    let mut rows = Vec::new();
    loop {
        let before = rows.len();
        rows.extend(categories.iter_mut().filter_map(Iterator::next));
        if rows.len() == before {
            return Ok(rows);
        }
    }
}

/// The request for a row; `None` for one without messages.
fn make(tokenizer: &Tokenizer, output: i64, row: &Value) -> Option<Request> {
    let messages = row["question"][0]
        .as_array()
        .filter(|turn| !turn.is_empty())?;
    let text: String = messages
        .iter()
        .filter_map(|message| message["content"].as_str())
        .collect();
    let mut made = request(
        Prompt::Messages(messages.clone()),
        tokenizer.count(&text, true),
        Some(output),
    );
    let tools: Vec<Value> = row["function"]
        .as_array()
        .into_iter()
        .flatten()
        .map(tool)
        .collect();
    if !tools.is_empty() {
        made.overrides = Map::from_iter([
            ("tools".to_owned(), Value::Array(tools)),
            ("tool_choice".to_owned(), Value::from("auto")),
        ]);
    }
    Some(made)
}

/// A function in OpenAI's form.
fn tool(function: &Value) -> Value {
    let mut function = function.clone();
    if let Some(parameters) = function.get_mut("parameters") {
        json_schema(parameters);
    }
    json!({"type": "function", "function": function})
}

/// Turns the questions' type names into those of JSON Schema, at every depth.
fn json_schema(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(kind)) = members.get_mut("type") {
                let known = match kind.as_str() {
                    "dict" => Some("object"),
                    "float" => Some("number"),
                    "tuple" => Some("array"),
                    "any" => Some("string"),
                    _ => None,
                };
                if let Some(known) = known {
                    known.clone_into(kind);
                }
            }
            members.values_mut().for_each(json_schema);
        }
        Value::Array(items) => items.iter_mut().for_each(json_schema),
        _ => {}
    }
}
