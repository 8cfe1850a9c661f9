//! Settings of request bodies.

use inferometer_benchmark::settings::ContentSettings;
use inferometer_benchmark::{Compat, check_integers};
use inferometer_wire::{Backend, BackendKind};
use serde_json::{Map, Value};

use crate::args::ContentArgs;
use crate::exit::Failure;

/// Backends whose requests have a temperature of their own, as in vLLM's legacy script.
const OWN_TEMPERATURE: [&str; 3] = ["tgi", "tensorrt-llm", "deepspeed-mii"];

/// Checks and resolves the flags.
pub(super) fn resolve(
    args: ContentArgs,
    compat: Compat,
    backend: &Backend,
) -> Result<ContentSettings, Failure> {
    let ContentArgs {
        temperature,
        top_p,
        top_k,
        min_p,
        frequency_penalty,
        presence_penalty,
        repetition_penalty,
        ignore_eos,
        extra_body,
        chat_template_kwargs,
        logprobs,
        no_streaming,
        continuous_usage,
        prompt_token_ids,
    } = args;
    let greedy = compat.sends_temperature_zero()
        && backend.kind() == BackendKind::Generation
        && !OWN_TEMPERATURE.contains(&backend.name());
    let temperature = temperature.or(greedy.then_some(0.0));
    // In vLLM's order, which the bodies keep.
    let parameters = [
        ("top_p", number("--top-p", top_p)?),
        ("top_k", top_k.map(Value::from)),
        ("min_p", number("--min-p", min_p)?),
        ("temperature", number("--temperature", temperature)?),
        (
            "frequency_penalty",
            number("--frequency-penalty", frequency_penalty)?,
        ),
        (
            "presence_penalty",
            number("--presence-penalty", presence_penalty)?,
        ),
        (
            "repetition_penalty",
            number("--repetition-penalty", repetition_penalty)?,
        ),
    ];
    // vLLM's benchmark reads the flags for the APIs that generate text only.
    let unread = compat.is_vllm() && backend.kind() == BackendKind::Pooling;
    let sampling: Map<String, Value> = parameters
        .into_iter()
        .filter(|_| !unread)
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    if let (Some(name), BackendKind::Audio) = (sampling.keys().next(), backend.kind()) {
        return Err(Failure::usage(format!(
            "--{}: --backend {} takes no sampling parameters; omit it, or send it with --extra-body",
            name.replace('_', "-"),
            backend.name()
        )));
    }
    if prompt_token_ids && !backend.endpoint_suffixes().contains(&"completions") {
        return Err(Failure::usage(format!(
            "--prompt-token-ids: --backend {} sends text; only backends for completions take token ids",
            backend.name()
        )));
    }
    Ok(ContentSettings {
        sampling,
        extra_body: json_object("--extra-body", extra_body.as_deref(), r#"{"top_k": 20}"#)?,
        ignore_eos,
        logprobs,
        stream: !no_streaming,
        continuous_usage,
        token_ids: prompt_token_ids,
        chat_template_kwargs: json_object(
            "--chat-template-kwargs",
            chat_template_kwargs.as_deref(),
            r#"{"enable_thinking": false}"#,
        )?,
    })
}

/// A number for a body. NaN and infinity are refused: JSON cannot express them, and they would be
/// sent as null.
fn number(flag: &str, value: Option<f64>) -> Result<Option<Value>, Failure> {
    match value.filter(|value| !value.is_finite()) {
        Some(number) => Err(Failure::usage(format!(
            "{flag} {number}: must be a finite number"
        ))),
        None => Ok(value.map(Value::from)),
    }
}

fn json_object(
    flag: &str,
    text: Option<&str>,
    example: &str,
) -> Result<Map<String, Value>, Failure> {
    check_integers(flag, text.unwrap_or_default())?;
    // The text may hold a key, so the messages do not show it.
    match text.map(serde_json::from_str::<Value>) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(map))) => Ok(map),
        Some(Ok(_)) => Err(Failure::usage(format!(
            "{flag}: must be a JSON object, such as '{example}'"
        ))),
        Some(Err(error)) => Err(Failure::usage(format!("{flag}: invalid JSON: {error}"))),
    }
}
