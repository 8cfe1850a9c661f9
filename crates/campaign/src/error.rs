//! Why a campaign cannot be planned or continued.

use std::io;
use std::path::{Path, PathBuf};

/// Why a campaign cannot be planned or continued. The user has to change something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CampaignError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another sweep is still running in the folder.
    #[error(
        "{}: another sweep is still running in this folder{}; wait until it ends, stop it with Ctrl-C or SIGTERM, or \
         choose another --output-dir",
        path.display(),
        process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process of that sweep, if known.
        process: Option<u32>,
    },
    /// A file whose content is invalid.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        problem: String,
    },
    /// An invalid flag or combination of flags.
    #[error("{0}")]
    Setting(String),
    /// A result file or folder that cannot be used.
    #[error(transparent)]
    Results(#[from] inferometer_results::ResultsError),
}

impl CampaignError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(crate) fn setting(problem: impl Into<String>) -> Self {
        Self::Setting(problem.into())
    }
}
