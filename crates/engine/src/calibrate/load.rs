//! What was measured on a real server.

use inferometer_core::Nanos;

/// One load that was measured.
#[derive(Clone, Debug)]
pub struct MeasuredLoad {
    /// Shown in reports.
    pub name: String,
    /// The requests in order of their instants.
    pub requests: Vec<MeasuredRequest>,
    /// Slots of the client, or `None` for no limit.
    pub max_concurrency: Option<usize>,
}

/// One request with outcome ok.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredRequest {
    /// When it was due; where slots were not limited, when it was sent.
    pub at: Nanos,
    /// Prompt tokens.
    pub input: u32,
    /// Prompt tokens that the server had in its prefix cache.
    pub cached: u32,
    /// Output tokens.
    pub output: u32,
    /// Time to first token in seconds.
    pub ttft: f64,
    /// Time to the last token in seconds.
    pub e2el: f64,
    /// Gaps between token events in seconds.
    pub gaps: Vec<f64>,
}
