//! What an engine can do and how long a step takes.

use inferometer_core::Nanos;
use serde::{Deserialize, Serialize};

/// Blocks of the largest cache: 160 million tokens in blocks of 16, more than the memory of any server.
const MAX_BLOCKS: usize = 10_000_000;

/// Duration of one engine step in nanoseconds: `base + prefill·P + decode·D + kv·K`, where P counts
/// prompt tokens computed in the step, D sequences that decode in it, and K tokens whose keys and
/// values the attention of the step reads.
///
/// The physics: `base` is one reading of all weights from memory plus the host's work for a step
/// (launching kernels, sampling, scheduling). `prefill` is arithmetic, two operations per weight and
/// token. `decode` is the same arithmetic for one token plus what the host does for each sequence.
/// `kv` is memory traffic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepCost {
    /// Nanoseconds of every step.
    pub base: f64,
    /// Nanoseconds for each prompt token computed.
    pub prefill: f64,
    /// Nanoseconds for each decoding sequence.
    pub decode: f64,
    /// Nanoseconds for each token of context that is read.
    pub kv: f64,
    /// Standard deviation of the logarithm of a random factor with mean 1 on each step; 0 for none.
    pub jitter: f64,
}

impl StepCost {
    /// Duration without jitter.
    pub fn mean(&self, prefill_tokens: u64, decoding: u64, kv_tokens: u64) -> Nanos {
        let ns = self.base
            + self.prefill * prefill_tokens as f64
            + self.decode * decoding as f64
            + self.kv * kv_tokens as f64;
        Nanos(ns.round().max(1.0) as u64)
    }
}

/// Speculative decoding: a draft of some tokens is verified in each decoding step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speculation {
    /// Chance that draft token i is accepted, given that all before it were. Its length is the
    /// number of draft tokens.
    pub acceptance: Vec<f64>,
    /// Time to make one draft token, added to each step in which something decodes.
    pub draft_time: Nanos,
}

/// Host memory for preempted requests, instead of computing them again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// Blocks that fit; without room a request is computed again.
    pub blocks: usize,
    /// Nanoseconds for each token each way, added to the next step.
    pub per_token: f64,
}

/// Settings of an [`Engine`](super::Engine), named as vLLM names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Most requests that run at once.
    pub max_num_seqs: usize,
    /// Most tokens computed in one step.
    pub max_num_batched_tokens: u32,
    /// Longest prompt plus answer.
    pub max_model_len: u32,
    /// A long prompt may be spread over several steps and share them with decoding requests.
    /// Without it a prompt waits until it fits into one step whole.
    pub chunked_prefill: bool,
    /// Tokens in a KV block.
    pub block_size: u32,
    /// KV blocks in all.
    pub num_blocks: usize,
    /// Blocks with the same prefix are computed once and found again by hash.
    pub prefix_caching: bool,
    /// Host memory for preempted requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    /// Speculative decoding.
    pub speculation: Option<Speculation>,
    /// LoRA adapters that can be active at once; requests for others wait.
    pub max_loras: usize,
    /// Time to load an adapter that is not active, added to the step that first uses it.
    pub lora_load: Nanos,
    /// Host time of each request before it can take part in a step: HTTP, tokenising, hand-over.
    #[serde(default)]
    pub request_overhead: Nanos,
    /// Duration of steps.
    pub cost: StepCost,
}

impl Default for EngineConfig {
    /// Llama 3.1 8B on one H100: see [`Preset`](super::Preset).
    fn default() -> Self {
        Self {
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            max_model_len: 32_768,
            chunked_prefill: true,
            block_size: 16,
            num_blocks: 27_000,
            prefix_caching: true,
            swap: None,
            speculation: None,
            max_loras: 1,
            lora_load: Nanos::ZERO,
            request_overhead: Nanos::ZERO,
            cost: StepCost {
                base: 7.9e6,
                prefill: 36_000.0,
                decode: 56_000.0,
                kv: 52.0,
                jitter: 0.0,
            },
        }
    }
}

/// Why an engine cannot be built or cannot take a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A setting is out of its range.
    #[error("invalid engine setting {name} = {found}: expected {wanted}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// What is allowed.
        wanted: &'static str,
        /// What was given.
        found: String,
    },
    /// The request has no prompt or asks for no output.
    #[error("a request needs at least one prompt token and one output token")]
    EmptyRequest,
    /// The request can never run.
    #[error(
        "the request needs {needed} tokens of context, but the engine model holds {limit} at most"
    )]
    TooLong {
        /// Prompt plus output.
        needed: u64,
        /// The engine's limit.
        limit: u64,
    },
    /// The request names a LoRA adapter, but the engine holds none.
    #[error("the request names a LoRA adapter, but the engine model has max_loras 0")]
    NoLora,
    /// A request with the same id is still in the engine.
    #[error("request {0} is already in the engine model")]
    DuplicateId(u64),
}

impl EngineConfig {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let positive = [
            ("max_num_seqs", self.max_num_seqs as u64),
            (
                "max_num_batched_tokens",
                u64::from(self.max_num_batched_tokens),
            ),
            ("max_model_len", u64::from(self.max_model_len)),
            ("block_size", u64::from(self.block_size)),
            ("num_blocks", self.num_blocks as u64),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(ModelError::Setting {
                    name,
                    wanted: "at least 1",
                    found: "0".into(),
                });
            }
        }
        if self.num_blocks > MAX_BLOCKS {
            return Err(ModelError::Setting {
                name: "num_blocks",
                wanted: "at most 10000000",
                found: self.num_blocks.to_string(),
            });
        }
        let cost = &self.cost;
        for (name, value) in [
            ("cost.base", cost.base),
            ("cost.prefill", cost.prefill),
            ("cost.decode", cost.decode),
            ("cost.kv", cost.kv),
            ("cost.jitter", cost.jitter),
            (
                "swap.per_token",
                self.swap.map_or(0.0, |swap| swap.per_token),
            ),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(ModelError::Setting {
                    name,
                    wanted: "0 or more",
                    found: value.to_string(),
                });
            }
        }
        if let Some(speculation) = &self.speculation {
            for chance in &speculation.acceptance {
                if !(0.0..=1.0).contains(chance) {
                    return Err(ModelError::Setting {
                        name: "speculation.acceptance",
                        wanted: "0 to 1",
                        found: chance.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Blocks that hold `tokens` tokens.
    pub(super) fn blocks_for(&self, tokens: u64) -> u64 {
        tokens.div_ceil(u64::from(self.block_size))
    }
}
