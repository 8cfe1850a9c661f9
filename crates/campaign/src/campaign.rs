//! What a campaign will do, worked out before anything is done.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use inferometer_core::hex;
use inferometer_core::redact::{redact_arguments, redact_url, register_arguments};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::CampaignError;
use crate::load::Load;
use crate::stop_rules::StopRules;
use crate::target::{Target, same_address};
use crate::work::Work;

/// Longest file name that is made of settings; longer ones end in a hash.
const LONGEST_NAME: usize = 150;

/// How a campaign was described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lengths and concurrencies, as in the tutorial.
    Combos,
    /// Any flags of `run`.
    Experiment,
    /// Commands for server and benchmark, as in vLLM's sweep.
    Serve,
    /// Pairs of runs on two servers.
    Ab,
}

impl Form {
    /// Its name in `campaign.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Combos => "combos",
            Self::Experiment => "experiment",
            Self::Serve => "serve",
            Self::Ab => "ab",
        }
    }
}

/// What a campaign will do.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// How it was described.
    pub form: Form,
    /// The folder for everything that it leaves.
    pub output: PathBuf,
    /// Servers that it starts itself, in order; empty when the server is running already.
    pub servers: Vec<ServerSpec>,
    /// The runs, in the order in which they are made.
    pub cells: Vec<Cell>,
    /// Pause between two runs.
    pub cooldown: Duration,
    /// When to stop.
    pub stop: StopRules,
    /// Stop at the first run that fails.
    pub fail_fast: bool,
    /// Command after each run, in place of resetting the server's caches.
    pub after_command: Option<Work>,
    /// Empty the server's caches before each run.
    pub reset_caches: bool,
    /// What the files that describe it leave in doubt.
    pub notes: Vec<String>,
}

/// A server that the campaign starts.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// Name, from its settings; may be empty.
    pub name: String,
    /// Command line.
    pub command: Vec<String>,
    /// Where it will listen.
    pub url: String,
}

/// One run of a campaign.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Name for people, different for each cell.
    pub name: String,
    /// What repeats have in common.
    pub setting: String,
    /// Which repeat it is: counted from 1, in vLLM's form from 0.
    pub run: usize,
    /// What it runs.
    pub work: Work,
    /// The file that it will leave, below the campaign's folder.
    pub result: PathBuf,
    /// Index of the server that it needs.
    pub server: Option<usize>,
    /// Where that server is.
    pub served_at: Option<String>,
    /// An unmeasured run that goes before it, unless one under the same key went before already.
    pub warmup: Option<Warmup>,
    /// Keys that are added to the result file.
    pub annotations: IndexMap<String, Value>,
}

/// An unmeasured run.
#[derive(Clone, Debug, PartialEq)]
pub struct Warmup {
    /// One warm-up serves all cells with the same key.
    pub key: String,
    /// What it runs.
    pub work: Work,
}

impl Cell {
    /// How much it asks of the server; vLLM's defaults where its settings say nothing.
    pub fn load(&self) -> Load {
        self.work.load()
    }

    /// True for a run on the virtual clock, in which no server takes part.
    pub fn is_simulated(&self) -> bool {
        self.work.is_simulated()
    }

    /// Where it sends.
    pub fn target(&self) -> Target {
        self.work.target(self.served_at.as_deref())
    }

    /// Its command as it may be stored: without secrets and without the places of files, so that a
    /// folder can be moved.
    pub fn stored_command(&self) -> Vec<String> {
        self.work.stored_words()
    }

    /// True when the two differ in load, seed and repeat only.
    pub(crate) fn is_same_series(&self, other: &Self) -> bool {
        self.server == other.server && self.work.is_same_series(&other.work)
    }
}

impl Campaign {
    /// Refuses campaigns that cannot be executed: no cells, or two that would write the same file.
    ///
    /// # Errors
    ///
    /// No cells, or two cells with one result file.
    pub fn check(&self) -> Result<(), CampaignError> {
        if self.cells.is_empty() {
            return Err(CampaignError::setting(
                "the campaign has no runs: its lists of settings are empty",
            ));
        }
        let mut seen = IndexMap::new();
        for cell in &self.cells {
            if let Some(other) = seen.insert(&cell.result, &cell.name) {
                return Err(CampaignError::setting(format!(
                    "{} and {} would both write {}: remove one of them",
                    other,
                    cell.name,
                    cell.result.display()
                )));
            }
        }
        Ok(())
    }

