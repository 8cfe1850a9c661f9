//! The flags of `inferometer check`.

use clap::Args;

/// Arguments of `inferometer check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// URL of the server.
    #[arg(long, default_value = "http://127.0.0.1:8000", value_name = "URL")]
    pub(crate) base_url: String,
    /// API of the server.
    #[arg(long, default_value = "vllm", value_name = "NAME")]
    pub(crate) backend: String,
    /// Path of the API [default: the backend's].
    #[arg(long, value_name = "PATH")]
    pub(crate) endpoint: Option<String>,
    /// Model [default: the first one that the server lists].
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Tokenizer [default: the model's].
    #[arg(long)]
    pub(crate) tokenizer: Option<String>,
    /// Extra headers, each KEY=VALUE.
    #[arg(long, num_args = 1.., value_name = "KEY=VALUE")]
    pub(crate) header: Vec<String>,
    /// Do not verify TLS certificates.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Seconds to wait for a server that is still starting.
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub(crate) ready_check_timeout_sec: u64,
    /// Test rates 5 and 20 with 10 prompts each, instead of 1, 2, 5, 10 and 20 with 20 each.
    #[arg(long)]
    pub(crate) quick: bool,
}
