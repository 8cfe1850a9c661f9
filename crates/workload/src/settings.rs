//! What the user asks for.

use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::{HubSettings, LengthDistribution, MixSettings, WorkloadError};

/// Whose rules hold where vLLM's tool has a defect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// Defects are mended (exact lengths, no duplicate prompts, templates applied once, …).
    #[default]
    Native,
    /// The same bytes as vLLM 0.33 for the same seed, defects included.
    Vllm,
}

/// Everything that decides what is sent.
#[derive(Clone, Debug)]
pub struct WorkloadSettings {
    /// Where the requests come from.
    pub dataset: DatasetSettings,
    /// Requests wanted; zero or less takes all rows, where the dataset has rows.
    pub num_prompts: i64,
    /// Seed of every draw.
    pub seed: u64,
    /// Whose rules hold where vLLM's tool has a defect.
    pub compat: Compat,
    /// Request ids are this text and the number of the request.
    pub request_id_prefix: String,
    /// The backend sends chat messages, to which the server applies its own template.
    pub is_chat: bool,
    /// The backend asks for embeddings, scores or the like: no output tokens.
    pub is_pooling: bool,
    /// Rows are taken in random order (`--disable-shuffle` turns it off).
    pub shuffle: bool,
    /// Too few rows are repeated (`--no-oversample` turns it off).
    pub oversample: bool,
    /// Prompts are sent without the tokenizer's chat template.
    pub skip_chat_template: bool,
    /// Arguments for the chat template.
    pub chat_template_kwargs: Map<String, Value>,
    /// Makes the prompts differ from those of any other salt: other words where they are made up, a line in
    /// front where they are not. Lengths do not change with it where prompts are made up.
    pub salt: Option<String>,
}

impl WorkloadSettings {
    /// The settings that hold when the user gives nothing but the dataset.
    pub fn new(dataset: DatasetSettings) -> Self {
        Self {
            dataset,
            num_prompts: 1000,
            seed: 0,
            compat: Compat::Native,
            request_id_prefix: "bench-".into(),
            is_chat: false,
            is_pooling: false,
            shuffle: true,
            oversample: true,
            skip_chat_template: false,
            chat_template_kwargs: Map::new(),
            salt: None,
        }
    }

    /// True when vLLM's own bytes are wanted.
    pub(crate) fn is_vllm(&self) -> bool {
        self.compat == Compat::Vllm
    }
}

/// A dataset with its options.
#[derive(Clone, Debug)]
pub enum DatasetSettings {
    /// Synthetic text of given lengths.
    Random(RandomSettings),
    /// Conversations in the ShareGPT layout.
    ShareGpt(ShareGptSettings),
    /// JSON Lines with a `prompt` column.
    Custom(CustomSettings),
    /// A query and documents to rank.
    RandomRerank(RerankSettings),
    /// Few prefixes, each shared by many prompts.
    PrefixRepetition(PrefixRepetitionSettings),
    /// Lines of Shakespeare's sonnets.
    Sonnet(SonnetSettings),
    /// Lengths from a BurstGPT trace.
    BurstGpt(BurstGptSettings),
    /// Questions of Spec-Bench.
    SpecBench(SpecBenchSettings),
    /// Questions of SPEED-Bench.
    SpeedBench(SpeedBenchSettings),
    /// Lengths, times and shared blocks from a trace, sent as token ids.
    TimedTrace(TimedTraceSettings),
    /// Lengths and times from a recorded trace, sent as text.
    Trace(TraceSettings),
    /// Synthetic text with images.
    RandomMm(RandomMmSettings),
    /// JSON Lines with images.
    CustomImage(CustomMediaSettings),
    /// JSON Lines with sounds.
    CustomAudio(CustomMediaSettings),
    /// A known dataset of the Hugging Face hub.
    Hf(HfSettings),
    /// Synthetic traffic of several classes.
    Mix(MixSettings),
    /// Conversations of several turns.
    MultiTurn(MultiTurnSettings),
}

