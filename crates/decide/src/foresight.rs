//! What more runs will be able to see, from the noise of some.

use inferometer_metrics::t_quantile;
use serde::Serialize;

use crate::effect::Design;
use crate::judge::{POWER, Tested, Values, WORSE};
use crate::power::needed_noncentrality;

/// What numbers of pairs will be able to see, with the noise that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Foresight {
    /// The numbers of pairs.
    pub pairs: Vec<usize>,
    /// Each metric.
    pub metrics: Vec<Foreseen>,
}

/// What each number of pairs will be able to see of a metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Foreseen {
    /// Name of the metric.
    pub metric: String,
    /// Standard deviation of a run's number, in percent of it.
    pub run_cv_percent: f64,
    /// For each number of pairs, the smallest change for the worse that is found with a probability of 80 %, in percent.
    pub detectable_percent: Vec<f64>,
}

/// What `pairs` of runs will be able to see of each metric, with the noise of these runs, which are all of one server.
pub fn foresee(metrics: &[Values], design: Design, pairs: &[usize]) -> Foresight {
    let level = WORSE / metrics.len().max(1) as f64;
    let tested = metrics
        .iter()
        .filter_map(|values| Tested::of(values, design).ok());
    let metrics = tested
        .map(|tested| {
            // The difference of two runs has twice the variance of one.
            let effect = tested.effect;
            let cv = effect.standard_error * (effect.replicates as f64 / 2.0).sqrt();
            let detectable = |&pairs: &usize| {
                let freedom = pairs as f64 - 1.0;
                let critical = t_quantile(1.0 - level, freedom);
                let error = cv * (2.0 / pairs as f64).sqrt();
                let log = needed_noncentrality(critical, freedom, POWER) * error;
                tested.values.direction.margin_percent(log)
            };
            Foreseen {
                metric: tested.values.metric.clone(),
                run_cv_percent: cv * 100.0,
                detectable_percent: pairs.iter().map(detectable).collect(),
            }
        })
        .collect();
    Foresight {
        pairs: pairs.to_vec(),
        metrics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Direction;

    /// With a run CV of c, 5 pairs find about 2.4 c of one metric and 3.5 c of four: the noncentralities 3.761 and 5.538
    /// (SciPy's `nct`, power 80 %, 4 degrees of freedom, one-sided 2.5 % and 0.625 %) times the error √(2/5) c.
    #[test]
    fn five_pairs_see_about_two_and_a_half_times_the_noise() {
        // Differences of ±0.01 √2 around 0 have the variance of two runs with a CV of 1 %, up to the factor n / (n − 1).
        let pairs = 200;
        let noise = 0.01 * std::f64::consts::SQRT_2;
        let values = |name: &str| Values {
            metric: name.into(),
            direction: Direction::Lower,
            baseline: vec![100.0; pairs],
            candidate: (0..pairs)
                .map(|pair| 100.0 * if pair % 2 == 0 { noise } else { -noise }.exp())
                .collect(),
            margin_percent: 2.0,
        };
        let one = foresee(&[values("a_ms")], Design::Paired, &[5, 10]).metrics;
        assert!((one[0].run_cv_percent - 1.0).abs() < 0.01, "{one:?}");
        assert!(
            (one[0].detectable_percent[0] - 2.41).abs() < 0.03,
            "{one:?}"
        );
        assert!(one[0].detectable_percent[1] < 1.5, "{one:?}");
        let four = ["a_ms", "b_ms", "c_ms", "d_ms"].map(values);
        let four = foresee(&four, Design::Paired, &[5]).metrics;
        assert!(
            (four[3].detectable_percent[0] - 3.57).abs() < 0.05,
            "{four:?}"
        );
    }
}
