//! Gathers [`Extras`] from the records.

use std::collections::BTreeMap;

use inferometer_core::{Nanos, Outcome, Record, Records};

use super::sweep::{self, Delay, Span};
use super::totals::{TokenRate, TokenTotals, stamp_widths};
use super::{
    Arrival, ClientShare, Concurrency, Connections, Extras, Floor, Goodput, Latencies, Note,
    Reasoning, Receive, SPREAD, Slow, Spread, Target, samples_needed,
};
use crate::passes::{Collector, run};
use crate::quantiles::Quantiles;
use crate::summarise::meets;
use crate::times::{Times, first_output, last_instant, last_output, start};
use crate::{Kind, MetricSettings};

/// Waiting for a slot for no longer than this is not counted as being held up by the cap.
const CAP_WAIT: Nanos = Nanos::from_millis(1);
/// Below this share of kernel stamps no bound on the client's share is given.
const KERNEL_SHARE: f64 = 0.999;
const SLOWEST: usize = 10;

/// What there is to say of a run besides vLLM's numbers, from its records alone.
///
/// The records are visited three times. Memory grows with the number of requests, not of events.
pub fn extras(records: &dyn Records, settings: &MetricSettings) -> Extras {
    let mut collector = ExtrasCollector::new(settings);
    run(records, &mut [&mut collector]);
    collector.finish()
}

/// Gathers [`Extras`] in three passes.
#[derive(Debug)]
pub(crate) struct ExtrasCollector<'a> {
    settings: &'a MetricSettings,
    extras: Extras,
    duration: Nanos,
    last_due: Nanos,
    spans: Vec<Span>,
    service: LatencySamples,
    response: LatencySamples,
    /// Own time of the client within each good answer's TTFT and E2EL, and the send that it belongs
    /// to.
    shares: Vec<(Nanos, Nanos, Nanos)>,
    gap: Quantiles,
    token_gap: Quantiles,
    /// True as long as every gap ends with an event of one token; then it is the gap per token as
    /// well.
    single_tokens: bool,
    gap_width: Quantiles,
    lag: Quantiles,
    kernel_stamped: u64,
    coalesced: u64,
    good: usize,
    good_response: usize,
    rate: TokenRate,
    tokens: TokenTotals,
    reasoning: [Vec<f64>; 2],
    spans_of_connecting: [Vec<f64>; 3],
    targets: BTreeMap<u16, TargetSamples>,
}

#[derive(Debug, Default)]
struct LatencySamples {
    ttft: Vec<f64>,
    first_content: Vec<f64>,
    e2el: Vec<f64>,
}

#[derive(Debug, Default)]
struct TargetSamples {
    row: Target,
    latencies: LatencySamples,
}

impl LatencySamples {
    fn add(&mut self, record: &Record, kind: Kind, origin: Nanos) {
        let since = |at: Option<Nanos>| at.map(|at| at.since(origin).as_secs_f64());
        self.ttft.extend(since(first_output(record, kind)));
        self.first_content.extend(since(record.marks.first_content));
        self.e2el.extend(since(last_output(record, kind)));
    }

