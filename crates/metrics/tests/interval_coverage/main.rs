//! Intervals contain the true value as often as they promise. The large version is the example of
//! the same name, whose tables are in `docs/statistics.md`.

mod runs;
mod study;

use runs::{Dependence, Load, Scenario};
use study::study;

const RUNS: usize = 120;

/// Between 92 and 98 % of the intervals, within three standard errors of what this many runs can
/// show.
#[test]
fn intervals_contain_the_true_value_as_often_as_they_promise() {
    let together = Dependence::Batches;
    for (load, dependence, requests, seed) in [
        (Load::Closed, Dependence::Neighbours(0.0), 2_000, 11),
        (Load::Closed, Dependence::Neighbours(0.8), 2_000, 12),
        (Load::Open, Dependence::Neighbours(0.0), 2_000, 13),
        (Load::Open, Dependence::Neighbours(0.8), 2_000, 14),
        (Load::Closed, together, 2_000, 15),
    ] {
        let scenario = Scenario {
            load,
            dependence,
            requests,
        };
        for found in study(&scenario, RUNS, seed) {
            let metric = found.metric;
            let error = (0.95 * 0.05 / found.shown as f64).sqrt();
            // In an open loop the schedule sets the rate of requests.
            let set = load == Load::Open && metric == "request_throughput";
            assert_eq!(found.shown == 0, set, "{scenario:?} {found:?}");
            if !set {
                let fraction = found.fraction();
                let fits = (0.92 - 3.0 * error..=0.98 + 3.0 * error).contains(&fraction);
                assert!(fits, "{scenario:?} {found:?}: {fraction:.3}");
                assert!(found.shown * 10 >= found.runs * 9, "{scenario:?} {found:?}");
            }
        }
    }
}
