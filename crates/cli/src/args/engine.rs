//! The flags of the engine model, for `sim` and `simulate`.

use clap::Args;

/// Which engine is modelled, and how many.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Engine model")]
pub(crate) struct EngineArgs {
    /// Engine with continuous batching: MODEL@GPU or MODEL@GPUxN, such as llama-3.1-8b@h100, or a
    /// file written by `inferometer calibrate`.
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<String>,
    /// Maximum number of requests that run at once in each engine.
    #[arg(long)]
    pub(crate) max_num_seqs: Option<usize>,
    /// Maximum number of tokens computed in one step.
    #[arg(long)]
    pub(crate) max_num_batched_tokens: Option<u32>,
    /// KV blocks of each engine [default: as many as fit into the GPU's memory].
    #[arg(long)]
    pub(crate) num_blocks: Option<usize>,
    /// Disable the prefix cache.
    #[arg(long)]
    pub(crate) no_prefix_caching: bool,
    /// Disable chunked prefill: a prompt waits until it fits into one step.
    #[arg(long)]
    pub(crate) no_chunked_prefill: bool,
    /// Speculative decoding: for each draft token the probability that it is accepted if all before
    /// it were, such as 0.8,0.7,0.6.
    #[arg(long, value_name = "CHANCES")]
    pub(crate) speculation: Option<String>,
    /// Time to generate one draft token, in milliseconds [default: 0].
    #[arg(long, value_name = "MS")]
    pub(crate) draft_time: Option<f64>,
    /// Disaggregated prefill: prompts run on separate engines, and transferring their KV cache
    /// takes MS milliseconds per prompt and US microseconds per token, such as 2,1.5.
    #[arg(long, value_name = "MS,US")]
    pub(crate) transfer: Option<String>,
    /// Swap preempted requests to host memory instead of recomputing them: blocks of host memory,
    /// and microseconds per token each way, such as 20000,5.
    #[arg(long, value_name = "BLOCKS,US")]
    pub(crate) swap: Option<String>,
    /// LoRA adapters that are active at once [default: 1].
    #[arg(long)]
    pub(crate) max_loras: Option<usize>,
    /// Time to load an adapter that is not active, in milliseconds [default: 0].
    #[arg(long, value_name = "MS")]
    pub(crate) lora_load_time: Option<f64>,
    /// Spread of step durations: standard deviation of their logarithm [default: the preset's].
    #[arg(long, value_name = "SIGMA")]
    pub(crate) step_jitter: Option<f64>,
    /// Number of engines.
    #[arg(long, default_value_t = 1)]
    pub(crate) replicas: usize,
    /// How requests are routed to engines: round-robin, least-in-flight, power-of-two,
    /// prefix-affinity, sticky.
    #[arg(long, default_value = "round-robin")]
    pub(crate) router: String,
}
