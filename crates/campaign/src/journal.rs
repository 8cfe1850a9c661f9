//! `campaign.json`: what was planned, what is done, and against which server.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use inferometer_core::names;
use inferometer_core::redact::redact_arguments;
use inferometer_os::files::{self, SMALL_FILE};
use inferometer_results::{Tool, read_result_summary};
use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, Cell, Form};
use crate::claim::{Claim, Start};
use crate::error::CampaignError;

/// Version of the layout of `campaign.json`.
pub const CAMPAIGN_FORMAT_VERSION: u32 = 1;
/// Name of the file in the campaign's folder.
pub const JOURNAL_NAME: &str = "campaign.json";

/// The state of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not started, or cut off before its end was known.
    #[default]
    Pending,
    /// Its result is on disk.
    Done,
    /// It was tried and failed.
    Failed,
    /// It was left out by a stop rule.
    Skipped,
    /// It was stopped by the user.
    Interrupted,
}

/// What is known about a cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CellState {
    /// Its name.
    pub name: String,
    /// Its result file, below the campaign's folder.
    pub result: PathBuf,
    /// Its command, without secrets and places.
    pub command: Vec<String>,
    /// Its state.
    pub status: Status,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// When it was last started, RFC 3339.
    pub started: Option<String>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a server reports about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Models of `/v1/models`, sorted; `None` when it does not list any.
    pub models: Option<Vec<String>>,
    /// Version of `/version`.
    pub version: Option<String>,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let models = self
            .models
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |models| models.join(", "));
        write!(
            f,
            "version {}, models {models}",
            self.version.as_deref().unwrap_or("unknown")
        )
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct State {
    format_version: u32,
    tool: Tool,
    form: String,
    created: String,
    settings_sha256: String,
    servers: IndexMap<String, Identity>,
    cells: Vec<CellState>,
}

/// The state of a campaign, on disk after each change.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// `None` for the journal of an earlier campaign, which is only read.
    claim: Option<Claim>,
    state: State,
}

impl Journal {
    /// Starts a campaign or resumes one, in its folder that is claimed. `created` is the present time, RFC 3339.
    ///
    /// Resuming needs a journal whose finished cells have the same settings as those of
    /// `campaign`.
    /// Cells may have been added since.
    ///
    /// # Errors
    ///
    /// A journal that cannot be read or written, or whose finished cells differ.
    pub fn begin(
        campaign: &Campaign,
        claim: Claim,
        start: Start,
        created: &str,
    ) -> Result<Self, CampaignError> {
        let path = campaign.output.join(JOURNAL_NAME);
        let mut journal = match start {
            Start::Resume => Self::resume(campaign, path)?,
            Start::Fresh | Start::Overwrite => {
                make_room(campaign, &path, start)?;
                let state = State {
                    format_version: CAMPAIGN_FORMAT_VERSION,
                    tool: Tool::this(),
                    form: campaign.form.name().to_owned(),
                    created: created.to_owned(),
                    ..State::default()
                };
                Self {
                    path,
                    claim: None,
                    state,
                }
            }
        };
        journal.claim = Some(claim);
        journal.state.cells = campaign
            .cells
            .iter()
            .map(|cell| journal.state_of(campaign, cell))
            .collect();
        journal.state.settings_sha256 = campaign.settings_sha256();
        journal.save()?;
        Ok(journal)
    }

    fn resume(campaign: &Campaign, path: PathBuf) -> Result<Self, CampaignError> {
        if !path.is_file() {
            return Err(CampaignError::setting(format!(
                "--resume: {} does not exist, so there is nothing to resume; remove --resume to start",
                path.display()
            )));
        }
        let text = files::text(&path, SMALL_FILE).map_err(CampaignError::io("read", &path))?;
        let state: State = serde_json::from_str(&text).map_err(|error| {
            let remedy =
                "remove the file or give --overwrite to start over, which makes all runs again";
            CampaignError::file(
                &path,
                format!("not a journal of a sweep: {error}; {remedy}"),
            )
        })?;
        if state.format_version > CAMPAIGN_FORMAT_VERSION {
            return Err(CampaignError::file(
                &path,
                "written by a newer inferometer; use that version",
            ));
        }
        if state.settings_sha256 != campaign.settings_sha256() {
            for cell in &campaign.cells {
                if let Some(old) = state.cells.iter().find(|old| old.result == cell.result)
                    && old.status == Status::Done
                    && as_of_today(&old.command) != cell.stored_command()
                {
                    return Err(CampaignError::setting(format!(
                        "--resume: the settings of {} have changed since it was measured: {}. Results of both \
                         in one table would mislead; undo the change, or start over with --overwrite or \
                         another --output-dir",
                        cell.name,
                        difference(&as_of_today(&old.command), &cell.stored_command())
                    )));
                }
            }
        }
        Ok(Self {
            path,
            claim: None,
            state,
        })
    }

    /// The journal of an earlier campaign in the same folder, if that was started, can be read, and
    /// no setting of a finished cell has changed since.
    pub(crate) fn earlier(campaign: &Campaign) -> Option<Self> {
        let path = campaign.output.join(JOURNAL_NAME);
        let mut journal = Some(path)
            .filter(|path| was_started(path))
            .and_then(|path| Self::resume(campaign, path).ok())?;
        journal.state.cells = campaign
            .cells
            .iter()
            .map(|cell| journal.state_of(campaign, cell))
            .collect();
        Some(journal)
    }

