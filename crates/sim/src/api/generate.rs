//! Text generation endpoints: from the bodies of their requests to the plans of their answers.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer_plan::{AnswerPlan, AnswerRequest, UsageMode, parse};
use super::anthropic::Messages;
use super::errors;
use super::native::{SglangGenerate, Tgi, Triton};
use super::openai::{Chat, Completions};
use super::prompt::{PromptBuilder, chat_prompt, completions_prompts};
use super::reply::Reply;
use super::responses::Responses;
use crate::engine::Content;
use crate::request::HttpRequest;
use crate::shared::Shared;

/// Answer length of `/v1/completions` without `max_tokens`, as OpenAI defines it.
const COMPLETIONS_OUTPUT: u32 = 16;

#[derive(Deserialize)]
struct OpenAiBody<'a> {
    model: Option<String>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    messages: Option<Vec<Value>>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    ignore_eos: Option<bool>,
    n: Option<u32>,
    logprobs: Option<Value>,
    priority: Option<i32>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

impl OpenAiBody<'_> {
    fn answer_request(&self) -> AnswerRequest {
        let options = self.stream_options.unwrap_or_default();
        let usage = match (options.include_usage, options.continuous_usage_stats) {
            (Some(true), Some(true)) => UsageMode::Continuous,
            (Some(true), _) => UsageMode::AtEnd,
            _ => UsageMode::Never,
        };
        AnswerRequest {
            model: self.model.clone(),
            choices: self.n.unwrap_or(1),
            output_tokens: self.max_completion_tokens.or(self.max_tokens),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            stream: self.stream.unwrap_or(false),
            usage,
            priority: self.priority.unwrap_or(0),
            ..AnswerRequest::default()
        }
    }

    /// The function to call, if the request's tools make the answer a tool call.
    fn tool(&self, always: bool) -> Option<String> {
        let first = self.tools.as_ref()?.first()?;
        let named = |value: &Value| value["function"]["name"].as_str().map(str::to_owned);
        let choice = self.tool_choice.as_ref().unwrap_or(&Value::Null);
        match choice.as_str() {
            Some("none") => None,
            Some("required") => named(first),
            _ if choice.is_object() => named(choice),
            _ => named(first).filter(|_| always),
        }
    }
}

/// `/v1/completions`.
pub(crate) fn completions(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
) -> Result<AnswerPlan, Reply> {
    let body: OpenAiBody<'_> = parse(&request.body)?;
    let Some(prompt) = body.prompt else {
        return Err(errors::bad_request(
            "the request has no prompt",
            Some("prompt"),
        ));
    };
    let prompts = completions_prompts(shared, prompt.get())?;
    let logprobs = body.logprobs.as_ref().is_some_and(|value| !value.is_null());
    let answer = AnswerRequest {
        prompts,
        default_output: COMPLETIONS_OUTPUT,
        ..body.answer_request()
    };
    answer.plan(shared, request, index, |identity, _| {
        Box::new(Completions::new(identity, logprobs))
    })
}

/// `/v1/chat/completions`.
pub(crate) fn chat(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
) -> Result<AnswerPlan, Reply> {
    let body: OpenAiBody<'_> = parse(&request.body)?;
    let prompt = chat_prompt(shared, body.messages.as_deref().unwrap_or_default())?;
    let tool = body.tool(shared.settings.tool_calls);
    let answer = AnswerRequest {
        prompts: vec![prompt],
        may_reason: true,
        tool: tool.clone(),
        id_prefix: "chatcmpl",
        ..body.answer_request()
    };
    let reasoning_key = shared.settings.reasoning_key;
    answer.plan(shared, request, index, |identity, sequences| {
        Box::new(Chat::new(
            identity,
            sequences,
            reasoning_key.name(),
            tool.as_deref(),
        ))
    })
}

#[derive(Deserialize)]
struct ResponsesBody {
    model: Option<String>,
    input: Value,
    instructions: Option<String>,
    max_output_tokens: Option<u32>,
    stream: Option<bool>,
    ignore_eos: Option<bool>,
}

