//! When to send.

use std::time::Duration;

use inferometer_arrival::{ArrivalSettings, Rate};
use inferometer_core::Nanos;
use serde::{Deserialize, Serialize};

/// When to send.
#[derive(Clone, Debug)]
pub struct LoadSettings {
    /// Rate in requests per second, burstiness and seed.
    pub arrivals: ArrivalSettings,
    /// Maximum number of requests in flight; `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Requests are due at the instants of the trace or the workload file.
    pub self_timed: bool,
    /// Warm-up requests.
    pub num_warmups: usize,
    /// Maximum wait for a first successful answer; zero skips the check.
    pub ready_check: Duration,
    /// Maximum probe requests per second; `None` for no probes.
    pub probe_rate: Option<f64>,
    /// Ask the server to profile the run.
    pub profile: bool,
    /// Empty the server's prefix cache first.
    pub reset_prefix_cache: bool,
    /// Requests that are cancelled by disconnecting.
    pub cancellation: Option<Cancellation>,
    /// Worker threads; `None` uses as many as the load needs.
    pub workers: Option<usize>,
    /// First CPU to pin workers to.
    pub pin: Option<usize>,
}

/// Requests that are cancelled by disconnecting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cancellation {
    /// Fraction of the requests, 0 to 1.
    pub fraction: f64,
    /// Time from the send to the cancellation.
    pub delay: Nanos,
}

/// When requests were sent, and how many at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadSpec {
    /// Rate in requests per second, burstiness and seed; `None` only in manifests of early versions.
    pub arrivals: Option<ArrivalSettings>,
    /// Requests were due at the instants of a trace or a workload file.
    pub self_timed: bool,
    /// Slots; `None` for no limit.
    pub max_concurrency: Option<usize>,
    /// Maximum concurrent conversations.
    pub max_conversations: Option<usize>,
    /// Warm-up requests.
    pub warmups: usize,
    /// Maximum wait for a first successful answer, in seconds.
    pub ready_check_s: f64,
    /// Maximum probe requests per second.
    pub probe_rate: Option<f64>,
    /// Fraction of requests that were cancelled by disconnecting, 0 to 1.
    pub cancelled_fraction: Option<f64>,
    /// Time from the send to the cancellation, in seconds.
    pub cancelled_after_s: Option<f64>,
    /// The server profiled the run.
    pub profile: bool,
    /// The server's prefix cache was emptied first.
    pub reset_prefix_cache: bool,
    /// Worker threads, where the user decided.
    pub workers: Option<usize>,
    /// First processor that workers were pinned to.
    pub pin: Option<usize>,
}

impl LoadSpec {
    /// True when requests were due one after another, not all at once.
    pub(crate) fn has_finite_rate(&self) -> bool {
        self.self_timed
            || self
                .arrivals
                .as_ref()
                .is_some_and(|one| one.rate.is_finite())
    }

    /// The requested rate in requests per second, if it was constant.
    pub fn request_rate(&self) -> Option<f64> {
        match self.arrivals.as_ref()?.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Infinite | Rate::Ramp { .. } => None,
        }
    }
}

impl LoadSettings {
    /// The form in the manifest.
    pub(crate) fn spec(&self, max_conversations: Option<usize>) -> LoadSpec {
        let Self {
            arrivals,
            max_concurrency,
            self_timed,
            num_warmups,
            ready_check,
            probe_rate,
            profile,
            reset_prefix_cache,
            cancellation,
            workers,
            pin,
        } = self;
        LoadSpec {
            arrivals: Some(arrivals.clone()),
            self_timed: *self_timed,
            max_concurrency: *max_concurrency,
            max_conversations,
            warmups: *num_warmups,
            ready_check_s: ready_check.as_secs_f64(),
            probe_rate: *probe_rate,
            cancelled_fraction: cancellation.map(|one| one.fraction),
            cancelled_after_s: cancellation.map(|one| one.delay.as_secs_f64()),
            profile: *profile,
            reset_prefix_cache: *reset_prefix_cache,
            workers: *workers,
            pin: *pin,
        }
    }
}