    fn finish(&mut self) -> Latencies {
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
            shares: Vec::new(),
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
            reasoning: Default::default(),
            spans_of_connecting: Default::default(),
            targets: BTreeMap::new(),
        }
    }

    pub(crate) fn finish(mut self) -> Extras {
        // A request that was in flight when the run ended holds its slot until then.
        for span in &mut self.spans {
            span.end = span.end.min(self.duration);
        }
        let delays = sweep::delays(
            &mut self.spans,
            self.settings.cap,
            self.settings.most_conversations,
        );
        self.extras.service = self.service.finish();
        self.extras.response = self.is_scheduled().then(|| self.response.finish());
        self.extras.arrival = self.arrival(&delays);
        self.extras.receive = self.receive();
        self.extras.gaps.per_event_ms = Spread::of_quantiles(&self.gap);
        let per_token = if self.single_tokens {
            &self.gap
        } else {
            &self.token_gap
        };
        self.extras.gaps.per_token_ms = Spread::of_quantiles(per_token);
        self.extras.gaps.mean_tokens_per_event = mean_of_counts(&self.extras.gaps.tokens_per_event);
        self.extras.goodput = self.goodput();
        self.extras.peak_output_tokens_per_s = self.rate.peak();
        self.extras.concurrency = self.concurrency();
        self.extras.reasoning = self.reasoning();
        self.extras.client_share = self.client_share(&delays);
        self.extras.floors = self.floors();
        self.extras.notes = self.notes();
        let [dns, connect, tls] = &mut self.spans_of_connecting;
        self.extras.connections.dns_ms = Spread::of_seconds(dns);
        self.extras.connections.connect_ms = Spread::of_seconds(connect);
        self.extras.connections.tls_ms = Spread::of_seconds(tls);
        if self.targets.len() > 1 {
            self.extras.targets = std::mem::take(&mut self.targets)
                .into_values()
                .map(|mut samples| Target {
                    service: samples.latencies.finish(),
                    ..samples.row
                })
                .collect();
        }
        let (tokens, lengths) = self.tokens.finish();
        self.extras.tokens = tokens;
        self.extras.output_lengths = lengths;
        self.extras
    }

    /// False for a closed loop: there a request is sent when another one ends, not when it is due.
    fn is_scheduled(&self) -> bool {
        self.settings.finite_rate || !self.is_limited()
    }

    /// True when a request may have to wait for others to end.
    fn is_limited(&self) -> bool {
        self.settings.cap.is_some() || self.settings.most_conversations.is_some()
    }

    fn arrival(&self, delays: &[Delay]) -> Arrival {
        let scheduled = self.settings.finite_rate;
        let last_send = self
            .spans
            .last()
            .map_or(0.0, |span| span.send.as_secs_f64());
        let per_second =
            |n: usize, seconds: f64| (scheduled && seconds > 0.0).then(|| n as f64 / seconds);
        let mut lateness: Vec<f64> = self
            .spans
            .iter()
            .map(|span| span.send.since(span.due).as_secs_f64())
            .collect();
        let own = delays.iter().filter(|delay| scheduled || delay.followed);
        let mut own: Vec<f64> = own.map(|delay| delay.own.as_secs_f64()).collect();
        let waited = delays.iter().filter(|delay| delay.cap > CAP_WAIT).count();
        let capped = scheduled && self.is_limited();
        let last_due = self
            .spans
            .iter()
            .map(|span| span.due.as_secs_f64())
            .fold(0.0, f64::max);
        let rate_shortfall =
            (scheduled && last_send > 0.0).then(|| (1.0 - last_due / last_send).max(0.0));
        let duration = self.duration.as_secs_f64();
        let completed = self.extras.outcomes.get(Outcome::Ok) as f64;
        Arrival {
            sent: self.spans.len(),
            scheduled_rate: per_second(self.extras.issued, self.last_due.as_secs_f64()),
            offered_rate: per_second(self.spans.len(), last_send),
            rate_shortfall,
            achieved_rate: if duration > 0.0 {
                completed / duration
            } else {
                0.0
            },
            lateness_ms: if self.is_scheduled() {
                Spread::of_seconds(&mut lateness)
            } else {
                None
            },
            own_lateness_ms: Spread::of_seconds(&mut own),
            cap_bound_share: capped.then(|| share(waited as u64, delays.len() as u64)),
        }
    }

    fn receive(&self) -> Receive {
        let events = self.extras.receive.events;
        Receive {
            kernel_stamped_share: share(self.kernel_stamped, events),
            coalesced_share: share(self.coalesced, events),
            lag_ms: Spread::of_quantiles(&self.lag),
            ..self.extras.receive.clone()
        }
    }

    fn goodput(&self) -> Option<Goodput> {
        if self.settings.goodput.is_empty() {
            return None;
        }
        let outcomes = &self.extras.outcomes;
        let left_out = outcomes.get(Outcome::Cancelled) + outcomes.get(Outcome::Unfinished);
        let counted = outcomes.total() - left_out;
        let duration = self.duration.as_secs_f64();
        let attained = |good: usize| share(good as u64, counted as u64);
        Some(Goodput {
            counted,
            good: self.good,
            attainment: attained(self.good),
            per_s: if duration > 0.0 {
                self.good as f64 / duration
            } else {
                0.0
            },
            response_attainment: self.is_scheduled().then(|| attained(self.good_response)),
        })
    }

    fn concurrency(&self) -> Concurrency {
        let window = self.last_due.min(self.duration);
        Concurrency {
            max: sweep::most_in_flight(&self.spans),
            mean: sweep::mean_in_flight(&self.spans, self.duration),
            in_system_by_quarter: self
                .settings
                .finite_rate
                .then(|| sweep::in_system_by_quarter(&self.spans, window)),
        }
    }

    fn reasoning(&mut self) -> Option<Reasoning> {
        let [reasoning, answer] = &mut self.reasoning;
        let requests = reasoning.len();
        (requests > 0).then(|| Reasoning {
            requests,
            first_reasoning_ms: Spread::of_seconds(reasoning),
            first_answer_ms: Spread::of_seconds(answer),
        })
    }

    fn client_share(&mut self, delays: &[Delay]) -> Vec<ClientShare> {
        let receive = &self.extras.receive;
        let bounded = receive.events == 0 || receive.kernel_stamped_share >= KERNEL_SHARE;
        let p99 = |values: &mut [f64]| Spread::of_seconds(values).map(|spread| spread.p99);
        // The spans are in order of their sends by now, and the delays with them.
        let own = |send: &Nanos| {
            let place = self.spans.partition_point(|span| span.send < *send);
            delays.get(place).map_or(Nanos::ZERO, |delay| delay.own)
        };
        let of = |part: &dyn Fn(&(Nanos, Nanos, Nanos)) -> Nanos| {
            let mut values: Vec<f64> = self
                .shares
                .iter()
                .map(|share| part(share).as_secs_f64())
                .collect();
            p99(&mut values)
        };
        let service = &self.extras.service;
        let response = self.extras.response.as_ref();
        let rows = [
            ("ttft", service.ttft_ms, of(&|share| share.1)),
            (
                "itl",
                self.extras.gaps.per_event_ms,
                Spread::of_quantiles(&self.gap_width).map(|spread| spread.p99),
            ),
            ("e2el", service.e2el_ms, of(&|share| share.2)),
            (
                "response_ttft",
                response.and_then(|r| r.ttft_ms),
                of(&|share| share.1 + own(&share.0)),
            ),
            (
                "response_e2el",
                response.and_then(|r| r.e2el_ms),
                of(&|share| share.2 + own(&share.0)),
            ),
        ];
        rows.into_iter()
            .filter_map(|(metric, spread, bound)| {
                let bound_ms = if bounded { bound } else { None };
                spread.map(|spread| ClientShare {
                    metric: metric.into(),
                    p99_ms: spread.p99,
                    bound_ms,
                })
            })
            .collect()
    }

    fn floors(&self) -> Vec<Floor> {
        let have = self.extras.outcomes.get(Outcome::Ok);
        let floor = |&percentile: &f64| {
            samples_needed(percentile).map(|needed| Floor {
                percentile,
                needed,
                have,
            })
        };
        self.settings.percentiles.iter().filter_map(floor).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let few = self
            .extras
            .floors
            .iter()
            .filter(|floor| !floor.is_met())
            .map(|floor| Note {
                code: "few_samples".into(),
                message: format!(
                    "p{} rests on {} requests; it takes {} to tell it with 99 % confidence",
                    floor.percentile, floor.have, floor.needed
                ),
            });
        let receive = &self.extras.receive;
        let user_stamps = (receive.events > 0 && receive.kernel_stamped_share < KERNEL_SHARE).then(|| Note {
            code: "user_space_stamps".into(),
            message: format!(
                "{:.1} % of the events carry the kernel's receive stamp; the others were stamped by the process, \
                 so that its own delays are part of the latencies",
                receive.kernel_stamped_share * 100.0
            ),
        });
        let closed = (!self.is_scheduled()).then(|| Note {
            code: "closed_loop".into(),
            message:
                "requests were sent as slots became free, so that a slow server was asked less; \
                      latency from a due instant does not exist here"
                    .into(),
        });
        few.chain(user_stamps).chain(closed).collect()
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
        self.rate.add(record);
        let target = self.targets.entry(record.target).or_default();
        target.row.target = record.target;
        target.row.requests += 1;
        let Some(send) = record.send_start else {
            return;
        };
        self.spans.push(Span {
            due: record.due,
            send,
            end: record.end.unwrap_or(Nanos::MAX),
            talk: record.session.map(|(talk, _)| talk),
            opens: record.session.is_none_or(|(_, turn)| turn == 0),
        });
        add_connection(
            &mut extras.connections,
            &mut self.spans_of_connecting,
            record,
        );
    }

    fn add_good(&mut self, record: &Record) {
        let kind = self.settings.kind;
        let origin = start(record);
        self.service.add(record, kind, origin);
        self.response.add(record, kind, record.due);
        let target = self.targets.entry(record.target).or_default();
        target.row.completed += 1;
        target.row.output_tokens += u64::from(record.output_tokens);
        self.tokens.add(record);
        let finish = record.finish_reason.as_deref().unwrap_or("none");
        // Look first: nearly all records name a reason that is known already.
        if let Some(count) = self.extras.finish_reasons.get_mut(finish) {
            *count += 1;
        } else {
            self.extras.finish_reasons.insert(finish.into(), 1);
        }
        if let Some(reasoning) = record.marks.first_reasoning {
            self.reasoning[0].push(reasoning.since(origin).as_secs_f64());
            self.reasoning[1].extend(
                record
                    .marks
                    .first_answer
                    .map(|at| at.since(origin).as_secs_f64()),
            );
        }
        // Most answers carry the same number of tokens in all their events.
        for same in record.events.chunk_by(|a, b| a.tokens == b.tokens) {
            if same[0].tokens > 0 {
                *self
                    .extras
                    .gaps
                    .tokens_per_event
                    .entry(same[0].tokens)
                    .or_default() += same.len() as u64;
            }
        }
        let writing = record.send_end.map_or(Nanos::ZERO, |end| end.since(origin));
        let mut widths = stamp_widths(record);
        let first = widths.next().unwrap_or_default();
        let last = widths.last().unwrap_or(first);
        self.shares.push((origin, writing + first, writing + last));
        let times = Times::of(record, kind);
        let tpot = times.tpot(record.output_tokens);
        self.good += usize::from(meets(
            &self.settings.goodput,
            times.ttft,
            tpot,
            times.latency,
        ));
        let from_due = |at: Option<Nanos>| at.map_or(0.0, |at| at.since(record.due).as_secs_f64());
        let (ttft, e2el) = (
            from_due(first_output(record, kind)),
            from_due(last_output(record, kind)),
        );
        self.good_response += usize::from(meets(&self.settings.goodput, ttft, tpot, e2el));
        let slow = Slow {
            index: record.index,
            ttft_ms: times.ttft * 1000.0,
            e2el_ms: times.latency * 1000.0,
            output_tokens: record.output_tokens,
        };
        keep_slowest(&mut self.extras.slowest, slow);
    }

    fn add_spans(&mut self, pass: usize, record: &Record) {
        for event in &record.events {
            self.lag.add(Nanos(u64::from(event.lag_ns)), 1);
        }
        if !record.is_ok() || self.settings.kind == Kind::Pooling {
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

fn add_connection(connections: &mut Connections, spans: &mut [Vec<f64>; 3], record: &Record) {
    let connection = &record.connection;
    connections.reconnects += u64::from(record.reconnects);
    if connection.reused {
        connections.reused += 1;
    } else {
        connections.opened += 1;
    }
    let parts = [connection.dns, connection.connect, connection.tls];
    for (samples, part) in spans.iter_mut().zip(parts) {
        samples.extend(part.map(Nanos::as_secs_f64));
    }
}

/// Keeps the slowest in descending order; the earlier one comes first among equals.
fn keep_slowest(slowest: &mut Vec<Slow>, slow: Slow) {
    let place = slowest.partition_point(|kept| kept.e2el_ms >= slow.e2el_ms);
    if place < SLOWEST {
        slowest.insert(place, slow);
        slowest.truncate(SLOWEST);
    }
}

fn mean_of_counts(counts: &BTreeMap<u16, u64>) -> Option<f64> {
    let events: u64 = counts.values().sum();
    let tokens: u64 = counts
        .iter()
        .map(|(&tokens, &events)| u64::from(tokens) * events)
        .sum();
    (events > 0).then(|| tokens as f64 / events as f64)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
