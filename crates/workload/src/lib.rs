//! What a run sends: datasets, synthetic text, and the tokenizers that count it.
//!
//! [`build`] turns settings into a [`Workload`](inferometer_core::Workload). The same settings and
//! seed give the same workload, byte for byte, on any machine and with any number of threads.
//!
//! | to add | write |
//! | --- | --- |
//! | a dataset | one file under `src/dataset/`, its row in the table of `src/dataset/mod.rs` |
//! | a tokenizer step to the fast encoder | a case in `tokenizer::pipeline` |

mod build;
mod bundle;
pub mod dataset;
mod error;
mod hub;
mod jpeg;
mod media;
mod picture;
mod prefixes;
mod read;
mod settings;
mod shape;
mod tokenizer;

pub use build::{build, build_in_chunks};
pub use bundle::{Bundle, BundleError, BundleReader, BundleWriter, FORMAT_VERSION};
pub use dataset::{
    BurstGptSettings, CustomMediaSettings, CustomSettings, DatasetSettings, DatasetSpec,
    HfSettings, LengthsSpec, MmBucket, MultiTurnSettings, MultiTurnSource,
    PrefixRepetitionSettings, RandomMmSettings, RandomSettings, RangeRatio, RerankSettings,
    ShareGptSettings, SonnetSettings, SpecBenchSettings, SpeedBenchSettings, SyntheticTurns,
    TimedTraceSettings, TraceSettings,
};
pub use error::WorkloadError;
pub use hub::{HubError, HubSettings, RepoKind, TokenUse};
pub use settings::{Compat, WorkloadSettings};
pub use shape::{LengthDistribution, MixSettings, SharedPrefixes, TrafficClass};
pub use tokenizer::{BUILTIN, Tokenizer, TokenizerError, count_output_tokens};
