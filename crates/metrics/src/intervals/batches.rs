//! Batches of successive requests, and intervals from the spread between them.
use super::{Bounds, Found, Refusal};
use crate::estimate::{CONFIDENCE, two_sided_t};
use crate::numpy;

/// Most batches, into which gaps are counted; the other number divides it.
pub(super) const MOST: usize = 10;
/// Fewest batches: with fewer, the t quantile alone makes the interval useless.
const FEWEST: usize = 5;
/// Requests from which on there are [`FEWEST`] and [`MOST`] batches. Where 32 successive requests share
/// half of their variance, intervals of the mean cover 88 % for 250 requests, and 91.5 % for 1,000 in
/// 10 batches; with these limits they cover 93 % or more.
const REQUESTS: [usize; 2] = [500, 2_000];
/// Samples beyond a percentile from which on there are [`FEWEST`] and [`MOST`] batches: 4 and 10 per
/// batch. For such requests, p99 of 1,000 covers 90.4 % in 5 batches, and p99 of 5,000 covers 88 % in
/// 10; with these limits, 92.5 and 94 %.
const BEYOND: [f64; 2] = [20.0, 100.0];
/// Requests whose dependence is tested are between this fraction of a batch and twice as many apart.
const FAR: f64 = 0.25;
/// Correlation of such requests above which batches depend on each other too much.
const LONG: f64 = 0.15;

/// How a run is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    /// Mean number of requests in flight. A batch has to hold more, or one request is part of several
    /// batches.
    pub(super) in_flight: f64,
}

impl Division {
    /// Number of batches for a number made of `n` requests; for a percentile, `tail` is the smaller
    /// fraction that it divides them into. `above` says of each request in order of the sends whether
    /// it is in the upper half.
    pub(super) fn batches(self, tail: Option<f64>, above: &[bool]) -> Result<usize, Refusal> {
        let most = self.by_number(above.len(), tail)?;
        let fits = |&batches: &usize| !is_long(above, batches);
        [most, FEWEST]
            .into_iter()
            .find(fits)
            .ok_or(Refusal::LongDependence)
    }

    /// Number of batches for `n` requests that do not depend on each other for long.
    pub(super) fn by_number(self, n: usize, tail: Option<f64>) -> Result<usize, Refusal> {
        let needed = |level: usize, batches: usize| {
            let beyond = tail.map_or(0.0, |tail| (BEYOND[level] / tail - 1e-6).ceil());
            let lived = (batches as f64 * self.in_flight).ceil();
            REQUESTS[level].max(beyond.max(lived) as usize)
        };
        if n >= needed(1, MOST) {
            return Ok(MOST);
        }
        let needed = needed(0, FEWEST);
        if n >= needed {
            Ok(FEWEST)
        } else {
            Err(Refusal::FewRequests { needed, have: n })
        }
    }
}

/// One latency of the requests that have it, in seconds.
pub(super) struct Samples {
    /// In order of the sends.
    pub(super) in_order: Vec<f64>,
    /// In ascending order.
    pub(super) sorted: Vec<f64>,
    /// Which of `in_order` are above the median.
    above: Vec<bool>,
}

impl Samples {
    pub(super) fn of(in_order: Vec<f64>) -> Self {
        let mut sorted = in_order.clone();
        numpy::sort(&mut sorted);
        let above = above(&in_order, numpy::median(&sorted));
        Self {
            in_order,
            sorted,
            above,
        }
    }

    pub(super) fn weighted(&self) -> Vec<Weighted> {
        let one = |&sum: &f64| Weighted { sum, count: 1.0 };
        self.in_order.iter().map(one).collect()
    }
}

/// Which values are above the middle one.
pub(super) fn above(values: &[f64], middle: f64) -> Vec<bool> {
    values.iter().map(|&value| value > middle).collect()
}

/// As [`above`], with the middle value found here.
pub(super) fn above_median(values: &[f64]) -> Vec<bool> {
    let mut sorted = values.to_vec();
    numpy::sort(&mut sorted);
    above(values, numpy::median(&sorted))
}

/// True where requests a quarter to half of a batch apart are still alike, as with a drift over the
/// run. The correlation is that of being above the median, which no outlier decides. It is the mean
/// over many distances, because in a closed loop the requests of a wave may alternate forever.
fn is_long(above: &[bool], batches: usize) -> bool {
    let n = above.len();
    let near = (FAR * n as f64 / batches as f64) as usize;
    let far = 2 * near;
    let mean = above.iter().filter(|&&above| above).count() as f64 / n as f64;
    let deviations = above.iter().map(|&above| f64::from(u8::from(above)) - mean);
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(deviations.scan(0.0, |sum, deviation| {
            *sum += deviation;
            Some(*sum)
        }))
        .collect();
    // Of each request with all that follow at these distances.
    let products = (0..n.saturating_sub(far)).map(|at| {
        let own = sums[at + 1] - sums[at];
        own * (sums[at + far] - sums[at + near])
    });
    let product: f64 = products.sum();
    let pairs = (n.saturating_sub(far) * near) as f64;
    product > LONG * mean * (1.0 - mean) * pairs
}

/// The smaller of the fractions below and above a percentile; `None` for 0 and 100.
pub(super) fn smaller_part(percentile: f64) -> Option<f64> {
    let tail = (percentile / 100.0).min(1.0 - percentile / 100.0);
    (tail > 0.0).then_some(tail)
}

