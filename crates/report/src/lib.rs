//! Numbers → console table, charts, HTML and text, in English and Chinese.
//!
//! Nothing here prints, reads a clock or touches the network: every function returns text (or bytes for
//! PNG) that depends on its arguments alone, so the same run always gives the same report.

pub mod console;
mod format;
mod lang;

pub use lang::Lang;
