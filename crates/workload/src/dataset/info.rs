//! The table of datasets: what the rest of the program has to know about each of them.

use crate::{DatasetSettings, MultiTurnSource};

/// The facts about one dataset.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The name after `--dataset-name`.
    pub name: &'static str,
    /// Prefixes of the flags that shape this dataset, without the dashes in front. Of several
    /// prefixes that fit a flag, the longest decides ([`flag_family`]).
    pub flag_prefixes: &'static [&'static str],
    /// Where the text of the prompts comes from.
    pub text: TextSource,
    /// Takes a `--dataset-path`. Datasets that do not are refused with one, since the user expects
    /// the file to be read.
    pub reads_file: bool,
    /// The rows say when they are due, so that no request rate is needed.
    pub has_clock: bool,
    /// `--num-prompts 0` asks for all rows.
    pub takes_all_rows: bool,
    /// Prompts are built to an exact number of tokens, which the server's tokenizer can check.
    pub exact_lengths: bool,
    /// With `--compat vllm`, prompts are aligned with the server's tokenizer, as vLLM's benchmark
    /// does.
    pub aligned_by_vllm: bool,
    /// No prompt has images, video or audio.
    pub text_only: bool,
    /// vLLM's benchmark gives the requests ids.
    pub has_ids_in_vllm: bool,
    /// The ready check and the warm-up get prompts of their own, so that a server that caches
    /// prefixes has not seen a measured prompt.
    pub has_own_warmup: bool,
}

/// Where the text of prompts comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// Generated here, whatever file the lengths and times come from.
    Synthetic,
    /// Read from a file or from the hub.
    Recorded,
    /// Read from the file, generated where there is none.
    SyntheticWithoutFile,
}

impl TextSource {
    /// True where the text is generated here; `has_file` says that a file is given.
    pub fn is_synthetic(self, has_file: bool) -> bool {
        match self {
            Self::Synthetic => true,
            Self::Recorded => false,
            Self::SyntheticWithoutFile => !has_file,
        }
    }
}

/// All datasets, in the order in which messages list them.
pub const ALL: &[Info] = &[
    Info {
        name: "random",
        flag_prefixes: &["random-"],
        text: TextSource::Synthetic,
        reads_file: false,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: true,
        aligned_by_vllm: true,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: true,
    },
    Info {
        name: "random-mm",
        flag_prefixes: &["random-", "random-mm-"],
        text: TextSource::Synthetic,
        reads_file: false,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: false,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "random-rerank",
        flag_prefixes: &["random-"],
        text: TextSource::Synthetic,
        reads_file: false,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "sharegpt",
        flag_prefixes: &["sharegpt-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "sonnet",
        flag_prefixes: &["sonnet-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "burstgpt",
        flag_prefixes: &[],
        text: TextSource::Synthetic,
        reads_file: true,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: true,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "custom",
        flag_prefixes: &["custom-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: true,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "custom_image",
        flag_prefixes: &["custom-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: true,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: false,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "custom_audio",
        flag_prefixes: &["custom-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: true,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: false,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "hf",
        flag_prefixes: &["hf-", "bfcl-", "blazedit-", "asr-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: false,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "prefix_repetition",
        flag_prefixes: &["prefix-repetition-"],
        text: TextSource::Synthetic,
        reads_file: false,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: true,
        aligned_by_vllm: true,
        text_only: true,
        has_ids_in_vllm: false,
        has_own_warmup: false,
    },
    Info {
        name: "spec_bench",
        flag_prefixes: &["spec-bench-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: true,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "speed_bench",
        flag_prefixes: &["speed-bench-"],
        text: TextSource::Recorded,
        reads_file: true,
        has_clock: false,
        takes_all_rows: true,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "timed_trace",
        flag_prefixes: &["timed-trace-"],
        text: TextSource::Synthetic,
        reads_file: true,
        has_clock: true,
        takes_all_rows: true,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "trace",
        flag_prefixes: &[],
        text: TextSource::Synthetic,
        reads_file: true,
        has_clock: true,
        takes_all_rows: true,
        exact_lengths: true,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "mix",
        flag_prefixes: &[],
        text: TextSource::Synthetic,
        reads_file: false,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: true,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
    Info {
        name: "multi-turn",
        flag_prefixes: &[],
        text: TextSource::SyntheticWithoutFile,
        reads_file: true,
        has_clock: false,
        takes_all_rows: false,
        exact_lengths: false,
        aligned_by_vllm: false,
        text_only: true,
        has_ids_in_vllm: true,
        has_own_warmup: false,
    },
];

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
    /// The row of the table. A dataset without one does not compile.
    pub fn info(&self) -> &'static Info {
        match self {
            Self::Random(_) => const { row("random") },
            Self::ShareGpt(_) => const { row("sharegpt") },
            Self::Custom(_) => const { row("custom") },
            Self::RandomRerank(_) => const { row("random-rerank") },
            Self::PrefixRepetition(_) => const { row("prefix_repetition") },
            Self::Sonnet(_) => const { row("sonnet") },
            Self::BurstGpt(_) => const { row("burstgpt") },
            Self::SpecBench(_) => const { row("spec_bench") },
            Self::SpeedBench(_) => const { row("speed_bench") },
            Self::TimedTrace(_) => const { row("timed_trace") },
            Self::Trace(_) => const { row("trace") },
            Self::RandomMm(_) => const { row("random-mm") },
            Self::CustomImage(_) => const { row("custom_image") },
            Self::CustomAudio(_) => const { row("custom_audio") },
            Self::Hf(_) => const { row("hf") },
            Self::Mix(_) => const { row("mix") },
            Self::MultiTurn(_) => const { row("multi-turn") },
        }
    }

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

/// The row with this name. It is called at compile time alone, where a missing row is an error.
const fn row(name: &str) -> &'static Info {
    let mut at = 0;
    while at < ALL.len() {
        if equal(ALL[at].name.as_bytes(), name.as_bytes()) {
            return &ALL[at];
        }
        at += 1;
    }
    panic!("a dataset has no row in the table");
}

/// `==`, which compile-time functions do not have for slices.
const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests;
