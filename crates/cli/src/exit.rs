//! Exit codes and the two kinds of failure.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | success |
//! | 1 | the run failed: for example, every request failed |
//! | 2 | bad usage: a flag, a file or the server's address is wrong; nothing was measured |
//! | 3 | the verdict is INVALID, and `--strict` is set |

use std::process::ExitCode;

pub(crate) use inferometer_benchmark::{Error as Failure, OrError as OrFail};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Success.
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

impl From<&Failure> for Exit {
    fn from(failure: &Failure) -> Self {
        if failure.is_usage() {
            Self::BadUsage
        } else {
            Self::RunFailed
        }
    }
}
