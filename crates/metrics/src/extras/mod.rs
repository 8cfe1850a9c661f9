//! The numbers that vLLM does not have: they are under the key `inferometer` of a result.
//!
//! Spans are in milliseconds unless a name says otherwise. A field is absent when there is nothing
//! to report.

mod agreement;
mod answer_notes;
mod backlog;
mod collect;
mod finish;
mod floors;
mod lengths;
mod sweep;
mod totals;

use std::collections::BTreeMap;

use inferometer_core::{Impossible, OutcomeCounts};
use serde::{Deserialize, Serialize};

pub use agreement::TokenAgreement;
pub use backlog::Backlog;
pub(crate) use collect::ExtrasCollector;
pub use collect::extras;
pub use finish::KERNEL_SHARE;
pub use floors::samples_needed;

use crate::numpy;
use crate::quantiles::Quantiles;

/// The numbers of a run besides vLLM's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extras {
    /// Requests of the run, however they ended: the sum over `outcomes`.
    pub issued: usize,
    /// How they ended.
    pub outcomes: OutcomeCounts,
    /// Requests among the unfinished ones that were not sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_sent: usize,
    /// Latencies of successful requests from the send.
    pub service: Latencies,
    /// Latencies of successful requests from the due instant. Absent for a closed loop (an infinite
    /// rate under a cap), which has no due instants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Latencies>,
    /// Gaps between events and between tokens of successful requests.
    pub gaps: TokenGaps,
    /// Whether the load was offered as requested.
    pub arrival: Arrival,
    /// How the answers were received.
    pub receive: Receive,
    /// Requests within the limits, with failures as misses. Absent without limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<Goodput>,
    /// Most output tokens of successful requests within any second that begins at a multiple of 10 ms;
    /// at least the mean over the run, which is the larger one in runs below a second.
    pub peak_output_tokens_per_s: f64,
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// Times to the first reasoning and to the first answer text. Absent when no answer had
    /// reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Successful requests by `finish_reason`; `none` when the server reported none.
    pub finish_reasons: BTreeMap<String, usize>,
    /// Output lengths requested and received. Absent when none were requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_lengths: Option<OutputLengths>,
    /// Shortest and longest prompt and answer of the successful requests. Absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_lengths: Option<TokenLengths>,
    /// Where output token counts come from, and whether the sources agree.
    pub tokens: TokenCounts,
    /// Connections and the time it took to open them, which is never part of a latency from the
    /// send.
    pub connections: Connections,
    /// How much of each latency the client itself can have caused.
    pub client_share: Vec<ClientShare>,
    /// Number of samples that the requested percentiles need, and that there are.
    pub floors: Vec<Floor>,
    /// The ten slowest successful requests by end-to-end latency, the slowest first.
    pub slowest: Vec<Slow>,
    /// One row per base URL, when there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Remarks that do not speak against the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// Distribution of one quantity. Percentiles are interpolated as NumPy does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Number of samples.
    pub samples: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// Largest value.
    pub max: f64,
}

/// The percentiles of a [`Spread`].
pub(crate) const SPREAD: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

impl Spread {
    /// The distribution of spans in seconds, in milliseconds.
    pub(crate) fn of_seconds(values: &mut [f64]) -> Option<Self> {
        let mean = numpy::mean(values);
        numpy::sort(values);
        let largest = values.last()?;
        let [p50, p90, p99, p99_9] = SPREAD.map(|p| numpy::percentile(values, p) * 1000.0);
        let samples = values.len() as u64;
        Some(Self {
            samples,
            mean: mean * 1000.0,
            p50,
            p90,
            p99,
            p99_9,
            max: largest * 1000.0,
        })
    }

    /// The distribution that was collected, in milliseconds.
    pub(crate) fn of_quantiles(values: &Quantiles) -> Option<Self> {
        if values.count() == 0 {
            return None;
        }
        let [p50, p90, p99, p99_9] = SPREAD.map(|p| values.percentile(p) * 1000.0);
        let (mean, max) = (values.mean() * 1000.0, values.max() * 1000.0);
        Some(Self {
            samples: values.count(),
            mean,
            p50,
            p90,
            p99,
            p99_9,
            max,
        })
    }
}

/// Latencies of successful requests from one origin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// To the first token event; absent where answers are not streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<Spread>,
    /// To the first non-empty fragment of text, reasoning or tool call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_content_ms: Option<Spread>,
    /// To the last token event (or the whole answer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2el_ms: Option<Spread>,
}

