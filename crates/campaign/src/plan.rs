//! What a campaign will do, worked out before anything is done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use inferometer_core::Secret;
use inferometer_core::redact::redact_arguments;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::CampaignError;
use crate::flags::{has, value_of, values_of};
use crate::stop::StopRules;

/// Name by which a command means this very program.
pub const OURSELVES: &str = inferometer_core::names::NAME;
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
}

impl Form {
    /// Its name in `campaign.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Combos => "combos",
            Self::Experiment => "experiment",
            Self::Serve => "serve",
        }
    }
}

/// What a campaign will do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How it was described.
    pub form: Form,
    /// The folder for everything that it leaves.
    pub output: PathBuf,
    /// Servers that it starts itself, in order; none when the server is there already.
    pub servers: Vec<ServerSpec>,
    /// The runs, in the order in which they are made.
    pub cells: Vec<Cell>,
    /// Pause between two runs.
    pub cooldown: Duration,
    /// When to go no further.
    pub stop: StopRules,
    /// Stop at the first run that fails.
    pub fail_fast: bool,
    /// Command after each run, in place of resetting the server's caches.
    pub after_command: Option<Vec<String>>,
    /// Empty the server's caches before each run.
    pub reset_caches: bool,
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Name for people, different for each cell.
    pub name: String,
    /// What repeats have in common.
    pub setting: String,
    /// Which repeat it is, counted from `first_run`.
    pub run: usize,
    /// Program and arguments; [`OURSELVES`] stands for this program.
    pub command: Vec<String>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warmup {
    /// One warm-up serves all cells with the same key.
    pub key: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// How much a run asks of the server, as far as its command tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests.
    pub num_prompts: f64,
    /// Requests per second.
    pub rate: f64,
    /// Most in flight.
    pub cap: f64,
    /// Tokens of an answer.
    pub output_len: f64,
    /// Nothing is waited for: the clock is virtual.
    pub simulated: bool,
}

/// Where a run sends, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// URL without the endpoint.
    pub url: String,
    /// Do not verify certificates.
    pub insecure: bool,
    /// Extra headers.
    pub headers: Vec<(String, Secret)>,
}

impl Cell {
    /// What the command says about the load. vLLM's defaults where it says nothing.
    pub fn load(&self) -> Load {
        let number =
            |name: &str| value_of(&self.command, name).and_then(|text| text.parse::<f64>().ok());
        Load {
            num_prompts: number("num-prompts").unwrap_or(1000.0),
            rate: number("request-rate").unwrap_or(f64::INFINITY),
            cap: number("max-concurrency").unwrap_or(f64::INFINITY),
            output_len: number("output-len")
                .or_else(|| number("random-output-len"))
                .or_else(|| number("sharegpt-output-len"))
                .unwrap_or(128.0),
            simulated: self.is_simulated(),
        }
    }

    /// True for a run on the virtual clock, which no server takes part in.
    pub fn is_simulated(&self) -> bool {
        self.command
            .first()
            .is_some_and(|program| program == OURSELVES)
            && self
                .command
                .get(1)
                .is_some_and(|command| command == "simulate")
    }

    /// Where the command sends.
    pub fn target(&self) -> Target {
        let headers = values_of(&self.command, "header")
            .into_iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), Secret::new(value.trim())))
            .collect();
        Target {
            url: self.url(),
            insecure: has(&self.command, "insecure"),
            headers,
        }
    }

    fn url(&self) -> String {
        let command = &self.command;
        let known = |program: &String| matches!(program.as_str(), OURSELVES | "vllm");
        let silent = !["base-url", "host", "port"]
            .iter()
            .any(|name| has(command, name));
        match &self.served_at {
            // Where another program sends that names no address is its own affair, but it means
            // this server.
            Some(url) if silent && !command.first().is_some_and(known) => url.clone(),
            _ => url_of(command),
        }
    }

    /// The command as it may be stored: without secrets and without the places of files, so that a
    /// folder can be moved.
    pub fn fingerprint(&self) -> Vec<String> {
        const PLACES: [&str; 3] = ["--result-dir", "--result-filename", "--runs-dir"];
        let mut kept = Vec::new();
        let mut skip = false;
        for argument in redact_arguments(&self.command) {
            if std::mem::take(&mut skip) {
                continue;
            }
            skip = PLACES.contains(&argument.as_str());
            if !skip {
                kept.push(argument);
            }
        }
        kept
    }

    /// The same settings apart from the load: cells with the same key differ in load or repeat
    /// only.
    pub(crate) fn series(&self) -> Vec<String> {
        const LOAD: [&str; 4] = [
            "--request-rate",
            "--max-concurrency",
            "--num-prompts",
            "--seed",
        ];
        let mut kept = Vec::new();
        let mut skip = false;
        for argument in self.fingerprint() {
            if std::mem::take(&mut skip) {
                continue;
            }
            skip = LOAD.contains(&argument.as_str());
            if !skip
                && !LOAD
                    .iter()
                    .any(|flag| argument.starts_with(&format!("{flag}=")))
            {
                kept.push(argument);
            }
        }
        // `fingerprint` keeps the command's name, so that measured and simulated runs are apart.
        kept.push(
            self.server
                .map_or_else(String::new, |server| server.to_string()),
        );
        kept
    }
}

