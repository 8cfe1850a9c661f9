//! How often the decisions about groups of runs are wrong: the tables of `docs/statistics.md`.
//!
//! `cargo run --release -p inferometer-decide --example error_rates` (EXPERIMENTS of each kind: the first argument).

#![expect(clippy::print_stdout, reason = "the output is the purpose")]

#[path = "../tests/setup/mod.rs"]
mod setup;

use inferometer_decide::{Decision, Design, Looks, Outcome, Values, compare, contrast, gate};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use setup::{Setup, first_pairs};

const SEED: u64 = 20_261_127;

fn main() {
    let experiments = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let experiments: usize = experiments.unwrap_or(4_000);
    gate_table(experiments);
    ab_table(experiments);
    compare_table(experiments);
}

fn gate_table(experiments: usize) {
    println!("| gate, margin 5 % | runs | metrics | CV | change | worse | pass | cannot tell |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for design in [Design::Groups, Design::Paired] {
        for (runs, metrics, cv, change) in [
            (5, 1, 0.02, 0.0),
            (5, 4, 0.02, 0.0),
            (5, 4, 0.05, 0.0),
            (5, 1, 0.02, 0.05),
            (5, 4, 0.02, 0.05),
            (5, 1, 0.02, 0.10),
            (10, 1, 0.02, 0.10),
        ] {
            let setup = Setup {
                cv,
                change,
                runs,
                metrics,
                margin_percent: 5.0,
                correlation: 0.0,
            };
            let found = all(experiments, &setup, |values| {
                gate(values, design, &Looks::single(runs)).decision
            });
            let rate = |wanted: Outcome| {
                percent(
                    found.iter().filter(|one| **one == wanted).count(),
                    experiments,
                )
            };
            println!(
                "| {} | {runs} + {runs} | {metrics} | {:.0} % | {:.0} % | {} | {} | {} |",
                match design {
                    Design::Groups => "groups",
                    Design::Paired => "pairs",
                },
                cv * 100.0,
                change * 100.0,
                rate(Outcome::Worse),
                rate(Outcome::Pass),
                rate(Outcome::CannotTell)
            );
        }
    }
}

fn ab_table(experiments: usize) {
    println!(
        "\n| `ab`, margin 2 % | pairs | metrics | CV | change | a metric called different | equivalent |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (name, planned) in [
        ("5 pairs", vec![5]),
        ("until decided, at most 10", vec![4, 6, 8, 10]),
    ] {
        for (metrics, cv, change) in [
            (1, 0.01, 0.0),
            (4, 0.01, 0.0),
            (1, 0.01, 0.02),
            (1, 0.01, 0.05),
        ] {
            let most = planned.last().copied().unwrap_or_default();
            let setup = Setup {
                cv,
                change,
                runs: most,
                metrics,
                margin_percent: 2.0,
                correlation: 0.5,
            };
            let found = all(experiments, &setup, |values| {
                until_decided(values, &planned)
            });
            let rate = |wanted: fn(Decision) -> bool| {
                percent(
                    found
                        .iter()
                        .filter(|all| all.iter().any(|one| wanted(*one)))
                        .count(),
                    experiments,
                )
            };
            println!(
                "| {name} | {most} | {metrics} | {:.0} % | {:.0} % | {} | {} |",
                cv * 100.0,
                change * 100.0,
                rate(|one| matches!(one, Decision::Better | Decision::Worse)),
                rate(|one| one == Decision::Equivalent)
            );
        }
    }
}

fn compare_table(experiments: usize) {
    println!("\n| `compare` | runs | CV | the interval contains the true change |");
    println!("| --- | --- | --- | --- |");
    for (name, design) in [("groups", Design::Groups), ("pairs", Design::Paired)] {
        for runs in [3, 5, 10] {
            let setup = Setup {
                cv: 0.04,
                change: 0.03,
                runs,
                metrics: 1,
                margin_percent: 2.0,
                correlation: 0.0,
            };
            let found = all(experiments, &setup, |values| {
                let one = &compare(values, design)[0];
                one.low_percent.is_some_and(|low| low <= 3.0)
                    && one.high_percent.is_some_and(|high| high >= 3.0)
            });
            let covered = found.iter().filter(|covered| **covered).count();
            println!(
                "| {name} | {runs} + {runs} | 4 % | {} |",
                percent(covered, experiments)
            );
        }
    }
}

/// What each of the experiments found.
fn all<T>(experiments: usize, setup: &Setup, judge: impl Fn(&[Values]) -> T) -> Vec<T> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    (0..experiments)
        .map(|_| judge(&setup.draw(&mut random)))
        .collect()
}

/// The decisions at the first look that decides all metrics, or finds one worse; else at the last.
fn until_decided(values: &[Values], planned: &[usize]) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for look in 0..planned.len() {
        let cut = first_pairs(values, planned[look]);
        let looks = Looks {
            planned: planned.last().copied().unwrap_or_default(),
            taken: planned[..=look].to_vec(),
        };
        let found = contrast(&cut, Design::Paired, &looks);
        decisions = found.metrics.iter().map(|one| one.decision).collect();
        if found.decision != Outcome::CannotTell {
            break;
        }
    }
    decisions
}

fn percent(count: usize, of: usize) -> String {
    format!("{:.1} %", count as f64 / of as f64 * 100.0)
}
