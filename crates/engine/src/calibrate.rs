//! Fitting the engine model to what was measured on a real server.
//!
//! Each measured load is run again on the virtual clock, with the same requests at the same
//! instants, and the distributions of TTFT, ITL and E2EL are compared at several quantiles. Nelder
//! and Mead's simplex search (*The Computer Journal* 7, 1965) changes the coefficients of a step's
//! duration until the distributions differ least. The whole model takes part, so that queueing and
//! batching need no formula of their own.

mod distributions;
mod load;
mod nelder_mead;
#[cfg(test)]
mod tests;

use inferometer_core::Nanos;
use inferometer_metrics::numpy;
use inferometer_sim::engine::EngineConfig;

use crate::error::EngineError;

use distributions::{Distributions, MIN_SECONDS};
use nelder_mead::nelder_mead;

pub use load::{MeasuredLoad, MeasuredRequest};

/// Coefficients that fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The engine with them.
    pub engine: EngineConfig,
    /// Root of the mean squared relative difference over all loads, metrics and quantiles.
    pub error: f64,
    /// Simulations of all loads that the search made.
    pub evaluations: usize,
    /// How much each load counts, from 0 to 1, in their order: less than 1 for a load that differs from
    /// the model much more than the others do.
    pub weights: Vec<f64>,
    /// Coefficients that these loads determine poorly: half or double the value fits nearly as well.
    pub undetermined: Vec<&'static str>,
}

/// Measured and predicted values of one metric under one load, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// `TTFT`, `ITL` or `E2EL`.
    pub metric: &'static str,
    /// What was measured.
    pub measured: Summary,
    /// What the model predicts.
    pub predicted: Summary,
}

/// Middle and tail of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Summary {
    fn of(sorted: &[f64]) -> Self {
        let at = |p| numpy::percentile(sorted, p);
        Self {
            mean: numpy::mean(sorted),
            p50: at(50.0),
            p99: at(99.0),
        }
    }
}

/// Names of the coefficients, in the order of the coordinates of a point.
const NAMES: [&str; 5] = ["base", "prefill", "decode", "kv", "request overhead"];
/// Values of the jitter that are tried.
const JITTERS: [f64; 8] = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5];
/// Evaluations of one search. Each search begins at the best point so far.
const EVALUATIONS: usize = 300;
/// Times the median distance of all loads at which one begins to count less.
const OUTLYING: f64 = 4.0;
/// Distance below which no load is outlying: a typical relative difference of 5 %.
const AGREES: f64 = 0.05 * 0.05;
/// Edges of the simplexes of the searches after outlying loads were found.
const REFINEMENTS: [f64; 2] = [0.3, -0.2];
/// Edge of the first simplex of each search, in logarithms; the sign changes its side.
const SEARCHES: [f64; 5] = [0.7, -0.7, 0.4, -0.3, 0.2];

/// Finds the coefficients with which `engine` predicts `loads` best. Its other settings are kept.
///
/// # Errors
///
/// A load that `engine` can never run, and a worker that panicked.
pub fn fit(loads: &[MeasuredLoad], engine: &EngineConfig) -> Result<Fit, EngineError> {
    let measured = loads
        .iter()
        .map(Distributions::measured)
        .collect::<Vec<_>>();
    let mut plain = engine.clone();
    plain.cost.jitter = 0.0;
    let mut evaluations = 0;
    let mut failure = None;
    let weights = std::cell::RefCell::new(vec![1.0; loads.len()]);
    let mut evaluate = |point: &[f64; 5]| {
        evaluations += 1;
        let found = distances(loads, &measured, &with(&plain, point));
        found.map_or_else(
            |error| {
                failure = Some(error);
                f64::INFINITY
            },
            |distances| weighted(&distances, &weights.borrow()),
        )
    };
    let mut best = guess(loads);
    let mut least = evaluate(&best);
    for step in SEARCHES {
        let (point, value) = nelder_mead(best, step, EVALUATIONS, &mut evaluate);
        if value < least {
            (best, least) = (point, value);
        }
    }
    // A load that was disturbed pulls the coefficients away from all others.
    let at_best = distances(loads, &measured, &with(&plain, &best))?;
    let found = weights_of(&at_best);
    if found.iter().any(|weight| *weight < 1.0) {
        least = weighted(&at_best, &found);
        *weights.borrow_mut() = found;
        for step in REFINEMENTS {
            let (point, value) = nelder_mead(best, step, EVALUATIONS, &mut evaluate);
            if value < least {
                (best, least) = (point, value);
            }
        }
    }
    let undetermined = (0..NAMES.len())
        .filter(|&at| {
            let moved = [-1.0, 1.0].map(|sign: f64| {
                let mut point = best;
                point[at] += sign * std::f64::consts::LN_2;
                evaluate(&point)
            });
            moved.iter().all(|value| value.sqrt() < least.sqrt() + 0.01)
        })
        .map(|at| NAMES[at])
        .collect();
    if let Some(error) = failure {
        return Err(error);
    }
    let weights = weights.into_inner();
    let mut engine = with(&plain, &best);
    for jitter in JITTERS {
        let mut tried = engine.clone();
        tried.cost.jitter = jitter;
        let value = weighted(&distances(loads, &measured, &tried)?, &weights);
        if value < least {
            (least, engine) = (value, tried);
        }
    }
    Ok(Fit {
        engine,
        error: least.sqrt(),
        evaluations,
        weights,
        undetermined,
    })
}

