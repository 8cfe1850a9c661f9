//! Exit codes and the two kinds of failure.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | good |
//! | 1 | the run failed: for example, every request failed |
//! | 2 | bad usage: a flag, a file or the server's address is wrong; nothing was measured |
//! | 3 | the verdict is INVALID, and `--strict` was given |

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Good.
    Good = 0,
    /// The run failed.
    RunFailed = 1,
    /// Bad usage.
    BadUsage = 2,
    /// The verdict is INVALID under `--strict`.
    Invalid = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user has to change something; nothing was measured.
    Usage(anyhow::Error),
    /// Something broke while running.
    Run(anyhow::Error),
}

impl Failure {
    /// A usage failure from a finished sentence.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(message.into()))
    }

    /// The exit code and the error.
    pub(crate) fn into_parts(self) -> (Exit, anyhow::Error) {
        match self {
            Self::Usage(error) => (Exit::BadUsage, error),
            Self::Run(error) => (Exit::RunFailed, error),
        }
    }
}

/// Sorts an error into one of the kinds of [`Failure`].
pub(crate) trait OrFail<T> {
    /// The user has to change something.
    fn or_usage(self) -> Result<T, Failure>;
    /// Something broke.
    fn or_run(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_usage(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::Usage(error.into()))
    }

    fn or_run(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::Run(error.into()))
    }
}