impl Load {
    /// True when this load is at least as high as the other in everything, and they are not the
    /// same.
    pub(crate) fn exceeds(&self, other: &Self) -> bool {
        (self.rate >= other.rate && self.cap >= other.cap)
            && (self.rate > other.rate || self.cap > other.cap)
    }
}

/// The URL that a benchmark's arguments name.
pub(crate) fn url_of(arguments: &[String]) -> String {
    if let Some(url) = value_of(arguments, "base-url") {
        return url.trim_end_matches('/').to_owned();
    }
    host_port_url(arguments).unwrap_or_else(|| "http://127.0.0.1:8000".to_owned())
}

/// The URL out of `--host` and `--port`, if either is there. An address that means "all of this
/// machine's" is reached by the loopback address.
pub(crate) fn host_port_url(arguments: &[String]) -> Option<String> {
    let (host, port) = (value_of(arguments, "host"), value_of(arguments, "port"));
    if host.is_none() && port.is_none() {
        return None;
    }
    let host = match host {
        None | Some("0.0.0.0" | "::" | "[::]") => "127.0.0.1".to_owned(),
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        Some(host) => host.to_owned(),
    };
    Some(format!("http://{host}:{}", port.unwrap_or("8000")))
}

impl Plan {
    /// Refuses plans that cannot be carried out: no cells, or two that would write the same file.
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
                    "{} and {} would both write {}: leave one of them out",
                    other,
                    cell.name,
                    cell.result.display()
                )));
            }
        }
        Ok(())
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
            for word in cell.fingerprint() {
                hash.update(word.as_bytes());
                hash.update([0]);
            }
            hash.update([2]);
        }
        hex(&hash.finalize())
    }

    /// Full path of a cell's result.
    pub fn result_path(&self, cell: &Cell) -> PathBuf {
        self.output.join(&cell.result)
    }
}

/// Arguments that make `run` save its result at `result` below `output`.
pub(crate) fn saving(output: &Path, result: &Path) -> Vec<String> {
    let path = output.join(result);
    let folder = path.parent().unwrap_or(output).display().to_string();
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    [
        "--save-result",
        "--result-dir",
        &folder,
        "--result-filename",
        &name,
    ]
    .map(str::to_owned)
    .into()
}

/// A seed of its own for a cell: with one seed for all, later cells would send the prompts of
/// earlier ones, which a prefix cache answers faster than it should. It depends on the name alone,
/// so that cells that are added later change nothing. Below 2^31, because vLLM's generators take no
/// more.
pub(crate) fn cell_seed(campaign_seed: u64, name: &str, run: usize) -> u64 {
    let mut hash = Sha256::new();
    // The program's name at the time: with other bytes, a sweep that is continued would change its
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python: the first four bytes of
    /// `hashlib.sha256(b"servebench campaign seed v1\0" + (0).to_bytes(8, "little") + (1).to_bytes(8, "little") + name).digest()`,
    /// little-endian, shifted right by one.
    #[test]
    fn the_rename_of_the_program_left_the_seeds_of_sweeps_as_they_were() {
        assert_eq!(cell_seed(0, "in=128 out=64 c=8", 1), 659_723_125);
    }
}
