//! The settings of a run, in the form that its manifest keeps (format version 2).
//!
//! The names here are those of the file: renaming a flag or a setting must not change them. Together
//! with the records and [`RunFacts`], a [`RunSpec`] decides every number that is reported.

mod dataset;
mod first_version;

use inferometer_arrival::{ArrivalSettings, Rate};
use inferometer_core::redact::{redact_json, redact_url};
use inferometer_metrics::{Kind, Metric, MetricSettings, Slo, VerdictSettings};
use inferometer_results::Manifest;
use inferometer_wire::{Balance, ConnectPolicy, ProxySettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::dataset::{DatasetSpec, LengthsSpec};
use crate::compat::Compat;
use crate::decoding::Decoding;
use crate::error::{Error, OrError};
use crate::probe::ProbeNumbers;
use crate::settings::{LoraAssignment, Settings};
use inferometer_metrics::traffic::TrafficSettings;

/// The settings of a run as its manifest keeps them, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSpec {
    /// Which tool's behaviour was followed.
    pub compat: Compat,
    /// Where requests were sent.
    pub target: TargetSpec,
    /// When requests were sent, and how many at a time.
    pub load: LoadSpec,
    /// What requests contained.
    pub workload: WorkloadSpec,
    /// What every body had besides the prompt.
    pub content: ContentSpec,
    /// How connections were made.
    pub connection: ConnectionSpec,
    /// Which numbers were reported.
    pub report: ReportSpec,
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

/// When requests were sent, and how many at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadSpec {
    /// Rate in requests per second, burstiness and seed; `None` only in manifests of early versions.
    pub arrivals: Option<ArrivalSettings>,
    /// Requests were due at the instants of a trace or a workload file.
    pub self_timed: bool,
    /// Slots; `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Maximum concurrent conversations.
    pub max_conversations: Option<usize>,
    /// Warm-up requests.
    pub warmups: usize,
    /// Maximum wait for a first successful answer, in seconds.
    pub ready_check_s: f64,
    /// Maximum probe requests per second.
    pub probe_rate: Option<f64>,
    /// Fraction of requests that were cancelled by disconnecting, 0 to 1.
    pub cancelled_fraction: Option<f64>,
    /// Time from the send to the cancellation, in seconds.
    pub cancelled_after_s: Option<f64>,
    /// The server profiled the run.
    pub profile: bool,
    /// The server's prefix cache was emptied first.
    pub reset_prefix_cache: bool,
    /// Worker threads, where the user decided.
    pub workers: Option<usize>,
    /// First processor that workers were pinned to.
    pub pin: Option<usize>,
}

impl LoadSpec {
    /// True when requests were due one after another, not all at once.
    fn has_finite_rate(&self) -> bool {
        self.self_timed
            || self
                .arrivals
                .as_ref()
                .is_some_and(|one| one.rate.is_finite())
    }

    /// The requested rate in requests per second, if it was constant.
    pub fn request_rate(&self) -> Option<f64> {
        match self.arrivals.as_ref()?.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Infinite | Rate::Ramp { .. } => None,
        }
    }
}

/// What requests contained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadSpec {
    /// Source of the prompts; `None` for a workload file.
    pub dataset: Option<DatasetSpec>,
    /// The workload file that was replayed.
    pub file: Option<std::path::PathBuf>,
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

/// How connections were made. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionSpec {
    /// Certificates were not verified.
    pub insecure: bool,
    /// HTTP/2 was used.
    pub http2: bool,
    /// `environment`, `none`, or a URL.
    pub proxy: String,
    /// `ahead`, `lazy` or `per-request`.
    pub connect: String,
    /// `round-robin`, `least-in-flight` or `session-sticky`.
    pub balance: String,
    /// Local addresses.
    pub source_ips: Vec<std::net::IpAddr>,
    /// Limit for connecting.
    pub connect_timeout_s: f64,
    /// Limit for the first byte of an answer.
    pub first_byte_timeout_s: f64,
    /// Limit between two reads.
    pub idle_timeout_s: f64,
    /// Limit for the whole exchange; `None` for none.
    pub total_timeout_s: Option<f64>,
}

