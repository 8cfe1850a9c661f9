//! From records to numbers: pure functions, no I/O, no clock.

mod summary;

pub use summary::{Kind, Metric, MetricStats, Summary};
