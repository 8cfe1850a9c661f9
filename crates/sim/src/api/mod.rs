//! Which endpoint answers what: routing, and the endpoints that answer at once.

mod answer_plan;
mod anthropic;
mod audio;
mod errors;
mod generate;
mod lora;
mod native;
mod openai;
mod pooling;
mod prompt;
mod reply;
mod responses;

use serde_json::{Value, json};

use crate::faults::FaultKind;
use crate::request::HttpRequest;
use crate::shared::Shared;
use crate::truth;

use pooling::Task;

pub(crate) use answer_plan::{AnswerPlan, UsageMode};
pub use prompt::PromptBuilder;
pub(crate) use reply::Reply;

/// Endpoints whose answers take time: they are logged in the truth log and subject to faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Completions,
    Chat,
    Responses,
    Anthropic,
    Native,
    NativeStream,
    Embeddings,
    Pooling,
    Rerank,
    Audio,
}

/// The generation endpoint that a request goes to, if any.
pub(crate) fn endpoint(request: &HttpRequest) -> Option<Endpoint> {
    if request.method != "POST" {
        return None;
    }
    Some(match request.path.as_str() {
        "/v1/completions" => Endpoint::Completions,
        "/v1/chat/completions" => Endpoint::Chat,
        "/v1/responses" => Endpoint::Responses,
        "/v1/messages" => Endpoint::Anthropic,
        "/generate" => Endpoint::Native,
        "/generate_stream" => Endpoint::NativeStream,
        "/v1/embeddings" | "/embeddings" => Endpoint::Embeddings,
        "/pooling" | "/v1/pooling" => Endpoint::Pooling,
        "/rerank" | "/v1/rerank" | "/v2/rerank" => Endpoint::Rerank,
        "/v1/audio/transcriptions" | "/v1/audio/translations" => Endpoint::Audio,
        path if path.starts_with("/v2/models/") => match path.rsplit('/').next() {
            Some("generate") => Endpoint::Native,
            Some("generate_stream") => Endpoint::NativeStream,
            _ => return None,
        },
        _ => return None,
    })
}

/// Plans the answer of a generation endpoint, or refuses.
pub(crate) fn plan_answer(
    shared: &Shared,
    request: &HttpRequest,
    endpoint: Endpoint,
    index: u64,
) -> Result<AnswerPlan, Reply> {
    if let Some(refusal) = refusal(shared, request) {
        return Err(refusal);
    }
    match endpoint {
        Endpoint::Completions => generate::completions(shared, request, index),
        Endpoint::Chat => generate::chat(shared, request, index),
        Endpoint::Responses => generate::responses(shared, request, index),
        Endpoint::Anthropic => generate::anthropic(shared, request, index),
        Endpoint::Native => generate::native(shared, request, index, false),
        Endpoint::NativeStream => generate::native(shared, request, index, true),
        Endpoint::Embeddings => pooling::plan(shared, request, index, Task::Embed),
        Endpoint::Pooling => pooling::plan(shared, request, index, Task::Pool),
        Endpoint::Rerank => pooling::plan(shared, request, index, Task::Rerank),
        Endpoint::Audio => audio::plan(shared, request, index),
    }
}

/// The answer to a request that takes no time. `reset_cache` empties the prefix caches: only the
/// caller has the engine.
pub(crate) fn route(
    shared: &Shared,
    request: &HttpRequest,
    reset_cache: impl FnOnce() -> bool,
) -> Reply {
    let is_own = request.path.starts_with("/truth");
    if let Some(refusal) = refusal(shared, request).filter(|_| !is_own) {
        return refusal;
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/health" | "/ping") | ("POST", "/ping" | "/start_profile" | "/stop_profile") => {
            Reply::text("text/plain; charset=utf-8", "")
        }
        ("POST", "/reset_prefix_cache") => Reply::json(200, &json!({"success": reset_cache()})),
        ("POST", "/v1/load_lora_adapter") => lora::load(shared, request),
        ("POST", "/v1/unload_lora_adapter") => lora::unload(shared, request),
        ("GET", "/version") => Reply::json(200, &json!({"version": env!("CARGO_PKG_VERSION")})),
        ("GET", "/v1/models") => models(shared),
        ("GET", "/metrics") => Reply::text(
            "text/plain; version=1.0.0; charset=utf-8",
            shared.metrics.page(shared.settings.metric_names),
        ),
        ("GET", "/truth") => {
            let since = query_number(&request.query, "since").unwrap_or(0);
            shared.settle();
            Reply::text("application/x-ndjson", shared.truth.lines(since))
        }
        ("GET", "/truth/summary") => Reply::text(
            "application/json",
            truth::summary_json(&shared.lateness(), shared.truth.losses()),
        ),
        ("POST", "/truth/reset") => {
            shared.reset_truth();
            Reply::json(200, &json!({"success": true}))
        }
        ("POST", "/tokenize") => tokenize(shared, request),
        ("POST", "/detokenize") => detokenize(shared, request),
        _ => errors::no_such_path(),
    }
}

