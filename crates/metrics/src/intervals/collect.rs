//! Gathers what intervals need from the records.

use inferometer_core::{Nanos, Record};

use super::batches::{
    self, Division, MOST, Samples, Weighted, around, section, smaller_part, t_quantile,
};
use super::independent;
use super::rates::{LoadFacts, Rates};
use super::sent::Sent;
use super::{Found, IntervalUnit, Intervals, MetricInterval, Refusal, Scope};
use crate::estimate::CONFIDENCE;
use crate::extras::Latencies;
use crate::numpy::Position;
use crate::passes::Collector;
use crate::quantiles::{coarse_bucket, coarse_range};
use crate::{Extras, Kind, Metric, MetricSettings, MetricStats, Spread, Summary};

/// Milliseconds per second.
const MS: f64 = 1000.0;

/// Gathers [`Intervals`] in two passes. Memory grows with the number of requests, not of events.
#[derive(Debug)]
pub(crate) struct IntervalCollector<'a> {
    settings: &'a MetricSettings,
    /// In order of the visits, then in that of the sends.
    sent: Vec<Sent>,
    /// For each successful request in order of the visits, the batch that its gaps belong to.
    batch_of: Vec<u8>,
    /// Position in `batch_of` during the second pass.
    visited: usize,
    gaps: Vec<Histogram>,
}

impl Collector for IntervalCollector<'_> {
    fn visit(&mut self, pass: usize, record: &Record) {
        match pass {
            0 => self.sent.extend(Sent::of(record, self.settings)),
            1 if record.send_start.is_some() && !self.gaps.is_empty() => {
                let batch = self.batch_of[self.visited];
                self.visited += 1;
                if let Some(batch) = self.gaps.get_mut(usize::from(batch)) {
                    record.gaps().for_each(|gap| batch.add(gap));
                }
            }
            _ => {}
        }
    }

    fn end_pass(&mut self, pass: usize) {
        match pass {
            0 => self.assign_batches(),
            1 => self.sent.sort_by_key(|one| one.send),
            _ => {}
        }
    }
}

impl<'a> IntervalCollector<'a> {
    pub(crate) fn new(settings: &'a MetricSettings) -> Self {
        Self {
            settings,
            sent: Vec::new(),
            batch_of: Vec::new(),
            visited: 0,
            gaps: Vec::new(),
        }
    }

    /// Divides the requests with gaps into [`MOST`] batches in order of their sends.
    fn assign_batches(&mut self) {
        let mut order: Vec<usize> = (0..self.sent.len())
            .filter(|&index| self.sent[index].gaps > 0)
            .collect();
        let enough = Division { in_flight: 0.0 }.by_number(order.len(), None);
        if enough.is_err() || self.refused_by_load().is_some() {
            return;
        }
        order.sort_by_key(|&index| self.sent[index].send);
        self.batch_of = vec![u8::MAX; self.sent.len()];
        for (batch, part) in batches::parts(&order, MOST).enumerate() {
            for &index in part {
                self.batch_of[index] = batch as u8;
            }
        }
        self.gaps = vec![Histogram::default(); MOST];
    }

    pub(crate) fn finish(self, summary: &Summary, extras: &Extras) -> Intervals {
        let division = Division {
            in_flight: extras.concurrency.mean,
        };
        let writer = Writer {
            run: &self,
            division,
            refused: self.refusal(extras),
            metrics: Vec::new(),
        };
        Intervals {
            confidence: CONFIDENCE,
            scope: Scope::default(),
            metrics: writer.write(summary, extras),
        }
    }

    /// Why no number of the run has an interval.
    fn refusal(&self, extras: &Extras) -> Option<Refusal> {
        let falls_behind = || {
            let backlog = extras.concurrency.backlog.as_ref();
            backlog.and_then(crate::Backlog::falls_behind)
        };
        self.refused_by_load()
            .or_else(|| falls_behind().map(|_| Refusal::BacklogGrows))
    }

    /// Why no number of a run with this load has one.
    fn refused_by_load(&self) -> Option<Refusal> {
        if self.settings.ramp {
            Some(Refusal::Ramp)
        } else if !self.settings.finite_rate && self.slots().is_none() {
            Some(Refusal::OneBurst)
        } else {
            None
        }
    }

