//! Numbers → console table, charts, HTML and text, in English and Chinese.
//!
//! Nothing here prints, reads a clock or uses the network: every function returns text (or bytes for
//! PNG) that depends on its arguments alone, so the same run always gives the same report.

pub mod chart;
mod compare;
pub mod console;
mod dataset_stats;
mod decision;
mod decision_figure;
mod document;
mod findings;
mod format;
mod lang;
mod page;
mod run_page;
mod timeline;
pub mod visualize;

pub use compare::{Comparison, Side, TooFewRuns};
pub use dataset_stats::dataset_stats_figure;
pub use decision::{DecisionReport, Question};
pub use lang::{Lang, UnknownLang};
pub use run_page::{RunAbout, RunPageInput, run_page};
pub use timeline::timeline_page;
