//! One benchmark run as a library: settings → prepare → measure → numbers → save.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = inferometer_sim::start(inferometer_sim::SimSettings::default())?;
//! # let url = server.url();
//! use inferometer_arrival::Rate;
//! use inferometer_benchmark::{Settings, Silent, run};
//!
//! let mut settings = Settings::new(url)?; // such as "http://127.0.0.1:8000"
//! settings.workload.num_prompts = 20;
//! settings.load.arrivals.rate = Rate::PerSecond(100.0);
//! # settings.target.tokenizer = Some("builtin".to_owned());
//! let numbers = run(&settings, &Silent)?.numbers;
//! println!("{:?}: {} of 20", numbers.verdict.level, numbers.summary.completed);
//! for stats in &numbers.summary.stats {
//!     println!("median {} {:.2} ms", stats.metric.key(), stats.median_ms);
//! }
//! # assert_eq!(numbers.summary.completed, 20);
//! # server.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`run`] measures a server, [`simulate`] an engine model on a virtual clock, [`report()`]
//! recomputes the numbers of a run folder, and [`recover`] computes those of a run that was killed.
//! All four give the same [`Numbers`]; [`run`], [`simulate`] and [`recover`] also write the files.
//! An [`Observer`] gets messages and progress.
//!
//! Nothing here prints, exits, or reads a command line; errors are of [two kinds](Error).

mod align;
mod calibration;
pub mod ceiling;
pub mod check;
mod collect;
mod command;
mod compat;
mod decoding;
mod environment;
mod error;
mod export;
mod gate;
mod header;
mod history;
mod json_integers;
mod lengths;
mod numbers;
mod observer;
mod page;
mod prepare;
mod probe;
mod profiler;
mod rate_search;
mod report;
mod request_adjust;
mod run;
mod run_records;
mod save;
mod selftest;
pub mod server;
pub mod settings;
mod sidecars;
mod simulate;
mod spec;
mod structured;
mod threads;
mod vllm;

pub use calibration::{Calibrated, Calibration, calibrate};
pub use collect::{add_details, collect_runs, file_rows, read_details, was_stopped};
pub use compat::Compat;
pub use decoding::Decoding;
pub use environment::api_key;
pub use error::{Cause, Error, OrError};
pub use gate::{Question, contrasted, draw_figure, metric_values, named_paths};
pub use inferometer_workload::{DatasetSpec, LengthsSpec};
pub use json_integers::check_integers;
pub use numbers::{Look, Numbers};
pub use observer::{Measuring, Observer, Shown, Silent};
pub use prepare::{Ready, arrivals, offline, prepare};
pub use probe::ProbeNumbers;
pub use rate_search::{RateSearch, SearchBudget};
pub use report::{FolderRun, SavedResult, recover, report};
pub use run::{Run, advice, describe_failure, run, run_with_stop};
pub use run_records::count_in_memory;
pub use selftest::SelfTest;
pub use settings::{
    ConnectionSpec, ContentSpec, Exports, LoadSpec, ReportSpec, Settings, TargetSpec, WorkloadSpec,
};
pub use simulate::{EngineModel, Simulation, simulate};
pub use spec::{RunFacts, RunSpec};
pub use structured::{Structured, StructuredKind};
pub use threads::{check_threads, prepare_pool};
