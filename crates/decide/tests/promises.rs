//! Error rates of the decisions, counted over synthetic groups of runs with fixed seeds.
//!
//! Each promise is checked at its nominal rate plus three Monte-Carlo standard errors, on several seeds,
//! so that none can be met by the choice of a seed. `docs/statistics.md` has the table.

mod setup;

use inferometer_decide::{Decision, Design, Looks, Outcome, Values, compare, contrast, gate};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use setup::{Setup, first_pairs};

const SEEDS: [u64; 2] = [1, 2];
const EXPERIMENTS: usize = 1_000;

/// The fraction of experiments in which something holds.
fn rate(seed: u64, setup: &Setup, holds: impl Fn(&[Values]) -> bool) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let held = (0..EXPERIMENTS)
        .filter(|_| holds(&setup.draw(&mut random)))
        .count();
    held as f64 / EXPERIMENTS as f64
}

fn outcome(metrics: &[Values], design: Design) -> Outcome {
    gate(metrics, design, &Looks::single(metrics[0].baseline.len())).decision
}

/// Three standard errors of a rate that is counted in all experiments of one seed.
fn three_errors(nominal: f64) -> f64 {
    3.0 * (nominal * (1.0 - nominal) / EXPERIMENTS as f64).sqrt()
}

fn assert_at_most(nominal: f64, setup: &Setup, holds: impl Fn(&[Values]) -> bool) {
    for seed in SEEDS {
        let found = rate(seed, setup, &holds);
        assert!(
            found <= nominal + three_errors(nominal),
            "seed {seed}: {found} above {nominal}"
        );
    }
}

fn assert_at_least(nominal: f64, setup: &Setup, holds: impl Fn(&[Values]) -> bool) {
    for seed in SEEDS {
        let found = rate(seed, setup, &holds);
        assert!(
            found >= nominal - three_errors(nominal),
            "seed {seed}: {found} below {nominal}"
        );
    }
}

#[test]
fn a_gate_rarely_says_worse_of_no_change() {
    for cv in [0.02, 0.05] {
        for correlation in [0.0, 0.8] {
            let setup = Setup {
                cv,
                change: 0.0,
                runs: 5,
                metrics: 4,
                margin_percent: 5.0,
                correlation,
            };
            assert_at_most(0.05, &setup, |metrics| {
                outcome(metrics, Design::Groups) == Outcome::Worse
            });
            assert_at_most(0.05, &setup, |metrics| {
                outcome(metrics, Design::Paired) == Outcome::Worse
            });
        }
    }
}

