//! Datasets: one file each, and the table of them.
//!
//! A dataset is a file with its settings, their form in the manifest, and the function that turns
//! them into requests: all at once (`as rows`) where it reads rows, chunk by chunk (`in chunks`)
//! where they are synthetic. To add one, write its file and its row in the table below.

mod burstgpt;
mod context;
mod custom;
mod custom_media;
mod hf;
mod info;
mod limits;
mod multi_turn;
mod prefix_repetition;
mod random;
mod random_mm;
mod rerank;
mod shaped;
mod sharegpt;
mod sonnet;
mod spec;
mod spec_bench;
mod texts;
mod timed_trace;
mod trace;
mod trace_rows;
mod turns;
mod words;

use crate::{MixSettings, WorkloadError};

pub use burstgpt::BurstGptSettings;
pub use custom::CustomSettings;
pub use custom_media::CustomMediaSettings;
pub use hf::HfSettings;
pub use info::{Info, TextSource};
pub use multi_turn::{MultiTurnSettings, MultiTurnSource, SyntheticTurns};
pub use prefix_repetition::PrefixRepetitionSettings;
pub use random::{RandomSettings, RangeRatio};
pub use random_mm::{MmBucket, RandomMmSettings};
pub use rerank::RerankSettings;
pub use sharegpt::ShareGptSettings;
pub use sonnet::SonnetSettings;
pub use spec::{DatasetSpec, LengthsSpec};
pub use spec_bench::{SpecBenchSettings, SpeedBenchSettings};
pub use timed_trace::TimedTraceSettings;
pub use trace::TraceSettings;

pub(crate) use context::{
    Context, Emit, Loaded, Sample, chunk_size, chunks, fnv1a, is_valid_sequence, media_part,
    one_message, request,
};
pub(crate) use limits::MAX_TOKENS;

