//! The terms of inferometer as types: request, workload, schedule, record, event, outcome, verdict.
//!
//! Everything else is built on this crate, so it knows nothing about sockets, files, async runtimes or
//! clocks: instants come in as [`Nanos`] and go out as [`Nanos`].
//!
//! | term | type |
//! | --- | --- |
//! | request | [`Request`] |
//! | workload | [`Workload`] |
//! | schedule | [`Schedule`] |
//! | record | [`Record`] |
//! | event | [`Event`] |
//! | outcome | [`Outcome`] |
//! | verdict | [`Verdict`], [`Reason`] |

mod health;
mod hex;
mod meaning;
pub mod names;
pub mod python;
pub mod random;
mod record;
pub mod redact;
mod request;
mod schedule;
mod secret;
mod shell;
pub mod suggest;
mod time;
mod verdict;
mod visible;
mod wide_integers;

pub use health::{ClientHealth, Throttling, WorkerHealth};
pub use hex::hex;
pub use meaning::{FIRST_MEANING, MEANING};
pub use record::{
    Choices, Connection, Ending, Event, EventKind, Impossible, MAX_TOKENS, Marks, Outcome,
    OutcomeCounts, Record, Records, TokenSource, Usage, ending, ends_by_itself,
};
pub use redact::redact_url;
pub use request::{Audio, Prompt, Request, SessionTurn, Workload};
pub use schedule::{Schedule, ScheduleError};
pub use secret::Secret;
pub use shell::shell_word;
pub use time::Nanos;
pub use verdict::{Bilingual, Level, Reason, Verdict};
pub use visible::{turns_direction, visible};
pub use wide_integers::{wide_integers, with_exact_integers};
