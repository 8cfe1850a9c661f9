//! What the server and the host report during a run.
//!
//! - [`Environment`]: the machine, for the manifest.
//! - [`HostWatch`]: what happened to the client meanwhile (throttling, retransmits, descriptors).
//! - [`server`]: the server's own counters, out of the text of its `/metrics` page.
//!
//! There is no HTTP here: the caller fetches a page and hands over its text.

mod cgroup;
mod environment;
mod host_watch;
pub mod server;

pub use environment::{CpuInfo, Environment, LimitsInfo, MemoryInfo, host_name};
pub use host_watch::{HostReport, HostWatch};

/// CPUs that the quota of this process's control group leaves, if there is one.
pub fn cpu_quota() -> Option<f64> {
    cgroup::Cgroup::of_this_process().cpu_quota()
}
