//! What a finished run says on the terminal: vLLM's result table, and one block of our own after
//! it.
//!
//! Everything is returned as text; the caller prints.

mod block;
mod table;
mod traffic;
mod wrap;

pub use block::{BlockContext, verdict_block};
pub use table::{Cell, Section, SpeculativeDecoding, TableContext, result_table};
pub use traffic::traffic_lines;
pub(crate) use wrap::{display_width, wrap};
