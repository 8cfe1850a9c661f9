//! Options of datasets that are read: files, traces and the hub.

use std::path::PathBuf;

use crate::HubSettings;

/// Options of `sharegpt`.
#[derive(Clone, Debug, Default)]
pub struct ShareGptSettings {
    /// The JSON file.
    pub path: PathBuf,
    /// Output tokens for every request; `None` takes the length of the recorded answer.
    pub output_len: Option<i64>,
}

/// Options of `custom`.
#[derive(Clone, Debug)]
pub struct CustomSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Output tokens for every request; -1 takes `output_tokens` of the row.
    pub output_len: i64,
}

/// Options of `sonnet`.
#[derive(Clone, Debug)]
pub struct SonnetSettings {
    /// A text file to take lines from; `None` takes the sonnets inside the binary.
    pub path: Option<PathBuf>,
    /// Maximum tokens of a prompt, chat template included.
    pub input_len: i64,
    /// Tokens of an answer.
    pub output_len: i64,
    /// Tokens of the lines that all prompts share.
    pub prefix_len: i64,
}

impl Default for SonnetSettings {
    fn default() -> Self {
        Self {
            path: None,
            input_len: 550,
            output_len: 150,
            prefix_len: 200,
        }
    }
}

/// Options of `burstgpt`.
#[derive(Clone, Debug, Default)]
pub struct BurstGptSettings {
    /// The CSV file.
    pub path: PathBuf,
}

/// Options of `spec_bench`.
#[derive(Clone, Debug)]
pub struct SpecBenchSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Tokens of an answer.
    pub output_len: i64,
    /// Only rows of this category.
    pub category: Option<String>,
}

impl Default for SpecBenchSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            output_len: 256,
            category: None,
        }
    }
}

/// Options of `speed_bench`.
#[derive(Clone, Debug)]
pub struct SpeedBenchSettings {
    /// The folder with `SUBSET.jsonl`.
    pub path: PathBuf,
    /// Name of the subset.
    pub subset: String,
    /// Tokens of an answer.
    pub output_len: i64,
    /// Only rows of this category.
    pub category: Option<String>,
}

impl Default for SpeedBenchSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            subset: "qualitative".into(),
            output_len: 4096,
            category: None,
        }
    }
}

/// Options of `timed_trace`.
#[derive(Clone, Debug)]
pub struct TimedTraceSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Tokens that one hash id stands for.
    pub chunk_hash_size: i64,
    /// Seconds in one unit of the time column.
    pub sec_multiplier: f64,
    /// Name of the time column.
    pub label_timestamp: String,
    /// Name of the column of input lengths.
    pub label_input_length: String,
    /// Name of the column of output lengths.
    pub label_output_length: String,
    /// Name of the column of hash ids.
    pub label_hash_ids: String,
    /// The trace runs this many times as fast.
    pub speed: f64,
    /// Rows before this many seconds from the first row are left out.
    pub start: f64,
    /// Rows after this many seconds from the start are left out.
    pub duration: Option<f64>,
}

impl Default for TimedTraceSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            chunk_hash_size: 16,
            sec_multiplier: 1.0,
            label_timestamp: "timestamp".into(),
            label_input_length: "input_length".into(),
            label_output_length: "output_length".into(),
            label_hash_ids: "hash_ids".into(),
            speed: 1.0,
            start: 0.0,
            duration: None,
        }
    }
}

/// Options of `trace`: recorded traffic with its own clock.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The file: an Azure LLM trace or BurstGPT (CSV), or Mooncake (JSON Lines). Told apart by
    /// their columns.
    pub path: PathBuf,
    /// The trace runs this many times as fast.
    pub speed: f64,
    /// Rows before this many seconds of the trace are left out.
    pub start: f64,
    /// Rows after this many seconds from the start are left out.
    pub duration: Option<f64>,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            speed: 1.0,
            start: 0.0,
            duration: None,
        }
    }
}

/// Options of `custom_image` and `custom_audio`.
#[derive(Clone, Debug)]
pub struct CustomMediaSettings {
    /// The JSON Lines file.
    pub path: PathBuf,
    /// Output tokens for every request; -1 takes `output_tokens` of the row.
    pub output_len: i64,
    /// Images are read or fetched here and sent inside the request
    /// (`--custom-ensure-client-side-data`).
    pub client_side_data: bool,
    /// Audio is sent inside chat messages (`--enable-multimodal-chat`).
    pub multimodal_chat: bool,
}

impl Default for CustomMediaSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            output_len: 256,
            client_side_data: false,
            multimodal_chat: false,
        }
    }
}

/// Options of `hf`.
#[derive(Clone, Debug)]
pub struct HfSettings {
    /// A local folder, or the dataset's name on the hub.
    pub path: String,
    /// The dataset's name on the hub, when `path` is a folder.
    pub name: Option<String>,
    /// Subset (configuration).
    pub subset: Option<String>,
    /// Split; `None` takes the dataset's default.
    pub split: Option<String>,
    /// Tokens of an answer; `None` takes the dataset's default.
    pub output_len: Option<i64>,
    /// Shuffle over all rows instead of a window of 1,000 (`--no-stream`).
    pub no_stream: bool,
    /// Categories of BFCL.
    pub bfcl_categories: Vec<String>,
    /// Least and greatest edit distance of Blazedit rows.
    pub blazedit_distance: (f64, f64),
    /// Shortest and longest audio, in seconds.
    pub audio_seconds: (f64, f64),
    /// Where the hub is.
    pub hub: HubSettings,
}

impl HfSettings {
    /// The default options for a dataset.
    pub fn new(path: impl Into<String>, hub: HubSettings) -> Self {
        Self {
            path: path.into(),
            name: None,
            subset: None,
            split: None,
            output_len: None,
            no_stream: false,
            bfcl_categories: ["simple", "live_simple", "multiple"]
                .map(str::to_owned)
                .to_vec(),
            blazedit_distance: (0.0, 1.0),
            audio_seconds: (0.0, f64::INFINITY),
            hub,
        }
    }
}
