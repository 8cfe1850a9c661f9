//! From records to numbers: pure functions, no I/O, no clock.
//!
//! [`summarise`] gives vLLM's numbers under vLLM's definitions.

pub mod numpy;
mod passes;
mod quantiles;
mod settings;
mod summarise;
mod summary;
mod times;

pub use settings::{
    MetricFlagError, MetricSettings, Slo, default_metrics, parse_goodput, parse_metrics, parse_percentiles,
};
pub use summarise::summarise;
pub use summary::{Kind, Metric, MetricStats, Summary};
pub use times::{Times, gaps_seconds};
