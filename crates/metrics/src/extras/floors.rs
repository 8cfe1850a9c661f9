//! How many samples a percentile needs.

use statrs::function::beta::beta_reg;

/// Confidence of the estimate.
const CONFIDENCE: f64 = 0.99;
/// Beyond this number of samples a percentile is practically the maximum.
const MAX_SAMPLES: usize = 1 << 40;

/// Number of requests that a percentile needs: the smallest n for which a sample other than the
/// largest is, with 99 % confidence, an upper bound of it. That is the smallest n with
/// P(Binomial(n, 1 − p) ≤ 1) ≤ 1 %.
///
/// 64 for p90, 662 for p99, 6,636 for p99.9: the floors of MLPerf's early-stopping rule for an
/// estimate. Low percentiles need as many as their mirror images. `None` for 0 and 100, which are
/// the extremes themselves.
pub fn samples_needed(percentile: f64) -> Option<usize> {
    let tail = (percentile / 100.0).min(1.0 - percentile / 100.0);
    if tail.is_nan() || tail <= 0.0 {
        return None;
    }
    // P(Binomial(n, q) ≤ 1) is the regularised incomplete beta function I(1 − q; n − 1, 2).
    let enough = |n: usize| beta_reg((n - 1) as f64, 2.0, 1.0 - tail) <= 1.0 - CONFIDENCE;
    let mut high = 2;
    while !enough(high) {
        high *= 2;
        if high > MAX_SAMPLES {
            return None;
        }
    }
    let mut low = high / 2;
    while high - low > 1 {
        let half = low.midpoint(high);
        if half >= 2 && enough(half) {
            high = half;
        } else {
            low = half;
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_those_of_the_published_table() {
        let table = [
            (50.0, 11),
            (90.0, 64),
            (95.0, 130),
            (99.0, 662),
            (99.9, 6636),
        ];
        for (p, needed) in table {
            assert_eq!(samples_needed(p), Some(needed), "p{p}");
        }
        assert_eq!(samples_needed(1.0), samples_needed(99.0));
        assert_eq!(
            [
                samples_needed(0.0),
                samples_needed(100.0),
                samples_needed(f64::NAN)
            ],
            [None; 3]
        );
    }
}