    /// Requests that may be in flight at once.
    fn slots(&self) -> Option<usize> {
        let limits = [self.settings.cap, self.settings.max_conversations];
        limits.into_iter().flatten().min()
    }
}

/// Writes the entries one after the other.
struct Writer<'a> {
    run: &'a IntervalCollector<'a>,
    division: Division,
    refused: Option<Refusal>,
    metrics: Vec<MetricInterval>,
}

impl Writer<'_> {
    fn write(mut self, summary: &Summary, extras: &Extras) -> Vec<MetricInterval> {
        if summary.completed == 0 {
            return Vec::new();
        }
        self.rates(summary, extras);
        for stats in &summary.stats {
            if stats.samples == 0 {
                continue;
            }
            if stats.metric == Metric::Itl {
                self.gaps(stats);
            } else {
                self.latency(stats);
            }
        }
        if let Some(response) = &extras.response {
            self.response(response);
        }
        self.metrics
    }

    fn push(
        &mut self,
        metric: String,
        unit: IntervalUnit,
        value: f64,
        requests: usize,
        found: Found,
    ) {
        self.metrics.push(MetricInterval {
            metric,
            unit,
            value,
            requests,
            bounds: found.ok(),
            refused: found.err(),
            if_independent: None,
        });
    }

    /// An interval, which is not computed where the whole run is refused.
    fn unless_refused(&self, found: impl FnOnce() -> Found) -> Found {
        self.refused.map_or_else(found, Err)
    }

    fn rates(&mut self, summary: &Summary, extras: &Extras) {
        let run = self.run;
        let facts = LoadFacts {
            cap: run.slots(),
            finite_rate: run.settings.finite_rate,
            cap_bound: extras.arrival.cap_bound_share,
            duration_s: summary.duration_s,
        };
        let rates = match self.refused {
            None => Ok(Rates::of(&run.sent, facts, self.division)),
            Some(why) => Err(why),
        };
        let rates = rates.as_ref().map_err(|why| *why);
        let n = run.sent.len();
        let value = summary.request_throughput;
        let found = rates.and_then(|rates| rates.of_kind(value, |one| one.ok));
        let unit = IntervalUnit::RequestsPerSecond;
        self.push("request_throughput".to_owned(), unit, value, n, found);
        if let Some(value) = summary.request_goodput {
            let found = rates.and_then(|rates| rates.of_kind(value, |one| one.good));
            self.push("request_goodput".to_owned(), unit, value, n, found);
        }
        if summary.kind == Kind::Generation && summary.total_output_tokens > 0 {
            let value = summary.output_throughput;
            let found = rates.and_then(|rates| rates.interval(value, |one| f64::from(one.tokens)));
            let unit = IntervalUnit::TokensPerSecond;
            self.push("output_throughput".to_owned(), unit, value, n, found);
        }
    }

    /// Mean, median and percentiles of a latency.
    fn latency(&mut self, stats: &MetricStats) {
        let samples = samples(&self.run.sent, |one| one.latency(stats.metric));
        let name = stats.metric.key();
        self.mean(format!("mean_{name}_ms"), stats.mean_ms, &samples);
        for Asked { key, p, value } in asked(stats) {
            self.percentile(format!("{key}_{name}_ms"), p, value, &samples);
        }
    }

    /// Those of the latencies from the due instant.
    fn response(&mut self, response: &Latencies) {
        let (sent, write) = (
            &self.run.sent,
            [("ttft_ms", response.ttft_ms), ("e2el_ms", response.e2el_ms)],
        );
        for (name, spread) in write {
            let Some(Spread {
                mean,
                p50,
                p90,
                p99,
                ..
            }) = spread
            else {
                continue;
            };
            let samples = if name == "ttft_ms" {
                samples(sent, |one| one.ttft + one.wait)
            } else {
                samples(sent, |one| one.e2el + one.wait)
            };
            self.mean(format!("response.{name}.mean"), mean, &samples);
            for (p, value) in [(50.0, p50), (90.0, p90), (99.0, p99)] {
                self.percentile(format!("response.{name}.p{p}"), p, value, &samples);
            }
        }
    }

    fn mean(&mut self, metric: String, value: f64, samples: &Samples) {
        let found =
            self.unless_refused(|| batches::mean(value, &samples.weighted(), self.division));
        let n = samples.in_order.len();
        self.push(metric, IntervalUnit::Milliseconds, value, n, found);
    }

    fn percentile(&mut self, metric: String, p: f64, value: f64, samples: &Samples) {
        let found = self.unless_refused(|| batches::percentile(value, p, samples, self.division));
        let unit = IntervalUnit::Milliseconds;
        self.push(metric, unit, value, samples.in_order.len(), found);
        if let Some(last) = self.metrics.last_mut() {
            last.if_independent = independent::bounds(p, &samples.sorted, MS);
        }
    }

    /// Mean, median and percentiles of the pooled gaps, whose batches are histograms.
    fn gaps(&mut self, stats: &MetricStats) {
        let unit = IntervalUnit::Milliseconds;
        let with_gaps = self.run.sent.iter().filter(|one| one.gaps > 0);
        let samples: Vec<Weighted> = with_gaps
            .map(|one| Weighted {
                sum: one.gaps_ns as f64,
                count: f64::from(one.gaps),
            })
            .collect();
        let n = samples.len();
        let found = self.unless_refused(|| batches::mean(stats.mean_ms, &samples, self.division));
        let means: Vec<f64> = samples.iter().map(|one| one.sum / one.count).collect();
        let above = batches::above_median(&means);
        self.push("mean_itl_ms".to_owned(), unit, stats.mean_ms, n, found);
        for Asked { key, p, value } in asked(stats) {
            let found = self.unless_refused(|| self.gap_percentile(p, value, &above));
            self.push(format!("{key}_itl_ms"), unit, value, n, found);
        }
    }

    fn gap_percentile(&self, p: f64, value_ms: f64, above: &[bool]) -> Found {
        let tail = smaller_part(p).ok_or(Refusal::Extreme)?;
        // Requests, not gaps, so that no batch rests on the gaps of a few slow answers.
        let batches = self.division.batches(Some(tail), above)?;
        let joined = MOST / batches;
        let of_batches: Vec<f64> = self
            .run
            .gaps
            .chunks(joined)
            .map(|parts| Histogram::joined(parts).percentile(p))
            .collect();
        let error = section(value_ms / MS, &of_batches)?;
        let half = t_quantile(batches) * error;
        Ok(around(value_ms, half, batches, None))
    }
}

