//! Student's t and its power: what a t test with this noise would find.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::gamma::ln_gamma;

/// Points of the integral below; with 240 it agrees with SciPy's `nct` to six digits.
const POINTS: usize = 240;
/// Points at which a curve of the power is computed; linear in between, which is exact to 0.001.
const CURVE_POINTS: usize = 64;
/// Where that curve ends, as a multiple of the noncentrality that is found with the wanted probability.
const CURVE_END: f64 = 5.0;
/// Steps of the search below: it usually takes 6 to 9 to reach twelve digits.
const STEPS: usize = 40;
/// No solution is searched beyond this noncentrality.
const LARGEST: f64 = 1e6;

/// The probability that Student's t with `freedom` degrees of freedom is above `t`.
pub(crate) fn t_above(t: f64, freedom: f64) -> f64 {
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |distribution| distribution.sf(t))
}

/// The probability that a noncentral t exceeds `critical`.
///
/// A noncentral t is (Z + `noncentrality`) / S with Z standard normal and S² a chi-squared with `freedom`
/// degrees of freedom, divided by them. It exceeds the critical value where Z > c S − δ, whose probability is
/// averaged over S.
pub(crate) fn power(critical: f64, noncentrality: f64, freedom: f64) -> f64 {
    let normal = Normal::standard();
    Chi::of(freedom)
        .mean(|s| normal.sf(critical * s - noncentrality))
        .clamp(0.0, 1.0)
}

/// The square root of a chi-squared that is divided by its degrees of freedom: a measured standard error, as a
/// multiple of the true one.
struct Chi {
    freedom: f64,
    /// Logarithm of the constant factor of the density.
    scale: f64,
}

impl Chi {
    fn of(freedom: f64) -> Self {
        let half = freedom / 2.0;
        Self {
            freedom,
            scale: std::f64::consts::LN_2 + half * half.ln() - ln_gamma(half),
        }
    }

    fn density(&self, s: f64) -> f64 {
        (self.scale + (self.freedom - 1.0) * s.ln() - self.freedom / 2.0 * s * s).exp()
    }

    /// The mean of a function of it, by Simpson's rule.
    fn mean(&self, of: impl Fn(f64) -> f64) -> f64 {
        // Its mean is about 1 and its standard deviation about 1 / √(2 freedom).
        let spread = 8.0 / self.freedom.sqrt();
        let (low, high) = ((1.0 - spread).max(1e-9), 1.0 + spread);
        let step = (high - low) / POINTS as f64;
        let value = |index: usize| {
            let s = low + step * index as f64;
            self.density(s) * of(s)
        };
        let inner: f64 = (1..POINTS)
            .map(|index| if index % 2 == 1 { 4.0 } else { 2.0 } * value(index))
            .sum();
        (value(0) + inner + value(POINTS)) * step / 3.0
    }
}

/// The noncentrality at which a t test with this critical value finds an effect with probability
/// `wanted`: the size of the effect in standard errors.
pub(crate) fn needed_noncentrality(critical: f64, freedom: f64, wanted: f64) -> f64 {
    let miss = |noncentrality: f64| power(critical, noncentrality, freedom) - wanted;
    let (mut low, mut low_miss) = (0.0, -wanted);
    // With much freedom this is the solution; with little it is the lower end.
    let start = critical + Normal::standard().inverse_cdf(wanted);
    let mut high = start.max(1.0);
    let mut high_miss = miss(high);
    while high_miss < 0.0 {
        (low, low_miss) = (high, high_miss);
        high *= 2.0;
        if high > LARGEST {
            return f64::INFINITY;
        }
        high_miss = miss(high);
    }
    // The Illinois variant of false position: halving the value of an end that stays makes both move.
    for _ in 0..STEPS {
        let middle = (low * high_miss - high * low_miss) / (high_miss - low_miss);
        let found = miss(middle);
        if found.abs() < 1e-10 || high - low < 1e-12 * high {
            return middle;
        }
        if found < 0.0 {
            (low, low_miss) = (middle, found);
            high_miss /= 2.0;
        } else {
            (high, high_miss) = (middle, found);
            low_miss /= 2.0;
        }
    }
    f64::midpoint(low, high)
}

