//! How much a run asks of the server.

/// Requests of a run that names no number: vLLM's default.
const DEFAULT_NUM_PROMPTS: f64 = 1000.0;
/// Answer tokens of a run that names no length: vLLM's default for random prompts.
const DEFAULT_OUTPUT_LEN: f64 = 128.0;

/// How much a run asks of the server, as far as its settings tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests.
    pub num_prompts: f64,
    /// Requests per second.
    pub rate: f64,
    /// Most requests in flight.
    pub cap: f64,
    /// Tokens per answer.
    pub output_len: f64,
    /// The clock is virtual, so that nothing is waited for.
    pub simulated: bool,
}

impl Load {
    /// The load of a run whose flags hold these numbers; vLLM's defaults where they hold none.
    pub(crate) fn of(simulated: bool, number: impl Fn(&str) -> Option<f64>) -> Self {
        Self {
            num_prompts: number("num-prompts").unwrap_or(DEFAULT_NUM_PROMPTS),
            rate: number("request-rate").unwrap_or(f64::INFINITY),
            cap: number("max-concurrency").unwrap_or(f64::INFINITY),
            output_len: number("output-len")
                .or_else(|| number("random-output-len"))
                .or_else(|| number("sharegpt-output-len"))
                .unwrap_or(DEFAULT_OUTPUT_LEN),
            simulated,
        }
    }

    /// True when this load is at least as high as the other in everything, and they are not the
    /// same.
    pub(crate) fn exceeds(&self, other: &Self) -> bool {
        (self.rate >= other.rate && self.cap >= other.cap)
            && (self.rate > other.rate || self.cap > other.cap)
    }
}
