//! A simulated inference server that knows the truth about itself.
//!
//! [`start`] runs an HTTP server that speaks the APIs of real inference servers, waits before each
//! token as its settings say, and keeps a [`TruthRecord`] of each request: when its body was complete and
//! when each event was handed to the kernel. What a client measures can so be compared with what
//! happened, event by event.
//!
//! ```
//! use inferometer_sim::{SimSettings, start};
//!
//! let server = start(SimSettings { ttft: "lognormal:50,0.3".parse()?, ..SimSettings::default() })?;
//! assert!(server.url().starts_with("http://127.0.0.1:"));
//! server.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod delay;
pub mod engine;
mod faults;
mod format;
mod metrics;
mod request;
mod scratch;
mod server;
mod settings;
mod shared;
mod text;
mod truth;

pub use api::PromptBuilder;
pub use delay::{Delay, Distribution, DistributionError};
pub use faults::{ALL_FAULTS, FaultError, FaultFraction, FaultInfo, FaultKind};
pub use server::{Server, start};
pub use settings::{MetricNames, ReasoningKey, SimError, SimSettings, TlsIdentity};
pub use text::Tokenizer;
pub use truth::{Lateness, TruthOutcome, TruthRecord};
