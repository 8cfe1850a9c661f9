//! The times of one record in seconds, as vLLM's result file lists them.
//!
//! A span is the difference of two instants in nanoseconds, divided once, so it is the double
//! nearest to the exact value and does not depend on when the run began.

use inferometer_core::{Nanos, Record};

use crate::{Kind, MetricSettings};

/// The entries of one record in vLLM's arrays `start_times`, `ttfts`, `latencies` and
/// `queue_times`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// The send, in seconds from the start of the run.
    pub start: f64,
    /// First token event − send; for pooling, end of the answer − send. 0 if there is none, as in an
    /// answer that was not streamed: nobody can say when its first token was ready.
    pub ttft: f64,
    /// True when `ttft` was measured.
    pub has_ttft: bool,
    /// Last token event − send, or end of the answer without token events. 0 for a failed request.
    pub latency: f64,
    /// Wait for a slot: when the client took up the request − when it was due.
    pub queue: f64,
    /// True when all tokens of an answer of several came at once, so that nothing is known of the
    /// time of each.
    pub in_one_piece: bool,
    /// True when it is unknown how many of the tokens came ([`Record::has_unknown_hidden_tokens`]).
    pub hides_tokens: bool,
}

impl Times {
    /// The times of `record`. All are from the send (service latency), as vLLM's are.
    pub fn of(record: &Record, kind: Kind) -> Self {
        let start = start(record);
        let first = first_output(record, kind).map(|at| at.since(start).as_secs_f64());
        Self {
            start: start.as_secs_f64(),
            ttft: first.unwrap_or_default(),
            has_ttft: first.is_some(),
            latency: if record.is_ok() {
                latency(record, kind).as_secs_f64()
            } else {
                0.0
            },
            queue: record
                .dequeued
                .map_or(0.0, |at| at.since(record.due).as_secs_f64()),
            in_one_piece: record.is_in_one_piece(),
            hides_tokens: record.has_unknown_hidden_tokens(),
        }
    }

    /// Time per output token without the first: (latency − ttft) / (tokens − 1); `None` for up to
    /// one token, and where it is unknown: without a time to first token, where it is not reported how many
    /// tokens are hidden, and for an answer in one piece, whose TPOT is 0 with vLLM.
    ///
    /// Reasoning that the server counts and keeps to itself comes before the first token, so that its
    /// tokens are left out ([`Record::visible_output_tokens`]).
    ///
    /// The choices of one answer are generated side by side: for several, it is the sum of their
    /// spans, divided by the tokens without the first of each. [`MetricSettings::as_vllm`]
    /// takes them for one.
    pub fn tpot(&self, record: &Record, settings: &MetricSettings) -> Option<f64> {
        let choices = record.choices.filter(|_| !settings.as_vllm);
        let (count, span) = choices.map_or((1, self.latency - self.ttft), |choices| {
            (choices.count, choices.span.as_secs_f64())
        });
        let all = if settings.as_vllm {
            record.output_tokens
        } else {
            record.visible_output_tokens()
        };
        let tokens = all.checked_sub(count)?;
        let unknown = self.in_one_piece || self.hides_tokens;
        let known = self.has_ttft && (settings.as_vllm || !unknown);
        (tokens > 0 && known).then(|| span / f64::from(tokens))
    }

    /// TTFT and TPOT (that of [`Times::tpot`]) as limits judge them. What does not exist is 0: TPOT of up to one token. What is
    /// unknown is within no limit; with vLLM it is 0 as well.
    pub(crate) fn judged(
        &self,
        tpot: Option<f64>,
        record: &Record,
        settings: &MetricSettings,
    ) -> (f64, f64) {
        let unknown = if settings.as_vllm { 0.0 } else { f64::INFINITY };
        let choices = record.choices.map_or(1, |choices| choices.count);
        let ttft = if self.has_ttft { self.ttft } else { unknown };
        let tpot = match tpot {
            Some(tpot) => tpot,
            None if record.visible_output_tokens() > choices => unknown,
            None => 0.0,
        };
        (ttft, tpot)
    }
}

/// The gaps between successive token events in seconds, as in vLLM's array `itls`.
pub(crate) fn gaps_seconds(record: &Record) -> impl Iterator<Item = f64> + '_ {
    record.gaps().map(Nanos::as_secs_f64)
}

/// The send. A record with an answer has one; otherwise the due instant is used.
pub(crate) fn start(record: &Record) -> Nanos {
    record.service_start().unwrap_or(record.due)
}

/// The first token event; for pooling, where the answer arrives as a whole, its end.
pub(crate) fn first_output(record: &Record, kind: Kind) -> Option<Nanos> {
    match kind {
        Kind::Generation => record.first_token(),
        Kind::Pooling => record.end.filter(|_| record.is_ok()),
    }
}

/// The last token event, or the end of a successful one that has no token events.
pub(crate) fn last_output(record: &Record, kind: Kind) -> Option<Nanos> {
    let without_events = if record.is_ok() { record.end } else { None };
    match kind {
        Kind::Generation => record.last_token().or(without_events),
        Kind::Pooling => without_events,
    }
}

pub(crate) fn latency(record: &Record, kind: Kind) -> Nanos {
    last_output(record, kind).map_or(Nanos::ZERO, |at| at.since(start(record)))
}

/// The latest instant in the record.
pub(crate) fn last_instant(record: &Record) -> Nanos {
    let instants = [
        record.end,
        record.last_token(),
        record.send_end,
        record.send_start,
        record.dequeued,
    ];
    instants.into_iter().flatten().max().unwrap_or_default()
}

/// True where the gaps of an answer count: those within an answer in one piece are unknown, and 0 with vLLM.
pub(crate) fn counts_gaps(record: &Record, settings: &MetricSettings) -> bool {
    settings.as_vllm || !record.is_in_one_piece()
}