/// A percentile that the summary has.
struct Asked {
    /// Its prefix in vLLM's keys.
    key: String,
    p: f64,
    value: f64,
}

fn asked(stats: &MetricStats) -> impl Iterator<Item = Asked> {
    let median = Asked {
        key: "median".to_owned(),
        p: 50.0,
        value: stats.median_ms,
    };
    let others = stats.percentiles.iter().map(|&(p, value)| Asked {
        key: format!("p{p}"),
        p,
        value,
    });
    std::iter::once(median).chain(others)
}

/// One latency of the requests that have it.
fn samples(sent: &[Sent], latency: impl Fn(&Sent) -> f64) -> Samples {
    let all = sent.iter().map(latency);
    Samples::of(all.filter(|value| value.is_finite()).collect())
}

/// Gaps of a batch by size, in steps of 0.02 %: fine against the spread between batches.
#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    fn add(&mut self, gap: Nanos) {
        let bucket = coarse_bucket(gap.0.min(crate::quantiles::LARGEST));
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    fn joined(parts: &[Self]) -> Self {
        let mut joined = Self::default();
        for part in parts {
            let len = joined.counts.len().max(part.counts.len());
            joined.counts.resize(len, 0);
            for (sum, count) in joined.counts.iter_mut().zip(&part.counts) {
                *sum += count;
            }
        }
        joined
    }

    /// A percentile in seconds: within a bucket, gaps count as evenly spread.
    fn percentile(&self, p: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return 0.0;
        }
        let position = Position::of(p, total as usize);
        let at = |rank: usize| {
            let mut before = 0;
            for (bucket, &held) in self.counts.iter().enumerate() {
                if (rank as u64) < before + held {
                    let (start, shift) = coarse_range(bucket);
                    let part = (rank as u64 - before) as f64 / held as f64;
                    return (start as f64 + part * (1_u64 << shift) as f64) / 1e9;
                }
                before += held;
            }
            0.0
        };
        position.between(at(position.lower), at(position.upper))
    }
}
