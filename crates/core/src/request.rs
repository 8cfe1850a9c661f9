//! What is to be sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Nanos;

/// One unit of work to send.
///
/// A request knows nothing of the protocol: a backend of the `wire` crate turns it into a body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Position in the workload, counted from 0.
    pub index: usize,
    /// Sent as `x-request-id`; `None` sends no such header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What the model is asked.
    pub prompt: Prompt,
    /// Tokens of the prompt as the client's tokenizer counts them.
    pub prompt_tokens: u32,
    /// Output tokens asked for; `None` leaves the limit to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u32>,
    /// Images, video and audio as OpenAI content parts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<Value>,
    /// An audio file for the transcription endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Arc<Audio>>,
    /// Body fields of this request alone; they win over the run's extra body.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub overrides: Map<String, Value>,
    /// The model name of this request alone (LoRA), else the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When this request arrived according to a trace, from the start of the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_at: Option<Nanos>,
    /// Place of this request in a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionTurn>,
    /// Dataset category or traffic class, for tables by class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
}

/// The content of a request in one of the forms that the servers' APIs take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Plain text.
    Text(String),
    /// Token ids, to be sent as they are.
    Tokens(Vec<u32>),
    /// Several texts in one request (embeddings; rerank: query first, then documents).
    Texts(Vec<String>),
    /// Ready chat messages (`role`, `content`, …), sent verbatim by chat backends.
    Messages(Vec<Value>),
    /// The content parts of one user message.
    Parts(Vec<Value>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Prompt {
    /// Number of input sequences in the prompt (1 unless it is a batch).
    pub fn sequences(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Text(_) | Self::Tokens(_) | Self::Messages(_) | Self::Parts(_) => 1,
        }
    }

    /// The text, where the prompt is a single plain text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// An audio file in memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audio {
    /// File name sent to the server.
    pub file_name: String,
    /// The file's bytes (WAV, FLAC, …).
    pub bytes: Vec<u8>,
    /// Length in seconds, for the inverse real-time factor.
    pub seconds: f64,
}

/// Place of a request in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionTurn {
    /// Conversation number, counted from 0.
    pub session: usize,
    /// Turn within the conversation, counted from 0.
    pub turn: usize,
    /// True when a later turn of the same conversation follows.
    pub has_next: bool,
    /// Pause between the previous answer and this turn.
    pub think: Nanos,
}

/// The requests of a run in order, with facts about them for the report.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// The requests in the order in which they are sent.
    pub requests: Vec<Request>,
    /// Warnings for the user (lengths not reachable, rows skipped …), each one sentence.
    pub warnings: Vec<String>,
    /// True when the dataset forces `ignore_eos` (random and trace data have no natural end).
    pub force_ignore_eos: bool,
    /// Facts about the traffic for the result, such as the rows of a trace file.
    pub about: Map<String, Value>,
}
