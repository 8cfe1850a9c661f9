//! The commands, one file each.

pub(crate) mod ab;
pub(crate) mod aggregate;
pub(crate) mod calibrate;
pub(crate) mod check;
mod collect;
pub(crate) mod compare;
pub(crate) mod groups;
pub(crate) mod help;
pub(crate) mod import;
pub(crate) mod quickstart;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod selftest;
pub(crate) mod shell;
pub(crate) mod shims;
pub(crate) mod sim;
pub(crate) mod simulate;
pub(crate) mod sweep;
pub(crate) mod verify;
pub(crate) mod visualize;
pub(crate) mod workload;
