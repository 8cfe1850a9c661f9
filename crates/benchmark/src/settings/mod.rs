//! The settings of a benchmark: every setting checked, before a file is opened or a byte is sent.
//!
//! Nothing measured is stored in them. Their form in the manifest is
//! [`RunSpec`](crate::RunSpec).

mod replay;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inferometer_arrival::ArrivalSettings;
use inferometer_core::{Nanos, Secret};
use inferometer_metrics::{Kind, Metric, Slo, default_metrics};
use inferometer_wire::{
    Backend, BackendKind, Balance, ClientSettings, ConnectPolicy, ProxySettings, Timeouts,
    TlsSettings, backend,
};
use inferometer_workload::{DatasetSettings, RandomSettings, WorkloadSettings};
use serde_json::{Map, Value};

pub use self::replay::Replay;
use crate::compat::Compat;
use crate::error::{Error, OrError};
use crate::export::Exports;
use crate::structured::Structured;

/// The settings of a benchmark.
#[derive(Debug)]
pub struct Settings {
    /// Which tool's behaviour to follow.
    pub compat: Compat,
    /// Where to send.
    pub target: TargetSettings,
    /// How connections are made.
    pub connection: ConnectionSettings,
    /// When to send.
    pub load: LoadSettings,
    /// What goes into every body.
    pub content: ContentSettings,
    /// What requests contain.
    pub workload: WorkloadSettings,
    /// Replay, conversations and structured answers.
    pub shapes: ShapeSettings,
    /// Which numbers are reported.
    pub report: ReportSettings,
    /// What is written, and where.
    pub saving: SavingSettings,
}

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

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub struct ConnectionSettings {
    /// Certificates and keys.
    pub tls: TlsSettings,
    /// Use HTTP/2.
    pub http2: bool,
    /// Which proxy to use.
    pub proxy: ProxySettings,
    /// When connections are opened.
    pub connect: ConnectPolicy,
    /// Which of several URLs a request goes to.
    pub balance: Balance,
    /// Local addresses to send from.
    pub source_ips: Vec<IpAddr>,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl ConnectionSettings {
    /// Copies these settings into those of the client.
    pub(crate) fn apply(&self, client: &mut ClientSettings) {
        client.tls = self.tls.clone();
        client.http2 = self.http2;
        client.proxy = self.proxy.clone();
        client.connect = self.connect;
        client.balance = self.balance;
        client.source_ips.clone_from(&self.source_ips);
        client.timeouts = self.timeouts;
    }
}

/// When to send.
#[derive(Clone, Debug)]
pub struct LoadSettings {
    /// Rate in requests per second, burstiness and seed.
    pub arrivals: ArrivalSettings,
    /// Maximum number of requests in flight; `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Requests are due at the instants of the trace or the workload file.
    pub self_timed: bool,
    /// Warm-up requests.
    pub num_warmups: usize,
    /// Maximum wait for a first successful answer; zero skips the check.
    pub ready_check: Duration,
    /// Maximum probe requests per second; `None` for no probes.
    pub probe_rate: Option<f64>,
    /// Ask the server to profile the run.
    pub profile: bool,
    /// Empty the server's prefix cache first.
    pub reset_prefix_cache: bool,
    /// Requests that are cancelled by disconnecting.
    pub cancellation: Option<Cancellation>,
    /// Worker threads; `None` uses as many as the load needs.
    pub workers: Option<usize>,
    /// First CPU to pin workers to.
    pub pin: Option<usize>,
}

/// Requests that are cancelled by disconnecting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cancellation {
    /// Fraction of the requests, 0 to 1.
    pub fraction: f64,
    /// Time from the send to the cancellation.
    pub delay: Nanos,
}

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

/// Which numbers are reported.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// Metrics with statistics. Those that the run does not have are left out.
    pub metrics: Vec<Metric>,
    /// Percentiles from 0 to 100.
    pub percentiles: Vec<f64>,
    /// True when the user gave the percentiles instead of using the default.
    pub percentiles_named: bool,
    /// Latency limits in milliseconds that a request has to meet to count for goodput.
    pub goodput: Vec<(Slo, f64)>,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            metrics: default_metrics(Kind::Generation),
            percentiles: vec![99.0],
            percentiles_named: false,
            goodput: Vec::new(),
        }
    }
}

/// What is written, and where.
#[derive(Debug, Default)]
pub struct SavingSettings {
    /// Write vLLM's result file.
    pub save: bool,
    /// Include per-request arrays in it.
    pub detailed: bool,
    /// Append it as a line to an existing file.
    pub append: bool,
    /// Key-value pairs for its top level.
    pub metadata: Vec<(String, String)>,
    /// Its folder; `None` for the working folder.
    pub result_dir: Option<PathBuf>,
    /// Its name; `None` for vLLM's.
    pub result_filename: Option<PathBuf>,
    /// Thresholds of the timeline page in milliseconds; `None` for no page.
    pub timeline: Option<(f64, f64)>,
    /// Write a drawing of prompt and answer lengths.
    pub dataset_stats: bool,
    /// Label of the run.
    pub label: Option<String>,
    /// Folder for the run folder; `None` for no run folder.
    pub runs_dir: Option<PathBuf>,
    /// Results in the formats of other tools.
    pub exports: Exports,
    /// The arguments under vLLM's names, without secrets, for PyTorch's benchmark form.
    pub vllm_arguments: Map<String, Value>,
}

impl SavingSettings {
    /// True when a file is written whose path is determined before the run.
    pub(crate) fn needs_result_file(&self) -> bool {
        self.save || self.timeline.is_some() || self.dataset_stats
    }
}

impl Settings {
    /// A run against the server at `base_url` as `inferometer run --base-url URL` makes it: 1,000
    /// random prompts, all at once, over the API `openai`, without any file.
    ///
    /// # Errors
    ///
    /// A usage error when the default API is unknown.
    pub fn new(base_url: impl Into<String>) -> Result<Self, Error> {
        let base_url = base_url.into();
        let compat = Compat::Native;
        let backend = backend::find(compat.default_backend()).or_usage()?;
        Ok(Self {
            compat,
            target: TargetSettings {
                backend,
                base_urls: vec![base_url.clone()],
                base_url,
                endpoint: backend.default_endpoint().to_owned(),
                headers: Vec::new(),
                api_key: None,
                model: None,
                served_model_name: None,
                tokenizer: None,
                has_tokenizer: true,
                lora: None,
                omit_fields: Vec::new(),
                check_model: true,
            },
            connection: ConnectionSettings::default(),
            load: LoadSettings {
                arrivals: ArrivalSettings::default(),
                max_concurrency: None,
                self_timed: false,
                num_warmups: 0,
                ready_check: Duration::ZERO,
                probe_rate: None,
                profile: false,
                reset_prefix_cache: false,
                cancellation: None,
                workers: None,
                pin: None,
            },
            content: ContentSettings::default(),
            workload: WorkloadSettings::new(DatasetSettings::Random(RandomSettings::default())),
            shapes: ShapeSettings::default(),
            report: ReportSettings::default(),
            saving: SavingSettings::default(),
        })
    }

    /// Whether the API generates text or pools embeddings.
    pub fn kind(&self) -> Kind {
        match self.target.backend.kind() {
            BackendKind::Pooling => Kind::Pooling,
            BackendKind::Generation | BackendKind::Audio => Kind::Generation,
        }
    }

    /// True when no temperature is sent, so that the server's default applies.
    pub fn leaves_temperature_to_server(&self) -> bool {
        self.kind() == Kind::Generation && !self.content.sampling.contains_key("temperature")
    }
}
