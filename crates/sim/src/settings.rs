//! The settings of the simulator.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inferometer_core::Secret;

use crate::delay::{Delay, Distribution};
use crate::engine::{ClusterConfig, ModelError};
use crate::faults::{FaultError, FaultFraction};
use crate::text::Tokenizer;

/// The settings of a simulated server. [`SimSettings::default`] listens on a free local port.
#[derive(Clone)]
pub struct SimSettings {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// Threads, each with its own event loop. One carries some 100,000 events per second.
    pub threads: usize,
    /// Name of the model that is served.
    pub model: String,
    /// From the complete request to the first token event.
    pub ttft: Delay,
    /// From one token event to the next, counted between the due instants so that lateness never
    /// adds up.
    pub itl: Delay,
    /// Tokens in each event; the last may hold fewer.
    pub tokens_per_event: u16,
    /// Flood mode: every stream is written as fast as the client reads, with this many events per
    /// write.
    pub flood: Option<u32>,
    /// Natural length of answers in tokens, for requests that do not set `ignore_eos`; `max_tokens`
    /// still caps it. `None` makes every answer as long as `max_tokens` (128 where a request names
    /// no limit).
    pub answer_tokens: Option<Distribution>,
    /// Seed of everything random.
    pub seed: u64,
    /// Longest prompt plus answer.
    pub max_model_len: u32,
    /// Key that requests below `/v1` must carry as `Authorization: Bearer KEY`.
    pub api_key: Option<Secret>,
    /// Faults, with the fraction of all generation requests that suffer each.
    pub faults: Vec<FaultFraction>,
    /// File that receives the truth log in addition to `GET /truth`.
    pub truth_file: Option<PathBuf>,
    /// Also keep the kernel's send stamp of each event, where the platform gives it.
    pub kernel_stamps: bool,
    /// CPU of the first thread; the others follow.
    pub pin: Option<usize>,
    /// Counts prompts and serves `/tokenize`; without it a plain rule counts words and marks.
    pub tokenizer: Option<Arc<dyn Tokenizer>>,
    /// An engine model that decides when tokens come, instead of `ttft` and `itl`. With one,
    /// `tokens_per_event` is the least number of tokens in each event between the first and the
    /// last.
    pub engine: Option<ClusterConfig>,
    /// Tokens at the start of each chat answer that are reasoning.
    pub reasoning_tokens: u32,
    /// Key of reasoning text in chat answers.
    pub reasoning_key: ReasoningKey,
    /// Answer with a tool call whenever a chat request offers tools and leaves the choice to the
    /// model.
    pub tool_calls: bool,
    /// Names of LoRA adapters that are loaded at the start.
    pub lora_modules: Vec<String>,
    /// How long after the start everything is answered with status 503.
    pub ready_after: Duration,
    /// How long after the start connections are refused, as by a server that is still loading its
    /// model.
    pub listen_after: Duration,
    /// Whose names `/metrics` uses.
    pub metric_names: MetricNames,
    /// Serve over TLS.
    pub tls: Option<TlsIdentity>,
    /// Largest request body that is accepted.
    pub max_body_bytes: usize,
}

/// Whose names `/metrics` uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricNames {
    /// vLLM's, with prefix `vllm:`.
    #[default]
    Vllm,
    /// SGLang's, with prefix `sglang:`.
    Sglang,
}

/// Key of reasoning text in chat answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningKey {
    /// `reasoning`, as newer vLLM has it.
    #[default]
    Reasoning,
    /// `reasoning_content`, as DeepSeek, SGLang and older vLLM have it.
    ReasoningContent,
}

impl ReasoningKey {
    /// The key itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reasoning => "reasoning",
            Self::ReasoningContent => "reasoning_content",
        }
    }
}

/// Certificate chain and key of a TLS server, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// Certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authority that clients' certificates must come from; `None` asks for none.
    pub client_authority: Option<PathBuf>,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            model: "sim".into(),
            ttft: Delay::fixed(50.0),
            itl: Delay::fixed(10.0),
            tokens_per_event: 1,
            flood: None,
            answer_tokens: None,
            seed: 0,
            max_model_len: 131_072,
            api_key: None,
            faults: Vec::new(),
            truth_file: None,
            kernel_stamps: false,
            pin: None,
            tokenizer: None,
            engine: None,
            reasoning_tokens: 0,
            reasoning_key: ReasoningKey::Reasoning,
            tool_calls: false,
            lora_modules: Vec::new(),
            ready_after: Duration::ZERO,
            listen_after: Duration::ZERO,
            metric_names: MetricNames::Vllm,
            tls: None,
            max_body_bytes: 256 * 1024 * 1024,
        }
    }
}

impl fmt::Debug for SimSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSettings")
            .field("address", &self.address)
            .field("threads", &self.threads)
            .field("model", &self.model)
            .field("ttft", &self.ttft)
            .field("itl", &self.itl)
            .field("seed", &self.seed)
            .field("faults", &self.faults)
            .field("tokenizer", &self.tokenizer.is_some())
            .finish_non_exhaustive()
    }
}

/// Why the simulator could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; choose another address or port 0 for any free port"
    )]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// A thread or its event loop could not be started.
    #[error("cannot start the simulator's thread: {0}")]
    Thread(std::io::Error),
    /// The truth file cannot be written.
    #[error("cannot write the truth log to {path}: {source}")]
    TruthFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An invalid setting.
    #[error("{0}")]
    Setting(String),
    /// Invalid settings of the engine model.
    #[error(transparent)]
    Engine(#[from] ModelError),
    /// The certificate or key cannot be used.
    #[error("cannot use {path} for TLS: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Invalid faults.
    #[error(transparent)]
    Faults(#[from] FaultError),
}

impl SimSettings {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first setting that no server can have.
    pub fn check(&self) -> Result<(), SimError> {
        let wrong = |text: &str| Err(SimError::Setting(text.into()));
        if let Some(first) = self.pin {
            inferometer_os::thread::check_pin(first, self.threads).map_err(|error| {
                SimError::Setting(format!("cannot pin threads to CPU {first} and up: {error}"))
            })?;
        }
        if self.threads == 0 {
            return wrong("invalid number of threads 0: expected at least 1");
        }
        if self.tokens_per_event == 0 {
            return wrong("invalid number of tokens per event 0: expected at least 1");
        }
        if self.flood == Some(0) {
            return wrong(
                "invalid number of events per write 0 in flood mode: expected at least 1",
            );
        }
        if self.model.is_empty() {
            return wrong("empty model name");
        }
        if self.max_model_len < 2 {
            return wrong(
                "invalid longest sequence: expected 2 or more tokens, for a prompt and an answer",
            );
        }
        if self.engine.is_some() && self.threads > 1 {
            return wrong("an engine model runs on one thread: set threads to 1");
        }
        if self.engine.is_some() && self.flood.is_some() {
            return wrong(
                "flood mode cannot be combined with an engine model, which decides when tokens come",
            );
        }
        crate::faults::check(&self.faults)?;
        Ok(())
    }
}
