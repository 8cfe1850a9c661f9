//! Exit codes and the kinds of failure.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | success; `gate`: pass |
//! | 1 | the run failed: for example, every request failed; `gate`: worse |
//! | 2 | bad usage: a flag, a file or the server's address is wrong; nothing was measured |
//! | 3 | the verdict is INVALID where that matters: with `--strict`, or of all runs that a command is to judge |
//! | 4 | `gate`: the runs cannot tell |
//! | 5 | the runs cannot be compared: they did not measure the same |
//! | 130 | stopped early by Ctrl-C, SIGTERM or SIGHUP; what was measured is kept |
//!
//! A command that has nothing to keep is ended by the signal itself, which a shell shows as 128 + its
//! number: 130 after Ctrl-C. The code here is the same, so a script needs one rule for both.

use std::process::ExitCode;

pub(crate) use inferometer_benchmark::{Error as Failure, OrError as OrFail};
use inferometer_decide::Outcome;

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
    /// A gate that cannot tell.
    CannotTell = 4,
    /// Runs that did not measure the same.
    NotComparable = 5,
    /// Stopped early by the user or by the system.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::Good,
            Outcome::Worse => Self::RunFailed,
            Outcome::CannotTell => Self::CannotTell,
        }
    }
}

impl From<&Failure> for Exit {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Usage(_) => Self::BadUsage,
            Failure::Failure(_) => Self::RunFailed,
            Failure::Interrupted(_) => Self::Interrupted,
        }
    }
}
