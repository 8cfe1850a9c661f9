//! Gathers [`Extras`] from the records.

use std::collections::BTreeMap;

use inferometer_core::{Nanos, Record, Records, TokenSource};

use super::answer_notes::AnswerNotes;
use super::lengths::Lengths;
use super::sweep::Span;
use super::totals::{TokenRate, TokenTotals, stamp_widths};
use super::{Connections, Extras, Latencies, SPREAD, Slow, Spread, Target};
use crate::passes::{Collector, run};
use crate::quantiles::Quantiles;
use crate::summarise::meets;
use crate::times::{Times, first_output, last_instant, last_output, start};
use crate::{Kind, MetricSettings};

/// Rows in [`Extras::slowest`].
const SLOWEST: usize = 10;

/// The numbers of a run that vLLM does not have, from its records alone.
///
/// Visits the records three times. Memory grows with the number of requests, not of events.
pub fn extras(records: &dyn Records, settings: &MetricSettings) -> Extras {
    let mut collector = ExtrasCollector::new(settings);
    run(records, &mut [&mut collector]);
    collector.finish()
}

/// Gathers [`Extras`] in three passes.
#[derive(Debug)]
pub(crate) struct ExtrasCollector<'a> {
    pub(super) settings: &'a MetricSettings,
    pub(super) extras: Extras,
    pub(super) duration: Nanos,
    pub(super) last_due: Nanos,
    pub(super) spans: Vec<Span>,
    pub(super) service: LatencySamples,
    pub(super) response: LatencySamples,
    pub(super) own_times: Vec<OwnTime>,
    /// The first request that was sent among the successful ones, and its TTFT (or E2EL) in seconds.
    pub(super) first_answer: Option<(Nanos, f64)>,
    /// Output tokens and events of the answers whose tokens were not counted by their events.
    pub(super) counted_tokens: u64,
    pub(super) counted_events: u64,
    /// Output tokens of successful requests.
    pub(super) output_tokens: u64,
    pub(super) gap: Quantiles,
    pub(super) token_gap: Quantiles,
    /// True as long as every gap ends with an event of one token; then it is the gap per token as
    /// well.
    pub(super) single_tokens: bool,
    pub(super) gap_width: Quantiles,
    pub(super) lag: Quantiles,
    pub(super) kernel_stamped: u64,
    pub(super) coalesced: u64,
    pub(super) good: usize,
    pub(super) good_response: usize,
    pub(super) rate: TokenRate,
    pub(super) tokens: TokenTotals,
    pub(super) lengths: Lengths,
    pub(super) reasoning: ReasoningSamples,
    pub(super) connecting: ConnectSamples,
    pub(super) targets: BTreeMap<u16, TargetSamples>,
    /// Successful requests with several choices.
    pub(super) several_choices: usize,
    pub(super) unseparated_events: u64,
    pub(super) answers: AnswerNotes,
}

/// The client's own time within one successful request.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnTime {
    pub(super) send: Nanos,
    /// From the send to the last byte of the request.
    pub(super) writing: Nanos,
    /// Uncertainty of the first stamp.
    pub(super) first: Nanos,
    /// Uncertainty of the last stamp.
    pub(super) last: Nanos,
}

/// Spans in seconds.
#[derive(Debug, Default)]
pub(super) struct ReasoningSamples {
    pub(super) first_reasoning: Vec<f64>,
    pub(super) first_answer: Vec<f64>,
}

/// Spans in seconds.
#[derive(Debug, Default)]
pub(super) struct ConnectSamples {
    pub(super) dns: Vec<f64>,
    pub(super) connect: Vec<f64>,
    pub(super) tls: Vec<f64>,
}

/// Spans in seconds.
#[derive(Debug, Default)]
pub(super) struct LatencySamples {
    ttft: Vec<f64>,
    first_content: Vec<f64>,
    e2el: Vec<f64>,
}

#[derive(Debug, Default)]
pub(super) struct TargetSamples {
    pub(super) row: Target,
    pub(super) latencies: LatencySamples,
}

impl LatencySamples {
    fn add(&mut self, record: &Record, kind: Kind, origin: Nanos) {
        let since = |at: Option<Nanos>| at.map(|at| at.since(origin).as_secs_f64());
        self.ttft.extend(since(first_output(record, kind)));
        self.first_content.extend(since(record.marks.first_content));
        self.e2el.extend(since(last_output(record, kind)));
    }

    pub(super) fn finish(&mut self) -> Latencies {
        Latencies {
            ttft_ms: Spread::of_seconds(&mut self.ttft),
            first_content_ms: Spread::of_seconds(&mut self.first_content),
            e2el_ms: Spread::of_seconds(&mut self.e2el),
        }
    }
}

