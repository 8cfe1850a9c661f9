//! The numbers of one run.

use serde::{Deserialize, Serialize};

/// Kind of the endpoint, which decides the metrics that make sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text generation: tokens in, tokens out.
    #[default]
    Generation,
    /// Embeddings, pooling and rerank: one answer without output tokens.
    Pooling,
}

/// A latency metric as vLLM defines it, in the order in which vLLM prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Time to first token.
    Ttft,
    /// Time per output token, the first one excluded.
    Tpot,
    /// Gap between successive token events.
    Itl,
    /// End-to-end latency, up to the last token event.
    E2el,
    /// Wait for a slot under a concurrency cap.
    ClientQueueTime,
    /// End-to-end latency plus that wait.
    E2elIncludingClientQueue,
}

impl Metric {
    /// All metrics in printing order.
    pub const ALL: [Self; 6] = [
        Self::Ttft,
        Self::Tpot,
        Self::Itl,
        Self::E2el,
        Self::ClientQueueTime,
        Self::E2elIncludingClientQueue,
    ];

    /// The name in flags and JSON keys, such as `ttft`.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::Itl => "itl",
            Self::E2el => "e2el",
            Self::ClientQueueTime => "client_queue_time",
            Self::E2elIncludingClientQueue => "e2el_including_client_queue",
        }
    }

    /// True for a latency within an answer, which can be measured only where the answer is
    /// streamed and its tokens are counted.
    pub const fn needs_stream(self) -> bool {
        match self {
            Self::Ttft | Self::Tpot | Self::Itl => true,
            Self::E2el | Self::ClientQueueTime | Self::E2elIncludingClientQueue => false,
        }
    }

    /// The metric with this name.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.key() == key)
    }
}

/// Mean, median, spread and percentiles of one metric, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricStats {
    /// Which metric.
    pub metric: Metric,
    /// Number of samples.
    pub samples: usize,
    /// Arithmetic mean, summed as NumPy does (pairwise).
    pub mean_ms: f64,
    /// Median.
    pub median_ms: f64,
    /// Population standard deviation.
    pub std_ms: f64,
    /// (percentile, value) in the requested order; linear interpolation, NumPy's default.
    pub percentiles: Vec<(f64, f64)>,
}

/// The numbers of one run under vLLM's definitions.
///
/// Numbers that vLLM does not define are in [`Extras`](crate::Extras), never here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Kind of the endpoint.
    pub kind: Kind,
    /// From the start of the run to the end of the last request, in seconds.
    pub duration_s: f64,
    /// Successful requests.
    pub completed: usize,
    /// All others that were sent, or could not be.
    pub failed: usize,
    /// Requests that were not sent, because the run was stopped or an earlier turn of their
    /// conversation failed. They are neither completed nor failed.
    #[serde(default)]
    pub not_sent: usize,
    /// Prompt tokens of completed requests (the server's count where it reports one).
    pub total_input_tokens: u64,
    /// Output tokens of completed requests.
    pub total_output_tokens: u64,
    /// Input sequences of completed requests (pooling).
    pub total_input_sequences: u64,
    /// Completed requests per second.
    pub request_throughput: f64,
    /// Requests per second that met every limit; `None` without limits.
    pub request_goodput: Option<f64>,
    /// Output tokens per second.
    pub output_throughput: f64,
    /// Input and output tokens per second (pooling: input only).
    pub total_token_throughput: f64,
    /// Input sequences per second (pooling).
    pub input_sequence_throughput: f64,
    /// Most token events in a one-second bucket, as vLLM counts them.
    pub max_output_tokens_per_s: f64,
    /// Most requests that touch a one-second bucket, as vLLM counts them.
    pub max_concurrent_requests: usize,
    /// Seconds of audio processed per second.
    pub rtfx: f64,
    /// The selected metrics, in vLLM's order.
    pub stats: Vec<MetricStats>,
}

impl Summary {
    /// True where nothing is known of a metric although requests were answered: of TPOT where every
    /// answer came in one piece, of TTFT where answers were not streamed. With vLLM it is 0.
    pub const fn is_unknown(&self, stats: &MetricStats, as_vllm: bool) -> bool {
        !as_vllm && stats.samples == 0 && self.completed > 0
    }
}
