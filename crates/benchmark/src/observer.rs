//! Watching a run: its messages and its progress, for terminals, logs and tests.

use std::sync::Arc;

use inferometer_core::{Bilingual, ClientHealth};
use inferometer_engine::{Progress, StopHandle};

use crate::numbers::Numbers;
use crate::spec::{RunFacts, RunSpec};

/// Watches a run. All methods do nothing by default. They are called by the thread that runs the
/// benchmark, except [`Observer::preparing`], which is called by several.
pub trait Observer: Sync {
    /// A message about the course of the run. vLLM's wording where its tool prints the same, since
    /// scripts search for it.
    fn line(&self, _line: &str) {}

    /// A hint for the user.
    fn note(&self, _message: &str) {}

    /// A problem that does not end the run.
    fn warning(&self, _message: &str) {}

    /// `done` of `total` requests of the workload are built.
    fn preparing(&self, _done: usize, _total: usize) {}

    /// The workload is built.
    fn prepared(&self) {}

    /// From here on an interrupt should raise `stop` instead of ending the process, so that nothing
    /// measured is lost.
    fn interruptible(&self, _stop: &StopHandle) {}

    /// The first measured request is about to be sent. Progress is shown from here on until
    /// [`Observer::measured`].
    fn measuring(&self, _run: &Measuring) {}

    /// The last answer has arrived, or is not waited for any longer.
    fn measured(&self) {}

    /// The numbers of the run are known. They come before anything is written, so that a full disk
    /// does not lose them.
    fn numbers(&self, _result: &Shown<'_>) {}
}

/// A run in progress.
#[derive(Clone, Debug)]
pub struct Measuring {
    /// Counters that advance with the run; reading them does not slow it down.
    pub progress: Arc<Progress>,
    /// Number of measured requests.
    pub requests: usize,
    /// Model and server, for a title.
    pub title: String,
    /// Stops the run.
    pub stop: StopHandle,
}

/// The numbers of a run and what is shown with them.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The numbers.
    pub numbers: &'a Numbers,
    /// What the run was asked to do.
    pub spec: &'a RunSpec,
    /// What the run found out besides its records.
    pub facts: &'a RunFacts,
    /// The client's own state.
    pub health: &'a ClientHealth,
    /// The first failures, as vLLM's tool lists them; empty without any.
    pub failures: &'a str,
    /// The run folder, where there is one.
    pub run_folder: Option<&'a std::path::Path>,
    /// In a simulation: a sentence that says so.
    pub simulated: Option<&'a Bilingual>,
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
