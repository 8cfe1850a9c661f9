//! Many runs: sweeps, their resumption, and the folding of repeats.
//!
//! A campaign is planned first ([`sweep_plan`], [`serve_plan`]: pure functions of files and flags),
//! and then carried out by [`execute`], which asks a [`World`] to do what has an effect. Each run
//! is a child process that leaves its own result file, so that the crash of one costs nothing but
//! itself. `campaign.json` keeps account ([`Journal`]), which is what makes resuming possible.

mod again;
mod children;
mod combos;
mod error;
pub mod estimate;
mod execute;
mod experiment;
mod flags;
mod fold;
mod journal;
mod plan;
mod read;
mod serve;
mod serve_files;
mod server;
mod stop;
mod suggest;

use std::path::{Path, PathBuf};

pub use again::begin_again;
pub use children::{ChildSettings, Children, Talk, reveal_arguments};
pub use error::CampaignError;
pub use execute::{Ended, Event, Tally, World, check_servers, execute};
pub use flags::{Flag, FlagKind, FlagTable, has, value_of};
pub use fold::{Folded, fold, folded_table};
pub use inferometer_metrics::{CONFIDENCE, Estimate};
pub use journal::{
    CAMPAIGN_FORMAT_VERSION, CellState, Identity, JOURNAL_NAME, Journal, Start, Status,
};
pub use plan::{Cell, Form, Load, OURSELVES, Plan, ServerSpec, Target, Warmup};
pub use read::{line_of_flag, read_table, result_files};
pub use serve::{ServeOptions, serve_plan};
pub use serve_files::write_summaries;
pub use stop::{Condition, ConditionError, Finding, StopRules, findings_of, verdict_of};

/// What the command line says about a sweep that is described by a file.
#[derive(Clone, Debug, Default)]
pub struct SweepOptions {
    /// Folder of the results; wins over the file.
    pub output: Option<PathBuf>,
    /// Number of runs of each setting; wins over the file.
    pub repeats: Option<usize>,
    /// Stop at the first run that fails.
    pub fail_fast: bool,
    /// Let each run leave its run folder in `runs/` of the campaign's folder.
    pub run_folders: bool,
    /// Further arguments for every run; they win over the file.
    pub extra: Vec<String>,
}

/// The plan of a sweep that is described by a file: combinations (`combos.yaml`) or an experiment.
/// Which one it is, its keys tell.
pub fn sweep_plan(
    path: &Path,
    flags: &FlagTable,
    options: &SweepOptions,
) -> Result<Plan, CampaignError> {
    const EXPERIMENT: [&str; 3] = ["run", "rows", "combine"];
    if options.repeats == Some(0) {
        return Err(CampaignError::setting("--num-runs 0: give at least 1"));
    }
    let map = read::map(path)?;
    if EXPERIMENT.iter().any(|key| map.contains_key(*key)) {
        experiment::plan(path, map, flags, options)
    } else {
        combos::plan(path, map, options)
    }
}