    /// Its notes, and what to tell the user about runs that send to another address than the server that is started
    /// for them listens at: right where something forwards to it, else nothing answers.
    pub fn address_notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.notes.clone();
        for cell in &self.cells {
            let Some(served_at) = &cell.served_at else {
                continue;
            };
            let url = cell.target().url;
            let note = format!(
                "--bench-cmd sends to {}, and the server of --serve-cmd listens at {}",
                redact_url(&url),
                redact_url(served_at)
            );
            if !same_address(&url, served_at) && !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    /// SHA-256 over the settings of all cells and servers, as stored in `campaign.json`.
    pub fn settings_sha256(&self) -> String {
        let mut hash = Sha256::new();
        for server in &self.servers {
            for word in redact_arguments(&server.command) {
                hash.update(word.as_bytes());
                hash.update([0]);
            }
            hash.update([1]);
        }
        for cell in &self.cells {
            for word in cell.stored_command() {
                hash.update(word.as_bytes());
                hash.update([0]);
            }
            hash.update([2]);
        }
        hex(&hash.finalize())
    }

    /// Remembers the secrets of all commands: servers print the arguments that they got.
    pub(crate) fn register_secrets(&self) {
        for server in &self.servers {
            register_arguments(&server.command);
        }
        let mut known = HashSet::new();
        for cell in &self.cells {
            if known.insert(&cell.setting) {
                register_arguments(&cell.work.words());
            }
        }
    }

    /// Full path of a cell's result.
    pub fn result_path(&self, cell: &Cell) -> PathBuf {
        self.output.join(&cell.result)
    }

    /// Where the reason of a cell's failure is written.
    pub(crate) fn failure_path(&self, cell: &Cell) -> PathBuf {
        self.result_path(cell).with_extension("failure.json")
    }

    /// The log of a cell's run.
    pub(crate) fn log_path(&self, cell: &Cell) -> PathBuf {
        self.output
            .join("logs")
            .join(cell.result.with_extension("log"))
    }

    /// The log of a server.
    pub(crate) fn server_log_path(&self, server: &ServerSpec) -> PathBuf {
        let name = if server.name.is_empty() {
            "server.log".to_owned()
        } else {
            format!("SERVE--{}.log", file_part(&server.name))
        };
        self.output.join("logs").join(name)
    }
}

/// Repeats have a folder each, so that files keep the names that scripts know.
pub(crate) fn in_repeat(result: &Path, run: usize, repeats: usize) -> PathBuf {
    if repeats > 1 {
        Path::new(&format!("run{run}")).join(result)
    } else {
        result.to_owned()
    }
}

/// Runs of the largest campaign. A run takes two seconds at least, so that this many take most of a day.
const MAX_RUNS: usize = 20_000;

/// Refuses a campaign whose runs, the product of `factors`, are too many, before any of them is made.
pub(crate) fn check_count(
    factors: impl IntoIterator<Item = usize>,
    remedy: &str,
) -> Result<(), CampaignError> {
    let count = factors
        .into_iter()
        .try_fold(1, usize::checked_mul)
        .unwrap_or(usize::MAX);
    if count <= MAX_RUNS {
        return Ok(());
    }
    let count = if count == usize::MAX {
        "too many".to_owned()
    } else {
        count.to_string()
    };
    Err(CampaignError::setting(format!(
        "the sweep has {count} runs: expected at most {MAX_RUNS}; {remedy}"
    )))
}

/// A name for people: the setting, and the repeat where there are several.
pub(crate) fn cell_name(setting: &str, run: usize, repeats: usize) -> String {
    if repeats > 1 {
        format!("{setting} · run {run}")
    } else {
        setting.to_owned()
    }
}

/// A seed of its own for a cell: with one seed for all, later cells would send the prompts of
/// earlier ones, which a prefix cache answers faster than it should. It depends on the name alone,
/// so that cells that are added later change nothing. Below 2^31, because vLLM's generators take no
/// more.
pub(crate) fn cell_seed(campaign_seed: u64, name: &str, run: usize) -> u64 {
    let mut hash = Sha256::new();
    // The program's name at the time: with other bytes, a sweep that is resumed would change its
    // seeds.
    hash.update(b"servebench campaign seed v1\0");
    hash.update(campaign_seed.to_le_bytes());
    hash.update((run as u64).to_le_bytes());
    hash.update(name.as_bytes());
    let bytes = hash.finalize();
    u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> 1)
}

/// Text as a part of a file name, in vLLM's way: `/` becomes `_`, `..` becomes `__`.
pub(crate) fn file_part(text: &str) -> String {
    let plain: String = text
        .replace('/', "_")
        .replace("..", "__")
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\\' | ':' | '"' | '\'' | ' ') {
                '_'
            } else {
                c
            }
        })
        .collect();
    if plain.len() <= LONGEST_NAME {
        return plain;
    }
    let mut end = LONGEST_NAME - 13;
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    format!(
        "{}~{}",
        &plain[..end],
        &hex(&Sha256::digest(text.as_bytes()))[..12]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python: the first four bytes of
    /// `hashlib.sha256(b"servebench campaign seed v1\0" + (0).to_bytes(8, "little") + (1).to_bytes(8, "little") + name).digest()`,
    /// little-endian, shifted right by one.
    #[test]
    fn seeds_of_sweeps_are_those_from_before_the_program_was_renamed() {
        assert_eq!(cell_seed(0, "in=128 out=64 c=8", 1), 659_723_125);
    }
}