impl DatasetSettings {
    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Random(_) => "random",
            Self::ShareGpt(_) => "sharegpt",
            Self::Custom(_) => "custom",
            Self::RandomRerank(_) => "random-rerank",
            Self::PrefixRepetition(_) => "prefix_repetition",
            Self::Sonnet(_) => "sonnet",
            Self::BurstGpt(_) => "burstgpt",
            Self::SpecBench(_) => "spec_bench",
            Self::SpeedBench(_) => "speed_bench",
            Self::TimedTrace(_) => "timed_trace",
            Self::Trace(_) => "trace",
            Self::RandomMm(_) => "random-mm",
            Self::CustomImage(_) => "custom_image",
            Self::CustomAudio(_) => "custom_audio",
            Self::Hf(_) => "hf",
            Self::Mix(_) => "mix",
            Self::MultiTurn(_) => "multi-turn",
        }
    }
}

/// Options of `random`.
#[derive(Clone, Debug)]
pub struct RandomSettings {
    /// Tokens of a prompt, special tokens included, without the shared prefix.
    pub input_len: i64,
    /// Tokens of an answer.
    pub output_len: i64,
    /// How far lengths spread around these.
    pub range_ratio: RangeRatio,
    /// Tokens at the start of every prompt that are the same for all.
    pub prefix_len: i64,
    /// Prompts in one request (pooling backends only).
    pub batch_size: i64,
}

impl Default for RandomSettings {
    fn default() -> Self {
        Self {
            input_len: 1024,
            output_len: 128,
            range_ratio: RangeRatio::default(),
            prefix_len: 0,
            batch_size: 1,
        }
    }
}

/// Spread of lengths: uniform in `len·(1−r) ..= len·(1+r)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RangeRatio {
    /// Spread of the input length, in [0, 1).
    pub input: f64,
    /// Spread of the output length, in [0, 1).
    pub output: f64,
}

impl FromStr for RangeRatio {
    type Err = WorkloadError;

    /// A number for both, or `{"input": X, "output": Y}`.
    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        let wrong = |message: String| WorkloadError::setting("--random-range-ratio", message);
        let number = text.trim().parse::<f64>().ok();
        let ratio = if let Some(both) = number {
            Self { input: both, output: both }
        } else {
            let value: Value = serde_json::from_str(text).map_err(|_| {
                wrong(format!(
                    "{text:?} is neither a number nor JSON like {{\"input\": 0.1, \"output\": 0.5}}"
                ))
            })?;
            let part = |name: &str| {
                value[name]
                    .as_f64()
                    .ok_or_else(|| wrong(format!("{text} must hold the numbers `input` and `output`")))
            };
            Self { input: part("input")?, output: part("output")? }
        };
        ratio.check()?;
        Ok(ratio)
    }
}

impl RangeRatio {
    /// Refuses spreads outside [0, 1).
    pub fn check(self) -> Result<(), WorkloadError> {
        for (name, ratio) in [("input", self.input), ("output", self.output)] {
            if !(0.0..1.0).contains(&ratio) {
                return Err(WorkloadError::setting(
                    "--random-range-ratio",
                    format!("the {name} ratio is {ratio}, but must be at least 0 and below 1"),
                ));
            }
        }
        Ok(())
    }
}

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

/// Options of `random-rerank`.
#[derive(Clone, Debug)]
pub struct RerankSettings {
    /// Tokens of a query and one document together.
    pub input_len: i64,
    /// How far lengths spread around this (`input` counts).
    pub range_ratio: RangeRatio,
    /// Documents in one request.
    pub batch_size: i64,
    /// The model is a reranker; else an embedding model, which gets the query as one more text
    /// (`--no-reranker`).
    pub is_reranker: bool,
}

impl Default for RerankSettings {
    fn default() -> Self {
        Self { input_len: 1024, range_ratio: RangeRatio::default(), batch_size: 1, is_reranker: true }
    }
}

/// Options of `prefix_repetition`.
#[derive(Clone, Debug)]
pub struct PrefixRepetitionSettings {
    /// Tokens of a prefix.
    pub prefix_len: i64,
    /// Tokens after the prefix.
    pub suffix_len: i64,
    /// Number of prefixes.
    pub num_prefixes: i64,
    /// Tokens of an answer.
    pub output_len: i64,
}