/// How much each load counts, from its distance to the predictions. With fewer than three loads none can
/// be called outlying.
fn weights_of(distances: &[f64]) -> Vec<f64> {
    let mut sorted = distances.to_vec();
    numpy::sort(&mut sorted);
    if sorted.len() < 3 {
        return vec![1.0; sorted.len()];
    }
    // The lower of two middle values: of four loads two may be disturbed alike.
    let usual = sorted[(sorted.len() - 1) / 2];
    let limit = (OUTLYING * usual).max(AGREES);
    // With the square, a load whose answers took 1.6 to 3 times as long still moved the predicted
    // TTFT of the others by 10 %; with the fourth power by less than 5 % (the test of disturbed loads).
    let weight = |distance: &f64| (limit / distance).powi(4).min(1.0);
    distances.iter().map(weight).collect()
}

/// Mean distance of the loads by their weights.
fn weighted(distances: &[f64], weights: &[f64]) -> f64 {
    let sum: f64 = distances.iter().zip(weights).map(|(a, b)| a * b).sum();
    sum / weights.iter().sum::<f64>().max(f64::MIN_POSITIVE)
}

/// How far the predictions of `engine` are from what was measured under each load. Each is simulated on
/// a thread of its own.
fn distances(
    loads: &[MeasuredLoad],
    measured: &[Distributions],
    engine: &EngineConfig,
) -> Result<Vec<f64>, EngineError> {
    let predicted = std::thread::scope(|scope| {
        let threads: Vec<_> = loads
            .iter()
            .map(|load| scope.spawn(move || Distributions::predicted(load, engine)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_panic| EngineError::WorkerPanicked)?
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    let pairs = predicted.iter().zip(measured);
    Ok(pairs.map(|(a, b)| a.distance(b)).collect())
}

/// Measured against predicted, for TTFT, ITL and E2EL.
///
/// # Errors
///
/// A load that `engine` can never run.
pub fn compare(load: &MeasuredLoad, engine: &EngineConfig) -> Result<Vec<Compared>, EngineError> {
    let measured = Distributions::measured(load);
    let predicted = Distributions::predicted(load, engine)?;
    let pairs = measured.all().into_iter().zip(predicted.all());
    let pairs = pairs.filter(|((_, a), (_, b))| !a.is_empty() && !b.is_empty());
    Ok(pairs
        .map(|((metric, measured), (_, predicted))| Compared {
            metric,
            measured: Summary::of(measured),
            predicted: Summary::of(predicted),
        })
        .collect())
}

/// The engine with coefficients whose logarithms these are.
fn with(engine: &EngineConfig, point: &[f64; 5]) -> EngineConfig {
    let [base, prefill, decode, kv, overhead] =
        point.map(|logarithm| logarithm.clamp(-20.0, 28.0).exp());
    let mut engine = engine.clone();
    engine.cost.base = base;
    engine.cost.prefill = prefill;
    engine.cost.decode = decode;
    engine.cost.kv = kv;
    engine.request_overhead = Nanos(overhead as u64);
    engine
}

/// A first guess: a step takes the shortest usual gap, and a prompt the shortest usual TTFT.
fn guess(loads: &[MeasuredLoad]) -> [f64; 5] {
    let quantile = |values: &mut Vec<f64>, p: f64| {
        numpy::sort(values);
        if values.is_empty() {
            0.0
        } else {
            numpy::percentile(values, p)
        }
    };
    let requests = || loads.iter().flat_map(|load| &load.requests);
    let mut gaps: Vec<f64> = requests()
        .flat_map(|request| request.gaps.iter().copied())
        .collect();
    let mut ttfts: Vec<f64> = requests().map(|request| request.ttft).collect();
    let mut inputs: Vec<f64> = requests()
        .map(|request| f64::from(request.input.max(1)))
        .collect();
    let gap = quantile(&mut gaps, 10.0).max(MIN_SECONDS) * 1e9;
    let ttft = quantile(&mut ttfts, 10.0).max(MIN_SECONDS) * 1e9;
    let input = quantile(&mut inputs, 50.0).max(1.0);
    [
        gap * 0.8,
        ttft * 0.5 / input,
        gap * 0.1,
        gap * 1e-5,
        ttft * 0.2,
    ]
    .map(|ns: f64| ns.max(1e-3).ln())
}
