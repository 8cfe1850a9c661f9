//! What was written for vLLM's benchmark and for Python's argparse → plain arguments.
//!
//! Nothing here knows what a flag means: the caller says which options exist and how many values
//! follow each ([`Options`]).

mod command_line;
mod config;
mod dotted;
mod flags;
mod names;

pub use command_line::{Arity, OptionInfo, Options, Understood, normalise, understand};
