//! The terminal output of a finished run: vLLM's result table, then the verdict block and the lines
//! on the kind of traffic.
//!
//! Everything is returned as text; the caller prints.

mod block;
mod entries;
mod intervals;
mod table;
mod traffic;
mod wrap;

pub use block::{BlockContext, ClientPart, verdict_block};
pub use table::{Cell, Section, SpeculativeDecoding, TableContext, result_table};
pub use traffic::traffic_lines;
pub(crate) use wrap::{display_width, wrap};
