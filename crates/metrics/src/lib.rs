//! From records to numbers: pure functions, no I/O, no clock.
//!
//! [`summarise`] computes vLLM's numbers under vLLM's definitions, [`extras`] those that vLLM does
//! not have, and [`analyse`] both at once. [`judge`] decides whether they may be trusted.

mod analyse;
mod estimate;
mod event_tokens;
mod extras;
mod intervals;
pub mod numpy;
mod passes;
mod quantiles;
mod settings;
mod stored;
mod summarise;
mod summary;
mod times;
pub mod traffic;
mod verdict;

pub use analyse::{Analysis, analyse};
pub use estimate::{CONFIDENCE, Estimate, Welch, t_quantile, two_sided_t};
pub use event_tokens::tokens_by_event;
pub use extras::{
    Arrival, Backlog, CachedTokens, ClientShare, Concurrency, Connections, Extras, Floor, Goodput,
    KERNEL_SHARE, Latencies, LengthRange, Note, OutputLengths, PromptCounts, Reasoning, Receive,
    Slow, Spread, Target, TokenAgreement, TokenCounts, TokenGaps, TokenLengths, extras,
    samples_needed,
};
pub use intervals::{
    Bounds, IfIndependent, IntervalUnit, Intervals, MetricInterval, Refusal, Scope,
};
pub use settings::{
    MetricFlagError, MetricSettings, Slo, default_metrics, parse_goodput, parse_metrics,
    parse_percentiles,
};
pub use stored::{has_answers, measured};
pub use summarise::summarise;
pub use summary::{Kind, Metric, MetricStats, Summary};
pub use times::Times;
pub use verdict::{Advice, Limit, RULES, Rule, Unit, VerdictSettings, judge};
