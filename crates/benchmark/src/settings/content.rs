//! What goes into every body.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What goes into every body.
#[derive(Clone, Debug)]
pub struct ContentSettings {
    /// Sampling parameters that were given.
    pub sampling: Map<String, Value>,
    /// Additional body fields.
    pub extra_body: Map<String, Value>,
    /// Ask the server to ignore the EOS token.
    pub ignore_eos: bool,
    /// Log probabilities per token.
    pub logprobs: Option<i64>,
    /// Ask for streams.
    pub stream: bool,
    /// Ask for usage on every event.
    pub continuous_usage: bool,
    /// Send prompts as token ids.
    pub token_ids: bool,
    /// Arguments for chat templates.
    pub chat_template_kwargs: Map<String, Value>,
}

impl Default for ContentSettings {
    fn default() -> Self {
        Self {
            sampling: Map::new(),
            extra_body: Map::new(),
            ignore_eos: false,
            logprobs: None,
            stream: true,
            continuous_usage: false,
            token_ids: false,
            chat_template_kwargs: Map::new(),
        }
    }
}

/// What every body had besides the prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentSpec {
    /// Sampling parameters that were given.
    pub sampling: Map<String, Value>,
    /// Additional body fields.
    pub extra_body: Map<String, Value>,
    /// The server was asked to ignore the EOS token.
    pub ignore_eos: bool,
    /// Log probabilities per token.
    pub logprobs: Option<i64>,
    /// Answers were streamed.
    pub stream: bool,
    /// Usage was requested on every event.
    pub continuous_usage: bool,
    /// Arguments for chat templates.
    pub chat_template_kwargs: Map<String, Value>,
}

impl Default for ContentSpec {
    fn default() -> Self {
        Self {
            sampling: Map::new(),
            extra_body: Map::new(),
            ignore_eos: false,
            logprobs: None,
            stream: true,
            continuous_usage: false,
            chat_template_kwargs: Map::new(),
        }
    }
}

impl ContentSettings {
    /// The form in the manifest.
    pub(crate) fn spec(&self) -> ContentSpec {
        let Self {
            sampling,
            extra_body,
            ignore_eos,
            logprobs,
            stream,
            continuous_usage,
            token_ids: _, // in WorkloadSpec
            chat_template_kwargs,
        } = self;
        ContentSpec {
            sampling: sampling.clone(),
            extra_body: extra_body.clone(),
            ignore_eos: *ignore_eos,
            logprobs: *logprobs,
            stream: *stream,
            continuous_usage: *continuous_usage,
            chat_template_kwargs: chat_template_kwargs.clone(),
        }
    }
}
