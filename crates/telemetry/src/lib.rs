//! What server and host say while a run lasts.
//!
//! - [`Environment`]: the machine, for the manifest.
//! - [`HostWatch`]: what happened to the client meanwhile (throttling, retransmits, descriptors).
//! - [`server`]: the server's own counters, out of the text of its `/metrics` page.
//!
//! There is no HTTP here: who fetches a page hands over its text.

mod cgroup;
mod environment;
mod host_watch;
pub mod server;

pub use environment::{CpuInfo, Environment, LimitsInfo, MemoryInfo, host_name};
pub use host_watch::{HostReport, HostWatch};

/// Processors that the quota of this process's control group leaves, if there is one.
pub fn cpu_quota() -> Option<f64> {
    cgroup::Cgroup::of_this_process().cpu_quota()
}
