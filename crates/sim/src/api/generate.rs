//! From the body of a generation request to the plan of its answer.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::errors;
use super::format::{Finish, Format};
use super::openai::{Chat, Completions, Identity};
use super::{Reply, Shared};
use crate::server::HttpRequest;
use crate::text;

/// Answer length where neither the request nor the settings name one.
const DEFAULT_OUTPUT: u32 = 128;
/// Answer length of `/v1/completions` without `max_tokens`, as OpenAI defines it.
const COMPLETIONS_OUTPUT: u32 = 16;
/// Answers and prompts in one request at most.
const MAX_SEQUENCES: usize = 4096;
/// Tokens that the chat template adds to each message.
const TOKENS_PER_MESSAGE: u32 = 4;
/// Tokens that an image, video or sound counts.
const TOKENS_PER_MEDIA: u32 = 256;

/// When usage is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UsageMode {
    /// Not at all.
    #[default]
    Never,
    /// Once, after the last token.
    AtEnd,
    /// With every event, and after the last token.
    Continuous,
}

/// What is to be answered.
pub(crate) struct Plan {
    pub(crate) format: Box<dyn Format>,
    pub(crate) stream: bool,
    pub(crate) usage: UsageMode,
    /// Answers in the request.
    pub(crate) sequences: u32,
    /// Prompt tokens of all sequences together.
    pub(crate) prompt_tokens: u32,
    /// Tokens of each answer.
    pub(crate) output_tokens: u32,
    pub(crate) finish: Finish,
    /// Selects the words.
    pub(crate) text_key: u64,
}

#[derive(Deserialize)]
struct Body<'a> {
    model: Option<String>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    ignore_eos: Option<bool>,
    n: Option<u32>,
    logprobs: Option<Value>,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

/// Plans the answer to `/v1/completions`.
pub(crate) fn completions(shared: &Shared, request: &HttpRequest, index: u64) -> Result<Plan, Reply> {
    let body: Body<'_> = parse(&request.body)?;
    let Some(prompt) = body.prompt else {
        return Err(errors::bad_request("the request has no prompt", Some("prompt")));
    };
    let prompts = prompt_lengths(shared, prompt.get())?;
    let default = COMPLETIONS_OUTPUT;
    let logprobs = body.logprobs.as_ref().is_some_and(|value| !value.is_null());
    plan(shared, request, index, &body, &prompts, default, "cmpl", |identity, _| {
        Box::new(Completions::new(identity, logprobs))
    })
}

/// Plans the answer to `/v1/chat/completions`.
pub(crate) fn chat(shared: &Shared, request: &HttpRequest, index: u64) -> Result<Plan, Reply> {
    let body: Body<'_> = parse(&request.body)?;
    let Some(messages) = body.messages else {
        return Err(errors::bad_request("the request has no messages", Some("messages")));
    };
    let prompts = [messages_length(shared, messages.get())?];
    plan(shared, request, index, &body, &prompts, DEFAULT_OUTPUT, "chatcmpl", |identity, sequences| {
        Box::new(Chat::new(identity, sequences, "reasoning", None))
    })
}

