//! Drop-in behaviour: vLLM's names, command lines, versions and console lines.
//!
//! Nothing here measures. It turns what was written for vLLM's benchmark into arguments of
//! `inferometer run`, and says in which points a version of vLLM differs from the newest.

mod config;
mod dotted;
pub(crate) mod flags;
mod help;
mod names;
mod namespace;

pub(crate) use config::expand as expand_config;
pub(crate) use dotted::merge as merge_dotted;
pub(crate) use help::find as find_help;
pub(crate) use names::resolve as resolve_names;
pub(crate) use namespace::{echo, line as namespace_line};

pub(crate) use inferometer_benchmark::Compat;
