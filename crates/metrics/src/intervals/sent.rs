//! One request as intervals see it.

use inferometer_core::{Nanos, Record};

use crate::summarise::meets;
use crate::times::{Times, counts_gaps, last_instant};
use crate::{Metric, MetricSettings};

/// What intervals need of one request that was sent: some 70 bytes. Spans are in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) send: Nanos,
    pub(super) end: Nanos,
    /// Send − due.
    pub(super) wait: f64,
    /// Not a number where it is unknown, as for failed requests.
    pub(super) ttft: f64,
    pub(super) tpot: f64,
    pub(super) e2el: f64,
    pub(super) queue: f64,
    pub(super) tokens: u32,
    pub(super) gaps: u32,
    pub(super) gaps_ns: u64,
    pub(super) ok: bool,
    pub(super) good: bool,
}

impl Sent {
    pub(super) fn of(record: &Record, settings: &MetricSettings) -> Option<Self> {
        let send = record.send_start?;
        let end = record.end.unwrap_or_else(|| last_instant(record));
        let mut sent = Self {
            send,
            end: end.max(send),
            wait: send.since(record.due).as_secs_f64(),
            ttft: f64::NAN,
            tpot: f64::NAN,
            e2el: f64::NAN,
            queue: f64::NAN,
            tokens: 0,
            gaps: 0,
            gaps_ns: 0,
            ok: record.is_ok(),
            good: false,
        };
        if !sent.ok {
            return Some(sent);
        }
        let times = Times::of(record, settings.kind);
        let tpot = times.tpot(record, settings);
        if times.has_ttft {
            sent.ttft = times.ttft;
        }
        sent.tpot = tpot.unwrap_or(f64::NAN);
        sent.e2el = times.latency;
        sent.queue = times.queue;
        sent.tokens = record.output_tokens;
        let (ttft, tpot) = times.judged(tpot, record, settings);
        sent.good = meets(&settings.goodput, ttft, tpot, times.latency);
        if settings.shows(Metric::Itl) && counts_gaps(record, settings) {
            for gap in record.gaps() {
                sent.gaps += 1;
                sent.gaps_ns += gap.0;
            }
        }
        Some(sent)
    }

    /// Time in flight in seconds.
    pub(super) fn in_flight(&self) -> f64 {
        self.end.since(self.send).as_secs_f64()
    }

    pub(super) fn latency(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Ttft => self.ttft,
            Metric::Tpot => self.tpot,
            Metric::Itl => f64::NAN,
            Metric::E2el => self.e2el,
            Metric::ClientQueueTime => self.queue,
            Metric::E2elIncludingClientQueue => self.e2el + self.queue,
        }
    }
}