/// `/v1/responses`.
pub(crate) fn responses(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
) -> Result<AnswerPlan, Reply> {
    let body: ResponsesBody = parse(&request.body)?;
    let mut messages: Vec<Value> = Vec::new();
    if let Some(text) = &body.instructions {
        messages.push(serde_json::json!({"role": "system", "content": text}));
    }
    match &body.input {
        Value::String(text) => messages.push(serde_json::json!({"role": "user", "content": text})),
        Value::Array(items) => messages.extend(items.iter().cloned()),
        _ => {
            return Err(errors::bad_request(
                "input must be a string or a list of messages",
                Some("input"),
            ));
        }
    }
    let answer = AnswerRequest {
        model: body.model,
        prompts: vec![chat_prompt(shared, &messages)?],
        output_tokens: body.max_output_tokens,
        ignore_eos: body.ignore_eos.unwrap_or(false),
        stream: body.stream.unwrap_or(false),
        usage: UsageMode::AtEnd,
        may_reason: true,
        id_prefix: "resp",
        ..AnswerRequest::default()
    };
    answer.plan(shared, request, index, |identity, _| {
        Box::new(Responses::new(identity))
    })
}

#[derive(Deserialize)]
struct AnthropicBody {
    model: Option<String>,
    messages: Option<Vec<Value>>,
    system: Option<Value>,
    max_tokens: Option<u32>,
    stream: Option<bool>,
    ignore_eos: Option<bool>,
}

/// `/v1/messages`.
pub(crate) fn anthropic(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
) -> Result<AnswerPlan, Reply> {
    let body: AnthropicBody = parse(&request.body)?;
    let mut messages = Vec::new();
    if let Some(system) = body.system {
        messages.push(serde_json::json!({"role": "system", "content": system}));
    }
    messages.extend(body.messages.unwrap_or_default());
    let Some(output_tokens) = body.max_tokens else {
        return Err(errors::bad_request(
            "max_tokens is required",
            Some("max_tokens"),
        ));
    };
    let answer = AnswerRequest {
        model: body.model,
        prompts: vec![chat_prompt(shared, &messages)?],
        output_tokens: Some(output_tokens),
        ignore_eos: body.ignore_eos.unwrap_or(false),
        stream: body.stream.unwrap_or(false),
        usage: UsageMode::AtEnd,
        may_reason: true,
        id_prefix: "msg",
        ..AnswerRequest::default()
    };
    answer.plan(shared, request, index, |identity, _| {
        Box::new(Messages::new(identity))
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NativeParameters {
    max_new_tokens: Option<u32>,
    ignore_eos_token: bool,
    ignore_eos: bool,
}

#[derive(Deserialize)]
struct NativeBody {
    inputs: Option<String>,
    text: Option<String>,
    text_input: Option<String>,
    input_ids: Option<Vec<u32>>,
    parameters: Option<NativeParameters>,
    sampling_params: Option<NativeParameters>,
    max_tokens: Option<u32>,
    min_length: Option<u32>,
    accumulate_tokens: Option<bool>,
    stream: Option<bool>,
    model: Option<String>,
}

/// `/generate` and `/generate_stream` of TGI (`inputs`), SGLang (`text`, `input_ids`) and Triton
/// with TensorRT-LLM (`text_input`), distinguished by the field that holds the prompt. `streams` is
/// what the path says.
pub(crate) fn native(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
    streams: bool,
) -> Result<AnswerPlan, Reply> {
    let body: NativeBody = parse(&request.body)?;
    let content = |text: &str| {
        let mut prompt = PromptBuilder::new(shared);
        prompt.text(text);
        prompt.build()
    };
    let prompt: Content = match (&body.inputs, &body.text, &body.text_input, &body.input_ids) {
        (Some(text), ..) | (_, Some(text), ..) | (_, _, Some(text), _) => content(text),
        (.., Some(ids)) => {
            let mut prompt = PromptBuilder::new(shared);
            prompt.ids(ids);
            prompt.build()
        }
        _ => {
            let message = "the request has no prompt: inputs (TGI), text or input_ids (SGLang), text_input (Triton)";
            return Err(errors::bad_request(message, Some("inputs")));
        }
    };
    let triton = body.text_input.is_some();
    let sglang = body.text.is_some() || body.input_ids.is_some();
    let parameters = body.sampling_params.or(body.parameters).unwrap_or_default();
    let answer = AnswerRequest {
        model: body.model,
        prompts: vec![prompt],
        output_tokens: parameters.max_new_tokens.or(body.max_tokens),
        ignore_eos: parameters.ignore_eos
            || parameters.ignore_eos_token
            || body
                .min_length
                .is_some_and(|min| Some(min) == body.max_tokens),
        stream: if sglang {
            body.stream.unwrap_or(false)
        } else {
            streams
        },
        ..AnswerRequest::default()
    };
    answer.plan(shared, request, index, |identity, _| {
        if triton {
            Box::new(Triton::new(body.accumulate_tokens.unwrap_or(false)))
        } else if sglang {
            Box::new(SglangGenerate::new(identity))
        } else {
            Box::new(Tgi)
        }
    })
}
