//! Bounds of percentiles that hold if requests were independent.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::IfIndependent;
use crate::estimate::{CONFIDENCE, NORMAL};

/// Confidence of the early-stopping estimate.
const EARLY_STOPPING: f64 = 0.99;

/// Ranks of the 95 % order-statistic interval, counted from 0.
struct Ranks {
    low: Option<usize>,
    high: Option<usize>,
}

impl Ranks {
    /// With X = the number of samples below the percentile, Binomial(n, p): the sample of rank `low`
    /// (counted from 0) is above it only if X ≤ low, and that of rank `high` below it only if
    /// X > high.
    fn of(n: usize, fraction: f64) -> Option<Self> {
        let below = Binomial::new(fraction, n as u64).ok().filter(|_| n > 0)?;
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let low = below.inverse_cdf(tail) as usize;
        let high = below.inverse_cdf(1.0 - tail) as usize;
        Some(Self {
            low: low.checked_sub(1),
            high: (high < n).then_some(high),
        })
    }
}

/// A percentile as a fraction; `None` for 0 and 100.
fn fraction(p: f64) -> Option<f64> {
    Some(p / 100.0).filter(|fraction| *fraction > 0.0 && *fraction < 1.0)
}

/// The bounds of percentile `p` of `sorted` samples, multiplied by `scale`.
pub(super) fn bounds(p: f64, sorted: &[f64], scale: f64) -> Option<IfIndependent> {
    let n = sorted.len();
    let fraction = fraction(p)?;
    let ranks = Ranks::of(n, fraction)?;
    let at = |rank: usize| sorted.get(rank).map(|value| value * scale);
    let found = IfIndependent {
        low: ranks.low.and_then(at),
        high: ranks.high.and_then(at),
        early_stopping_upper: over_limit(n, 1.0 - fraction).and_then(|t| at(n - 1 - t)),
    };
    (found != IfIndependent::default()).then_some(found)
}

/// The largest t ≥ 1 with P(Binomial(n, q) ≤ t) ≤ 1 %: this many of n requests may be over a limit
/// that the fraction q may exceed.
fn over_limit(n: usize, q: f64) -> Option<usize> {
    let over = Binomial::new(q, n as u64).ok()?;
    // The smallest t whose probability reaches 1 %; the one before it is the largest below.
    let first = over.inverse_cdf(1.0 - EARLY_STOPPING) as usize;
    let t = if over.cdf(first as u64) <= 1.0 - EARLY_STOPPING {
        first
    } else {
        first.checked_sub(1)?
    };
    (t >= 1).then_some(t)
}

/// Standard error of the logarithm of a percentile if the samples were independent: the width of the
/// order-statistic interval in standard errors.
pub(super) fn error_of_logarithm(p: f64, sorted: &[f64]) -> Option<f64> {
    let ranks = Ranks::of(sorted.len(), fraction(p)?)?;
    let (low, high) = (*sorted.get(ranks.low?)?, *sorted.get(ranks.high?)?);
    (low > 0.0 && high > low).then(|| (high / low).ln() / (2.0 * NORMAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published table of early stopping: at n requests, t may be over the limit.
    #[test]
    fn early_stopping_allows_what_the_published_table_says() {
        let table = [
            (662, 0.01, 1),
            (2_010, 0.01, 10),
            (6_898, 0.01, 50),
            (64, 0.1, 1),
            (197, 0.1, 10),
            (11, 0.5, 1),
        ];
        for (n, q, t) in table {
            assert_eq!(over_limit(n, q), Some(t), "{n} {q}");
            assert_ne!(over_limit(n - 1, q), Some(t), "{n} {q}");
        }
        assert_eq!(over_limit(10_000, 0.01), Some(77));
        assert_eq!(over_limit(100, 0.01), None);
    }

    /// n = 1,000: x(983) to x(997), counted from 1.
    #[test]
    fn order_statistics_have_the_published_ranks() {
        let sorted: Vec<f64> = (1..=1000).map(f64::from).collect();
        let found = bounds(99.0, &sorted, 2.0).unwrap();
        assert_eq!((found.low, found.high), (Some(1966.0), Some(1994.0)));
        assert_eq!(found.early_stopping_upper, Some(1996.0));
        // Below 370 requests nothing bounds p99 from above.
        assert_eq!(bounds(99.0, &sorted[..300], 1.0).unwrap().high, None);
        assert_eq!(bounds(100.0, &sorted, 1.0), None);
    }
}