// A row: what it is, its variant and settings, how it is loaded and by what, and the facts in which
// it differs from the usual dataset of its kind.
// Messages list the datasets in this order.
info::datasets! {
    /// Synthetic text of given lengths.
    Random(RandomSettings) in chunks random::in_chunks, Info {
        name: "random",
        flag_prefixes: &["random-"],
        exact_lengths: true,
        aligned_by_vllm: true,
        has_own_warmup: true,
        ..Info::SYNTHETIC
    };
    /// Synthetic text with images.
    RandomMm(RandomMmSettings) in chunks random_mm::in_chunks, Info {
        name: "random-mm",
        flag_prefixes: &["random-", "random-mm-"],
        text_only: false,
        ..Info::SYNTHETIC
    };
    /// A query and documents to rank.
    RandomRerank(RerankSettings) in chunks rerank::in_chunks, Info {
        name: "random-rerank",
        flag_prefixes: &["random-"],
        ..Info::SYNTHETIC
    };
    /// Conversations in the ShareGPT layout.
    ShareGpt(ShareGptSettings) as rows sharegpt::sample, Info {
        name: "sharegpt",
        flag_prefixes: &["sharegpt-"],
        ..Info::RECORDED
    };
    /// Lines of Shakespeare's sonnets.
    Sonnet(SonnetSettings) as rows sonnet::sample, Info {
        name: "sonnet",
        flag_prefixes: &["sonnet-"],
        ..Info::RECORDED
    };
    /// Lengths from a BurstGPT trace.
    BurstGpt(BurstGptSettings) in chunks burstgpt::in_chunks, Info {
        name: "burstgpt",
        flag_prefixes: &[],
        reads_file: true,
        exact_lengths: true,
        ..Info::SYNTHETIC
    };
    /// JSON Lines with a `prompt` column.
    Custom(CustomSettings) as rows custom::sample, Info {
        name: "custom",
        flag_prefixes: &["custom-"],
        takes_all_rows: true,
        ..Info::RECORDED
    };
    /// JSON Lines with images.
    CustomImage(CustomMediaSettings) as rows custom_media::sample_images, Info {
        name: "custom_image",
        flag_prefixes: &["custom-"],
        takes_all_rows: true,
        text_only: false,
        ..Info::RECORDED
    };
    /// JSON Lines with audio.
    CustomAudio(CustomMediaSettings) as rows custom_media::sample_audio, Info {
        name: "custom_audio",
        flag_prefixes: &["custom-"],
        takes_all_rows: true,
        text_only: false,
        ..Info::RECORDED
    };
    /// A known dataset of the Hugging Face hub.
    Hf(HfSettings) as rows hf::sample, Info {
        name: "hf",
        flag_prefixes: &["hf-", "bfcl-", "blazedit-", "asr-"],
        text_only: false,
        ..Info::RECORDED
    };
    /// Few prefixes, each shared by many prompts.
    PrefixRepetition(PrefixRepetitionSettings) in chunks prefix_repetition::in_chunks, Info {
        name: "prefix_repetition",
        flag_prefixes: &["prefix-repetition-"],
        exact_lengths: true,
        aligned_by_vllm: true,
        has_ids_in_vllm: false,
        ..Info::SYNTHETIC
    };
    /// Questions of Spec-Bench.
    SpecBench(SpecBenchSettings) as rows spec_bench::sample, Info {
        name: "spec_bench",
        flag_prefixes: &["spec-bench-"],
        takes_all_rows: true,
        ..Info::RECORDED
    };
    /// Questions of SPEED-Bench.
    SpeedBench(SpeedBenchSettings) as rows spec_bench::sample_speed, Info {
        name: "speed_bench",
        flag_prefixes: &["speed-bench-"],
        takes_all_rows: true,
        ..Info::RECORDED
    };
    /// Lengths, times and shared blocks from a trace, sent as token ids.
    TimedTrace(TimedTraceSettings) in chunks timed_trace::in_chunks, Info {
        name: "timed_trace",
        flag_prefixes: &["timed-trace-"],
        reads_file: true,
        has_clock: true,
        takes_all_rows: true,
        ..Info::SYNTHETIC
    };
    /// Lengths and times from a recorded trace, sent as text.
    Trace(TraceSettings) in chunks trace::in_chunks, Info {
        name: "trace",
        flag_prefixes: &[],
        reads_file: true,
        has_clock: true,
        takes_all_rows: true,
        exact_lengths: true,
        ..Info::SYNTHETIC
    };
    /// Synthetic traffic of several classes.
    Mix(MixSettings) in chunks shaped::in_chunks, Info {
        name: "mix",
        flag_prefixes: &[],
        exact_lengths: true,
        ..Info::SYNTHETIC
    };
    /// Conversations of several turns.
    MultiTurn(MultiTurnSettings) as rows multi_turn::sample, Info {
        name: "multi-turn",
        flag_prefixes: &[],
        text: TextSource::SyntheticWithoutFile,
        ..Info::RECORDED
    };
}

/// The dataset with this name, if there is one.
pub fn find(name: &str) -> Option<&'static Info> {
    ALL.iter().find(|info| info.name == name)
}

/// The prefix of the family that a flag belongs to; `None` for a flag of no dataset. The flag is
/// without the dashes in front.
pub fn flag_family(flag: &str) -> Option<&'static str> {
    ALL.iter()
        .flat_map(|info| info.flag_prefixes)
        .filter(|prefix| flag.starts_with(**prefix))
        .max_by_key(|prefix| prefix.len())
        .copied()
}

impl DatasetSettings {
    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        self.info().name
    }

    /// True where the text of the prompts is generated here.
    pub fn is_synthetic(&self) -> bool {
        let has_file = match self {
            Self::MultiTurn(options) => matches!(options.source, MultiTurnSource::File(_)),
            _ => self.info().reads_file,
        };
        self.info().text.is_synthetic(has_file)
    }
}

/// Loads the dataset that the settings name, all requests in memory.
pub(crate) fn sample(context: &Context<'_>) -> Result<Sample, WorkloadError> {
    let mut requests = Vec::new();
    let loaded = load::<WorkloadError>(context, &mut |chunk, total| {
        if requests.is_empty() {
            requests.reserve_exact(total);
        }
        requests.extend(chunk);
        Ok(())
    })?;
    Ok(match loaded {
        Loaded::Emitted(sample) => Sample { requests, ..sample },
        Loaded::Whole(sample) => sample,
    })
}

#[cfg(test)]
mod tests;