#[test]
fn a_change_equal_to_the_margin_is_rarely_called_worse_or_passed() {
    for (metrics, cv) in [(1, 0.02), (1, 0.05), (4, 0.02), (4, 0.05)] {
        for design in [Design::Groups, Design::Paired] {
            let setup = Setup {
                cv,
                change: 0.05,
                runs: 5,
                metrics,
                margin_percent: 5.0,
                correlation: 0.0,
            };
            for seed in SEEDS {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let found: Vec<Outcome> = (0..EXPERIMENTS)
                    .map(|_| outcome(&setup.draw(&mut random), design))
                    .collect();
                for wrong in [Outcome::Worse, Outcome::Pass] {
                    let count = found.iter().filter(|one| **one == wrong).count();
                    let rate = count as f64 / EXPERIMENTS as f64;
                    assert!(
                        rate <= 0.05 + three_errors(0.05),
                        "seed {seed}: {wrong:?} {rate}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_gate_passes_what_did_not_change() {
    let setup = Setup {
        cv: 0.02,
        change: 0.0,
        runs: 5,
        metrics: 1,
        margin_percent: 5.0,
        correlation: 0.0,
    };
    assert_at_least(0.9, &setup, |metrics| {
        outcome(metrics, Design::Groups) == Outcome::Pass
    });
}

/// One experiment says what it could have found; the next one has exactly that change.
#[test]
fn a_change_of_the_stated_detectable_size_is_found() {
    for design in [Design::Groups, Design::Paired] {
        for seed in SEEDS {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut found = 0;
            for _ in 0..EXPERIMENTS {
                let still = Setup {
                    cv: 0.03,
                    change: 0.0,
                    runs: 5,
                    metrics: 1,
                    margin_percent: 5.0,
                    correlation: 0.0,
                };
                let pilot = gate(&still.draw(&mut random), design, &Looks::single(5));
                let change = pilot.metrics[0].detectable_percent.unwrap() / 100.0;
                let moved = Setup { change, ..still };
                found += usize::from(outcome(&moved.draw(&mut random), design) == Outcome::Worse);
            }
            let found = found as f64 / EXPERIMENTS as f64;
            assert!(
                found >= 0.8 - three_errors(0.8),
                "{design:?}, seed {seed}: {found}"
            );
        }
    }
}

/// Every interval contains the true change with the stated probability.
#[test]
fn intervals_of_the_change_cover_it() {
    for (design, runs) in [
        (Design::Groups, 3),
        (Design::Groups, 10),
        (Design::Paired, 3),
        (Design::Paired, 10),
    ] {
        let setup = Setup {
            cv: 0.04,
            change: 0.03,
            runs,
            metrics: 1,
            margin_percent: 2.0,
            correlation: 0.0,
        };
        assert_at_least(0.95, &setup, |metrics| {
            let found = &compare(metrics, design)[0];
            found.low_percent.unwrap() <= 3.0 && 3.0 <= found.high_percent.unwrap()
        });
    }
}

/// Looks after 4, 6, 8 and 10 pairs, and a stop at the first answer.
#[test]
fn planned_looks_keep_the_error_rate() {
    let planned = [4, 6, 8, 10];
    let setup = Setup {
        cv: 0.03,
        change: 0.05,
        runs: 10,
        metrics: 1,
        margin_percent: 5.0,
        correlation: 0.0,
    };
    let decided = |metrics: &[Values], wanted: Outcome| {
        (0..planned.len()).any(|look| {
            let pairs = planned[look];
            let cut = first_pairs(metrics, pairs);
            let looks = Looks {
                planned: 10,
                taken: planned[..=look].to_vec(),
            };
            gate(&cut, Design::Paired, &looks).decision == wanted
        })
    };
    assert_at_most(0.025, &setup, |metrics| decided(metrics, Outcome::Worse));
    assert_at_most(0.05, &setup, |metrics| decided(metrics, Outcome::Pass));
    // The looks cost little power.
    let worse = Setup {
        change: 0.12,
        ..setup
    };
    assert_at_least(0.8, &worse, |metrics| decided(metrics, Outcome::Worse));
}

/// An experiment that stops at the first of four looks that decides: how often it finds a difference where there is none,
/// and how often equivalence where the difference is as large as the margin.
#[test]
fn an_experiment_with_looks_rarely_finds_a_difference_in_noise() {
    let planned = [4, 6, 8, 10];
    let found = |metrics: &[Values], wanted: fn(Decision) -> bool| {
        (0..planned.len()).any(|look| {
            let cut = first_pairs(metrics, planned[look]);
            let looks = Looks {
                planned: 10,
                taken: planned[..=look].to_vec(),
            };
            let decided = contrast(&cut, Design::Paired, &looks);
            decided.metrics.iter().any(|one| wanted(one.decision))
        })
    };
    let still = Setup {
        cv: 0.03,
        change: 0.0,
        runs: 10,
        metrics: 4,
        margin_percent: 2.0,
        correlation: 0.5,
    };
    let differs = |one| matches!(one, Decision::Better | Decision::Worse);
    assert_at_most(0.05, &still, |metrics| found(metrics, differs));
    let moved = Setup {
        change: 0.02,
        metrics: 1,
        cv: 0.01,
        ..still
    };
    assert_at_most(0.05, &moved, |metrics| {
        found(metrics, |one| one == Decision::Equivalent)
    });
}

/// With one metric, a comparison of what did not change is wrong in one case of twenty.
#[test]
fn a_comparison_of_the_same_rarely_finds_a_difference() {
    let setup = Setup {
        cv: 0.03,
        change: 0.0,
        runs: 5,
        metrics: 1,
        margin_percent: 1.0,
        correlation: 0.0,
    };
    for design in [Design::Groups, Design::Paired] {
        assert_at_most(0.05, &setup, |metrics| {
            matches!(
                compare(metrics, design)[0].decision,
                Decision::Better | Decision::Worse
            )
        });
    }
}
