//! The settings of a benchmark: every setting checked, before a file is opened or a byte is sent.
//!
//! Nothing measured is stored in them. Their form in the manifest is
//! [`RunSpec`](crate::RunSpec).

mod connection;
mod content;
mod exports;
mod load;
mod replay;
mod report;
mod shapes;
mod target;

use std::time::Duration;

use inferometer_arrival::ArrivalSettings;
use inferometer_metrics::Kind;
use inferometer_wire::backend;
use inferometer_workload::{DatasetSettings, RandomSettings, WorkloadSettings};

pub use self::connection::{ConnectionSettings, ConnectionSpec};
pub use self::content::{ContentSettings, ContentSpec};

pub use self::exports::Exports;
pub use self::load::{Cancellation, LoadSettings, LoadSpec};
pub use self::replay::Replay;
pub use self::report::{ReportSettings, ReportSpec, SavingSettings, metadata_pairs};
pub use self::shapes::{ShapeSettings, WorkloadSpec};
pub use self::target::{LoraAssignment, LoraSettings, TargetSettings, TargetSpec};
use crate::compat::Compat;
use crate::error::{Error, OrError};

/// The settings of a benchmark.
#[derive(Debug)]
pub struct Settings {
    /// Which tool's behaviour to follow.
    pub compat: Compat,
    /// Where to send.
    pub target: TargetSettings,
    /// How connections are made.
    pub connection: ConnectionSettings,
    /// When to send.
    pub load: LoadSettings,
    /// What goes into every body.
    pub content: ContentSettings,
    /// What requests contain.
    pub workload: WorkloadSettings,
    /// Replay, conversations and structured answers.
    pub shapes: ShapeSettings,
    /// Which numbers are reported.
    pub report: ReportSettings,
    /// What is written, and where.
    pub saving: SavingSettings,
}

impl Settings {
    /// A run against the server at `base_url` as `inferometer run --base-url URL` makes it: 1,000
    /// random prompts, all at once, over the API `openai`, without any file.
    ///
    /// # Errors
    ///
    /// A usage error when the default API is unknown.
    pub fn new(base_url: impl Into<String>) -> Result<Self, Error> {
        let base_url = base_url.into();
        let compat = Compat::Native;
        let backend = backend::find(compat.default_backend()).or_usage()?;
        Ok(Self {
            compat,
            target: TargetSettings {
                backend,
                base_urls: vec![base_url.clone()],
                base_url,
                endpoint: backend.default_endpoint().to_owned(),
                headers: Vec::new(),
                api_key: None,
                model: None,
                served_model_name: None,
                tokenizer: None,
                has_tokenizer: true,
                lora: None,
                omit_fields: Vec::new(),
                check_model: true,
            },
            connection: ConnectionSettings::default(),
            load: LoadSettings {
                arrivals: ArrivalSettings::default(),
                max_concurrency: None,
                self_timed: false,
                num_warmups: 0,
                ready_check: Duration::ZERO,
                probe_rate: None,
                profile: false,
                reset_prefix_cache: false,
                cancellation: None,
                workers: None,
                pin: None,
            },
            content: ContentSettings::default(),
            workload: WorkloadSettings::new(DatasetSettings::Random(RandomSettings::default())),
            shapes: ShapeSettings::default(),
            report: ReportSettings::default(),
            saving: SavingSettings::default(),
        })
    }

    /// Whether the API generates text or pools embeddings.
    pub fn kind(&self) -> Kind {
        self.target.kind()
    }

    /// True when no temperature is sent, so that the server's default applies.
    pub fn leaves_temperature_to_server(&self) -> bool {
        self.kind() == Kind::Generation && !self.content.sampling.contains_key("temperature")
    }
}