/// The factor on the standard error, from Student's t with one degree of freedom less than batches.
pub(super) fn t_quantile(batches: usize) -> f64 {
    two_sided_t(CONFIDENCE, (batches - 1) as f64)
}

/// The first item of each batch of `n` items, and `n`: batches differ in length by one at most.
pub(super) fn limits(n: usize, batches: usize) -> impl Iterator<Item = usize> {
    (0..=batches).map(move |batch| batch * n / batches)
}

/// The parts of `items` that are the batches.
pub(super) fn parts<T>(items: &[T], batches: usize) -> impl Iterator<Item = &[T]> {
    let ends = limits(items.len(), batches).skip(1);
    limits(items.len(), batches)
        .zip(ends)
        .map(|(start, end)| &items[start..end])
}

/// Variance of a total, from the deviations of the requests in order of their sends, whose sum is
/// about 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct TotalVariance {
    /// From the spread between batches.
    pub(super) batches: f64,
    /// If the requests were independent.
    pub(super) independent: f64,
}

impl TotalVariance {
    pub(super) fn of(deviations: &[f64], batches: usize) -> Self {
        let n = deviations.len() as f64;
        let squared = |value: f64| value * value;
        let between: f64 = parts(deviations, batches)
            .map(|part| squared(part.iter().sum()))
            .sum();
        let within: f64 = deviations.iter().map(|&value| squared(value)).sum();
        let count = batches as f64;
        Self {
            batches: between * count / (count - 1.0),
            independent: within * n / (n - 1.0),
        }
    }

    /// Effective sample size of `n` requests.
    pub(super) fn n_eff(self, n: usize) -> Option<f64> {
        effective(n, self.batches / self.independent)
    }
}

/// `n` requests divided by how much larger the variance is than that of independent ones.
pub(super) fn effective(n: usize, dependence: f64) -> Option<f64> {
    dependence
        .is_finite()
        .then(|| n as f64 / dependence.max(1.0))
}

/// A value per request, and what it is divided by: the mean is the ratio of their sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighted {
    pub(super) sum: f64,
    pub(super) count: f64,
}

/// Interval of a mean, reported as `value`: batch means, on the logarithm because latencies are
/// skewed to the right.
pub(super) fn mean(value: f64, samples: &[Weighted], division: Division) -> Found {
    let n = samples.len();
    let (sum, count) = samples.iter().fold((0.0, 0.0), |(sum, count), sample| {
        (sum + sample.sum, count + sample.count)
    });
    if n == 0 || sum <= 0.0 {
        return Err(Refusal::Zero);
    }
    let ratio = sum / count;
    let deviations: Vec<f64> = samples
        .iter()
        .map(|sample| sample.sum - ratio * sample.count)
        .collect();
    let batches = division.batches(None, &above_median(&deviations))?;
    let variance = TotalVariance::of(&deviations, batches);
    let half = t_quantile(batches) * variance.batches.sqrt() / sum;
    Ok(around(value, half, batches, variance.n_eff(n)))
}

/// Interval of a percentile, reported as `value`: sectioning on the logarithm.
pub(super) fn percentile(value: f64, p: f64, samples: &Samples, division: Division) -> Found {
    let Samples {
        in_order,
        sorted,
        above,
    } = samples;
    let tail = smaller_part(p).ok_or(Refusal::Extreme)?;
    let batches = division.batches(Some(tail), above)?;
    let of_batches: Vec<f64> = parts(in_order, batches)
        .map(|part| {
            let mut part = part.to_vec();
            numpy::sort(&mut part);
            numpy::percentile(&part, p)
        })
        .collect();
    let centre = numpy::percentile(sorted, p);
    let error = section(centre, &of_batches)?;
    let n_eff = super::independent::error_of_logarithm(p, sorted)
        .and_then(|independent| effective(in_order.len(), (error / independent).powi(2)));
    Ok(around(value, t_quantile(batches) * error, batches, n_eff))
}

/// Standard error of the logarithm of a percentile, from those of the batches.
pub(super) fn section(centre: f64, of_batches: &[f64]) -> Result<f64, Refusal> {
    if centre <= 0.0 || of_batches.iter().any(|&value| value <= 0.0) {
        return Err(Refusal::Zero);
    }
    let count = of_batches.len() as f64;
    let squares: f64 = of_batches
        .iter()
        .map(|value| (value / centre).ln().powi(2))
        .sum();
    Ok((squares / (count - 1.0) / count).sqrt())
}

/// The interval that reaches from `value` as far on the logarithm to both sides.
pub(super) fn around(value: f64, half: f64, batches: usize, n_eff: Option<f64>) -> Bounds {
    Bounds {
        low: value * (-half).exp(),
        high: value * half.exp(),
        batches,
        n_eff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests from which on a run has an interval.
    #[test]
    fn an_interval_needs_requests_in_proportion_to_its_percentile() {
        let floor = |percentile: f64| {
            let tail = smaller_part(percentile)?;
            match (Division { in_flight: 0.0 }).by_number(0, Some(tail)) {
                Err(Refusal::FewRequests { needed, .. }) => Some(needed),
                _ => None,
            }
        };
        let floors = [50.0, 90.0, 99.0, 99.9, 1.0, 100.0].map(floor);
        assert_eq!(
            floors,
            [
                Some(500),
                Some(500),
                Some(2_000),
                Some(20_000),
                Some(2_000),
                None
            ]
        );
    }
}
