//! What the server answers to what: routing, and the endpoints that need no waiting.

mod errors;
pub(crate) mod format;
mod generate;
mod openai;

use serde_json::{Value, json};

use crate::faults::FaultKind;
use crate::server::{HttpRequest, Shared};
use crate::truth;

pub(crate) use generate::{Plan, UsageMode};

/// An answer that is sent at once, or a plan for one that takes time.
pub(crate) enum Reply {
    Now { status: u16, content_type: &'static str, extra: String, body: Vec<u8> },
    Generate(Box<Plan>),
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Now {
            status,
            content_type: "application/json",
            extra: String::new(),
            body: body.to_string().into_bytes(),
        }
    }

    fn text(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self::Now { status: 200, content_type, extra: String::new(), body: body.into() }
    }
}

/// True for paths whose requests are generated, logged in the truth log and subject to faults.
pub(crate) fn is_generation(request: &HttpRequest) -> bool {
    request.method == "POST" && matches!(request.path.as_str(), "/v1/completions" | "/v1/chat/completions")
}

/// The answer to a request.
pub(crate) fn route(shared: &Shared, request: &HttpRequest, index: u64) -> Reply {
    if let Some(refusal) = unauthorized(shared, request) {
        return refusal;
    }
    let path = request.path.as_str();
    match (request.method.as_str(), path) {
        ("POST", "/v1/completions") => generated(generate::completions(shared, request, index)),
        ("POST", "/v1/chat/completions") => generated(generate::chat(shared, request, index)),
        ("GET", "/health" | "/ping") | ("POST", "/ping" | "/start_profile" | "/stop_profile") => {
            Reply::text("text/plain; charset=utf-8", "")
        }
        ("POST", "/reset_prefix_cache") => Reply::json(200, &json!({"success": true})),
        ("GET", "/version") => Reply::json(200, &json!({"version": env!("CARGO_PKG_VERSION")})),
        ("GET", "/v1/models") => models(shared),
        ("GET", "/metrics") => Reply::text("text/plain; version=1.0.0; charset=utf-8", shared.metrics.page()),
        ("GET", "/truth") => {
            let since = query_number(&request.query, "since").unwrap_or(0);
            Reply::text("application/x-ndjson", shared.truth.lines(since))
        }
        ("GET", "/truth/summary") => {
            Reply::text("application/json", truth::summary_json(shared.truth.summary()))
        }
        ("POST", "/truth/reset") => {
            shared.truth.reset();
            Reply::json(200, &json!({"success": true}))
        }
        ("POST", "/tokenize") => tokenize(shared, request),
        ("POST", "/detokenize") => detokenize(shared, request),
        _ => errors::no_such_path(),
    }
}

/// The error answer of a fault, if it is one that answers with an error status.
pub(crate) fn fault_reply(fault: FaultKind) -> Option<Reply> {
    let reply = match fault {
        FaultKind::Http400 => errors::bad_request("simulated fault: bad request", None),
        FaultKind::Http401 => Reply::json(401, &json!({"error": "Unauthorized"})),
        FaultKind::Http404 => errors::error(404, "NotFoundError", "simulated fault: not found", None),
        FaultKind::Http429 => {
            let reply = errors::error(429, "TooManyRequestsError", "simulated fault: slow down", None);
            with_header(reply, "retry-after: 1\r\n")
        }
        FaultKind::Http500 => Reply::Now {
            status: 500,
            content_type: "text/plain; charset=utf-8",
            extra: String::new(),
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

fn with_header(reply: Reply, line: &str) -> Reply {
    match reply {
        Reply::Now { status, content_type, body, .. } => {
            Reply::Now { status, content_type, extra: line.into(), body }
        }
        plan @ Reply::Generate(_) => plan,
    }
}

fn generated(plan: Result<Plan, Reply>) -> Reply {
    plan.map_or_else(|refusal| refusal, |plan| Reply::Generate(Box::new(plan)))
}

fn unauthorized(shared: &Shared, request: &HttpRequest) -> Option<Reply> {
    let key = shared.settings.api_key.as_ref()?;
    if !request.path.starts_with("/v1") {
        return None;
    }
    let given = request.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
    (given != Some(key.expose())).then(|| Reply::json(401, &json!({"error": "Unauthorized"})))
}

fn models(shared: &Shared) -> Reply {
    let settings = &shared.settings;
    let model = json!({
        "id": settings.model, "object": "model", "created": shared.created, "owned_by": "servebench",
        "root": settings.model, "parent": null, "max_model_len": settings.max_model_len, "permission": [],
    });
    Reply::json(200, &json!({"object": "list", "data": [model]}))
}

fn tokenize(shared: &Shared, request: &HttpRequest) -> Reply {
    let Some(tokenizer) = &shared.settings.tokenizer else { return errors::no_such_path() };
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let Some(text) = body["prompt"].as_str() else {
        return errors::bad_request("the request has no prompt text", Some("prompt"));
    };
    let tokens = tokenizer.encode(text);
    let answer =
        json!({"count": tokens.len(), "max_model_len": shared.settings.max_model_len, "tokens": tokens});
    Reply::json(200, &answer)
}

fn detokenize(shared: &Shared, request: &HttpRequest) -> Reply {
    let Some(tokenizer) = &shared.settings.tokenizer else { return errors::no_such_path() };
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
