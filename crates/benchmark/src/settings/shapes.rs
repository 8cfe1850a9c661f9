//! The shape of the traffic: replay, conversations and structured output.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use inferometer_workload::{DatasetSpec, WorkloadSettings};
use serde::{Deserialize, Serialize};

use super::Replay;
use crate::structured::Structured;

/// Kinds of traffic: replay, conversations, structured answers.
#[derive(Debug)]
pub struct ShapeSettings {
    /// A workload file to replay.
    pub replay: Option<Arc<Replay>>,
    /// Structured answers to ask for.
    pub structured: Option<Structured>,
    /// Check lengths with the server's tokenizer.
    pub verify_lengths: bool,
    /// Requests are turns of conversations.
    pub conversations: bool,
    /// Maximum concurrent conversations.
    pub max_conversations: Option<usize>,
}

impl Default for ShapeSettings {
    fn default() -> Self {
        Self {
            replay: None,
            structured: None,
            verify_lengths: true,
            conversations: false,
            max_conversations: None,
        }
    }
}

impl ShapeSettings {
    /// True when answers' texts are needed during or after the run.
    pub(crate) fn needs_text(&self) -> bool {
        self.conversations || self.structured.is_some()
    }
}

/// What requests contained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadSpec {
    /// Source of the prompts; `None` for a workload file.
    pub dataset: Option<DatasetSpec>,
    /// The workload file that was replayed.
    pub file: Option<PathBuf>,
    /// Requested number of requests; zero or less uses all rows.
    pub num_prompts: i64,
    /// Seed of everything random.
    pub seed: u64,
    /// Start of every request id.
    pub request_id_prefix: String,
    /// Rows were taken in random order.
    pub shuffle: bool,
    /// Too few rows were repeated.
    pub oversample: bool,
    /// Prompts were sent without the tokenizer's chat template.
    pub skip_chat_template: bool,
    /// Text that was put into every prompt.
    pub salt: Option<String>,
    /// Lengths were checked with the server's tokenizer.
    pub verify_lengths: bool,
    /// Prompts were sent as token ids.
    pub token_ids: bool,
    /// `json`, `regex`, `choice` or `grammar`, where structured answers were requested.
    pub structured_output: Option<String>,
}

impl WorkloadSpec {
    /// The files that the workload is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let dataset = self.dataset.as_ref().and_then(|data| data.path.as_deref());
        dataset.into_iter().chain(self.file.as_deref())
    }

    /// The form in the manifest of what requests ask.
    pub(crate) fn of(workload: &WorkloadSettings, shapes: &ShapeSettings, token_ids: bool) -> Self {
        let WorkloadSettings {
            dataset,
            num_prompts,
            seed,
            compat: _, // in RunSpec
            request_id_prefix,
            is_chat: _,        // follows from the backend
            is_openai_chat: _, // follows from the backend
            is_pooling: _,     // follows from the backend
            drops_media: _,    // follows from the backend
            shuffle,
            oversample,
            skip_chat_template,
            chat_template_kwargs: _, // in ContentSpec
            salt,
        } = workload;
        let ShapeSettings {
            replay,
            structured,
            verify_lengths,
            conversations: _,     // follows from the dataset
            max_conversations: _, // in LoadSpec
        } = shapes;
        Self {
            dataset: replay.is_none().then(|| dataset.spec()),
            file: replay.as_ref().map(|replay| replay.path().to_owned()),
            num_prompts: *num_prompts,
            seed: *seed,
            request_id_prefix: request_id_prefix.clone(),
            shuffle: *shuffle,
            oversample: *oversample,
            skip_chat_template: *skip_chat_template,
            salt: salt.clone(),
            verify_lengths: *verify_lengths,
            token_ids,
            structured_output: structured
                .as_ref()
                .map(|structured| structured.kind().name().to_owned()),
        }
    }
}
