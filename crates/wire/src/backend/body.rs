//! Request bodies: their settings, and the parts that the APIs have in common.

use inferometer_core::Request;
use inferometer_core::python::json_bytes;
use serde_json::{Map, Value, json};

/// What goes into every request body.
#[derive(Clone, Debug, PartialEq)]
pub struct BodySettings {
    /// Name of the model; a request's own model wins.
    pub model: String,
    /// Sampling parameters that were set (`temperature`, `top_p` …), in the order of the command
    /// line.
    pub sampling: Map<String, Value>,
    /// `--extra-body`: wins over the sampling parameters.
    pub extra_body: Map<String, Value>,
    /// Ask the server to generate until the token limit.
    pub ignore_eos: bool,
    /// Number of log probabilities to ask for (completions only).
    pub logprobs: Option<i64>,
    /// Ask for a stream.
    pub stream: bool,
    /// Ask for usage numbers on every event, so that each event's tokens are known.
    pub continuous_usage: bool,
    /// Top-level fields to leave out, for servers that refuse what they do not know.
    pub omit_fields: Vec<String>,
}

impl BodySettings {
    /// A streaming request without any extras.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            sampling: Map::new(),
            extra_body: Map::new(),
            ignore_eos: false,
            logprobs: None,
            stream: true,
            continuous_usage: false,
            omit_fields: Vec::new(),
        }
    }
}

/// A request body, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Value of the `content-type` header.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The name of the model for `request`.
pub(super) fn model<'a>(request: &'a Request, settings: &'a BodySettings) -> &'a str {
    request.model.as_deref().unwrap_or(&settings.model)
}

/// Fields common to all generation APIs, in vLLM's order: `ignore_eos`, sampling parameters, extra
/// body, the request's own overrides; each wins over what came before, but keeps its place.
pub(super) fn add_common(
    body: &mut Map<String, Value>,
    request: &Request,
    settings: &BodySettings,
) {
    if settings.ignore_eos {
        body.insert("ignore_eos".into(), Value::Bool(true));
    }
    // The merged extra body is one mapping in vLLM's client too, which fixes the order of new keys.
    let mut extra = settings.sampling.clone();
    merge(&mut extra, &settings.extra_body);
    merge(&mut extra, &request.overrides);
    merge(body, &extra);
}

pub(super) fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        into.insert(key.clone(), value.clone());
    }
}

/// The finished body, without the fields to be omitted.
pub(super) fn json_body(mut body: Map<String, Value>, settings: &BodySettings) -> Body {
    for field in &settings.omit_fields {
        body.shift_remove(field);
    }
    Body {
        content_type: "application/json".into(),
        bytes: json_bytes(&body),
    }
}

/// `stream_options` that ask for usage numbers.
pub(super) fn stream_options(settings: &BodySettings) -> Value {
    if settings.continuous_usage {
        json!({"include_usage": true, "continuous_usage_stats": true})
    } else {
        json!({"include_usage": true})
    }
}
