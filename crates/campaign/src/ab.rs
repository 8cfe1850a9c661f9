//! An experiment with two servers: pairs of runs with the same workload, in the order A B B A.
//!
//! The order cancels a drift of the machine that is linear in time if the number of pairs is even: within each four runs,
//! both sides are measured at the same mean time. Each pair has prompts of its own, so that no cache of an earlier pair helps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use inferometer_core::redact::redact_url;

use crate::campaign::{Campaign, Cell, Form, ServerSpec, Warmup};
use crate::error::CampaignError;
use crate::flag_table::Settings;
use crate::flags;
use crate::options::RESERVED_FLAGS;
use crate::serve::words;
use crate::stop_rules::StopRules;
use crate::target::{same_address, server_url};
use crate::work::{OurRun, RunFolder, RunOutput, Work};

/// Flags that the experiment sets for each run.
const OWN_FLAGS: [&str; 5] = ["base-url", "host", "port", "seed", "runs-dir"];
/// Most pairs: names of files have three digits.
const MOST_PAIRS: usize = 999;

/// One side of the experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbSide {
    /// A server that is running, by its URL.
    Url(String),
    /// A command that starts one, which is stopped before the other side's is started.
    Command {
        /// The command.
        command: String,
        /// Where it will listen, if the command does not say so with --host and --port.
        url: Option<String>,
    },
}

/// What an experiment with two servers is to do.
#[derive(Clone, Debug)]
pub struct AbOptions {
    /// The baseline.
    pub a: AbSide,
    /// The candidate.
    pub b: AbSide,
    /// Pairs of runs.
    pub pairs: usize,
    /// Seed of the first pair; the next ones count up.
    pub seed: u64,
    /// Folder of the results.
    pub output: PathBuf,
    /// Requests of an unmeasured run whenever another server takes over; 0 for none.
    pub warmup: u64,
    /// Empty the server's caches before each run.
    pub reset_caches: bool,
    /// Flags of every run.
    pub extra: Vec<String>,
}

/// The campaign of an experiment. The results of pair 3 are `a/pair003.json` and `b/pair003.json` in its folder.
///
/// # Errors
///
/// A number of pairs that cannot be made, flags that the experiment sets itself, and commands that cannot be split into
/// words.
pub fn ab_campaign(options: &AbOptions) -> Result<Campaign, CampaignError> {
    if !(2..=MOST_PAIRS).contains(&options.pairs) {
        return Err(CampaignError::setting(format!(
            "--pairs {}: expected 2 to {MOST_PAIRS}: with one pair, the noise between runs is unknown",
            options.pairs
        )));
    }
    let mut own = OWN_FLAGS.iter().chain(&RESERVED_FLAGS);
    if let Some(flag) = own.find(|flag| flags::has(&options.extra, flag)) {
        return Err(CampaignError::setting(format!(
            "--{flag} after -- contradicts what ab sets for each run: remove it (ab has --a, --b, --seed and --output-dir)"
        )));
    }
    let sides = [Side::of("a", &options.a)?, Side::of("b", &options.b)?];
    let mut notes = Vec::new();
    // One server that gets the same prompts twice answers the second time from its cache.
    let apart =
        sides[0].command.is_none() && sides[0].same_server(&sides[1]) && !options.reset_caches;
    if apart {
        notes.push(
            "both sides are the same server, so each run has prompts of its own; with --reset-caches, the runs of a pair \
             have the same ones"
                .to_owned(),
        );
    }
    let mut servers = Vec::new();
    let mut cells = Vec::new();
    for pair in 0..options.pairs {
        let order: [usize; 2] = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for index in order {
            let step = if apart { 2 * pair + index } else { pair };
            cells.push(sides[index].cell(options, pair, options.seed + step as u64, &mut servers));
        }
    }
    let campaign = Campaign {
        form: Form::Ab,
        output: options.output.clone(),
        servers,
        cells,
        cooldown: Duration::ZERO,
        stop: StopRules::default(),
        fail_fast: true,
        after_command: None,
        reset_caches: options.reset_caches,
        notes,
    };
    campaign.check()?;
    campaign.register_secrets();
    Ok(campaign)
}

struct Side {
    name: &'static str,
    url: String,
    /// Starts its server.
    command: Option<Vec<String>>,
}

impl Side {
    fn of(name: &'static str, side: &AbSide) -> Result<Self, CampaignError> {
        let (url, command) = match side {
            AbSide::Url(url) => (url.clone(), None),
            AbSide::Command { command, url } => {
                let command = words(&format!("--{name}-cmd"), command)?;
                let listens_at = url.clone().unwrap_or_else(|| server_url(&command, &[]));
                (listens_at, Some(command))
            }
        };
        Ok(Self {
            name,
            url: url.trim_end_matches('/').to_owned(),
            command,
        })
    }

