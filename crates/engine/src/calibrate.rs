//! Fitting the engine model to what was measured on a real server.
//!
//! Each measured load is run again on the virtual clock, with the same requests at the same
//! instants, and the distributions of TTFT, ITL and E2EL are compared at several quantiles. Nelder
//! and Mead's simplex search (*The Computer Journal* 7, 1965) changes the coefficients of a step's
//! duration until they differ least. The whole model takes part, so that queueing and batching need
//! no formula of their own.

use inferometer_core::{Nanos, Record, Schedule};
use inferometer_metrics::numpy;
use inferometer_sim::engine::{ClusterConfig, Content, EngineConfig, EngineRequest};

use crate::EngineError;
use crate::simulate::{VirtualPlan, VirtualRequest, simulate};

/// One load that was measured.
#[derive(Clone, Debug)]
pub struct MeasuredLoad {
    /// For people.
    pub name: String,
    /// The requests in order of their instants.
    pub requests: Vec<MeasuredRequest>,
    /// Slots of the client, if they were limited.
    pub max_concurrency: Option<usize>,
}

/// One request that was answered well.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredRequest {
    /// When it was due, or when it was sent where no slots were limited.
    pub at: Nanos,
    /// Prompt tokens.
    pub input: u32,
    /// Prompt tokens that the server had in its prefix cache.
    pub cached: u32,
    /// Output tokens.
    pub output: u32,
    /// Time to first token in seconds.
    pub ttft: f64,
    /// Time to the last token in seconds.
    pub e2el: f64,
    /// Gaps between token events in seconds.
    pub gaps: Vec<f64>,
}

/// Coefficients that fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The engine with them.
    pub engine: EngineConfig,
    /// Root of the mean squared relative difference over all loads, metrics and quantiles.
    pub error: f64,
    /// Simulations of all loads that the search took.
    pub evaluations: usize,
    /// Coefficients on which these loads hardly depend: half or twice as much fits nearly as well.
    pub undetermined: Vec<&'static str>,
}

/// Measured and predicted values of one metric under one load, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// `TTFT`, `ITL` or `E2EL`.
    pub metric: &'static str,
    /// What was measured.
    pub measured: Middle,
    /// What the model says.
    pub predicted: Middle,
}

/// Middle and tail of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Middle {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Middle {
    fn of(sorted: &[f64]) -> Self {
        let at = |p| numpy::percentile(sorted, p);
        Self {
            mean: numpy::mean(sorted),
            p50: at(50.0),
            p99: at(99.0),
        }
    }
}

/// Names of the coefficients in the order in which the search knows them.
const NAMES: [&str; 5] = ["base", "prefill", "decode", "kv", "request overhead"];
/// Quantiles at which distributions are compared.
const QUANTILES: [f64; 6] = [10.0, 25.0, 50.0, 75.0, 90.0, 99.0];
/// Differences beyond this (of logarithms) count linearly, so that a disturbed load does not decide
/// alone.
const HUBER: f64 = 0.5;
/// Nothing on a network is faster; keeps logarithms finite (seconds).
const LEAST: f64 = 1e-6;
/// Spreads of steps that are tried.
const JITTERS: [f64; 8] = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5];
/// Evaluations of one search. Each begins at the best point so far.
const BUDGET: usize = 300;
/// Edge of the simplex that each search begins with; the sign changes the side it lies on.
const SEARCHES: [f64; 5] = [0.7, -0.7, 0.4, -0.3, 0.2];

