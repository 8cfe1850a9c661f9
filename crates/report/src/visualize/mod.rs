//! Many runs at once: figures, dashboard, text report.
//!
//! Input is one row per run with the keys of vLLM's result file, plus `input_len`, `output_len` and
//! `filename`, and our own additions under `inferometer`. Rows of a CSV file, where everything is
//! text, work as well.

mod advice;
mod analysis;
mod dashboard;
mod files;
mod groups;
mod latency;
mod notes;
mod report;
mod rows;
mod throughput;

pub use analysis::{Rating, RatingScale};
pub use dashboard::dashboard;
pub use files::{Wanted, files};
pub(crate) use groups::fold;
pub(crate) use latency::ecdf;
pub use latency::latency_figure;
pub use report::{ReportFormat, performance_report};
pub use rows::{Row, Run, Stat, parse_rows};
pub use throughput::throughput_figure;