    /// When the campaign was started, RFC 3339.
    pub(crate) fn created(&self) -> &str {
        &self.state.created
    }

    /// True unless the journal holds another server under this key.
    pub(crate) fn is_known(&self, key: &str, identity: &Identity) -> bool {
        self.state
            .servers
            .get(key)
            .is_none_or(|known| known == identity)
    }

    fn state_of(&self, campaign: &Campaign, cell: &Cell) -> CellState {
        let old = self
            .state
            .cells
            .iter()
            .find(|old| old.result == cell.result);
        let mut state = old.cloned().unwrap_or_default();
        state.name.clone_from(&cell.name);
        state.result.clone_from(&cell.result);
        state.command = cell.stored_command();
        // A result that cannot be read is made again, as a missing one is.
        let has_result = || {
            let runs = read_result_summary(&campaign.result_path(cell));
            runs.is_ok_and(|runs| !runs.is_empty())
        };
        if state.status == Status::Done && !has_result() {
            state.status = Status::Pending;
        }
        state
    }

    /// What is known about each cell, in the campaign's order.
    pub fn cells(&self) -> &[CellState] {
        &self.state.cells
    }

    /// True when nothing is left to do for a cell.
    pub fn is_done(&self, index: usize) -> bool {
        self.state.cells[index].status == Status::Done
    }

    /// Changes what is known about a cell, on disk as well.
    pub(crate) fn update(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut CellState),
    ) -> Result<(), CampaignError> {
        change(&mut self.state.cells[index]);
        self.save()
    }

    /// Compares a server with the one of an earlier start; the first time, it is recorded.
    pub(crate) fn check_server(
        &mut self,
        key: &str,
        identity: Identity,
    ) -> Result<(), CampaignError> {
        match self.state.servers.get(key) {
            Some(known) if *known != identity => Err(CampaignError::setting(format!(
                "the server {key} is not the one that the first part was measured with: it was {known}, and now it \
                 is {identity}. Start over with --overwrite or another --output-dir"
            ))),
            Some(_) => Ok(()),
            None => {
                self.state.servers.insert(key.to_owned(), identity);
                self.save()
            }
        }
    }

    fn save(&self) -> Result<(), CampaignError> {
        let mut text = serde_json::to_vec_pretty(&self.state)
            .map_err(|error| CampaignError::file(&self.path, error.to_string()))?;
        text.push(b'\n');
        write_file(&self.path, &text)
    }
}

/// Writes a file so that neither a reader nor a crash ever sees half of it.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<(), CampaignError> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(CampaignError::io("create", folder))?;
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(".inferometer-")
        .suffix(".tmp")
        .permissions(fs::Permissions::from_mode(0o666));
    let mut file = builder
        .tempfile_in(folder)
        .map_err(CampaignError::io("create a file in", folder))?;
    file.write_all(content)
        .map_err(CampaignError::io("write", path))?;
    file.persist(path)
        .map_err(|error| CampaignError::io("write", path)(error.error))?;
    Ok(())
}

/// Refuses to overwrite results unless asked to.
fn make_room(campaign: &Campaign, journal: &Path, start: Start) -> Result<(), CampaignError> {
    let existing = campaign
        .cells
        .iter()
        .map(|cell| campaign.result_path(cell))
        .filter(|path| path.exists());
    let in_the_way = existing.chain(was_started(journal).then(|| journal.to_owned()));
    for path in in_the_way {
        if start == Start::Overwrite {
            fs::remove_file(&path).map_err(CampaignError::io("remove", &path))?;
            continue;
        }
        let remedies = match campaign.form {
            Form::Ab => "continue that experiment with --resume",
            _ => {
                "continue that sweep with --resume, run it again with --again, replace it with --overwrite"
            }
        };
        return Err(CampaignError::setting(format!(
            "{} already exists: {remedies}, or choose another --output-dir",
            path.display()
        )));
    }
    Ok(())
}

/// False for the journal of a campaign that found no server: it holds nothing that could be lost.
fn was_started(journal: &Path) -> bool {
    if !journal.exists() {
        return false;
    }
    let state = files::text(journal, SMALL_FILE)
        .ok()
        .and_then(|text| serde_json::from_str::<State>(&text).ok());
    state.is_none_or(|state| {
        state
            .cells
            .iter()
            .any(|cell| cell.attempts > 0 || cell.status != Status::Pending)
    })
}

/// A command in a journal as it would be stored today: programs were renamed, and more is redacted.
fn as_of_today(command: &[String]) -> Vec<String> {
    let mut command = redact_arguments(command);
    if let Some(program) = command.first_mut() {
        *program = names::current(program).into_owned();
    }
    command
}

/// The first argument that differs, for people.
fn difference(old: &[String], new: &[String]) -> String {
    let at = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| old == new)
        .count();
    let show = |arguments: &[String]| {
        let from = if at > 0 && arguments.get(at).is_some_and(|a| !a.starts_with("--")) {
            at - 1
        } else {
            at
        };
        arguments
            .get(from..(at + 1).min(arguments.len()))
            .unwrap_or_default()
            .join(" ")
    };
    let (old, new) = (show(old), show(new));
    let word = |text: &str| {
        if text.is_empty() {
            "nothing".to_owned()
        } else {
            text.to_owned()
        }
    };
    format!("{} then, {} now", word(&old), word(&new))
}
