//! The flags that choose and shape the prompts.

use std::path::PathBuf;

use clap::Args;

/// Default of `--random-input-len`.
const RANDOM_INPUT_LEN: i64 = 1024;
/// Default of `--random-output-len`.
const RANDOM_OUTPUT_LEN: i64 = 128;

/// Datasets.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Dataset")]
pub(crate) struct DatasetArgs {
    /// Dataset [default: random; with --compat vllm-0.10 and older: sharegpt].
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset_name: Option<String>,
    /// File or folder of the dataset, or its Hugging Face id (hf).
    #[arg(long, value_name = "PATH")]
    pub(crate) dataset_path: Option<PathBuf>,
    /// Load the whole dataset before rows are sampled (hf).
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Do not repeat rows: a dataset that is too short is an error (with --compat vllm, fewer
    /// requests are sent).
    #[arg(long)]
    pub(crate) no_oversample: bool,
    /// Send prompts as they are, without the tokenizer's chat template.
    #[arg(long)]
    pub(crate) skip_chat_template: bool,
    /// Send audio as a part of chat messages (custom_audio).
    #[arg(long)]
    pub(crate) enable_multimodal_chat: bool,
    /// Keep the order of the dataset.
    #[arg(long)]
    pub(crate) disable_shuffle: bool,
    /// Prompt tokens (random).
    #[arg(long)]
    pub(crate) input_len: Option<i64>,
    /// Output tokens, instead of the dataset's own option; without effect on sonnet and, with
    /// --compat vllm, on speed_bench.
    #[arg(long)]
    pub(crate) output_len: Option<i64>,
    /// Prompt tokens of random data [default: 1024].
    #[arg(long)]
    pub(crate) random_input_len: Option<i64>,
    /// Output tokens of random data [default: 128].
    #[arg(long)]
    pub(crate) random_output_len: Option<i64>,
    /// Spread of random lengths: 0.2 means ±20 %; or {"input": x, "output": y}.
    #[arg(
        long,
        default_value = "0.0",
        value_name = "RATIO|JSON",
        allow_hyphen_values = true
    )]
    pub(crate) random_range_ratio: String,
    /// Length in tokens of a prefix that all random prompts share.
    #[arg(long, default_value_t = 0)]
    pub(crate) random_prefix_len: i64,
    /// Prompts per request (embeddings) or documents per request (rerank).
    #[arg(long, default_value_t = 1)]
    pub(crate) random_batch_size: i64,
    /// The model of random-rerank is an embedding model, not a reranker.
    #[arg(long)]
    pub(crate) no_reranker: bool,
    /// Images and videos per request (random-mm).
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) random_mm_base_items_per_request: i64,
    /// Spread of the number of images and videos per request, 0 to 1 (random-mm).
    #[arg(long, default_value_t = 0.0, value_name = "RATIO")]
    pub(crate) random_mm_num_mm_items_range_ratio: f64,
    /// Maximum number of items of each kind per request, as a JSON object (random-mm).
    #[arg(
        long,
        default_value = r#"{"image": 255, "video": 1}"#,
        value_name = "JSON"
    )]
    pub(crate) random_mm_limit_mm_per_prompt: String,
    /// Sizes of items and their probabilities: {(HEIGHT, WIDTH, FRAMES): PROBABILITY, …}; one frame
    /// is an image (random-mm).
    #[arg(
        long,
        default_value = "{(256, 256, 1): 0.5, (720, 1280, 1): 0.5, (720, 1280, 16): 0.0}",
        value_name = "SIZES"
    )]
    pub(crate) random_mm_bucket_config: String,
    /// Output tokens of every ShareGPT request [default: the length of the recorded answer].
    #[arg(long)]
    pub(crate) sharegpt_output_len: Option<i64>,
    /// Output tokens of custom requests; -1 takes each row's `output_tokens`.
    #[arg(long, default_value_t = 256, allow_hyphen_values = true)]
    pub(crate) custom_output_len: i64,
    /// Fetch the images of custom_image and embed them in the requests.
    #[arg(long)]
    pub(crate) custom_ensure_client_side_data: bool,
    /// Subset of a hub dataset.
    #[arg(long)]
    pub(crate) hf_subset: Option<String>,
    /// Split of a hub dataset.
    #[arg(long)]
    pub(crate) hf_split: Option<String>,
    /// Hugging Face id of the dataset, if --dataset-path is a local copy of it.
    #[arg(long)]
    pub(crate) hf_name: Option<String>,
    /// Output tokens of hub datasets [default: depends on the dataset].
    #[arg(long)]
    pub(crate) hf_output_len: Option<i64>,
    /// Categories of the function-calling leaderboard, comma-separated.
    #[arg(long, value_name = "LIST")]
    pub(crate) bfcl_categories: Option<String>,
    /// Minimum edit distance (Blazedit).
    #[arg(long, default_value_t = 0.0)]
    pub(crate) blazedit_min_distance: f64,
    /// Maximum edit distance (Blazedit).
    #[arg(long, default_value_t = 1.0)]
    pub(crate) blazedit_max_distance: f64,
    /// Maximum audio length (speech datasets).
    #[arg(long, default_value_t = f64::INFINITY, value_name = "SECONDS")]
    pub(crate) asr_max_audio_len_sec: f64,
    /// Minimum audio length (speech datasets).
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub(crate) asr_min_audio_len_sec: f64,
    /// Tokens per prefix (prefix_repetition).
    #[arg(long, default_value_t = 256)]
    pub(crate) prefix_repetition_prefix_len: i64,
    /// Tokens per prompt after the prefix (prefix_repetition).
    #[arg(long, default_value_t = 256)]
    pub(crate) prefix_repetition_suffix_len: i64,
    /// Number of prefixes (prefix_repetition).
    #[arg(long, default_value_t = 10)]
    pub(crate) prefix_repetition_num_prefixes: i64,
    /// Output tokens of prefix_repetition.
    #[arg(long, default_value_t = 128)]
    pub(crate) prefix_repetition_output_len: i64,
    /// Output tokens of spec_bench.
    #[arg(long, default_value_t = 256)]
    pub(crate) spec_bench_output_len: i64,
    /// Use only this category (spec_bench).
    #[arg(long)]
    pub(crate) spec_bench_category: Option<String>,
    /// Subset of SPEED-Bench.
    #[arg(long, default_value = "qualitative", value_name = "NAME")]
    pub(crate) speed_bench_dataset_subset: String,
    /// Output tokens of speed_bench.
    #[arg(long, default_value_t = 4096)]
    pub(crate) speed_bench_output_len: i64,
    /// Use only this category (speed_bench).
    #[arg(long)]
    pub(crate) speed_bench_category: Option<String>,
    /// Tokens per hash (timed_trace).
    #[arg(long, default_value_t = 16)]
    pub(crate) timed_trace_chunk_hash_size: i64,
    /// Seconds per unit of the time column (timed_trace).
    #[arg(long, default_value_t = 1.0)]
    pub(crate) timed_trace_sec_multiplier: f64,
    /// Name of the time column (timed_trace).
    #[arg(long, default_value = "timestamp", value_name = "COLUMN")]
    pub(crate) timed_trace_label_timestamp: String,
    /// Name of the column of prompt lengths (timed_trace).
    #[arg(long, default_value = "input_length", value_name = "COLUMN")]
    pub(crate) timed_trace_label_input_length: String,
    /// Name of the column of output lengths (timed_trace).
    #[arg(long, default_value = "output_length", value_name = "COLUMN")]
    pub(crate) timed_trace_label_output_length: String,
    /// Name of the column of hashes (timed_trace).
    #[arg(long, default_value = "hash_ids", value_name = "COLUMN")]
    pub(crate) timed_trace_label_hash_ids: String,
    /// Maximum tokens per sonnet prompt.
    #[arg(long, default_value_t = 550)]
    pub(crate) sonnet_input_len: i64,
    /// Output tokens of sonnet.
    #[arg(long, default_value_t = 150)]
    pub(crate) sonnet_output_len: i64,
    /// Length in tokens of the prefix that all sonnet prompts share.
    #[arg(long, default_value_t = 200)]
    pub(crate) sonnet_prefix_len: i64,
    /// Speed-up factor: 2 replays a trace twice as fast (trace, timed_trace).
    #[arg(long, default_value_t = 1.0)]
    pub(crate) trace_speed: f64,
    /// Start this many seconds into the trace (trace, timed_trace).
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    pub(crate) trace_start: f64,
    /// Use this many seconds of the trace (trace, timed_trace) [default: all].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) trace_duration: Option<f64>,
}

impl DatasetArgs {
    /// Prompt tokens of random data.
    pub(crate) fn random_input(&self) -> i64 {
        self.random_input_len.unwrap_or(RANDOM_INPUT_LEN)
    }

    /// Output tokens of random data.
    pub(crate) fn random_output(&self) -> i64 {
        self.random_output_len.unwrap_or(RANDOM_OUTPUT_LEN)
    }
}
