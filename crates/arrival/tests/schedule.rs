//! Schedules against NumPy's numbers, against the distributions that they promise, and what is
//! refused.

use inferometer_arrival::{
    ArrivalError, ArrivalSettings, RampStrategy, Rate, RpsChange, rps_change_events, schedule,
    schedule_seconds,
};
use inferometer_core::Nanos;
use proptest::prelude::*;
use serde::Deserialize;
use statrs::distribution::{ContinuousCDF, Gamma};

#[derive(Deserialize)]
struct Case {
    n: usize,
    rate: String,
    burstiness: String,
    ramp: Option<(String, f64, f64)>,
    seed: u64,
    #[serde(default = "one")]
    every: usize,
    seconds: Vec<f64>,
    changes: Vec<(i64, Option<usize>)>,
}

fn one() -> usize {
    1
}

fn settings(rate: Rate, burstiness: f64, seed: u64) -> ArrivalSettings {
    ArrivalSettings {
        rate,
        burstiness,
        seed,
    }
}

fn ramp(strategy: RampStrategy, start_rps: f64, end_rps: f64) -> Rate {
    Rate::Ramp {
        strategy,
        start_rps,
        end_rps,
    }
}

#[test]
fn instants_equal_those_of_numpy_to_the_last_bit() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/schedules.json")).unwrap();
    assert!(cases.len() > 90);
    for case in cases {
        let rate = match &case.ramp {
            Some((strategy, start, end)) => ramp(strategy.parse().unwrap(), *start, *end),
            None => Rate::from_flags(case.rate.parse().unwrap(), None, None, None).unwrap(),
        };
        let settings = settings(rate, case.burstiness.parse().unwrap(), case.seed);
        let seconds = schedule_seconds(case.n, &settings).unwrap();
        let kept: Vec<f64> = seconds.iter().copied().step_by(case.every).collect();
        assert_eq!(kept, case.seconds, "{settings:?}");
        let due = schedule(case.n, &settings).unwrap();
        for (nanos, seconds) in due.as_slice().iter().zip(&seconds) {
            assert_eq!(*nanos, Nanos((seconds * 1e9).round() as u64));
        }
        let at = |index: Option<usize>| index.map_or(Nanos::ZERO, |index| due.due(index));
        let want: Vec<RpsChange> = case
            .changes
            .iter()
            .map(|&(rps, index)| RpsChange { rps, at: at(index) })
            .collect();
        assert_eq!(rps_change_events(&settings, &due), want, "{settings:?}");
    }
}

#[test]
fn an_infinite_rate_is_at_once_and_zero_requests_are_valid() {
    let at_once = schedule(5, &settings(Rate::Infinite, 1.0, u64::MAX)).unwrap();
    assert!(at_once.is_at_once());
    assert_eq!(at_once.len(), 5);
    assert!(
        schedule(0, &settings(Rate::PerSecond(2.0), 1.0, 0))
            .unwrap()
            .is_empty()
    );
}

/// The gaps of a ramp that stays level are not rescaled, so they are plain draws.
fn gaps(n: usize, rate: f64, burstiness: f64, seed: u64) -> Vec<f64> {
    let level = ramp(RampStrategy::Linear, rate, rate);
    let seconds =
        schedule_seconds(n, &settings(level, burstiness, seed)).expect("a level ramp is valid");
    std::iter::once(seconds[0])
        .chain(seconds.windows(2).map(|pair| pair[1] - pair[0]))
        .collect()
}

/// Largest distance between the samples' distribution function and `cdf`.
fn kolmogorov_smirnov(mut samples: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let n = samples.len() as f64;
    samples
        .iter()
        .enumerate()
        .map(|(i, &x)| (cdf(x) - i as f64 / n).max((i + 1) as f64 / n - cdf(x)))
        .fold(0.0, f64::max)
}

#[test]
fn a_ks_test_rejects_the_gaps_as_often_as_chance_would() {
    const SEEDS: u64 = 1000;
    const N: usize = 400;
    // Critical value of the Kolmogorov-Smirnov statistic at 1 % (asymptotic).
    let critical = 1.628 / (N as f64).sqrt();
    for burstiness in [0.25, 1.0, 4.0] {
        let gamma = Gamma::new(burstiness, 10.0 * burstiness).unwrap();
        let rejected = (0..SEEDS)
            .filter(|&seed| {
                kolmogorov_smirnov(gaps(N, 10.0, burstiness, seed), |x| gamma.cdf(x)) > critical
            })
            .count();
        // Binomial(1000, 1 %): 10 expected, standard deviation 3.1; four of them each way.
        assert!(
            (1..=22).contains(&rejected),
            "burstiness {burstiness}: {rejected} of {SEEDS} rejected"
        );
    }
}

#[test]
fn gaps_have_the_requested_mean_and_spread() {
    const N: usize = 20_000;
    for burstiness in [0.25, 0.5, 1.0, 2.0, 10.0] {
        let gaps = gaps(N, 50.0, burstiness, 11);
        let n = N as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
        let (want_mean, want_variance) = (1.0 / 50.0, 1.0 / (50.0 * 50.0 * burstiness));
        let error_of_mean = (want_variance / n).sqrt();
        // Variance of a sample variance: σ⁴ (excess kurtosis + 2) / n, and a gamma's excess
        // kurtosis is 6 / shape.
        let error_of_variance = want_variance * ((6.0 / burstiness + 2.0) / n).sqrt();
        assert!(
            (mean - want_mean).abs() < 3.0 * error_of_mean,
            "burstiness {burstiness}: mean {mean}"
        );
        assert!(
            (variance - want_variance).abs() < 3.0 * error_of_variance,
            "burstiness {burstiness}: variance {variance}"
        );
    }
}