#[expect(clippy::too_many_arguments, reason = "called twice, from the two functions above")]
fn plan(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
    body: &Body<'_>,
    prompts: &[u32],
    default_output: u32,
    prefix: &str,
    format: impl FnOnce(Identity, u32) -> Box<dyn Format>,
) -> Result<Plan, Reply> {
    let settings = &shared.settings;
    let model = body.model.as_deref().unwrap_or(&settings.model);
    if model != settings.model {
        return Err(errors::unknown_model(model, &settings.model));
    }
    let longest = prompts.iter().copied().max().unwrap_or_default();
    if longest >= settings.max_model_len {
        return Err(errors::too_long(settings.max_model_len, longest, None));
    }
    let asked = body.max_completion_tokens.or(body.max_tokens);
    let room = settings.max_model_len - longest;
    if let Some(asked) = asked {
        if asked == 0 {
            return Err(errors::bad_request("max_tokens must be at least 1", Some("max_tokens")));
        }
        if asked > room {
            return Err(errors::too_long(settings.max_model_len, longest, Some(asked)));
        }
    }
    let choices = body.n.unwrap_or(1).max(1);
    let sequences = prompts.len().saturating_mul(choices as usize);
    if sequences == 0 || sequences > MAX_SEQUENCES {
        return Err(errors::bad_request("the request has no prompt, or too many at once", Some("prompt")));
    }
    let natural = settings.answer_tokens.filter(|_| !body.ignore_eos.unwrap_or(false)).map(|length| {
        let mut rng = shared.stream("sim answer length", index);
        (length.sample(&mut rng).round() as u32).max(1)
    });
    let limit = asked.unwrap_or_else(|| if natural.is_some() { room } else { default_output.min(room) });
    let (output_tokens, finish) = match natural {
        Some(natural) if natural < limit => (natural, Finish::Stop),
        _ => (limit, Finish::Length),
    };
    let id = match &request.id {
        Some(id) => format!("{prefix}-{id}"),
        None => format!("{prefix}-{:016x}", text::mix(settings.seed ^ text::mix(index))),
    };
    let options = body.stream_options.as_ref();
    let usage = match options.map(|options| (options.include_usage, options.continuous_usage_stats)) {
        Some((Some(true), Some(true))) => UsageMode::Continuous,
        Some((Some(true), _)) => UsageMode::AtEnd,
        _ => UsageMode::Never,
    };
    let created = servebench_os::clock::wall().0 / 1_000_000_000;
    Ok(Plan {
        format: format(Identity::new(&id, created, model), sequences as u32),
        stream: body.stream.unwrap_or(false),
        usage,
        sequences: sequences as u32,
        prompt_tokens: prompts.iter().sum::<u32>().saturating_mul(choices),
        output_tokens,
        finish,
        text_key: text::mix(settings.seed ^ text::mix(index)),
    })
}

/// Reads a JSON body, or says why not in vLLM's form.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Reply> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = if error.is_data() { "BadRequestError" } else { "Bad Request" };
        errors::error(400, kind, &format!("the body cannot be read as JSON: {error}"), Some("body"))
    })
}

/// Tokens of each prompt of a completions request: a text, token ids, or a list of either.
fn prompt_lengths(shared: &Shared, raw: &str) -> Result<Vec<u32>, Reply> {
    let wrong =
        |_| errors::bad_request("prompt must be a string, token ids, or a list of either", Some("prompt"));
    let raw = raw.trim_start();
    if raw.starts_with('"') {
        let text: String = serde_json::from_str(raw).map_err(wrong)?;
        return Ok(vec![shared.count_tokens(&text)]);
    }
    let first = raw.strip_prefix('[').map(str::trim_start).and_then(|rest| rest.chars().next());
    match first {
        Some('"') => {
            let texts: Vec<String> = serde_json::from_str(raw).map_err(wrong)?;
            Ok(texts.iter().map(|text| shared.count_tokens(text)).collect())
        }
        Some('[') => {
            let lists: Vec<Vec<u32>> = serde_json::from_str(raw).map_err(wrong)?;
            Ok(lists.iter().map(|ids| ids.len() as u32).collect())
        }
        _ => {
            let ids: Vec<u32> = serde_json::from_str(raw).map_err(wrong)?;
            Ok(vec![ids.len() as u32])
        }
    }
}

/// Tokens of a conversation: the texts, and a fixed number for each message and each medium.
fn messages_length(shared: &Shared, raw: &str) -> Result<u32, Reply> {
    let wrong =
        || errors::bad_request("messages must be a list of objects with role and content", Some("messages"));
    let messages: Vec<Value> = serde_json::from_str(raw).map_err(|_| wrong())?;
    if messages.is_empty() {
        return Err(wrong());
    }
    let mut tokens = 0;
    for message in &messages {
        if !message.is_object() {
            return Err(wrong());
        }
        tokens += TOKENS_PER_MESSAGE;
        match &message["content"] {
            Value::String(text) => tokens += shared.count_tokens(text),
            Value::Array(parts) => {
                for part in parts {
                    tokens += match part["text"].as_str().or(part.as_str()) {
                        Some(text) => shared.count_tokens(text),
                        None => TOKENS_PER_MEDIA,
                    };
                }
            }
            Value::Null => {}
            _ => return Err(wrong()),
        }
    }
    Ok(tokens)
}
