//! Distributions of latencies under one load, and how far two of them differ.

use inferometer_core::{Record, Schedule};
use inferometer_metrics::numpy;
use inferometer_sim::engine::{ClusterConfig, Content, EngineConfig, EngineRequest};

use super::load::MeasuredLoad;
use crate::error::EngineError;
use crate::simulate::{VirtualRequest, VirtualRun, simulate};

/// Quantiles at which distributions are compared.
const QUANTILES: [f64; 6] = [10.0, 25.0, 50.0, 75.0, 90.0, 99.0];
/// Differences of logarithms beyond this (a factor of 1.65) count linearly instead of squared, so
/// that a disturbed load does not decide alone.
const HUBER_LIMIT: f64 = 0.5;
/// Relative error that every quantile may have, however many samples it has: the model is simpler than an
/// engine, so that a difference of a few per cent says nothing. Chosen, not measured.
const MODEL_ERROR: f64 = 0.03;
/// Shortest time that is distinguished, in seconds: nothing on a network is faster. It keeps
/// logarithms finite.
pub(super) const MIN_SECONDS: f64 = 1e-6;

/// Sorted values under one load, in seconds.
pub(super) struct Distributions {
    ttft: Vec<f64>,
    itl: Vec<f64>,
    e2el: Vec<f64>,
}

impl Distributions {
    pub(super) fn measured(load: &MeasuredLoad) -> Self {
        let requests = &load.requests;
        Self::sorted(
            requests.iter().map(|request| request.ttft).collect(),
            requests
                .iter()
                .flat_map(|request| request.gaps.iter().copied())
                .collect(),
            requests.iter().map(|request| request.e2el).collect(),
        )
    }

    pub(super) fn predicted(
        load: &MeasuredLoad,
        engine: &EngineConfig,
    ) -> Result<Self, EngineError> {
        let requests = load.requests.iter().enumerate().map(|(index, request)| {
            let mut engine = EngineRequest::new(
                index as u64,
                Content::Unshared(request.input.max(1)),
                request.output.max(1),
            );
            engine.transferred_tokens = request.cached;
            VirtualRequest {
                engine,
                facts: Record::default(),
                cancel_after: None,
                think: None,
            }
        });
        let input = VirtualRun {
            requests: requests.collect(),
            schedule: Schedule::new(load.requests.iter().map(|request| request.at).collect())
                .unwrap_or_else(|_backwards| Schedule::at_once(load.requests.len())),
            max_concurrency: load.max_concurrency,
            max_conversations: None,
            cluster: ClusterConfig {
                engine: engine.clone(),
                ..ClusterConfig::default()
            },
            seed: 0,
        };
        let (finished, _) = simulate(input)?;
        let (mut ttft, mut itl, mut e2el) = (Vec::new(), Vec::new(), Vec::new());
        for record in &finished.records {
            let (Some(sent), Some(first), Some(last)) =
                (record.send_start, record.first_token(), record.last_token())
            else {
                continue;
            };
            ttft.push(first.since(sent).as_secs_f64());
            e2el.push(last.since(sent).as_secs_f64());
            itl.extend(
                record
                    .events
                    .windows(2)
                    .map(|pair| pair[1].at.since(pair[0].at).as_secs_f64()),
            );
        }
        Ok(Self::sorted(ttft, itl, e2el))
    }

    fn sorted(mut ttft: Vec<f64>, mut itl: Vec<f64>, mut e2el: Vec<f64>) -> Self {
        for values in [&mut ttft, &mut itl, &mut e2el] {
            numpy::sort(values);
        }
        Self { ttft, itl, e2el }
    }

    pub(super) fn all(&self) -> [(&'static str, &[f64]); 3] {
        [
            ("TTFT", &self.ttft),
            ("ITL", &self.itl),
            ("E2EL", &self.e2el),
        ]
    }

    /// Mean squared difference of the logarithms of means and quantiles from those of `measured`, bounded
    /// as Huber proposes. Each is weighted by what the measurement's own spread lets it say: the tail of a
    /// few requests, or of a disturbed load, counts less than its middle.
    pub(super) fn distance(&self, measured: &Self) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        // The gaps of a request are not independent of one another.
        let samples = measured.ttft.len().max(1) as f64;
        for ((_, a), (_, b)) in self.all().into_iter().zip(measured.all()) {
            if a.is_empty() || b.is_empty() {
                continue;
            }
            let mut add = |x: f64, y: f64, spread: f64| {
                let weight =
                    MODEL_ERROR * MODEL_ERROR / (MODEL_ERROR * MODEL_ERROR + spread * spread);
                let difference = (x.max(MIN_SECONDS) / y.max(MIN_SECONDS)).ln().abs();
                let bounded = if difference < HUBER_LIMIT {
                    difference * difference
                } else {
                    HUBER_LIMIT * (2.0 * difference - HUBER_LIMIT)
                };
                sum += weight * bounded;
                weights += weight;
            };
            let mean = numpy::mean(b);
            let of_mean = numpy::std(b) / mean.max(MIN_SECONDS) / samples.sqrt();
            add(numpy::mean(a), mean, of_mean);
            for quantile in QUANTILES {
                add(
                    numpy::percentile(a, quantile),
                    numpy::percentile(b, quantile),
                    quantile_error(b, quantile, samples),
                );
            }
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }
}

/// Relative standard error of a quantile of `sorted`: half of the logarithmic distance between the order
/// statistics one standard deviation below and above it (a binomial count of `samples` values).
fn quantile_error(sorted: &[f64], quantile: f64, samples: f64) -> f64 {
    let fraction = quantile / 100.0;
    let deviation = 100.0 * (fraction * (1.0 - fraction) / samples).sqrt();
    let at = |percent: f64| numpy::percentile(sorted, percent.clamp(0.0, 100.0)).max(MIN_SECONDS);
    (at(quantile + deviation) / at(quantile - deviation)).ln() / 2.0
}