/// Which numbers were reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportSpec {
    /// Metrics with statistics.
    pub metrics: Vec<Metric>,
    /// Percentiles from 0 to 100.
    pub percentiles: Vec<f64>,
    /// True when the user gave them.
    pub percentiles_named: bool,
    /// Latency limits in milliseconds.
    pub goodput: Vec<(Slo, f64)>,
    /// Per-request arrays were saved.
    pub detailed: bool,
    /// Key-value pairs for the top level of the result.
    pub metadata: Vec<(String, String)>,
}

impl Default for ReportSpec {
    fn default() -> Self {
        let MetricSettings {
            selected,
            percentiles,
            ..
        } = MetricSettings::default();
        Self {
            metrics: selected,
            percentiles,
            percentiles_named: false,
            goodput: Vec::new(),
            detailed: false,
            metadata: Vec::new(),
        }
    }
}

/// What a run found out besides its records and the client's health: about the workload before it,
/// about the server after it. Kept in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFacts {
    /// Every answer had to have the requested length, because of a flag or of the dataset.
    pub ignore_eos: bool,
    /// Fraction of prompts that repeat an earlier one, 0 to 1.
    pub duplicate_prompts: Option<f64>,
    /// Prompts share prefixes on purpose.
    pub cache_expected: bool,
    /// What is known about the traffic.
    pub traffic: TrafficSettings,
    /// The run was stopped early.
    pub interrupted: bool,
    /// Fraction of the host's ceiling that the run used, where that is known.
    pub ceiling_used: Option<f64>,
    /// What the server's counters report about its decoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoding: Option<Decoding>,
    /// Latencies of the probe requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeNumbers>,
}

impl RunSpec {
    /// `settings` in the form that the manifest keeps.
    pub fn of(settings: &Settings) -> Self {
        Self {
            compat: settings.compat,
            target: target(settings),
            load: load(settings),
            workload: workload(settings),
            content: content(settings),
            connection: connection(settings),
            report: ReportSpec {
                metrics: settings.report.metrics.clone(),
                percentiles: settings.report.percentiles.clone(),
                percentiles_named: settings.report.percentiles_named,
                goodput: settings.report.goodput.clone(),
                detailed: settings.saving.detailed,
                metadata: settings.saving.metadata.clone(),
            },
        }
    }

    /// Reads settings and facts from `manifest`, of any version.
    ///
    /// # Errors
    ///
    /// A usage error when the settings in it cannot be read.
    pub fn read(manifest: &Manifest) -> Result<(Self, RunFacts), Error> {
        if manifest.format_version < 2 {
            return first_version::read(manifest);
        }
        let unreadable = |part: &str, error: serde_json::Error| {
            Error::usage(format!("invalid {part} in manifest.json: {error}"))
        };
        let spec = serde_json::from_value(manifest.settings.clone())
            .map_err(|error| unreadable("settings", error))?;
        let facts = serde_json::from_value(manifest.facts.clone())
            .map_err(|error| unreadable("facts", error))?;
        Ok((spec, facts))
    }

    /// Writes itself and `facts` into `manifest`.
    ///
    /// # Errors
    ///
    /// A failure when a number in them cannot be written.
    pub fn write(&self, facts: &RunFacts, manifest: &mut Manifest) -> Result<(), Error> {
        manifest.format_version = inferometer_results::MANIFEST_FORMAT_VERSION;
        manifest.settings = serde_json::to_value(self).or_failure()?;
        redact_json(&mut manifest.settings);
        manifest.facts = serde_json::to_value(facts).or_failure()?;
        Ok(())
    }

    /// The settings that determine the numbers under vLLM's definitions.
    pub fn metric_settings(&self) -> MetricSettings {
        MetricSettings {
            selected: self.report.metrics.clone(),
            percentiles: self.report.percentiles.clone(),
            goodput: self.report.goodput.clone(),
            cap: self.load.max_concurrency,
            max_conversations: self.load.max_conversations,
            finite_rate: self.load.has_finite_rate(),
            kind: self.target.kind,
            has_tokenizer: self.target.has_tokenizer,
        }
    }

    /// The settings and facts that the verdict needs besides the numbers.
    pub fn verdict_settings(&self, facts: &RunFacts) -> VerdictSettings {
        VerdictSettings {
            finite_rate: self.load.has_finite_rate(),
            ramp: self
                .load
                .arrivals
                .as_ref()
                .is_some_and(|one| matches!(one.rate, Rate::Ramp { .. })),
            ignore_eos: facts.ignore_eos,
            explicit_percentiles: self.report.percentiles_named,
            duplicate_prompts: facts.duplicate_prompts,
            cache_expected: facts.cache_expected,
            interrupted: facts.interrupted,
            ceiling_used: facts.ceiling_used,
        }
    }
}

