//! From records to vLLM's numbers.

use std::collections::BTreeMap;

use inferometer_core::{Nanos, Record, Records};

use crate::numpy::{self, StreamingSum};
use crate::passes::{Collector, run};
use crate::quantiles::Quantiles;
use crate::times::{Times, counts_gaps, gaps_seconds, last_instant};
use crate::{Kind, Metric, MetricSettings, MetricStats, Slo, Summary};

/// The numbers of a run under vLLM's definitions, from its records alone.
///
/// Visits the records three times. Memory grows with the number of requests, not of events.
pub fn summarise(records: &dyn Records, settings: &MetricSettings) -> Summary {
    let mut collector = SummaryCollector::new(settings);
    run(records, &mut [&mut collector]);
    collector.finish()
}

/// Gathers a [`Summary`] in three passes.
#[derive(Debug)]
pub(crate) struct SummaryCollector<'a> {
    settings: &'a MetricSettings,
    summary: Summary,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    e2el: Vec<f64>,
    queue: Vec<f64>,
    e2el_and_queue: Vec<f64>,
    itl: Gaps,
    good: usize,
    audio_seconds: f64,
    first_start: f64,
    last_end: f64,
    seconds: SecondBuckets,
}

/// The pooled gaps between token events.
#[derive(Debug)]
struct Gaps {
    quantiles: Quantiles,
    sum: StreamingSum,
    mean: f64,
    squares: StreamingSum,
}

/// Counts per whole second since the first send, as vLLM keeps them.
#[derive(Debug, Default)]
struct SecondBuckets {
    events: BTreeMap<u64, u64>,
    /// Change of the number of active requests at the start of each second.
    active: BTreeMap<u64, i64>,
}

impl<'a> SummaryCollector<'a> {
    pub(crate) fn new(settings: &'a MetricSettings) -> Self {
        Self {
            settings,
            summary: Summary {
                kind: settings.kind,
                ..Summary::default()
            },
            ttft: Vec::new(),
            tpot: Vec::new(),
            e2el: Vec::new(),
            queue: Vec::new(),
            e2el_and_queue: Vec::new(),
            itl: Gaps {
                quantiles: Quantiles::new(&settings.percentiles),
                sum: StreamingSum::new(0),
                mean: 0.0,
                squares: StreamingSum::new(0),
            },
            good: 0,
            audio_seconds: 0.0,
            first_start: f64::INFINITY,
            last_end: f64::NEG_INFINITY,
            seconds: SecondBuckets::default(),
        }
    }

    pub(crate) fn finish(mut self) -> Summary {
        let summary = &mut self.summary;
        let per_second = |amount: f64| {
            if summary.duration_s > 0.0 {
                amount / summary.duration_s
            } else {
                0.0
            }
        };
        let input = summary.total_input_tokens as f64;
        let output = summary.total_output_tokens as f64;
        summary.request_throughput = per_second(summary.completed as f64);
        summary.request_goodput =
            (!self.settings.goodput.is_empty()).then(|| per_second(self.good as f64));
        summary.output_throughput = per_second(output);
        summary.total_token_throughput = match summary.kind {
            Kind::Generation => per_second(input + output),
            Kind::Pooling => per_second(input),
        };
        summary.input_sequence_throughput = per_second(summary.total_input_sequences as f64);
        summary.rtfx = per_second(self.audio_seconds);
        if summary.kind == Kind::Generation {
            summary.max_output_tokens_per_s = self.seconds.most_events() as f64;
            summary.max_concurrent_requests = self.seconds.max_active();
        }
        let shown = |metric: &Metric| self.settings.shows(*metric);
        summary.stats = Metric::ALL
            .into_iter()
            .filter(shown)
            .map(|metric| {
                let values = match metric {
                    Metric::Itl => return self.itl.stats(&self.settings.percentiles),
                    Metric::Ttft => &mut self.ttft,
                    Metric::Tpot => &mut self.tpot,
                    Metric::E2el => &mut self.e2el,
                    Metric::ClientQueueTime => &mut self.queue,
                    Metric::E2elIncludingClientQueue => &mut self.e2el_and_queue,
                };
                stats(metric, values, &self.settings.percentiles)
            })
            .collect();
        self.summary
    }

    fn first_pass(&mut self, record: &Record) {
        let summary = &mut self.summary;
        summary.duration_s = summary.duration_s.max(last_instant(record).as_secs_f64());
        if !record.is_ok() {
            if record.is_not_sent() {
                summary.not_sent += 1;
            } else {
                summary.failed += 1;
            }
            return;
        }
        summary.completed += 1;
        summary.total_input_tokens += u64::from(record.input_tokens());
        summary.total_output_tokens += u64::from(record.output_tokens);
        summary.total_input_sequences += u64::from(record.sequences);
        self.audio_seconds += record.audio_seconds;
        let times = Times::of(record, summary.kind);
        let tpot = times.tpot(record, self.settings);
        self.ttft.extend(times.has_ttft.then_some(times.ttft));
        self.tpot.extend(tpot);
        self.e2el.push(times.latency);
        if self.settings.cap.is_some() {
            self.queue.push(times.queue);
            self.e2el_and_queue.push(times.latency + times.queue);
        }
        let (ttft, tpot) = times.judged(tpot, record, self.settings);
        self.good += usize::from(meets(&self.settings.goodput, ttft, tpot, times.latency));
        self.first_start = self.first_start.min(times.start);
        self.last_end = self.last_end.max(times.start + times.latency);
        if summary.kind == Kind::Generation {
            self.gaps(record)
                .for_each(|gap| self.itl.quantiles.add(gap, 1));
        }
    }

