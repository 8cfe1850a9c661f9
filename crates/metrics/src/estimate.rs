//! The mean of repeated runs, with its spread and interval.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Confidence of the interval.
pub const CONFIDENCE: f64 = 0.95;

/// Standard errors of a normal distribution at [`CONFIDENCE`].
pub(crate) const NORMAL: f64 = 1.959_963_985;

/// Mean of a sample with its spread and interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (divided by n − 1), from two values on.
    pub sd: Option<f64>,
    /// Student's t interval of the mean at [`CONFIDENCE`], from two values on.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// The estimate from finite values; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let count = n as f64;
        let mean = values.iter().sum::<f64>() / count;
        if n == 1 {
            return Some(Self {
                n,
                mean,
                sd: None,
                interval: None,
            });
        }
        let sd = (values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / (count - 1.0))
            .sqrt();
        let half = two_sided_t(CONFIDENCE, count - 1.0) * sd / count.sqrt();
        Some(Self {
            n,
            mean,
            sd: Some(sd),
            interval: Some((mean - half, mean + half)),
        })
    }

    /// The square of the standard error of the mean, from two values on.
    pub fn squared_error(&self) -> Option<f64> {
        Some(self.sd?.powi(2) / self.n as f64)
    }

    /// The error of the difference between this mean and `other`'s by Welch's method, which lets the two
    /// spread differently. `None` unless both have two values or more.
    pub fn welch(&self, other: &Self) -> Option<Welch> {
        let (a, b) = (self.squared_error()?, other.squared_error()?);
        let (a_freedom, b_freedom) = (self.n as f64 - 1.0, other.n as f64 - 1.0);
        let freedom = if a + b > 0.0 {
            (a + b).powi(2) / (a.powi(2) / a_freedom + b.powi(2) / b_freedom)
        } else {
            a_freedom + b_freedom
        };
        Some(Welch {
            standard_error: (a + b).sqrt(),
            freedom,
        })
    }

    /// Interval of how much larger this mean is than `other`'s, at [`CONFIDENCE`], by Welch's
    /// method. `None` unless both have two values or more.
    pub fn difference(&self, other: &Self) -> Option<(f64, f64)> {
        let Welch {
            standard_error,
            freedom,
        } = self.welch(other)?;
        let difference = self.mean - other.mean;
        let half = two_sided_t(CONFIDENCE, freedom) * standard_error;
        Some((difference - half, difference + half))
    }
}

/// The standard error of a difference of two means, with its degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Welch {
    /// The standard error.
    pub standard_error: f64,
    /// Its degrees of freedom.
    pub freedom: f64,
}

/// The quantile of Student's t with `freedom` degrees of freedom; infinite without any.
pub fn t_quantile(probability: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(probability))
}

/// Student's t that is exceeded in either direction with a probability of 1 − `confidence`.
pub fn two_sided_t(confidence: f64, freedom: f64) -> f64 {
    t_quantile(f64::midpoint(1.0, confidence), freedom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_from_students_t() {
        // Mean 3, sd sqrt(2.5); t(0.975, 4) = 2.7764451.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let (low, high) = estimate.interval.unwrap();
        assert!((estimate.sd.unwrap() - 2.5_f64.sqrt()).abs() < 1e-12);
        assert!(
            (high - 3.0 - 2.776_445_105 * (2.5_f64 / 5.0).sqrt()).abs() < 1e-6,
            "{high}"
        );
        assert!((low + high - 6.0).abs() < 1e-12);
        let one = Estimate::of(&[7.0]).unwrap();
        assert_eq!((one.mean, one.sd, one.interval), (7.0, None, None));
        assert_eq!(Estimate::of(&[]), None);
    }

    /// Means 2 and 6, variances 1 and 4, three values each: freedom (1/3 + 4/3)² / (1/18 + 16/18)
    /// = 2.941176, t(0.975, 2.941176) = 3.218 (between 3.182446 for 3 and 4.302653 for 2).
    #[test]
    fn the_interval_of_a_difference_is_welchs() {
        let a = Estimate::of(&[1.0, 2.0, 3.0]).unwrap();
        let b = Estimate::of(&[4.0, 6.0, 8.0]).unwrap();
        let (low, high) = b.difference(&a).unwrap();
        assert!((f64::midpoint(low, high) - 4.0).abs() < 1e-12);
        let t = (high - low) / 2.0 / (5.0_f64 / 3.0).sqrt();
        assert!((3.182_446..3.3).contains(&t), "{t}");
        let one = Estimate::of(&[7.0]).unwrap();
        assert_eq!(a.difference(&one), None);
        let same = Estimate::of(&[5.0, 5.0]).unwrap();
        assert_eq!(same.difference(&same), Some((0.0, 0.0)));
    }
}