impl Default for PrefixRepetitionSettings {
    fn default() -> Self {
        Self { prefix_len: 256, suffix_len: 256, num_prefixes: 10, output_len: 128 }
    }
}

/// Options of `sonnet`.
#[derive(Clone, Debug)]
pub struct SonnetSettings {
    /// A text file to take lines from; `None` takes the sonnets inside the binary.
    pub path: Option<PathBuf>,
    /// Most tokens of a prompt, chat template included.
    pub input_len: i64,
    /// Tokens of an answer.
    pub output_len: i64,
    /// Tokens of the lines that all prompts share.
    pub prefix_len: i64,
}

impl Default for SonnetSettings {
    fn default() -> Self {
        Self { path: None, input_len: 550, output_len: 150, prefix_len: 200 }
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
        Self { path: PathBuf::new(), output_len: 256, category: None }
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
        Self { path: PathBuf::new(), subset: "qualitative".into(), output_len: 4096, category: None }
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
    /// The file: an Azure LLM trace or BurstGPT (CSV), or Mooncake (JSON Lines). Told apart by their columns.
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
        Self { path: PathBuf::new(), speed: 1.0, start: 0.0, duration: None }
    }
}

/// Options of `random-mm`.
#[derive(Clone, Debug)]
pub struct RandomMmSettings {
    /// The text.
    pub text: RandomSettings,
    /// Images of a request.
    pub base_items: u64,
    /// How far the number of images spreads around this, from 0 to 1.
    pub items_range_ratio: f64,
    /// Most images in a request.
    pub image_limit: u64,
    /// Most videos in a request.
    pub video_limit: u64,
    /// Sizes and their shares.
    pub buckets: Vec<MmBucket>,
}

/// A size of images or videos, and how often it comes.
#[derive(Clone, Debug, PartialEq)]
pub struct MmBucket {
    /// Pixels from top to bottom.
    pub height: u32,
    /// Pixels from left to right.
    pub width: u32,
    /// 1 for an image; more for a video.
    pub frames: u32,
    /// Probability; need not sum to 1.
    pub share: f64,
}

impl MmBucket {
    /// Reads `{(256, 256, 1): 0.5, (720, 1280, 1): 0.5}`: height, width, frames and probability.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, WorkloadError> {
        const FLAG: &str = "--random-mm-bucket-config";
        let wrong = || {
            WorkloadError::setting(
                FLAG,
                format!("{text:?} must look like {{(256, 256, 1): 0.5, (720, 1280, 1): 0.5}}"),
            )
        };
        let body = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
        let mut buckets = Vec::new();
        for entry in body.split('(').skip(1) {
            let (size, share) = entry.split_once(')').ok_or_else(wrong)?;
            let size: Option<Vec<u32>> =
                size.trim_end_matches([' ', ',']).split(',').map(|part| part.trim().parse().ok()).collect();
            let share = share.trim().strip_prefix(':').ok_or_else(wrong)?;
            let share = share.trim().trim_end_matches(',').trim().parse().map_err(|_| wrong())?;
            match size.ok_or_else(wrong)?.as_slice() {
                &[height, width, frames] => buckets.push(Self { height, width, frames, share }),
                _ => return Err(wrong()),
            }
        }
        if buckets.is_empty() { Err(wrong()) } else { Ok(buckets) }
    }
}

