//! Why a file could not be written or read.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultsError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A place for results cannot be written to; found before anything is sent.
    #[error("{flag}: cannot write to {}: {source}; {remedy}", path.display())]
    NotWritable {
        /// The flag that names the place.
        flag: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A result is not where it was to be, but it is not lost.
    #[error("{error}; the result is in {} instead", path.display())]
    Elsewhere {
        /// Why the place that was asked for could not be written.
        error: Box<ResultsError>,
        /// Where the result is.
        path: PathBuf,
    },
    /// Another process still writes in the folder.
    #[error(
        "{}: another process is writing to this folder: the run or its recovery is still in progress; wait until it \
         ends, or stop the run with Ctrl-C or SIGTERM, which saves its result",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file's content is invalid.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is of a later version of this program.
    #[error(
        "{} has format version {found}, but this program reads up to {known}: use a newer inferometer",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
}

impl ResultsError {
    /// Wraps an I/O error with what was tried and where.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// An error about the content of a file.
    pub(crate) fn format(path: &Path, problem: impl Into<String>) -> Self {
        Self::Format {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}