impl<'a> ExtrasCollector<'a> {
    pub(crate) fn new(settings: &'a MetricSettings) -> Self {
        Self {
            settings,
            extras: Extras::default(),
            duration: Nanos::ZERO,
            last_due: Nanos::ZERO,
            spans: Vec::new(),
            service: LatencySamples::default(),
            response: LatencySamples::default(),
            own_times: Vec::new(),
            first_answer: None,
            counted_tokens: 0,
            counted_events: 0,
            output_tokens: 0,
            gap: Quantiles::new(&SPREAD),
            token_gap: Quantiles::new(&SPREAD),
            single_tokens: true,
            gap_width: Quantiles::new(&SPREAD),
            lag: Quantiles::new(&SPREAD),
            kernel_stamped: 0,
            coalesced: 0,
            good: 0,
            good_response: 0,
            rate: TokenRate::default(),
            tokens: TokenTotals::default(),
            lengths: Lengths::default(),
            reasoning: ReasoningSamples::default(),
            connecting: ConnectSamples::default(),
            targets: BTreeMap::new(),
            several_choices: 0,
            unseparated_events: 0,
            answers: AnswerNotes::default(),
        }
    }

    fn add_any(&mut self, record: &Record) {
        let extras = &mut self.extras;
        extras.issued += 1;
        extras.outcomes.add(record.outcome);
        extras.receive.events += record.events.len() as u64;
        extras.receive.bytes_sent += record.bytes_sent;
        extras.receive.bytes_received += record.bytes_received;
        self.duration = self.duration.max(last_instant(record));
        self.last_due = self.last_due.max(record.due);
        for event in &record.events {
            self.kernel_stamped += u64::from(event.kernel_stamped());
            self.coalesced += u64::from(event.coalesced());
        }
        self.unseparated_events += u64::from(record.unseparated_events);
        extras.not_sent += usize::from(record.is_not_sent());
        let target = self.targets.entry(record.target).or_default();
        target.row.target = record.target;
        target.row.requests += 1;
        let Some(send) = record.send_start else {
            return;
        };
        self.spans.push(Span {
            due: record.due,
            send,
            first: first_output(record, self.settings.kind).filter(|_| record.is_ok()),
            tokens: record.output_tokens,
            end: record.end.unwrap_or(Nanos::MAX),
            conversation: record.session.map(|(conversation, _)| conversation),
            opens: record.session.is_none_or(|(_, turn)| turn == 0),
        });
        add_connection(&mut extras.connections, &mut self.connecting, record);
    }

    fn add_good(&mut self, record: &Record) {
        let kind = self.settings.kind;
        let origin = start(record);
        self.service.add(record, kind, origin);
        self.response.add(record, kind, record.due);
        let target = self.targets.entry(record.target).or_default();
        target.row.completed += 1;
        target.row.output_tokens += u64::from(record.output_tokens);
        self.rate.add(record);
        self.output_tokens += u64::from(record.output_tokens);
        self.tokens.add(record, self.settings.prompt_tolerance);
        self.add_tokens(record);
        self.several_choices += usize::from(record.choices.is_some());
        self.answers.add(record);
        self.lengths.add(record);
        self.add_finish_reason(record);
        if let Some(reasoning) = record.marks.first_reasoning {
            let since = |at: Nanos| at.since(origin).as_secs_f64();
            self.reasoning.first_reasoning.push(since(reasoning));
            let answer = record.marks.first_answer;
            self.reasoning.first_answer.extend(answer.map(since));
        }
        self.add_own_time(record, origin);
        let times = Times::of(record, kind);
        self.add_goodput(record, &times);
        let latency = if times.has_ttft {
            times.ttft
        } else {
            times.latency
        };
        if self.first_answer.is_none_or(|(first, _)| origin < first) {
            self.first_answer = Some((origin, latency));
        }
        let slow = Slow {
            index: record.index,
            ttft_ms: times.ttft * 1000.0,
            e2el_ms: times.latency * 1000.0,
            output_tokens: record.output_tokens,
        };
        keep_slowest(&mut self.extras.slowest, slow);
    }

    fn add_finish_reason(&mut self, record: &Record) {
        let reason = record.finish_reason.as_deref().unwrap_or("none");
        // Nearly all records have a reason that is in the map already, and need no copy of it.
        if let Some(count) = self.extras.finish_reasons.get_mut(reason) {
            *count += 1;
        } else {
            self.extras.finish_reasons.insert(reason.into(), 1);
        }
    }