/// Gaps within answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenGaps {
    /// Between successive token events: vLLM's ITL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_event_ms: Option<Spread>,
    /// The same gaps divided evenly among the tokens of each event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_token_ms: Option<Spread>,
    /// Number of token events by the number of their tokens, where it is known.
    pub tokens_per_event: BTreeMap<u16, u64>,
    /// Output tokens / events, over the answers whose tokens were counted by something else than
    /// their events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_tokens_per_event: Option<f64>,
    /// Streamed answers of several tokens.
    #[serde(default)]
    pub answers: usize,
    /// Those among them whose tokens all came in one event or in one read. Their TPOT and their gaps
    /// are unknown, and left out.
    #[serde(default)]
    pub one_piece_answers: usize,
}

/// Whether the load was offered as requested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// Requests that were sent.
    pub sent: usize,
    /// Rate of the schedule: requests / last due instant. Absent when all are due at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_rate: Option<f64>,
    /// Requests sent / time of the last send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_rate: Option<f64>,
    /// Shortfall of the offered rate against the schedule, for the requests that were sent:
    /// 1 − their last due instant / the last send. Absent when all are due at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_shortfall: Option<f64>,
    /// Successful requests / duration.
    pub achieved_rate: f64,
    /// Send − due. Absent for a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_ms: Option<Spread>,
    /// The part of it that the client itself caused: send time minus due time or slot release,
    /// whichever is later. For an infinite rate, only requests that followed another one's end
    /// count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_lateness_ms: Option<Spread>,
    /// Fraction of the requests that waited for a slot for more than 1 ms beyond their due instant.
    /// Absent without a cap, and for a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_bound_share: Option<f64>,
}

/// How the answers were received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receive {
    /// Token events, those of failed requests included.
    pub events: u64,
    /// Fraction of them with the kernel's receive stamp.
    pub kernel_stamped_share: f64,
    /// Fraction of them that shared a read with a later event (or one stamp of the kernel), so that
    /// the stamp is an upper bound.
    pub coalesced_share: f64,
    /// Process stamp − kernel stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<Spread>,
    /// Request bytes sent.
    pub bytes_sent: u64,
    /// Answer bytes received.
    pub bytes_received: u64,
}

/// Requests within the limits. Those that were cancelled on purpose or cut off by the end of the run
/// are left out; all others count, and a failed one is a miss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Goodput {
    /// Requests that count.
    pub counted: usize,
    /// Those within every limit, latencies taken from the send.
    pub good: usize,
    /// `good / counted`.
    pub attainment: f64,
    /// `good / duration`.
    pub per_s: f64,
    /// The fraction within every limit when TTFT and E2EL are taken from the due instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_attainment: Option<f64>,
}

/// Requests in flight, from send to end, by an exact sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Concurrency {
    /// Most at once.
    pub max: usize,
    /// Mean over the run.
    pub mean: f64,
    /// Mean number of requests that were due and not yet ended, waiting ones included, in each
    /// quarter of the time in which requests arrive. Absent for an infinite rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_system_by_quarter: Option<[f64; 4]>,
    /// Whether the server kept up. Absent for an infinite rate, and where all requests are due at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Backlog>,
}

/// First reasoning and first answer text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reasoning {
    /// Successful requests with reasoning.
    pub requests: usize,
    /// Send to first reasoning fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_reasoning_ms: Option<Spread>,
    /// Send to first fragment of answer text, of the same requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_answer_ms: Option<Spread>,
}

/// Output lengths requested and received, over the successful requests that requested a length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputLengths {
    /// Requests that count.
    pub requests: usize,
    /// Mean number of tokens requested.
    pub mean_asked: f64,
    /// Mean number of tokens received.
    pub mean_got: f64,
    /// Total of tokens received / total of tokens requested.
    pub ratio: f64,
    /// Answers of exactly the requested length.
    pub exact: usize,
    /// Shorter ones.
    pub shorter: usize,
    /// Longer ones.
    pub longer: usize,
}

/// Lengths of prompts and answers in tokens. A length is that of every request where both ends are
/// equal; a mean does not show that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenLengths {
    /// Prompts.
    pub input: LengthRange,
    /// Answers.
    pub output: LengthRange,
}

/// The ends of a range of lengths in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthRange {
    /// Shortest.
    pub min: u32,
    /// Longest.
    pub max: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde requires"
)]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Where output token counts come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Successful requests counted by the server's usage.
    pub from_usage: usize,
    /// Successful requests counted by the client's tokenizer.
    pub from_tokenizer: usize,
    /// Successful requests for which events were counted instead of tokens.
    pub from_events: usize,
    /// Successful requests without a count.
    pub without: usize,
    /// Successful requests with a usage that cannot be true, which was not used.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub usage_impossible: usize,
    /// Why it cannot be.
    #[serde(default, skip_serializing_if = "ImpossibleCounts::is_empty")]
    pub usage_impossible_by: ImpossibleCounts,
    /// Prompt lengths by the server and by the client, where both counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PromptCounts>,
    /// Server and tokenizer compared, where both counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_against_tokenizer: Option<TokenAgreement>,
    /// Prompt tokens that the server took from its prefix cache. Absent when it does not report
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<CachedTokens>,
    /// Output tokens that were reasoning, where the server reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<u64>,
}