/// Finds the coefficients with which `engine` predicts `loads` best. Its other settings are kept.
pub fn fit(loads: &[MeasuredLoad], engine: &EngineConfig) -> Result<Fit, EngineError> {
    let measured = loads
        .iter()
        .map(Distributions::measured)
        .collect::<Vec<_>>();
    let mut plain = engine.clone();
    plain.cost.jitter = 0.0;
    let loss = |engine: &EngineConfig| -> Result<f64, EngineError> {
        let each = std::thread::scope(|scope| {
            let threads: Vec<_> = loads
                .iter()
                .map(|load| scope.spawn(move || Distributions::predicted(load, engine)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_panic| EngineError::WorkerGone)?)
                .collect::<Result<Vec<_>, _>>()
        })?;
        let sum: f64 = each.iter().zip(&measured).map(|(a, b)| a.distance(b)).sum();
        Ok(sum / loads.len().max(1) as f64)
    };
    let mut evaluations = 0;
    let mut failure = None;
    let mut evaluate = |point: &[f64; 5]| {
        evaluations += 1;
        loss(&with(&plain, point)).unwrap_or_else(|error| {
            failure = Some(error);
            f64::INFINITY
        })
    };
    let mut best = guess(loads);
    let mut least = evaluate(&best);
    for step in SEARCHES {
        let (point, value) = nelder_mead(best, step, BUDGET, &mut evaluate);
        if value < least {
            (best, least) = (point, value);
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
    let mut engine = with(&plain, &best);
    for jitter in JITTERS {
        let mut tried = engine.clone();
        tried.cost.jitter = jitter;
        let value = loss(&tried)?;
        if value < least {
            (least, engine) = (value, tried);
        }
    }
    Ok(Fit {
        engine,
        error: least.sqrt(),
        evaluations,
        undetermined,
    })
}

/// Measured against predicted, for TTFT, ITL and E2EL.
pub fn compare(load: &MeasuredLoad, engine: &EngineConfig) -> Result<Vec<Compared>, EngineError> {
    let (measured, predicted) = (
        Distributions::measured(load),
        Distributions::predicted(load, engine)?,
    );
    let pairs = measured.all().into_iter().zip(predicted.all());
    let pairs = pairs.filter(|((_, a), (_, b))| !a.is_empty() && !b.is_empty());
    Ok(pairs
        .map(|((metric, measured), (_, predicted))| Compared {
            metric,
            measured: Middle::of(measured),
            predicted: Middle::of(predicted),
        })
        .collect())
}

/// Sorted values under one load, in seconds.
struct Distributions {
    ttft: Vec<f64>,
    itl: Vec<f64>,
    e2el: Vec<f64>,
}

impl Distributions {
    fn measured(load: &MeasuredLoad) -> Self {
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

    fn predicted(load: &MeasuredLoad, engine: &EngineConfig) -> Result<Self, EngineError> {
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
        let plan = VirtualPlan {
            requests: requests.collect(),
            schedule: Schedule::new(load.requests.iter().map(|request| request.at).collect())
                .unwrap_or_else(|_backwards| Schedule::at_once(load.requests.len())),
            max_concurrency: load.max_concurrency,
            most_conversations: None,
            cluster: ClusterConfig {
                engine: engine.clone(),
                ..ClusterConfig::default()
            },
            seed: 0,
        };
        let (finished, _) = simulate(plan)?;
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

    fn all(&self) -> [(&'static str, &[f64]); 3] {
        [
            ("TTFT", &self.ttft),
            ("ITL", &self.itl),
            ("E2EL", &self.e2el),
        ]
    }

    /// Mean squared difference of the logarithms of means and quantiles, bounded as Huber proposes.
    fn distance(&self, other: &Self) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for ((_, a), (_, b)) in self.all().into_iter().zip(other.all()) {
            if a.is_empty() || b.is_empty() {
                continue;
            }
            let mut add = |x: f64, y: f64| {
                let difference = (x.max(LEAST) / y.max(LEAST)).ln().abs();
                sum += if difference < HUBER {
                    difference * difference
                } else {
                    HUBER * (2.0 * difference - HUBER)
                };
                count += 1.0;
            };
            add(numpy::mean(a), numpy::mean(b));
            for quantile in QUANTILES {
                add(
                    numpy::percentile(a, quantile),
                    numpy::percentile(b, quantile),
                );
            }
        }
        if count > 0.0 { sum / count } else { 0.0 }
    }
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
    let gap = quantile(&mut gaps, 10.0).max(LEAST) * 1e9;
    let ttft = quantile(&mut ttfts, 10.0).max(LEAST) * 1e9;
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

/// Looks for a minimum of `f` near `start` with at most about `budget` evaluations.
fn nelder_mead<const N: usize>(
    start: [f64; N],
    step: f64,
    budget: usize,
    f: &mut impl FnMut(&[f64; N]) -> f64,
) -> ([f64; N], f64) {
    let mut simplex: Vec<([f64; N], f64)> = vec![(start, f(&start))];
    for at in 0..N {
        let mut point = start;
        point[at] += step;
        simplex.push((point, f(&point)));
    }
    let mut used = simplex.len();
    while used < budget {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (worst, worst_value) = simplex[N];
        if (worst_value - simplex[0].1).abs() < 1e-9 {
            break;
        }
        let mut center = [0.0; N];
        for (point, _) in &simplex[..N] {
            for (sum, value) in center.iter_mut().zip(point) {
                *sum += value / N as f64;
            }
        }
        // A point on the line from the worst one through the center of the others.
        let mut along = |factor: f64| {
            let mut point = center;
            for (value, &bad) in point.iter_mut().zip(&worst) {
                *value += factor * (*value - bad);
            }
            used += 1;
            (point, f(&point))
        };
        let reflected = along(1.0);
        let better = if reflected.1 < simplex[0].1 {
            let expanded = along(2.0);
            Some(if expanded.1 < reflected.1 {
                expanded
            } else {
                reflected
            })
        } else if reflected.1 < simplex[N - 1].1 {
            Some(reflected)
        } else {
            let contracted = along(if reflected.1 < worst_value { 0.5 } else { -0.5 });
            (contracted.1 < worst_value.min(reflected.1)).then_some(contracted)
        };
        if let Some(better) = better {
            simplex[N] = better;
            continue;
        }
        let best = simplex[0].0;
        for (point, value) in &mut simplex[1..] {
            for (own, &target) in point.iter_mut().zip(&best) {
                *own = f64::midpoint(*own, target);
            }
            *value = f(point);
        }
        used += N;
    }
    simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
    simplex[0]
}

#[cfg(test)]
mod tests {
    use inferometer_sim::engine::StepCost;

    use super::*;

    fn truth() -> EngineConfig {
        EngineConfig {
            max_num_seqs: 16,
            request_overhead: Nanos::from_micros(2_000),
            cost: StepCost {
                base: 6e6,
                prefill: 50_000.0,
                decode: 400_000.0,
                kv: 300.0,
                jitter: 0.0,
            },
            ..EngineConfig::default()
        }
    }

    /// What a server with these coefficients would have measured at `gap_ms` between arrivals.
    fn load(engine: &EngineConfig, gap_ms: u64) -> MeasuredLoad {
        let requests = (0..60_u64)
            .map(|i| MeasuredRequest {
                at: Nanos::from_millis(i * gap_ms),
                input: 50 + (i * 37 % 400) as u32,
                cached: 0,
                output: 20 + (i * 13 % 60) as u32,
                ttft: 0.0,
                e2el: 0.0,
                gaps: Vec::new(),
            })
            .collect();
        let mut load = MeasuredLoad {
            name: format!("{gap_ms} ms"),
            requests,
            max_concurrency: None,
        };
        let requests = load
            .requests
            .iter()
            .enumerate()
            .map(|(index, request)| VirtualRequest {
                engine: EngineRequest::new(
                    index as u64,
                    Content::Unshared(request.input),
                    request.output,
                ),
                facts: Record::default(),
                cancel_after: None,
                think: None,
            });
        let plan = VirtualPlan {
            requests: requests.collect(),
            schedule: Schedule::new(load.requests.iter().map(|request| request.at).collect())
                .unwrap(),
            max_concurrency: None,
            most_conversations: None,
            cluster: ClusterConfig {
                engine: engine.clone(),
                ..ClusterConfig::default()
            },
            seed: 0,
        };
        for (request, record) in load
            .requests
            .iter_mut()
            .zip(simulate(plan).unwrap().0.records)
        {
            let sent = record.send_start.unwrap();
            request.ttft = record.first_token().unwrap().since(sent).as_secs_f64();
            request.e2el = record.last_token().unwrap().since(sent).as_secs_f64();
            request.gaps = record
                .events
                .windows(2)
                .map(|pair| pair[1].at.since(pair[0].at).as_secs_f64())
                .collect();
        }
        load
    }

    #[test]
    fn coefficients_are_found_again_from_what_they_made() {
        let truth = truth();
        let loads = [400, 100, 40].map(|gap| load(&truth, gap));
        let start = EngineConfig {
            max_num_seqs: 16,
            ..EngineConfig::default()
        };
        let fit = fit(&loads, &start).unwrap();
        assert!(fit.error < 0.03, "{fit:?}");
        let (found, made) = (fit.engine.cost, truth.cost);
        for (name, found, made, within) in [
            ("base", found.base, made.base, 0.1),
            ("prefill", found.prefill, made.prefill, 0.2),
            ("decode", found.decode, made.decode, 0.3),
        ] {
            assert!(
                (found / made - 1.0).abs() < within,
                "{name}: {found} for {made}; {fit:?}"
            );
        }
        // A load that was not fitted is predicted as well.
        for compared in compare(&load(&truth, 60), &fit.engine).unwrap() {
            assert!(
                (compared.predicted.mean / compared.measured.mean - 1.0).abs() < 0.03,
                "{compared:?}"
            );
        }
    }

    #[test]
    fn the_simplex_finds_the_bottom_of_a_valley() {
        // Rosenbrock's function, whose minimum is at (1, 1).
        let mut f = |p: &[f64; 2]| (1.0 - p[0]).powi(2) + 100.0 * (p[1] - p[0] * p[0]).powi(2);
        let (point, value) = nelder_mead([-1.2, 1.0], 0.5, 400, &mut f);
        assert!(
            value < 1e-6 && (point[0] - 1.0).abs() < 0.01,
            "{point:?} {value}"
        );
    }
}
