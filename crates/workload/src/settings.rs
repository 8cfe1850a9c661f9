//! The settings of a workload.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::DatasetSettings;

/// Which tool's behaviour to follow where vLLM's benchmark has a defect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// Defects are fixed (exact lengths, no duplicate prompts, templates applied once, …).
    #[default]
    Native,
    /// The same bytes as vLLM 0.33 for the same seed, defects included.
    Vllm,
}

/// Everything that decides what is sent.
#[derive(Clone, Debug)]
pub struct WorkloadSettings {
    /// Where the requests come from.
    pub dataset: DatasetSettings,
    /// Number of requests; zero or less takes all rows, where the dataset has rows.
    pub num_prompts: i64,
    /// Seed of every draw.
    pub seed: u64,
    /// Which tool's behaviour to follow where vLLM's benchmark has a defect.
    pub compat: Compat,
    /// Request ids are this text followed by the index of the request.
    pub request_id_prefix: String,
    /// The server applies its own chat template to what the backend sends.
    pub is_chat: bool,
    /// The backend is OpenAI's chat API, the only one whose form of tools and media the datasets
    /// write.
    pub is_openai_chat: bool,
    /// The backend asks for embeddings, scores or the like: no output tokens.
    pub is_pooling: bool,
    /// Images and videos of `sharegpt` are left out and the text is sent alone, as vLLM's client does
    /// for the backends that it knows as text only.
    pub drops_media: bool,
    /// Rows are taken in random order (`--disable-shuffle` turns it off).
    pub shuffle: bool,
    /// Too few rows are repeated (`--no-oversample` turns it off).
    pub oversample: bool,
    /// Prompts are sent without the tokenizer's chat template.
    pub skip_chat_template: bool,
    /// Arguments for the chat template.
    pub chat_template_kwargs: Map<String, Value>,
    /// Makes the prompts differ from those of any other salt: other words in synthetic prompts,
    /// whose lengths stay the same; a line in front of recorded ones.
    pub salt: Option<String>,
}

impl WorkloadSettings {
    /// The defaults for a dataset.
    pub fn new(dataset: DatasetSettings) -> Self {
        Self {
            dataset,
            num_prompts: 1000,
            seed: 0,
            compat: Compat::Native,
            request_id_prefix: "bench-".into(),
            is_chat: false,
            is_openai_chat: false,
            is_pooling: false,
            drops_media: false,
            shuffle: true,
            oversample: true,
            skip_chat_template: false,
            chat_template_kwargs: Map::new(),
            salt: None,
        }
    }

    /// Arguments for the chat template, as far as the dataset passes them on: vLLM's benchmark reads
    /// the flag for `custom` and `speed_bench` only.
    pub(crate) fn template_kwargs(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        if self.ignores_template_kwargs() {
            &NONE
        } else {
            &self.chat_template_kwargs
        }
    }

    /// True where arguments for the chat template were given and have no effect in vLLM.
    pub(crate) fn ignores_template_kwargs(&self) -> bool {
        self.is_vllm()
            && !self.chat_template_kwargs.is_empty()
            && matches!(
                self.dataset,
                DatasetSettings::Hf(_) | DatasetSettings::SpecBench(_)
            )
    }

    /// True where the bytes must be vLLM's.
    pub(crate) fn is_vllm(&self) -> bool {
        self.compat == Compat::Vllm
    }
}
