//! vLLM's own lines of output, and parts of the help.

mod help;
mod namespace;

pub(crate) use help::find as find_help;
pub(crate) use inferometer_benchmark::Compat;
pub(crate) use namespace::{echo, line as namespace_line};
