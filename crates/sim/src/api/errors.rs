//! Error answers in vLLM's form.

use super::reply::Reply;

/// An error object with vLLM's keys.
pub(crate) fn error(status: u16, kind: &str, message: &str, param: Option<&str>) -> Reply {
    let body = serde_json::json!({
        "error": {"message": message, "type": kind, "param": param, "code": status}
    });
    Reply::json(status, &body)
}

/// 400 with a reason.
pub(crate) fn bad_request(message: &str, param: Option<&str>) -> Reply {
    error(400, "BadRequestError", message, param)
}

/// 404 for a model that is not served.
pub(crate) fn unknown_model(name: &str, served: &str) -> Reply {
    let message = format!("The model `{name}` does not exist. Valid aliases: {served}.");
    error(404, "NotFoundError", &message, Some("model"))
}

/// 400 for a prompt, or prompt and answer, that do not fit.
pub(crate) fn too_long(limit: u32, prompt: u32, output: Option<u32>) -> Reply {
    let message = match output {
        None => format!(
            "This model's maximum context length is {limit} tokens, but the prompt has {prompt} input tokens."
        ),
        Some(output) => format!(
            "This model's maximum context length is {limit} tokens, but {output} output tokens were requested \
             with a prompt of {prompt} input tokens."
        ),
    };
    bad_request(
        &message,
        Some(if output.is_some() {
            "max_tokens"
        } else {
            "input_tokens"
        }),
    )
}

/// 404 for a path that does not exist.
pub(crate) fn no_such_path() -> Reply {
    Reply::json(404, &serde_json::json!({"detail": "Not Found"}))
}
