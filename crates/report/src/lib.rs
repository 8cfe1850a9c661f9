//! Numbers → console table, charts, HTML and text, in English and Chinese.
//!
//! Nothing here prints, reads a clock or touches the network: every function returns text (or bytes for
//! PNG) that depends on its arguments alone, so the same run always gives the same report.

pub mod chart;
pub mod console;
mod document;
mod format;
mod lang;
mod page;
pub mod visualize;

pub use lang::{Lang, UnknownLang};
