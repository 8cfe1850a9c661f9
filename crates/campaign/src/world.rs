//! What a campaign needs from outside of it, and what it reports.

use std::path::Path;
use std::time::Duration;

use inferometer_results::ImportedRun;

use crate::campaign::{Cell, ServerSpec};
use crate::journal::Identity;
use crate::target::Target;
use crate::work::Work;

/// What a campaign needs from the world. The real one starts processes; tests have their own.
pub trait World {
    /// Runs a command; its output goes to `log`.
    fn run(&mut self, work: &Work, log: &Path) -> Exit;
    /// Starts a server and waits until it is healthy.
    ///
    /// # Errors
    ///
    /// The server ends, or is not healthy within its limit; the message ends with its last words.
    fn start_server(&mut self, server: &ServerSpec, log: &Path) -> Result<(), String>;
    /// Stops the server, if one runs.
    fn stop_server(&mut self);
    /// Asks a server for its models and version.
    ///
    /// # Errors
    ///
    /// The server does not answer, in words for people.
    fn identify(&mut self, target: &Target) -> Result<Identity, String>;
    /// Empties the caches of a server.
    ///
    /// # Errors
    ///
    /// The server refuses or does not answer, in words for people.
    fn reset_caches(&mut self, target: &Target) -> Result<(), String>;
    /// Waits; returns early when interrupted.
    fn pause(&mut self, time: Duration);
    /// Seconds on a monotonic clock.
    fn seconds(&self) -> f64;
    /// The present time, RFC 3339.
    fn date(&self) -> String;
    /// True once the user wants to stop.
    fn interrupted(&self) -> bool;
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With exit code 0.
    Success,
    /// It was stopped by the user.
    Interrupted,
    /// In any other way, with the reason.
    Failed(String),
}

/// What happens, for people.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A server is being started.
    ServerStarting(&'a ServerSpec),
    /// It is healthy, after this many seconds.
    ServerReady(&'a ServerSpec, f64),
    /// An unmeasured run has started.
    WarmingUp(&'a Cell),
    /// A run has started.
    Started {
        /// Position of the cell in the campaign.
        index: usize,
        /// The cell.
        cell: &'a Cell,
        /// Estimated seconds of the run.
        seconds: f64,
        /// Estimated seconds of everything left.
        left_s: f64,
    },
    /// A run has succeeded.
    Finished {
        /// Position of the cell in the campaign.
        index: usize,
        /// The cell.
        cell: &'a Cell,
        /// How long the run took, in seconds.
        seconds: f64,
        /// Its result.
        run: Box<ImportedRun>,
    },
    /// A run has failed.
    Failed {
        /// Position of the cell in the campaign.
        index: usize,
        /// The cell.
        cell: &'a Cell,
        /// Why.
        reason: String,
    },
    /// A run is skipped.
    Skipped {
        /// Position of the cell in the campaign.
        index: usize,
        /// The cell.
        cell: &'a Cell,
        /// The stop rule.
        reason: String,
    },
    /// Something that people should know.
    Note(String),
}

/// How many cells ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Done by this execution.
    pub done: usize,
    /// Done by an earlier execution.
    pub earlier: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped by a stop rule.
    pub skipped: usize,
    /// Not done yet.
    pub pending: usize,
    /// The user stopped it.
    pub interrupted: bool,
}