/// How many *measured* standard errors an effect must have to be found with probability `wanted` by the next
/// experiment of the same design, where the noise is known from `freedom` degrees of freedom only.
///
/// [`needed_noncentrality`] would do if the noise were known. With 5 + 5 runs the measured one is a third
/// too small, or more, in one case of ten, and the effect that it promises to find is found in 75 % instead of 80 % of the cases
/// (`tests/promises.rs`). The promise is therefore averaged over what the measurement can have been:
/// E[power(k S)] = `wanted`, S² a chi-squared divided by its freedom, as in the power itself.
pub(crate) fn needed_measured_errors(critical: f64, freedom: f64, wanted: f64) -> f64 {
    let known = needed_noncentrality(critical, freedom, wanted);
    if !known.is_finite() {
        return known;
    }
    let curve = PowerCurve::of(critical, freedom, CURVE_END * known);
    let chi = Chi::of(freedom);
    let (mut low, mut high) = (known, known);
    while chi.mean(|s| curve.at(high * s)) < wanted {
        low = high;
        high *= 2.0;
        if high > LARGEST {
            return f64::INFINITY;
        }
    }
    while high - low > 1e-9 * high {
        let middle = f64::midpoint(low, high);
        if chi.mean(|s| curve.at(middle * s)) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The power as a function of the noncentrality, between 0 and an end beyond which it is 1.
struct PowerCurve {
    step: f64,
    values: Vec<f64>,
}

impl PowerCurve {
    fn of(critical: f64, freedom: f64, end: f64) -> Self {
        let step = end / CURVE_POINTS as f64;
        let values = (0..=CURVE_POINTS)
            .map(|index| power(critical, step * index as f64, freedom))
            .collect();
        Self { step, values }
    }

    fn at(&self, noncentrality: f64) -> f64 {
        let place = noncentrality / self.step;
        let index = place as usize;
        match (self.values.get(index), self.values.get(index + 1)) {
            (Some(before), Some(after)) => before + (after - before) * place.fract(),
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use inferometer_metrics::t_quantile;

    use super::*;

    /// Critical value, noncentrality, freedom, probability.
    const SCIPY_POWER: [(f64, f64, f64, f64); 7] = [
        (2.132, 0.0, 4.0, 0.049_991_386_370),
        (2.776, 3.0, 4.0, 0.619_377_729_892),
        (12.7062, 10.0, 1.0, 0.567_306_736_869),
        (2.306, 2.5, 8.0, 0.593_066_602_537),
        (1.96, 2.8, 200.0, 0.799_107_966_706),
        (4.3, 5.6, 3.5, 0.807_122_604_700),
        (3.5, 0.5, 6.25, 0.017_000_565_382),
    ];
    /// Critical value, freedom, noncentrality for a power of 80 %.
    const SCIPY_NEEDED: [(f64, f64, f64); 5] = [
        (2.776_445_105_198, 4.0, 3.761_060_261_0),
        (4.314_656_048_887, 4.0, 5.538_271_634_5),
        (1.859_548_037_531, 8.0, 2.726_843_638_6),
        (12.706_204_736_175, 1.0, 16.334_008_869_9),
        (2.000_297_822_014, 60.0, 2.847_434_116_0),
    ];

    /// `scipy.stats.nct.sf(critical, freedom, noncentrality)`.
    #[test]
    fn the_power_is_that_of_scipy() {
        for (critical, noncentrality, freedom, expected) in SCIPY_POWER {
            let found = power(critical, noncentrality, freedom);
            assert!(
                (found - expected).abs() < 1e-6,
                "{critical} {noncentrality} {freedom}: {found}"
            );
        }
    }

    /// `scipy.optimize.brentq(lambda d: scipy.stats.nct.sf(critical, freedom, d) - 0.8, 0, 100)`.
    #[test]
    fn the_needed_noncentrality_is_that_of_scipy() {
        for (critical, freedom, expected) in SCIPY_NEEDED {
            let found = needed_noncentrality(critical, freedom, 0.8);
            assert!(
                (found - expected).abs() < 1e-5,
                "{critical} {freedom}: {found}"
            );
        }
    }

    /// The 80 % quantile of (c S2 − Z) / S1 over two million draws of numpy's `default_rng(1)`, where S1 and S2
    /// are `sqrt(chisquare(freedom) / freedom)`.
    #[test]
    fn measured_noise_needs_a_larger_effect() {
        for (level, freedom, expected) in [
            (0.025, 8.0, 3.5616),
            (0.025, 4.0, 4.6821),
            (0.00625, 4.0, 7.0049),
            (0.025, 2.0, 8.7737),
        ] {
            let critical = t_quantile(1.0 - level, freedom);
            let found = needed_measured_errors(critical, freedom, 0.8);
            assert!(
                (found / expected - 1.0).abs() < 0.005,
                "{level} {freedom}: {found}"
            );
        }
    }
}
