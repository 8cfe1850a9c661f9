//! Command lines for vLLM's benchmark and Python's argparse → normalised arguments, and the scripts that pass
//! such command lines on.
//!
//! This crate does not know the meaning of flags: the caller lists the options and the number of
//! values of each ([`Options`]).

mod command_line;
mod config;
mod dotted;
mod flags;
mod names;
mod options;
mod shims;

pub use command_line::{Normalised, normalise};
pub use options::{Arity, OptionInfo, Options};
pub use shims::Shim;
