//! Where to send.

use inferometer_core::Secret;
use inferometer_core::redact::redact_url;
use inferometer_metrics::Kind;
use inferometer_wire::{Backend, BackendKind};
use serde::{Deserialize, Serialize};

/// Where to send.
#[derive(Debug)]
pub struct TargetSettings {
    /// The API.
    pub backend: &'static Backend,
    /// The first URL, without the endpoint.
    pub base_url: String,
    /// All URLs.
    pub base_urls: Vec<String>,
    /// Path of the API.
    pub endpoint: String,
    /// Extra headers.
    pub headers: Vec<(String, Secret)>,
    /// Sent as a bearer token.
    pub api_key: Option<Secret>,
    /// Model name; `None` uses the first one that the server lists.
    pub model: Option<String>,
    /// Value of `model` in the requests, if it differs.
    pub served_model_name: Option<String>,
    /// What the tokenizer is loaded from; `None` uses the model's.
    pub tokenizer: Option<String>,
    /// False when no tokenizer is loaded.
    pub has_tokenizer: bool,
    /// Adapters that requests name in place of the model.
    pub lora: Option<LoraSettings>,
    /// Fields that are left out of the requests.
    pub omit_fields: Vec<String>,
    /// Check that the server lists the model.
    pub check_model: bool,
}

/// LoRA adapters that requests name in place of the model.
#[derive(Clone, Debug)]
pub struct LoraSettings {
    /// Their names.
    pub modules: Vec<String>,
    /// Which request gets which.
    pub assignment: LoraAssignment,
}

/// Which request gets which LoRA adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraAssignment {
    /// A random one, drawn with the seed.
    Random,
    /// In turn.
    RoundRobin,
}

/// Where requests were sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetSpec {
    /// Name of the API.
    pub backend: String,
    /// What the API does.
    pub kind: Kind,
    /// URLs without the endpoint.
    pub base_urls: Vec<String>,
    /// Path of the API.
    pub endpoint: String,
    /// Model, where one was named.
    pub model: Option<String>,
    /// Value of `model` in the requests, if it differs.
    pub served_model_name: Option<String>,
    /// Tokenizer, where one was named.
    pub tokenizer: Option<String>,
    /// False when no tokenizer was loaded.
    pub has_tokenizer: bool,
    /// Names of extra headers.
    pub headers: Vec<String>,
    /// LoRA adapters.
    pub lora_modules: Vec<String>,
    /// `random` or `round-robin`, where there are adapters.
    pub lora_assignment: Option<String>,
    /// Fields that were left out of the requests.
    pub omitted_fields: Vec<String>,
}

impl Default for TargetSpec {
    fn default() -> Self {
        Self {
            backend: String::new(),
            kind: Kind::Generation,
            base_urls: Vec::new(),
            endpoint: String::new(),
            model: None,
            served_model_name: None,
            tokenizer: None,
            has_tokenizer: true,
            headers: Vec::new(),
            lora_modules: Vec::new(),
            lora_assignment: None,
            omitted_fields: Vec::new(),
        }
    }
}

impl TargetSettings {
    /// What the API does.
    pub fn kind(&self) -> Kind {
        match self.backend.kind() {
            BackendKind::Pooling => Kind::Pooling,
            BackendKind::Generation | BackendKind::Audio => Kind::Generation,
        }
    }

    /// The form in the manifest.
    pub(crate) fn spec(&self) -> TargetSpec {
        let Self {
            backend,
            base_url: _, // the first of base_urls
            base_urls,
            endpoint,
            headers,
            api_key: _, // a secret
            model,
            served_model_name,
            tokenizer,
            has_tokenizer,
            lora,
            omit_fields,
            check_model: _, // changes nothing that is sent
        } = self;
        let lora = lora.as_ref();
        TargetSpec {
            backend: backend.name().to_owned(),
            kind: self.kind(),
            base_urls: base_urls.iter().map(|url| redact_url(url)).collect(),
            endpoint: redact_url(endpoint),
            model: model.clone(),
            served_model_name: served_model_name.clone(),
            tokenizer: tokenizer.clone(),
            has_tokenizer: *has_tokenizer,
            headers: headers.iter().map(|(name, _)| name.clone()).collect(),
            lora_modules: lora.map_or_else(Vec::new, |lora| lora.modules.clone()),
            lora_assignment: lora.map(|lora| match lora.assignment {
                LoraAssignment::Random => "random".to_owned(),
                LoraAssignment::RoundRobin => "round-robin".to_owned(),
            }),
            omitted_fields: omit_fields.clone(),
        }
    }
}
