//! The flags of the engine model, for `sim` and `simulate`.

use clap::Args;
use serde::Serialize;

/// Which engine is modelled, and how many.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize)]
#[command(next_help_heading = "Engine model")]
pub(crate) struct EngineArgs {
    /// Engine with continuous batching: MODEL@GPU or MODEL@GPUxN, such as llama-3.1-8b@h100, or a
    /// file of `inferometer calibrate`.
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<String>,
    /// Most requests that run at once in each engine.
    #[arg(long)]
    pub(crate) max_num_seqs: Option<usize>,
    /// Most tokens computed in one step.
    #[arg(long)]
    pub(crate) max_num_batched_tokens: Option<u32>,
    /// KV blocks of each engine [default: what fits into the GPU].
    #[arg(long)]
    pub(crate) num_blocks: Option<usize>,
    /// No prefix cache.
    #[arg(long)]
    pub(crate) no_prefix_caching: bool,
    /// A prompt waits until it fits into one step whole.
    #[arg(long)]
    pub(crate) no_chunked_prefill: bool,
    /// Speculative decoding: for each draft token the chance that it is accepted if all before it
    /// were, such as 0.8,0.7,0.6.
    #[arg(long, value_name = "CHANCES")]
    pub(crate) speculation: Option<String>,
    /// Time to make one draft token, in milliseconds [default: 0].
    #[arg(long, value_name = "MS")]
    pub(crate) draft_time: Option<f64>,
    /// Prompts run on engines of their own, and their keys and values travel: milliseconds a prompt
    /// and microseconds a token, such as 2,1.5.
    #[arg(long, value_name = "MS,US")]
    pub(crate) transfer: Option<String>,
    /// Requests that lose their place in the KV cache go to the host's memory instead of being
    /// computed again: its blocks, and microseconds a token each way, such as 20000,5.
    #[arg(long, value_name = "BLOCKS,US")]
    pub(crate) swap: Option<String>,
    /// LoRA adapters that are active at once [default: 1].
    #[arg(long)]
    pub(crate) max_loras: Option<usize>,
    /// Time to load an adapter that is not active, in milliseconds [default: 0].
    #[arg(long, value_name = "MS")]
    pub(crate) lora_load_time: Option<f64>,
    /// Spread of the duration of steps: standard deviation of its logarithm [default: the
    /// preset's].
    #[arg(long, value_name = "SIGMA")]
    pub(crate) step_jitter: Option<f64>,
    /// Number of engines.
    #[arg(long, default_value_t = 1)]
    pub(crate) replicas: usize,
    /// Which engine takes a request: round-robin, least-in-flight, power-of-two, prefix-affinity,
    /// sticky.
    #[arg(long, default_value = "round-robin")]
    pub(crate) router: String,
}
