//! One benchmark run as a library: settings → prepare → measure → numbers → save.
//!
//! ```no_run
//! use inferometer_benchmark::{Settings, Silent, run};
//! use inferometer_arrival::Rate;
//!
//! # fn main() -> Result<(), inferometer_benchmark::Error> {
//! let mut settings = Settings::new("http://127.0.0.1:8000")?;
//! settings.workload.num_prompts = 100;
//! settings.load.arrivals.rate = Rate::PerSecond(10.0);
//! let run = run(&settings, &Silent)?;
//! println!("{:?}: {} of 100", run.numbers.verdict.level, run.numbers.summary.completed);
//! for metric in &run.numbers.summary.stats {
//!     println!("median {} {:.2} ms", metric.metric.key(), metric.median_ms);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`run`] measures a server, [`simulate`] an engine model on a virtual clock, [`report()`] makes
//! the numbers of a run folder again, and [`recover`] those of a run that was killed. All four give
//! the same [`Numbers`] and the same files. An [`Observer`] watches.
//!
//! Nothing here prints, exits, or reads a command line; errors are of [two kinds](Error).

mod align;
mod calibration;
pub mod ceiling;
mod compat;
mod decoding;
mod error;
mod export;
mod header;
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
pub mod server;
pub mod settings;
mod sidecars;
mod simulate;
mod spec;
mod structured;
mod vllm;

pub use calibration::{Calibrated, Calibration, calibrate};
pub use compat::Compat;
pub use decoding::Decoding;
pub use error::{Cause, Error, OrError};
pub use export::Exports;
pub use json_integers::check_integers;
pub use numbers::{Look, Numbers};
pub use observer::{Measuring, Observer, Shown, Silent};
pub use prepare::{Ready, arrivals, offline, prepare};
pub use probe::ProbeNumbers;
pub use rate_search::{RateSearch, SearchBudget};
pub use report::{FolderRun, recover, report};
pub use run::{Run, describe_failure, run, run_with_stop};
pub use run_records::count_in_memory;
pub use settings::Settings;
pub use simulate::{EngineModel, Simulation, simulate};
pub use spec::{
    ConnectionSpec, ContentSpec, DatasetSpec, LengthsSpec, LoadSpec, ReportSpec, RunFacts, RunSpec,
    TargetSpec, WorkloadSpec,
};
pub use structured::{Structured, StructuredKind};