    /// The gaps that count: those within an answer in one piece are unknown, and 0 with vLLM.
    fn gaps<'r>(&self, record: &'r Record) -> impl Iterator<Item = Nanos> + use<'r> {
        let counts = counts_gaps(record, self.settings);
        record.gaps().filter(move |_| counts)
    }

    fn second_pass(&mut self, record: &Record) {
        for gap in self.gaps(record) {
            self.itl.quantiles.add(gap, 1);
            self.itl.sum.add(gap.as_secs_f64());
        }
        let times = Times::of(record, self.summary.kind);
        let range = self.last_end - self.first_start;
        self.seconds
            .add(record, &times, self.first_start, range.ceil() as u64 + 1);
    }

    fn third_pass(&mut self, record: &Record) {
        for gap in self.gaps(record) {
            self.itl.quantiles.add(gap, 1);
            self.itl
                .squares
                .add(numpy::square(gap.as_secs_f64() - self.itl.mean));
        }
    }
}

impl Collector for SummaryCollector<'_> {
    fn visit(&mut self, pass: usize, record: &Record) {
        match pass {
            0 => self.first_pass(record),
            _ if !record.is_ok() || self.summary.kind == Kind::Pooling => {}
            1 => self.second_pass(record),
            _ => self.third_pass(record),
        }
    }

    fn end_pass(&mut self, pass: usize) {
        self.itl.quantiles.end_pass();
        let n = self.itl.quantiles.count() as usize;
        match pass {
            0 => self.itl.sum = StreamingSum::new(n),
            1 => {
                self.itl.mean = if n == 0 {
                    0.0
                } else {
                    self.itl.sum.total() / n as f64
                };
                self.itl.squares = StreamingSum::new(n);
            }
            _ => {}
        }
    }
}

impl Gaps {
    fn stats(&self, percentiles: &[f64]) -> MetricStats {
        let n = self.quantiles.count() as usize;
        let std = if n == 0 {
            0.0
        } else {
            (self.squares.total() / n as f64).sqrt()
        };
        MetricStats {
            metric: Metric::Itl,
            samples: n,
            mean_ms: self.mean * 1000.0,
            median_ms: self.quantiles.median() * 1000.0,
            std_ms: std * 1000.0,
            percentiles: percentiles
                .iter()
                .map(|&p| (p, self.quantiles.percentile(p) * 1000.0))
                .collect(),
        }
    }
}

impl SecondBuckets {
    /// Counts each event of a request at send + TTFT + sum of gaps, and the request in each second
    /// that it touches. This is vLLM's rule: the first number counts events, not tokens, and the
    /// second can exceed the cap. [`Extras`](crate::Extras) has the exact counterparts.
    fn add(&mut self, record: &Record, times: &Times, first_start: f64, buckets: u64) {
        let mut at = times.start + times.ttft;
        // Successive events mostly share a second, so the map is touched about once per second and
        // request.
        let mut run = (second(at, first_start), 1);
        for gap in gaps_seconds(record) {
            at += gap;
            let bucket = second(at, first_start);
            if bucket == run.0 {
                run.1 += 1;
            } else {
                self.add_events(run, buckets);
                run = (bucket, 1);
            }
        }
        if times.has_ttft {
            self.add_events(run, buckets);
        }
        *self
            .active
            .entry(second(times.start, first_start))
            .or_default() += 1;
        *self
            .active
            .entry(second(times.start + times.latency, first_start) + 1)
            .or_default() -= 1;
    }

    fn add_events(&mut self, (bucket, events): (u64, u64), buckets: u64) {
        if bucket < buckets {
            *self.events.entry(bucket).or_default() += events;
        }
    }

    fn most_events(&self) -> u64 {
        self.events.values().copied().max().unwrap_or_default()
    }

    fn max_active(&self) -> usize {
        let running = self.active.values().scan(0, |active, change| {
            *active += change;
            Some(*active)
        });
        running.max().unwrap_or(0_i64) as usize
    }
}

fn second(at: f64, origin: f64) -> u64 {
    (at - origin) as u64
}

/// True when a request is within every limit; the comparison is vLLM's.
pub(crate) fn meets(limits: &[(Slo, f64)], ttft: f64, tpot: f64, e2el: f64) -> bool {
    limits.iter().all(|&(slo, limit_ms)| {
        let value = match slo {
            Slo::Ttft => ttft,
            Slo::Tpot => tpot,
            Slo::E2el => e2el,
        };
        limit_ms / 1000.0 >= value
    })
}

fn stats(metric: Metric, values: &mut [f64], percentiles: &[f64]) -> MetricStats {
    // Mean and deviation before sorting: the order of the additions is part of NumPy's result.
    let (mean, std) = (numpy::mean(values), numpy::std(values));
    numpy::sort(values);
    MetricStats {
        metric,
        samples: values.len(),
        mean_ms: mean * 1000.0,
        median_ms: numpy::median(values) * 1000.0,
        std_ms: std * 1000.0,
        percentiles: percentiles
            .iter()
            .map(|&p| (p, numpy::percentile(values, p) * 1000.0))
            .collect(),
    }
}