/// Successful requests by what is wrong with their usage; a request may have several faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImpossibleCounts {
    /// More output tokens than requested and than the answer has bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_beyond_bytes: usize,
    /// No output tokens in spite of output.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_output: usize,
    /// No prompt tokens although a prompt was sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_prompt: usize,
    /// More cached tokens than prompt tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub cached_beyond_prompt: usize,
    /// Negative numbers, and more tokens than any prompt or answer has.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_count: usize,
}

impl ImpossibleCounts {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Counts one fault.
    fn add(&mut self, why: Impossible) {
        *match why {
            Impossible::OutputBeyondBytes => &mut self.output_beyond_bytes,
            Impossible::NoOutput => &mut self.no_output,
            Impossible::NoPrompt => &mut self.no_prompt,
            Impossible::CachedBeyondPrompt => &mut self.cached_beyond_prompt,
            Impossible::NoCount => &mut self.no_count,
        } += 1;
    }
}

/// Prompt lengths as the client meant them and as the server counted them, over the successful
/// requests for which both are known; later turns of conversations are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptCounts {
    /// Requests compared.
    pub requests: usize,
    /// Prompt tokens by the client.
    pub client_total: u64,
    /// Prompt tokens by the server's usage.
    pub server_total: u64,
    /// Sum of the tokens that the server counts beyond the tolerance, or less than the client /
    /// `client_total`.
    pub deviation: f64,
    /// Prompt tokens that only the server counts, up to the tolerance of each request: those of its
    /// chat template, which are alike in all requests.
    #[serde(default)]
    pub template_total: u64,
}

/// Prefix-cache hits as reported by the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CachedTokens {
    /// Successful requests with usage, of the targets that report cached tokens at all. Servers leave
    /// the number out where it is 0.
    pub requests: usize,
    /// Their prompt tokens.
    pub prompt_tokens: u64,
    /// Those that were cached.
    pub cached_tokens: u64,
    /// `cached_tokens / prompt_tokens`.
    pub share: f64,
}

/// Connections and the time it took to open them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// Requests on a connection that was already open.
    pub reused: usize,
    /// Requests that opened one.
    pub opened: usize,
    /// Requests sent again because a reused connection turned out to be closed, or because the server
    /// refused them unprocessed.
    pub reconnects: u64,
    /// Name resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_ms: Option<Spread>,
    /// TCP or Unix socket connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<Spread>,
    /// TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<Spread>,
}

/// How much of a latency the client itself can have caused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientShare {
    /// `ttft`, `itl`, `e2el`, `response_ttft` or `response_e2el`.
    pub metric: String,
    /// 99th percentile of the metric.
    pub p99_ms: f64,
    /// 99 % of the samples contain at most this much of the client's own time: writing the request,
    /// stamps that are only upper bounds, and for response latency the client's own lateness.
    /// Absent when stamps are not the kernel's, since then there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_ms: Option<f64>,
    /// 99th percentile of the part that stamps leave open: events that came together have upper bounds
    /// for stamps. This part is the server's or the network's as much as the client's. Absent with
    /// `bound_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamps_ms: Option<f64>,
}

/// Number of samples that a percentile needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The requested percentile.
    pub percentile: f64,
    /// Number of requests needed to estimate it with 99 % confidence.
    pub needed: usize,
    /// Number of successful requests.
    pub have: usize,
}

/// `part / whole`, or 0 of nothing.
fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

impl Floor {
    /// True when there are enough.
    pub const fn is_met(&self) -> bool {
        self.have >= self.needed
    }
}

/// One slow request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slow {
    /// Its position in the workload.
    pub index: usize,
    /// Its time to first token.
    pub ttft_ms: f64,
    /// Its end-to-end latency.
    pub e2el_ms: f64,
    /// Its output tokens.
    pub output_tokens: u32,
}

/// The numbers of one base URL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Its position among the base URLs.
    pub target: u16,
    /// Requests sent to it.
    pub requests: usize,
    /// Successful requests.
    pub completed: usize,
    /// Output tokens of successful requests.
    pub output_tokens: u64,
    /// Latencies from the send.
    pub service: Latencies,
}

/// A remark that does not speak against the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Stable snake_case code.
    pub code: String,
    /// The remark.
    pub message: String,
    /// The remark in Chinese.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zh: String,
}