/// The answer to a header that names an unknown fault.
pub(crate) fn unknown_fault(name: &str) -> Reply {
    let error = crate::faults::FaultError::UnknownName(name.into()).to_string();
    errors::bad_request(&error, Some("x-sim-fault"))
}

/// The error answer of a fault, if it is one that answers with an error status.
pub(crate) fn fault_reply(fault: FaultKind) -> Option<Reply> {
    let reply = match fault {
        FaultKind::Http400 => errors::bad_request("simulated fault: bad request", None),
        FaultKind::Http401 => Reply::json(401, &json!({"error": "Unauthorized"})),
        FaultKind::Http404 => {
            errors::error(404, "NotFoundError", "simulated fault: not found", None)
        }
        FaultKind::Http429 => Reply {
            extra: "retry-after: 1\r\n",
            ..errors::error(
                429,
                "TooManyRequestsError",
                "simulated fault: slow down",
                None,
            )
        },
        FaultKind::Http500 => Reply {
            status: 500,
            content_type: "text/plain; charset=utf-8",
            extra: "",
            body: b"Internal Server Error".to_vec(),
        },
        FaultKind::Http503 => {
            let message = format!("simulated fault: overloaded {}", "!".repeat(64 * 1024));
            errors::error(503, "ServiceUnavailableError", &message, None)
        }
        _ => return None,
    };
    Some(reply)
}

/// The refusal of any request while the server is not ready, or without the key.
fn refusal(shared: &Shared, request: &HttpRequest) -> Option<Reply> {
    if inferometer_os::clock::now() < shared.ready_at {
        return Some(errors::error(
            503,
            "ServiceUnavailableError",
            "the server is still starting",
            None,
        ));
    }
    let key = shared.settings.api_key.as_ref()?;
    if !request.path.starts_with("/v1") {
        return None;
    }
    let given = request
        .authorization
        .as_deref()
        .and_then(|value| value.strip_prefix("Bearer "));
    let given = given.or(request.api_key.as_deref());
    (given != Some(key.expose())).then(|| Reply::json(401, &json!({"error": "Unauthorized"})))
}

fn models(shared: &Shared) -> Reply {
    let model = |id: &str, parent: Option<&str>| {
        json!({
            "id": id, "object": "model", "created": shared.created, "owned_by": "inferometer",
            "root": id, "parent": parent, "max_model_len": shared.context_limit, "permission": [],
        })
    };
    let base = &shared.settings.model;
    let mut data = vec![model(base, None)];
    data.extend(
        shared
            .adapters()
            .iter()
            .map(|(name, _)| model(name, Some(base))),
    );
    Reply::json(200, &json!({"object": "list", "data": data}))
}

fn tokenize(shared: &Shared, request: &HttpRequest) -> Reply {
    let Some(tokenizer) = &shared.settings.tokenizer else {
        return errors::no_such_path();
    };
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let Some(text) = body["prompt"].as_str() else {
        return errors::bad_request("the request has no prompt text", Some("prompt"));
    };
    let tokens = tokenizer.encode(text);
    let answer =
        json!({"count": tokens.len(), "max_model_len": shared.context_limit, "tokens": tokens});
    Reply::json(200, &answer)
}

fn detokenize(shared: &Shared, request: &HttpRequest) -> Reply {
    let Some(tokenizer) = &shared.settings.tokenizer else {
        return errors::no_such_path();
    };
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let tokens: Option<Vec<u32>> = serde_json::from_value(body["tokens"].clone()).ok();
    match tokens {
        Some(tokens) => Reply::json(200, &json!({"prompt": tokenizer.decode(&tokens)})),
        None => errors::bad_request("the request has no list of token ids", Some("tokens")),
    }
}

fn query_number(query: &str, name: &str) -> Option<u64> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| value.parse().ok()).flatten()
    })
}