    fn same_server(&self, other: &Self) -> bool {
        self.command == other.command && same_address(&self.url, &other.url)
    }

    /// A run of the side. A server that is started is started anew for each run: runs of one start share what that start
    /// was like, and would look more alike than they are.
    fn cell(
        &self,
        options: &AbOptions,
        pair: usize,
        seed: u64,
        servers: &mut Vec<ServerSpec>,
    ) -> Cell {
        let server = self.command.as_ref().map(|command| {
            servers.push(ServerSpec {
                name: format!("{}{:03}", self.name, pair + 1),
                command: command.clone(),
                url: self.url.clone(),
            });
            servers.len() - 1
        });
        let mut settings = Settings::new();
        settings.insert("base-url".to_owned(), self.url.as_str().into());
        settings.insert("seed".to_owned(), seed.into());
        let number = pair + 1;
        let result = Path::new(self.name).join(format!("pair{number:03}.json"));
        let output = RunOutput {
            result: Some(options.output.join(&result)),
            run_folder: RunFolder::In(options.output.join("runs")),
        };
        let run = OurRun::new(settings, &options.extra, output);
        let warmup = (options.warmup > 0).then(|| Warmup {
            key: self.name.to_owned(),
            work: Work::Ours(Box::new(run.warmup(options.warmup))),
        });
        Cell {
            name: format!("pair {number} {}", self.name),
            setting: format!("{} {}", self.name, redact_url(&self.url)),
            run: number,
            work: Work::Ours(Box::new(run)),
            result,
            server,
            served_at: server.map(|_| self.url.clone()),
            warmup,
            annotations: IndexMap::new(),
        }
    }
}

/// The numbers of pairs at which an experiment of at most `max` pairs is looked at: up to four looks, the first after 4
/// pairs, all but the last at even numbers, at which a linear drift cancels.
pub fn planned_looks(max: usize) -> Vec<usize> {
    const LOOKS: usize = 4;
    let first = max.min(4);
    let mut looks: Vec<usize> = (0..LOOKS - 1)
        .map(|look| first + (max - first) * look / (LOOKS - 1))
        .map(|look| look - look % 2)
        .chain([max])
        .filter(|look| *look >= first)
        .collect();
    looks.dedup();
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: usize, a: &str, b: &str) -> AbOptions {
        AbOptions {
            a: AbSide::Url(a.into()),
            b: AbSide::Url(b.into()),
            pairs,
            seed: 7,
            output: "out".into(),
            warmup: 0,
            reset_caches: false,
            extra: vec!["--num-prompts".into(), "9".into()],
        }
    }

    fn order(options: &AbOptions) -> Vec<String> {
        let campaign = ab_campaign(options).unwrap();
        campaign
            .cells
            .iter()
            .map(|cell| cell.result.display().to_string())
            .collect()
    }

    fn seeds(options: &AbOptions) -> Vec<String> {
        let campaign = ab_campaign(options).unwrap();
        let seed = |cell: &Cell| {
            flags::value_of(&cell.work.words(), "seed")
                .unwrap()
                .to_owned()
        };
        campaign.cells.iter().map(seed).collect()
    }

    #[test]
    fn sides_alternate_so_that_a_linear_drift_cancels() {
        let expected = [
            "a/pair001",
            "b/pair001",
            "b/pair002",
            "a/pair002",
            "a/pair003",
            "b/pair003",
        ];
        assert_eq!(
            order(&options(3, "http://x", "http://y")),
            expected.map(|name| format!("{name}.json"))
        );
    }

    #[test]
    fn a_pair_shares_its_prompts_and_one_server_never_gets_them_twice() {
        assert_eq!(
            seeds(&options(2, "http://x", "http://y")),
            ["7", "7", "8", "8"]
        );
        assert_eq!(
            seeds(&options(2, "http://x", "http://x/")),
            ["7", "8", "10", "9"]
        );
    }

    #[test]
    fn what_the_experiment_sets_is_refused() {
        let mut contradicting = options(2, "http://x", "http://y");
        contradicting.extra.extend(["--seed".into(), "3".into()]);
        assert!(
            ab_campaign(&contradicting)
                .unwrap_err()
                .to_string()
                .contains("--seed after --")
        );
        assert!(ab_campaign(&options(1, "http://x", "http://y")).is_err());
    }

    #[test]
    fn looks_are_planned_up_to_the_last_pair() {
        assert_eq!(planned_looks(10), [4, 6, 8, 10]);
        assert_eq!(planned_looks(8), [4, 6, 8]);
        assert_eq!(planned_looks(1), [1]);
        assert_eq!(planned_looks(3), [3]);
    }
}