impl Default for RandomMmSettings {
    fn default() -> Self {
        let bucket = |height, width, frames, share| MmBucket { height, width, frames, share };
        Self {
            text: RandomSettings::default(),
            base_items: 1,
            items_range_ratio: 0.0,
            image_limit: 255,
            video_limit: 1,
            buckets: vec![bucket(256, 256, 1, 0.5), bucket(720, 1280, 1, 0.5), bucket(720, 1280, 16, 0.0)],
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
    /// Images are read or fetched here and sent inside the request (`--custom-ensure-client-side-data`).
    pub client_side_data: bool,
    /// Sounds are sent inside chat messages (`--enable-multimodal-chat`).
    pub multimodal_chat: bool,
}

impl Default for CustomMediaSettings {
    fn default() -> Self {
        Self { path: PathBuf::new(), output_len: 256, client_side_data: false, multimodal_chat: false }
    }
}

/// Options of `multi-turn`.
#[derive(Clone, Debug)]
pub struct MultiTurnSettings {
    /// Where the conversations come from.
    pub source: MultiTurnSource,
    /// Conversations with fewer turns of the user are left out; synthetic ones have at least so many.
    pub min_turns: usize,
    /// Turns of the user after this many are left out.
    pub max_turns: usize,
    /// Output tokens for every turn; `None` takes the length of the recorded answer.
    pub output_len: Option<i64>,
    /// Pause between an answer and the next turn, in seconds.
    pub think_seconds: f64,
}

/// Where conversations come from.
#[derive(Clone, Debug)]
pub enum MultiTurnSource {
    /// A JSON list in the ShareGPT layout, or with `messages` of `role` and `content`.
    File(PathBuf),
    /// Made here.
    Synthetic(SyntheticTurns),
}

/// The shape of synthetic conversations, in tokens.
#[derive(Clone, Debug)]
pub struct SyntheticTurns {
    /// Turns of the user in a conversation; `None` draws evenly between the least and the most.
    pub turns: Option<LengthDistribution>,
    /// Tokens at the start of a first turn that are the conversation's own.
    pub own_prefix: Option<LengthDistribution>,
    /// Conversations to make at most.
    pub conversations: Option<usize>,
    /// The start of every first turn, the same for all conversations.
    pub shared_prefix: u64,
    /// The first turn, without the shared start.
    pub first_input: LengthDistribution,
    /// Later turns.
    pub input: LengthDistribution,
    /// Answers.
    pub output: LengthDistribution,
}

impl MultiTurnSettings {
    /// All turns of a source, one right after the other.
    pub fn new(source: MultiTurnSource) -> Self {
        Self { source, min_turns: 1, max_turns: usize::MAX, output_len: None, think_seconds: 0.0 }
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
    /// Split; `None` takes the dataset's usual one.
    pub split: Option<String>,
    /// Tokens of an answer; `None` takes the dataset's usual number.
    pub output_len: Option<i64>,
    /// Shuffle over all rows instead of a window of 1,000 (`--no-stream`).
    pub no_stream: bool,
    /// Categories of BFCL.
    pub bfcl_categories: Vec<String>,
    /// Least and most edit distance of Blazedit rows.
    pub blazedit_distance: (f64, f64),
    /// Shortest and longest sound in seconds.
    pub audio_seconds: (f64, f64),
    /// Where the hub is.
    pub hub: HubSettings,
}

impl HfSettings {
    /// The usual options for a dataset.
    pub fn new(path: impl Into<String>, hub: HubSettings) -> Self {
        Self {
            path: path.into(),
            name: None,
            subset: None,
            split: None,
            output_len: None,
            no_stream: false,
            bfcl_categories: ["simple", "live_simple", "multiple"].map(str::to_owned).to_vec(),
            blazedit_distance: (0.0, 1.0),
            audio_seconds: (0.0, f64::INFINITY),
            hub,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_from_pythons_spelling() {
        let buckets = MmBucket::parse_all("{(256, 256, 1): 0.5, (720, 1280, 16): 0.25,}").unwrap();
        assert_eq!(buckets[1], MmBucket { height: 720, width: 1280, frames: 16, share: 0.25 });
        assert_eq!(buckets.len(), 2);
        for bad in ["", "{}", "{(1,2): 3}", "{(1,2,3) 4}", "(1,2,3): 0.5", "{(a,2,3): 0.5}"] {
            assert!(MmBucket::parse_all(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_ratio_is_a_number_or_json() {
        assert_eq!("0.25".parse::<RangeRatio>().unwrap(), RangeRatio { input: 0.25, output: 0.25 });
        let json = r#"{"input": 0.1, "output": 0}"#;
        assert_eq!(json.parse::<RangeRatio>().unwrap(), RangeRatio { input: 0.1, output: 0.0 });
        for bad in ["-0.1", "1", "nan", "inf", "x", "{}", r#"{"input": 0.1}"#, r#"{"input": 2, "output": 0}"#]
        {
            let error = bad.parse::<RangeRatio>().unwrap_err().to_string();
            assert!(error.contains("--random-range-ratio"), "{bad}: {error}");
        }
    }
}
