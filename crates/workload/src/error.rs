//! Why a workload cannot be made.

use std::io;
use std::path::PathBuf;

use crate::{HubError, TokenizerError};

/// Why a workload cannot be made. Every message names the flag or the file and line, and what to
/// do.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A setting that cannot be.
    #[error("{flag}: {message}")]
    Setting {
        /// The flag.
        flag: &'static str,
        /// What is wrong with it and what would do.
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
        /// How many rows there are and why none will do.
        message: String,
    },
    /// Fewer usable rows than requests, and repeating them was forbidden.
    #[error(
        "{} has {usable} usable rows, but --num-prompts asks for {asked} and --no-oversample forbids to repeat \
         rows; lower --num-prompts or leave --no-oversample out", path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Usable rows.
        usable: usize,
        /// Requests asked for.
        asked: usize,
    },
    /// The dataset counts tokens.
    #[error(
        "the dataset {dataset} needs a tokenizer; leave --skip-tokenizer-init out and give --tokenizer \
         (`--tokenizer builtin` needs no download)"
    )]
    TokenizerNeeded {
        /// Name of the dataset.
        dataset: &'static str,
    },
    /// Lengths that cannot be made with this tokenizer.
    #[error(
        "the tokenizer {tokenizer:?} cannot make prompts of exactly {wanted} tokens ({message}); choose another \
         length or tokenizer, or take --compat vllm, which accepts the nearest length"
    )]
    Unreachable {
        /// Name of the tokenizer.
        tokenizer: String,
        /// Tokens wanted.
        wanted: usize,
        /// What came out instead.
        message: String,
    },
    /// Something that is not built.
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