#[test]
fn an_invalid_setting_is_an_error_with_flag_and_remedy() {
    use RampStrategy::{Exponential, Linear};
    let inf = f64::INFINITY;
    let flags = Rate::from_flags;
    let cases = [
        (
            flags(-1.0, None, None, None),
            "--request-rate must be greater than 0, got -1",
        ),
        (
            flags(0.0, None, None, None),
            "--request-rate must be greater than 0, got 0",
        ),
        (
            flags(f64::NAN, None, None, None),
            "--request-rate must be greater than 0, got NaN",
        ),
        (
            flags(-inf, None, None, None),
            "--request-rate must be greater than 0, got -inf",
        ),
        (
            flags(3.0, Some(Linear), Some(1.0), Some(2.0)),
            "leave out --request-rate",
        ),
        (
            flags(inf, Some(Linear), Some(1.0), None),
            "requires --ramp-up-end-rps",
        ),
        (
            flags(inf, Some(Linear), None, Some(1.0)),
            "requires --ramp-up-start-rps",
        ),
        (
            flags(inf, None, Some(1.0), None),
            "--ramp-up-start-rps has no effect",
        ),
        (
            flags(inf, None, None, Some(1.0)),
            "--ramp-up-end-rps has no effect",
        ),
        (
            flags(inf, Some(Linear), Some(-1.0), Some(2.0)),
            "--ramp-up-start-rps must not be negative, got -1",
        ),
        (
            flags(inf, Some(Linear), Some(1.0), Some(-2.0)),
            "--ramp-up-end-rps must not be negative, got -2",
        ),
        (flags(inf, Some(Linear), Some(5.0), Some(2.0)), "swap them"),
        (
            flags(inf, Some(Exponential), Some(0.0), Some(2.0)),
            "start at 1 or more",
        ),
        (
            flags(inf, Some(Linear), Some(0.0), Some(2.0)),
            "the first request would never be due",
        ),
    ];
    for (result, part) in cases {
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains(part),
            "{message:?} should contain {part:?}"
        );
    }
    let burstiness = |value| {
        schedule(3, &settings(Rate::PerSecond(1.0), value, 0))
            .unwrap_err()
            .to_string()
    };
    assert!(burstiness(0.0).starts_with("--burstiness must be greater"));
    assert!(burstiness(-2.0).contains("greater than 0, got -2"));
    assert!(burstiness(f64::NAN).contains("greater than 0, got NaN"));
    let seed = schedule(3, &settings(Rate::PerSecond(1.0), 1.0, 1 << 32));
    assert_eq!(seed, Err(ArrivalError::Seed { seed: 1 << 32 }));
    let far = schedule(3, &settings(Rate::PerSecond(1e-300), 1.0, 0)).unwrap_err();
    assert!(far.to_string().contains("raise --request-rate"), "{far}");
    assert!("cubic".parse::<RampStrategy>().is_err());
}

#[test]
fn settings_survive_json_with_infinities() {
    let cases = [
        settings(Rate::Infinite, f64::INFINITY, 3),
        settings(Rate::PerSecond(2.5), 0.5, 3),
        settings(ramp(RampStrategy::Exponential, 1.0, 8.0), 1.0, 3),
    ];
    for case in cases {
        let text = serde_json::to_string(&case).unwrap();
        assert_eq!(
            serde_json::from_str::<ArrivalSettings>(&text).unwrap(),
            case,
            "{text}"
        );
    }
    assert!(
        serde_json::to_string(&settings(Rate::Infinite, f64::INFINITY, 3))
            .unwrap()
            .contains(r#""inf""#)
    );
}

proptest! {
    #[test]
    fn the_last_request_is_due_at_n_over_rate(
        n in 1_usize..200, rate in 0.01_f64..1e5, burstiness in 0.05_f64..50.0, seed: u32,
    ) {
        let seconds = schedule_seconds(n, &settings(Rate::PerSecond(rate), burstiness, seed.into())).unwrap();
        prop_assert_eq!(seconds.len(), n);
        let want = n as f64 / rate;
        prop_assert!((seconds[n - 1] - want).abs() <= want * 2.0 * f64::EPSILON);
        prop_assert!(seconds.windows(2).all(|pair| pair[0] <= pair[1]));
        prop_assert!(seconds[0] >= 0.0);
    }

    #[test]
    fn a_ramp_starts_and_ends_at_its_rates(n in 2_usize..500, start in 1_i32..100, more in 0_i32..1000) {
        let (start, end) = (f64::from(start), f64::from(start + more));
        for strategy in [RampStrategy::Linear, RampStrategy::Exponential] {
            let rate = ramp(strategy, start, end);
            prop_assert_eq!(rate.at(0, n), start);
            prop_assert!((rate.at(n - 1, n) - end).abs() < 1e-9 * end);
            prop_assert!((1..n).all(|i| rate.at(i - 1, n) <= rate.at(i, n)));
        }
    }
}
