//! Request bodies: their settings, and the parts that the APIs have in common.

use inferometer_core::Request;
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
    /// What it asks for.
    pub asked: Asked,
}

/// What a body asks for, whoever set it: the dataset, the sampling parameters or `--extra-body`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Length of the answer in tokens; `None` without a limit.
    pub output_tokens: Option<u32>,
    /// The server is to generate up to that length: the end of the text is ignored, or the smallest
    /// length is as large as the limit.
    pub ignore_eos: bool,
    /// Number of vectors or scores; `None` for generation, and where the inputs are not known.
    pub results: Option<u32>,
}

/// The names under which an API takes the length of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct LengthFields {
    /// The member of the body that holds them; `None` for the body itself.
    pub(super) within: Option<&'static str>,
    /// The limit. The last one is the name that the backend sends; the others are set by the user only
    /// and win over it.
    pub(super) limit: &'static [&'static str],
    /// The smallest length.
    pub(super) least: &'static [&'static str],
    /// Ignoring the end of the text.
    pub(super) ignore_eos: &'static str,
}

impl LengthFields {
    /// Those at the top of a body.
    pub(super) const fn top(limit: &'static [&'static str]) -> Self {
        Self {
            within: None,
            limit,
            least: &["min_tokens"],
            ignore_eos: "ignore_eos",
        }
    }

    /// What `body` asks for; `results` is left open.
    pub(super) fn asked(
        &self,
        body: &Map<String, Value>,
        request: &Request,
        settings: &BodySettings,
    ) -> Asked {
        let members = match self.within {
            Some(name) => body.get(name).and_then(Value::as_object),
            None => Some(body),
        };
        let value = |name: &str| members.and_then(|members| members.get(name));
        let number = |names: &[&str]| {
            let found = names.iter().filter_map(|name| value(name));
            let mut found = found.filter(|value| !value.is_null());
            let count = found.next()?.as_u64()?;
            u32::try_from(count).ok().filter(|&count| count > 0)
        };
        // Where neither the dataset nor the user has set a limit, there may be one that the API
        // requires.
        let by_user = |name: &&str| {
            [&settings.sampling, &settings.extra_body, &request.overrides]
                .iter()
                .any(|fields| fields.contains_key(*name))
        };
        let is_set =
            request.output_tokens.is_some() || self.limit.iter().chain(&self.within).any(by_user);
        let output_tokens = number(self.limit).filter(|_| is_set);
        let least = number(self.least);
        Asked {
            output_tokens,
            ignore_eos: value(self.ignore_eos).and_then(Value::as_bool) == Some(true)
                || output_tokens.is_some() && least >= output_tokens,
            results: None,
        }
    }
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

/// `stream_options` that ask for usage numbers.
pub(super) fn stream_options(settings: &BodySettings) -> Value {
    if settings.continuous_usage {
        json!({"include_usage": true, "continuous_usage_stats": true})
    } else {
        json!({"include_usage": true})
    }
}
