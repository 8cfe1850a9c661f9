//! Many runs: sweeps, their resumption, and the folding of repeats.
//!
//! A campaign is planned first ([`sweep_campaign`], [`serve_campaign`]: pure functions of files and
//! flags), and then executed by [`execute()`], which asks a [`World`] to do what has an effect.
//! Each run is a child process that leaves its own result file, so that a crash loses only that
//! run. `campaign.json` records what is done ([`Journal`]), which makes resuming possible.
//!
//! A cell's settings are typed ([`Work`], [`OurRun`]): they become the text of arguments only where
//! a child process is started, and in the journal.

mod ab;
mod campaign;
mod claim;
mod combos;
mod error;
pub mod estimate;
mod execute;
mod experiment;
mod files;
mod flag_table;
mod flags;
mod hidden_arguments;
mod hidden_values;
mod journal;
mod left_servers;
mod load;
mod logs;
mod lookup;
mod named;
mod options;
mod overview;
mod process_runner;
mod rate_table;
mod repeats;
mod rerun;
mod serve;
mod serve_files;
mod server;
mod stop_rules;
mod table_files;
mod target;
mod verdict;
pub mod words;
mod work;
mod world;

use std::path::Path;

pub use ab::{AbOptions, AbSide, ab_campaign, planned_looks};
pub use campaign::{Campaign, Cell, Form, ServerSpec, Warmup};
pub use claim::{Claim, Start};
pub use error::CampaignError;
pub use execute::{check_servers, execute};
pub use files::{line_of_flag, read_table, result_files};
pub use flag_table::{Flag, FlagKind, FlagTable, FlagValue, Settings};
pub use hidden_arguments::reveal_arguments;
pub use inferometer_metrics::{CONFIDENCE, Estimate};
pub use journal::{CAMPAIGN_FORMAT_VERSION, CellState, Identity, JOURNAL_NAME, Journal, Status};
pub use left_servers::{LeftServer, left_servers};
pub use load::Load;
pub use options::SweepOptions;
pub use overview::overview;
pub use process_runner::{CurrentLog, LogState, ProcessRunner, ProcessSettings};
pub use rate_table::{InvalidRun, RateTable};
pub use repeats::{Folded, fold, folded_table};
pub use rerun::prepare_rerun;
pub use serve::{ServeOptions, refuse_other_sweep, serve_campaign};
pub use serve_files::write_summaries;
pub use stop_rules::{Condition, ConditionError, StopRules};
pub use table_files::TableFiles;
pub use target::Target;
pub use verdict::{Finding, findings_of, verdict_of};
pub use work::{OurCommand, OurRun, RunFolder, RunOutput, SELF_PROGRAM, Work};
pub use world::{Event, Exit, Tally, World};

/// The campaign of a sweep that is described by a file: combinations (`combos.yaml`) or an
/// experiment. Which one it is follows from its keys.
///
/// # Errors
///
/// A file that cannot be read, keys that are unknown, and values that a flag refuses.
pub fn sweep_campaign(
    path: &Path,
    flags: &FlagTable,
    options: &SweepOptions,
) -> Result<Campaign, CampaignError> {
    const EXPERIMENT: [&str; 3] = ["run", "rows", "combine"];
    if options.repeats == Some(0) {
        return Err(CampaignError::setting("--num-runs 0: expected at least 1"));
    }
    let map = files::map(path)?;
    if EXPERIMENT.iter().any(|key| map.contains_key(*key)) {
        experiment::campaign(path, map, flags, options)
    } else {
        combos::campaign(path, map, options)
    }
}
