//! Endpoints that answer with numbers instead of text: embeddings, pooling, rerank.

use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer_plan::{AnswerPlan, AnswerRequest, parse};
use super::errors;
use super::prompt::{PromptBuilder, chat_prompt, completions_prompts};
use super::reply::Reply;
use crate::engine::Content;
use crate::format::{Answer, Counts, Events, Finish, Format, TokenPart};
use crate::request::HttpRequest;
use crate::shared::Shared;
use crate::text;

/// Numbers in an embedding.
const DIMENSIONS: u32 = 256;

#[derive(Deserialize)]
struct Body {
    model: Option<String>,
    input: Option<Value>,
    messages: Option<Vec<Value>>,
    encoding_format: Option<String>,
    dimensions: Option<u32>,
    query: Option<Value>,
    documents: Option<Vec<Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Embed,
    Pool,
    Rerank,
}

/// `/v1/embeddings`, `/pooling` and `/rerank`.
pub(crate) fn plan(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
    task: Task,
) -> Result<AnswerPlan, Reply> {
    let body: Body = parse(&request.body)?;
    let prompts = match task {
        Task::Rerank => rerank_prompts(shared, &body)?,
        Task::Embed | Task::Pool => match (&body.messages, &body.input) {
            (Some(messages), _) => vec![chat_prompt(shared, messages)?],
            (None, Some(input)) => completions_prompts(shared, &input.to_string())?,
            (None, None) => {
                return Err(errors::bad_request(
                    "the request has no input",
                    Some("input"),
                ));
            }
        },
    };
    let base64 = match body.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message =
                format!("encoding_format `{other}` is not supported; use float or base64");
            return Err(errors::bad_request(&message, Some("encoding_format")));
        }
    };
    let dimensions = body.dimensions.unwrap_or(DIMENSIONS).clamp(1, 65_536);
    let model = body
        .model
        .clone()
        .unwrap_or_else(|| shared.settings.model.clone());
    let key = text::mix(shared.settings.seed ^ text::mix(index));
    let count = prompts.len() as u32;
    // Embeddings are computed as prompts are: the engine makes one step's output, which is never
    // reported.
    let answer = AnswerRequest {
        model: body.model,
        prompts,
        output_tokens: Some(1),
        id_prefix: "embd",
        ..AnswerRequest::default()
    };
    let mut plan = answer.plan(shared, request, index, |_, _| {
        Box::new(Numbers {
            task,
            base64,
            dimensions,
            model,
            key,
            count,
        })
    })?;
    plan.generates = false;
    plan.finish = Finish::Stop;
    Ok(plan)
}

fn rerank_prompts(shared: &Shared, body: &Body) -> Result<Vec<Content>, Reply> {
    let (Some(query), Some(documents)) = (&body.query, &body.documents) else {
        return Err(errors::bad_request(
            "a rerank request needs query and documents",
            Some("query"),
        ));
    };
    let prompt = |document: &Value| {
        let mut prompt = PromptBuilder::new(shared);
        for part in [query, document] {
            prompt.text(
                part.as_str()
                    .or_else(|| part["text"].as_str())
                    .unwrap_or_default(),
            );
        }
        prompt.special(b"separators", 4);
        prompt.build()
    };
    Ok(documents.iter().map(prompt).collect())
}

struct Numbers {
    task: Task,
    base64: bool,
    dimensions: u32,
    model: String,
    key: u64,
    count: u32,
}

impl Numbers {
    fn vector(&self, index: u32) -> Value {
        let key = text::mix(self.key ^ u64::from(index));
        let numbers = (0..self.dimensions).map(|position| {
            // Three digits are plenty for a synthetic number.
            (text::mix(key ^ u64::from(position)) % 2001) as f32 / 1000.0 - 1.0
        });
        if self.base64 {
            let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
            base64::engine::general_purpose::STANDARD
                .encode(bytes)
                .into()
        } else {
            numbers
                .map(|number| (f64::from(number) * 1000.0).round() / 1000.0)
                .collect::<Vec<_>>()
                .into()
        }
    }
}

impl Format for Numbers {
    fn token(&self, _out: &mut Events, _part: &TokenPart<'_>) {}

    fn close(&self, _out: &mut Events, _finish: Finish, _usage: Option<Counts>) {}

    fn whole(&self, _answers: &[Answer], _finish: Finish, counts: Counts) -> Vec<u8> {
        let usage = json!({"prompt_tokens": counts.prompt, "total_tokens": counts.prompt});
        let body = match self.task {
            Task::Embed | Task::Pool => {
                let (object, key) = match self.task {
                    Task::Embed => ("embedding", "embedding"),
                    _ => ("pooling", "data"),
                };
                let data: Vec<Value> = (0..self.count)
                    .map(|index| json!({"object": object, "index": index, key: self.vector(index)}))
                    .collect();
                json!({"object": "list", "model": self.model, "data": data, "usage": usage})
            }
            Task::Rerank => {
                let mut results: Vec<(u64, u32)> = (0..self.count)
                    .map(|index| (text::mix(self.key ^ u64::from(index)) % 1000, index))
                    .collect();
                results.sort_unstable_by(|a, b| b.cmp(a));
                let results: Vec<Value> = results
                    .into_iter()
                    .map(|(score, index)| json!({"index": index, "relevance_score": score as f64 / 1000.0}))
                    .collect();
                json!({"model": self.model, "results": results, "usage": usage})
            }
        };
        body.to_string().into_bytes()
    }
}