fn target(settings: &Settings) -> TargetSpec {
    let target = &settings.target;
    let lora = target.lora.as_ref();
    TargetSpec {
        backend: target.backend.name().to_owned(),
        kind: settings.kind(),
        base_urls: target.base_urls.iter().map(|url| redact_url(url)).collect(),
        endpoint: redact_url(&target.endpoint),
        model: target.model.clone(),
        served_model_name: target.served_model_name.clone(),
        tokenizer: target.tokenizer.clone(),
        has_tokenizer: target.has_tokenizer,
        headers: target
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .collect(),
        lora_modules: lora.map_or_else(Vec::new, |lora| lora.modules.clone()),
        lora_assignment: lora.map(|lora| match lora.assignment {
            LoraAssignment::Random => "random".to_owned(),
            LoraAssignment::RoundRobin => "round-robin".to_owned(),
        }),
        omitted_fields: target.omit_fields.clone(),
    }
}

fn load(settings: &Settings) -> LoadSpec {
    let load = &settings.load;
    LoadSpec {
        arrivals: Some(load.arrivals.clone()),
        self_timed: load.self_timed,
        max_concurrency: load.max_concurrency,
        max_conversations: settings.shapes.max_conversations,
        warmups: load.num_warmups,
        ready_check_s: load.ready_check.as_secs_f64(),
        probe_rate: load.probe_rate,
        cancelled_fraction: load.cancellation.map(|one| one.fraction),
        cancelled_after_s: load.cancellation.map(|one| one.delay.as_secs_f64()),
        profile: load.profile,
        reset_prefix_cache: load.reset_prefix_cache,
        workers: load.workers,
        pin: load.pin,
    }
}

fn workload(settings: &Settings) -> WorkloadSpec {
    let workload = &settings.workload;
    let replay = settings.shapes.replay.as_ref();
    WorkloadSpec {
        dataset: replay.is_none().then(|| DatasetSpec::of(&workload.dataset)),
        file: replay.map(|replay| replay.path().to_owned()),
        num_prompts: workload.num_prompts,
        seed: workload.seed,
        request_id_prefix: workload.request_id_prefix.clone(),
        shuffle: workload.shuffle,
        oversample: workload.oversample,
        skip_chat_template: workload.skip_chat_template,
        salt: workload.salt.clone(),
        verify_lengths: settings.shapes.verify_lengths,
        token_ids: settings.content.token_ids,
        structured_output: settings
            .shapes
            .structured
            .as_ref()
            .map(|structured| structured.kind().name().to_owned()),
    }
}

fn content(settings: &Settings) -> ContentSpec {
    let content = &settings.content;
    ContentSpec {
        sampling: content.sampling.clone(),
        extra_body: content.extra_body.clone(),
        ignore_eos: content.ignore_eos,
        logprobs: content.logprobs,
        stream: content.stream,
        continuous_usage: content.continuous_usage,
        chat_template_kwargs: content.chat_template_kwargs.clone(),
    }
}

fn connection(settings: &Settings) -> ConnectionSpec {
    let connection = &settings.connection;
    let timeouts = &connection.timeouts;
    ConnectionSpec {
        insecure: connection.tls.insecure,
        http2: connection.http2,
        proxy: match &connection.proxy {
            ProxySettings::Environment => "environment".to_owned(),
            ProxySettings::Off => "none".to_owned(),
            ProxySettings::Url(url) => redact_url(url.expose()),
        },
        connect: match connection.connect {
            ConnectPolicy::Ahead => "ahead",
            ConnectPolicy::Lazy => "lazy",
            ConnectPolicy::PerRequest => "per-request",
        }
        .to_owned(),
        balance: match connection.balance {
            Balance::RoundRobin => "round-robin",
            Balance::LeastInFlight => "least-in-flight",
            Balance::SessionSticky => "session-sticky",
        }
        .to_owned(),
        source_ips: connection.source_ips.clone(),
        connect_timeout_s: timeouts.connect.as_secs_f64(),
        first_byte_timeout_s: timeouts.first_byte.as_secs_f64(),
        idle_timeout_s: timeouts.idle.as_secs_f64(),
        total_timeout_s: timeouts.total.map(inferometer_core::Nanos::as_secs_f64),
    }
}