    /// How tokens are divided among events.
    fn add_tokens(&mut self, record: &Record) {
        let gaps = &mut self.extras.gaps;
        if !record.events.is_empty() {
            let visible = record.visible_output_tokens();
            gaps.answers += usize::from(visible > 1);
            gaps.one_piece_answers += usize::from(record.is_in_one_piece());
            if record.token_source != TokenSource::Events && !record.has_unknown_hidden_tokens() {
                self.counted_tokens += u64::from(visible);
                self.counted_events += record.events.len() as u64;
            }
        }
        // Most answers have the same number of tokens in all their events.
        for same in record.events.chunk_by(|a, b| a.tokens == b.tokens) {
            if same[0].tokens > 0 {
                let counts = &mut self.extras.gaps.tokens_per_event;
                *counts.entry(same[0].tokens).or_default() += same.len() as u64;
            }
        }
    }

    /// Writing the request, and the uncertainty of the first and of the last stamp.
    fn add_own_time(&mut self, record: &Record, origin: Nanos) {
        let writing = record.send_end.map_or(Nanos::ZERO, |end| end.since(origin));
        let mut widths = stamp_widths(record);
        let first = widths.next().unwrap_or_default();
        let last = widths.last().unwrap_or(first);
        self.own_times.push(OwnTime {
            send: origin,
            writing,
            first,
            last,
        });
    }

    fn add_goodput(&mut self, record: &Record, times: &Times) {
        let limits = &self.settings.goodput;
        if limits.is_empty() {
            return;
        }
        let kind = self.settings.kind;
        let tpot = times.tpot(record, self.settings);
        let (ttft, tpot) = times.judged(tpot, record, self.settings);
        self.good += usize::from(meets(limits, ttft, tpot, times.latency));
        let from_due = |at: Option<Nanos>| at.map(|at| at.since(record.due).as_secs_f64());
        let ttft = from_due(first_output(record, kind)).unwrap_or(ttft);
        let e2el = from_due(last_output(record, kind)).unwrap_or_default();
        self.good_response += usize::from(meets(limits, ttft, tpot, e2el));
    }

    fn add_spans(&mut self, pass: usize, record: &Record) {
        for event in &record.events {
            self.lag.add(Nanos(u64::from(event.lag_ns)), 1);
        }
        if !record.is_ok() || self.settings.kind == Kind::Pooling {
            return;
        }
        // What lies between the tokens of an answer in one piece is unknown, and not 0.
        if record.is_in_one_piece() {
            return;
        }
        for gap in record.gaps() {
            self.gap.add(gap, 1);
        }
        if pass == 0 || !self.single_tokens {
            for (gap, event) in record.gaps().zip(record.events.iter().skip(1)) {
                let tokens = u64::from(event.tokens);
                self.single_tokens &= tokens == 1;
                // Rounded to the nearest nanosecond; there is none without a token.
                if let Some(share) = (gap.0 + tokens / 2).checked_div(tokens) {
                    self.token_gap.add(Nanos(share), tokens);
                }
            }
        }
        if !record.events.iter().any(|event| event.coalesced()) {
            self.gap_width
                .add(Nanos::ZERO, record.events.len().saturating_sub(1) as u64);
            return;
        }
        let mut previous = None;
        for width in stamp_widths(record) {
            if let Some(previous) = previous {
                self.gap_width.add(width.max(previous), 1);
            }
            previous = Some(width);
        }
    }
}

impl Collector for ExtrasCollector<'_> {
    fn visit(&mut self, pass: usize, record: &Record) {
        match pass {
            0 => {
                self.add_any(record);
                if record.is_ok() {
                    self.add_good(record);
                }
            }
            // Only now is it known whether there are several targets, each with samples of its own.
            1 if record.is_ok() && self.targets.len() > 1 => {
                if let Some(target) = self.targets.get_mut(&record.target) {
                    target
                        .latencies
                        .add(record, self.settings.kind, start(record));
                }
            }
            _ => {}
        }
        self.add_spans(pass, record);
    }

    fn end_pass(&mut self, _pass: usize) {
        for quantiles in [
            &mut self.gap,
            &mut self.token_gap,
            &mut self.gap_width,
            &mut self.lag,
        ] {
            quantiles.end_pass();
        }
    }
}

fn add_connection(connections: &mut Connections, samples: &mut ConnectSamples, record: &Record) {
    let connection = &record.connection;
    connections.reconnects += u64::from(record.reconnects);
    if connection.reused {
        connections.reused += 1;
    } else {
        connections.opened += 1;
    }
    samples.dns.extend(connection.dns.map(Nanos::as_secs_f64));
    samples
        .connect
        .extend(connection.connect.map(Nanos::as_secs_f64));
    samples.tls.extend(connection.tls.map(Nanos::as_secs_f64));
}

/// Keeps the slowest in descending order; the earlier one comes first among equals.
fn keep_slowest(slowest: &mut Vec<Slow>, slow: Slow) {
    let place = slowest.partition_point(|kept| kept.e2el_ms >= slow.e2el_ms);
    if place < SLOWEST {
        slowest.insert(place, slow);
        slowest.truncate(SLOWEST);
    }
}
