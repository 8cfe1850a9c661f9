//! Settings from the command line for a sweep that is described by a file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::CampaignError;
use crate::flags;
use crate::work::{RunFolder, RunOutput};

/// Flags that a sweep sets itself for each run.
pub(crate) const RESERVED_FLAGS: [&str; 5] = [
    "save-result",
    "append-result",
    "result-dir",
    "result-filename",
    "disable-tqdm",
];

/// Settings from the command line for a sweep that is described by a file.
#[derive(Clone, Debug, Default)]
pub struct SweepOptions {
    /// Folder of the results; wins over the file.
    pub output: Option<PathBuf>,
    /// Number of runs of each setting; wins over the file.
    pub repeats: Option<usize>,
    /// Stop at the first run that fails.
    pub fail_fast: bool,
    /// Keep a run folder for each run in `runs/` of the campaign's folder.
    pub run_folders: bool,
    /// Further arguments for every run; they win over the file.
    pub extra: Vec<String>,
}

impl SweepOptions {
    /// Refuses further arguments for what the sweep sets itself: a file's name would not tell the
    /// truth.
    pub(crate) fn refuse_extra<'a>(
        &self,
        set: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), CampaignError> {
        let mut all = set.into_iter().chain(RESERVED_FLAGS);
        match all.find(|flag| flags::has(&self.extra, flag)) {
            Some(flag) => Err(CampaignError::setting(format!(
                "--{flag} after -- contradicts what the sweep sets for each run; change the file instead"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses further arguments for flags with a list of values that the file sets as well: a run would
    /// get both lists, or lose one.
    pub(crate) fn refuse_lists<'a>(
        &self,
        set: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), CampaignError> {
        match set.into_iter().find(|flag| flags::has(&self.extra, flag)) {
            Some(flag) => Err(CampaignError::setting(format!(
                "--{flag} after -- and {} in the file: set it in one of them",
                flag.replace('-', "_")
            ))),
            None => Ok(()),
        }
    }

    /// What a run leaves whose result is `result`, below the campaign's folder `output`.
    pub(crate) fn run_output(&self, output: &Path, result: &Path) -> RunOutput {
        RunOutput {
            result: Some(output.join(result)),
            run_folder: if self.run_folders {
                RunFolder::In(output.join("runs"))
            } else {
                RunFolder::None
            },
        }
    }
}

/// The seed of a campaign's first repeat, as a file or a flag gives it.
pub(crate) fn base_seed(value: &Value) -> Result<u64, CampaignError> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.ok_or_else(|| {
        CampaignError::setting(format!(
            "seed {}: expected a whole number, zero or more",
            crate::flag_table::text(value)
        ))
    })
}
