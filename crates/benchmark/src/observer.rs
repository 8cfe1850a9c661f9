//! Watching a run: what it says and how far it has come, for terminals, logs and tests.

use std::sync::Arc;

use inferometer_core::ClientHealth;
use inferometer_engine::{Progress, StopHandle};

use crate::numbers::Numbers;
use crate::spec::{RunFacts, RunSpec};

/// Watches a run. All methods have an empty default; they are called by the thread that runs the
/// benchmark, but [`Observer::preparing`], which is called by many.
pub trait Observer: Sync {
    /// A line of the run's story. vLLM's own words where its tool says the same, since scripts
    /// look for them.
    fn line(&self, _line: &str) {}

    /// Something that the user may want to know.
    fn note(&self, _message: &str) {}

    /// Something that is wrong but not fatal.
    fn warning(&self, _message: &str) {}

    /// `done` of `total` requests of the workload are there.
    fn preparing(&self, _done: usize, _total: usize) {}

    /// The workload is there; nothing more is prepared.
    fn prepared(&self) {}

    /// From here on an interrupt should raise `stop` instead of ending the process, so that nothing
    /// measured is lost.
    fn interruptible(&self, _stop: &StopHandle) {}

    /// The first measured request is about to be sent. Progress is shown from here on until
    /// [`Observer::measured`].
    fn measuring(&self, _run: &Measuring) {}

    /// The last answer has come, or will not be waited for any longer.
    fn measured(&self) {}

    /// The numbers of the run are known. They come before anything is written, so that a full disk
    /// does not cost them.
    fn numbers(&self, _result: &Shown<'_>) {}
}

/// A run in progress.
#[derive(Clone, Debug)]
pub struct Measuring {
    /// Moves with the run; reading it does not slow the run down.
    pub progress: Arc<Progress>,
    /// Requests of the run.
    pub requests: usize,
    /// Model and server, for a title.
    pub title: String,
    /// Stops the run.
    pub stop: StopHandle,
}

/// The numbers of a run and what belongs beside them.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The numbers.
    pub numbers: &'a Numbers,
    /// What the run was asked to do.
    pub spec: &'a RunSpec,
    /// What it found out besides.
    pub facts: &'a RunFacts,
    /// The client's own state.
    pub health: &'a ClientHealth,
    /// The first failures, as vLLM's tool lists them; empty without any.
    pub failures: &'a str,
    /// The run folder, where there is one.
    pub run_folder: Option<&'a std::path::Path>,
    /// What was simulated, where no server was measured: a sentence.
    pub simulated: Option<&'a str>,
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
