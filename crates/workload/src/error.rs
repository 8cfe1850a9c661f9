//! Why a workload cannot be made.

use std::io;
use std::path::PathBuf;

use crate::{HubError, TokenizerError};

/// Why a workload cannot be made. Every message names the flag, or the file and line, and the
/// remedy.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// An invalid setting.
    #[error("{flag}: {message}")]
    Setting {
        /// The flag.
        flag: &'static str,
        /// What is wrong, and what is valid.
        message: String,
    },
    /// A file that cannot be read.
    #[error("cannot read the dataset {}: {source}; check --dataset-path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not in the dataset's format.
    #[error("{}{}: {message}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A dataset of which no row can be used.
    #[error("{} has no usable rows: {message}", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
        /// How many rows there are, and why none of them is usable.
        message: String,
    },
    /// Fewer usable rows than requests, with repetition forbidden.
    #[error(
        "{} has {usable} usable rows, but --num-prompts asks for {asked} and --no-oversample forbids repeating \
         rows; lower --num-prompts or omit --no-oversample", path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Usable rows.
        usable: usize,
        /// Requests that `--num-prompts` asks for.
        asked: usize,
    },
    /// The dataset counts tokens.
    #[error(
        "the dataset {dataset} needs a tokenizer; omit --skip-tokenizer-init and give --tokenizer \
         (`--tokenizer builtin` needs no download)"
    )]
    TokenizerNeeded {
        /// Name of the dataset.
        dataset: &'static str,
    },
    /// Lengths that cannot be made with this tokenizer.
    #[error(
        "the tokenizer {tokenizer:?} cannot make prompts of exactly {wanted} tokens ({message}); choose another \
         length or tokenizer, or use --compat vllm, which accepts the nearest length"
    )]
    Unreachable {
        /// Name of the tokenizer.
        tokenizer: String,
        /// Tokens wanted.
        wanted: usize,
        /// What came out instead.
        message: String,
    },
    /// A feature that does not exist.
    #[error("{0} is not supported yet")]
    NotSupported(String),
    /// The tokenizer fails.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The hub fails.
    #[error(transparent)]
    Hub(#[from] HubError),
}

impl WorkloadError {
    pub(crate) fn setting(flag: &'static str, message: impl Into<String>) -> Self {
        Self::Setting {
            flag,
            message: message.into(),
        }
    }

    pub(crate) fn format(
        path: impl Into<PathBuf>,
        line: Option<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self::Format {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}
