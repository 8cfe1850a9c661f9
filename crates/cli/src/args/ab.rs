//! The flags of `inferometer ab`.

use std::path::PathBuf;

use clap::Args;
use inferometer_report::Lang;

/// Arguments of `inferometer ab`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AbArgs {
    /// URL of the baseline's server.
    #[arg(long, value_name = "URL", required_unless_present = "a_cmd")]
    pub(crate) a: Option<String>,
    /// URL of the candidate's server.
    #[arg(long, value_name = "URL", required_unless_present_any = ["b_cmd", "aa"])]
    pub(crate) b: Option<String>,
    /// Command that starts the baseline's server for each run, at --a or its own --host and --port. Servers never run
    /// together.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) a_cmd: Option<String>,
    /// Command that starts the candidate's server for each run.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) b_cmd: Option<String>,
    /// Measure the baseline against itself, and say what 5 and 10 pairs will be able to see.
    #[arg(long, conflicts_with_all = ["b", "b_cmd"])]
    pub(crate) aa: bool,
    /// Pairs of runs; with an even number, a linear drift of the machine cancels.
    #[arg(long, default_value_t = 6, value_name = "N")]
    pub(crate) pairs: usize,
    /// When to stop: after all pairs, or, with `decided`, at the first of up to four planned looks that decides.
    #[arg(long, value_name = "WHEN", value_parser = ["decided"], requires = "max_pairs")]
    pub(crate) until: Option<String>,
    /// Most pairs with --until decided.
    #[arg(long, value_name = "N", requires = "until", conflicts_with = "pairs")]
    pub(crate) max_pairs: Option<usize>,
    /// Metrics to judge [default: mean TTFT, TPOT and response E2EL, output throughput].
    #[arg(long, num_args = 1.., value_name = "METRIC")]
    pub(crate) metric: Vec<String>,
    /// A change up to this many percent does not matter.
    #[arg(long, default_value_t = 2.0, value_name = "PERCENT")]
    pub(crate) margin: f64,
    /// Seed of the first pair; the next ones count up.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Requests of an unmeasured run whenever another server takes over.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub(crate) warmup: u64,
    /// Empty the servers' caches before each run (vLLM needs VLLM_SERVER_DEV_MODE=1).
    #[arg(long)]
    pub(crate) reset_caches: bool,
    /// Folder of the results.
    #[arg(long, short = 'o', default_value = "ab", value_name = "DIR")]
    pub(crate) output_dir: PathBuf,
    /// Continue an experiment that was cut off.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Show the plan only.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Seconds to wait for a server to become healthy.
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub(crate) server_ready_timeout: u64,
    /// Language of the answer: en or zh.
    #[arg(long, default_value = "en", value_name = "LANG")]
    pub(crate) lang: Lang,
    /// Flags of `run` for every run, after `--`.
    #[arg(last = true, value_name = "FLAGS")]
    pub(crate) extra: Vec<String>,
}
