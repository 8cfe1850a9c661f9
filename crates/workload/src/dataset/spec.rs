//! The source of the prompts, as the manifest keeps it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Source of the prompts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetSpec {
    /// Name of the dataset, as in `--dataset-name`.
    pub name: String,
    /// The file, folder or repository that it was read from.
    pub path: Option<PathBuf>,
    /// Lengths in tokens, where they were requested.
    pub lengths: LengthsSpec,
    /// Settings of this dataset only.
    pub options: Map<String, Value>,
}

/// Requested lengths in tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LengthsSpec {
    /// Prompts.
    pub input: Option<i64>,
    /// Answers.
    pub output: Option<i64>,
    /// Half-width of the uniform spread of input lengths, as a fraction of the length.
    pub input_spread: Option<f64>,
    /// The same of output lengths.
    pub output_spread: Option<f64>,
    /// Prefix that prompts share.
    pub prefix: Option<i64>,
}

impl LengthsSpec {
    /// Only the length of answers was requested.
    pub(super) fn output(output: Option<i64>) -> Self {
        Self {
            output,
            ..Self::default()
        }
    }
}

impl DatasetSpec {
    /// A dataset that is generated. `options` is an object.
    pub(super) fn generated(lengths: LengthsSpec, options: Value) -> Self {
        let Value::Object(options) = options else {
            unreachable!("options are objects")
        };
        Self {
            // The table fills it in.
            name: String::new(),
            path: None,
            lengths,
            options,
        }
    }

    /// A dataset that is read from a file, folder or repository. `options` is an object.
    pub(super) fn of_file(path: &Path, lengths: LengthsSpec, options: Value) -> Self {
        Self {
            path: Some(path.to_owned()),
            ..Self::generated(lengths, options)
        }
    }

    /// True for prompts of random tokens.
    pub fn is_random(&self) -> bool {
        self.name.starts_with("random")
    }
}
