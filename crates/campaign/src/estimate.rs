//! How long a campaign will take.

use crate::campaign::Campaign;
use crate::load::Load;

/// Assumed seconds per token, until finished runs correct it.
pub const ASSUMED_TOKEN_S: f64 = 0.02;
/// Assumed seconds to the first token.
const FIRST_TOKEN_S: f64 = 0.2;
/// Seconds around a run: starting the program, loading the tokenizer, making prompts, writing files.
const AROUND_S: f64 = 2.0;
/// Seconds per token on the virtual clock: some millions of tokens per second, and time for metrics
/// and files.
const SIMULATED_TOKEN_S: f64 = 5e-7;
/// Seconds to start a server, about which nothing is known.
const SERVER_S: f64 = 60.0;

/// Estimated seconds of a run when a token takes [`ASSUMED_TOKEN_S`].
pub fn seconds(load: &Load) -> f64 {
    let answer = FIRST_TOKEN_S + load.output_len * ASSUMED_TOKEN_S;
    let arriving = if load.rate > 0.0 {
        load.num_prompts / load.rate
    } else {
        0.0
    };
    if load.simulated {
        return AROUND_S + load.num_prompts * load.output_len * SIMULATED_TOKEN_S;
    }
    let waves = (load.num_prompts / load.cap.min(load.num_prompts).max(1.0)).ceil();
    AROUND_S + (arriving + answer).max(waves * answer)
}

/// Learns from finished runs how far the assumption was off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calibration {
    real: f64,
    assumed: f64,
}

impl Calibration {
    /// Adds a finished run.
    pub fn learn(&mut self, load: &Load, real_seconds: f64) {
        self.real += real_seconds;
        self.assumed += seconds(load);
    }

    /// The factor by which estimated times have to be multiplied.
    pub fn factor(&self) -> f64 {
        if self.assumed > 0.0 {
            self.real / self.assumed
        } else {
            1.0
        }
    }
}

/// Estimated seconds of the cells for which `pending` holds.
pub fn remaining(
    campaign: &Campaign,
    pending: impl Fn(usize) -> bool,
    calibration: &Calibration,
) -> f64 {
    let mut servers: Vec<usize> = Vec::new();
    let mut total = 0.0;
    let mut runs = 0_u32;
    for (_, cell) in campaign
        .cells
        .iter()
        .enumerate()
        .filter(|(index, _)| pending(*index))
    {
        total += seconds(&cell.load()) * calibration.factor();
        runs += 1;
        servers.extend(cell.server);
    }
    servers.dedup();
    total
        + f64::from(runs.saturating_sub(1)) * campaign.cooldown.as_secs_f64()
        + servers.len() as f64 * SERVER_S
}

/// A duration for people: `about 40 s`, `about 12 min`, `about 3.5 h`.
pub fn span(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("about {:.0} s", seconds.max(1.0))
    } else if seconds < 5400.0 {
        format!("about {:.0} min", seconds / 60.0)
    } else {
        format!("about {:.1} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(num_prompts: f64, rate: f64, cap: f64, output_len: f64) -> Load {
        Load {
            num_prompts,
            rate,
            cap,
            output_len,
            simulated: false,
        }
    }

    #[test]
    fn the_slower_of_arrivals_and_slots_decides() {
        let answer = FIRST_TOKEN_S + 100.0 * ASSUMED_TOKEN_S;
        let inf = f64::INFINITY;
        assert_eq!(
            seconds(&load(100.0, 10.0, inf, 100.0)),
            AROUND_S + 10.0 + answer
        );
        assert_eq!(
            seconds(&load(100.0, inf, 10.0, 100.0)),
            AROUND_S + 10.0 * answer
        );
        assert_eq!(
            seconds(&load(100.0, 1000.0, 10.0, 100.0)),
            AROUND_S + 10.0 * answer
        );
        assert_eq!(seconds(&load(100.0, inf, inf, 100.0)), AROUND_S + answer);
        let simulated = Load {
            simulated: true,
            ..load(10_000.0, 1.0, inf, 100.0)
        };
        assert!(seconds(&simulated) < AROUND_S + 1.0);
    }

    #[test]
    fn finished_runs_correct_the_assumption() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.factor(), 1.0);
        let load = load(100.0, f64::INFINITY, 10.0, 100.0);
        calibration.learn(&load, seconds(&load) / 4.0);
        assert_eq!(calibration.factor(), 0.25);
    }
}
