//! `spec_bench` and `speed_bench`: question sets for speculative decoding.

use std::path::PathBuf;

use inferometer_core::random::PythonRandom;
use serde_json::{Value, json};

use super::custom::templated;
use super::spec::{DatasetSpec, LengthsSpec};
use super::{Context, Sample};
use crate::{WorkloadError, WorkloadSettings, read};

/// Options of `spec_bench`.
#[derive(Clone, Debug)]
pub struct SpecBenchSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Tokens of an answer.
    pub output_len: i64,
    /// Only rows of this category.
    pub category: Option<String>,
}

impl Default for SpecBenchSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            output_len: 256,
            category: None,
        }
    }
}

impl SpecBenchSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            output_len,
            category,
        } = self;
        let lengths = LengthsSpec::output(Some(*output_len));
        DatasetSpec::of_file(path, lengths, json!({"category": category}))
    }
}

/// Options of `speed_bench`.
#[derive(Clone, Debug)]
pub struct SpeedBenchSettings {
    /// The folder with `SUBSET.jsonl`.
    pub path: PathBuf,
    /// Name of the subset.
    pub subset: String,
    /// Tokens of an answer.
    pub output_len: i64,
    /// Only rows of this category.
    pub category: Option<String>,
}

impl Default for SpeedBenchSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            subset: "qualitative".into(),
            output_len: 4096,
            category: None,
        }
    }
}

impl SpeedBenchSettings {
    /// The form that the manifest keeps.
    pub(super) fn spec(&self) -> DatasetSpec {
        let Self {
            path,
            subset,
            output_len,
            category,
        } = self;
        let lengths = LengthsSpec::output(Some(*output_len));
        let options = json!({"subset": subset, "category": category});
        DatasetSpec::of_file(path, lengths, options)
    }
}

pub(super) fn sample(
    context: &Context<'_>,
    options: &SpecBenchSettings,
) -> Result<Sample, WorkloadError> {
    positive("--spec-bench-output-len", options.output_len)?;
    let questions = load(&options.path, "turns", options.category.as_deref(), |row| {
        &row["turns"][0]
    })?;
    // vLLM's tool passes neither seed nor template options to this dataset.
    let settings = if context.settings.is_vllm() {
        WorkloadSettings {
            seed: 0,
            skip_chat_template: false,
            ..context.settings.clone()
        }
    } else {
        context.settings.clone()
    };
    requests(
        context,
        &settings,
        &options.path,
        questions,
        options.output_len,
    )
}

pub(super) fn sample_speed(
    context: &Context<'_>,
    options: &SpeedBenchSettings,
) -> Result<Sample, WorkloadError> {
    positive("--speed-bench-output-len", options.output_len)?;
    let path = options.path.join(format!("{}.jsonl", options.subset));
    if !path.is_file() && options.path.is_dir() {
        return Err(WorkloadError::setting(
            "--speed-bench-dataset-subset",
            format!(
                "the folder {} has no file {}.jsonl",
                options.path.display(),
                options.subset
            ),
        ));
    }
    let questions = load(&path, "messages", options.category.as_deref(), |row| {
        &row["messages"][0]["content"]
    })?;
    let seed = if context.settings.is_vllm() {
        0
    } else {
        context.settings.seed
    };
    let settings = WorkloadSettings {
        seed,
        ..context.settings.clone()
    };
    requests(context, &settings, &path, questions, options.output_len)
}

fn positive(flag: &'static str, len: i64) -> Result<(), WorkloadError> {
    if len < 1 {
        Err(WorkloadError::setting(
            flag,
            format!("is {len}, but must be at least 1"),
        ))
    } else {
        Ok(())
    }
}

/// A question with its category.
type Question = (String, Option<String>);

fn load(
    path: &std::path::Path,
    column: &str,
    category: Option<&str>,
    question: impl Fn(&Value) -> &Value,
) -> Result<Vec<Question>, WorkloadError> {
    let rows = read::json_lines(path)?;
    let mut questions = Vec::with_capacity(rows.len());
    let mut categories: Vec<&str> = Vec::new();
    for (line, row) in &rows {
        let Some(text) = question(row).as_str() else {
            return Err(WorkloadError::format(
                path,
                Some(*line),
                format!(
                    "missing text in the column `{column}`; the row has {}",
                    read::columns(row)
                ),
            ));
        };
        let name = row["category"].as_str();
        if category.is_none() || category == name {
            questions.push((text.into(), name.map(str::to_owned)));
        } else if let Some(name) = name
            && !categories.contains(&name)
        {
            categories.push(name);
        }
    }
    if questions.is_empty() {
        let message = match category {
            Some(category) => {
                format!(
                    "no row has the category {category:?}; there are {}",
                    categories.join(", ")
                )
            }
            None => "it is empty".into(),
        };
        return Err(WorkloadError::NoRows {
            path: path.to_owned(),
            message,
        });
    }
    Ok(questions)
}

fn requests(
    context: &Context<'_>,
    settings: &WorkloadSettings,
    path: &std::path::Path,
    mut questions: Vec<Question>,
    output: i64,
) -> Result<Sample, WorkloadError> {
    let inner = Context {
        settings,
        tokenizer: context.tokenizer,
        progress: context.progress,
    };
    if settings.shuffle {
        PythonRandom::new(settings.seed).shuffle(&mut questions);
    }
    let wanted = context.count_or_all(questions.len()).min(questions.len());
    let made = inner.parallel(wanted, |at| {
        let (question, category) = &questions[at];
        let mut request = templated(&inner, question, Some(output))?;
        request.category.clone_from(category);
        Ok::<_, WorkloadError>(request)
    });
    Ok(Sample::of_rows(
        path,
        made.into_iter().collect::<Result<_, _>>()?,
    ))
}
