//! What the client knows of its own state during a run.
//!
//! Lateness, receive lag and coalescing are not here: they are derived from the records.

use serde::{Deserialize, Serialize};

use crate::Nanos;

/// The client's own state during a run, as measured by the engine and the telemetry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientHealth {
    /// Length of the run on the monotonic clock.
    pub wall: Nanos,
    /// One entry per worker.
    pub workers: Vec<WorkerHealth>,
    /// True when receive stamps came from the kernel.
    pub kernel_stamps: bool,
    /// Steps of the wall clock seen during the run, and the largest.
    pub clock_steps: u32,
    /// Size of the largest step.
    pub largest_clock_step: Nanos,
    /// Scheduling periods in which the control group was throttled, and for how long in all.
    pub cgroup_throttled: Option<Throttling>,
    /// TCP segments that this host sent again during the run (all processes).
    pub tcp_retransmits: Option<u64>,
    /// Soft limit on open descriptors, and the most that were open.
    pub file_limit: Option<u64>,
    /// Maximum number of descriptors open at once, as far as sampled.
    pub open_files_peak: Option<u64>,
    /// Local ports available for outgoing connections.
    pub local_ports: Option<u32>,
    /// Connections that the run opened.
    pub connections_opened: u64,
    /// Maximum number of requests in flight at once, counted by the engine.
    pub in_flight_peak: u64,
}

/// One worker thread's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerHealth {
    /// Processor time used during the run.
    pub cpu: Nanos,
    /// Time spent spinning towards due instants, which is part of `cpu` but not a sign of overload.
    pub spin: Nanos,
    /// How long before each due instant the spinning began, as calibrated on this host.
    #[serde(default)]
    pub guard: Nanos,
    /// Largest gap between two turns of the event loop while it was needed.
    pub largest_stall: Nanos,
    /// Time ready to run but without a processor, where the platform reports it.
    pub run_queue_delay: Option<Nanos>,
}

/// Throttling by the control group's CPU quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throttling {
    /// Periods in which the quota ran out.
    pub periods: u64,
    /// Time lost.
    pub time: Nanos,
}
