use std::collections::BTreeSet;

use super::*;
use crate::{
    BurstGptSettings, LengthDistribution, MultiTurnSettings, SyntheticTurns, TimedTraceSettings,
};

/// The names for which `fact` holds, sorted.
fn names(fact: impl Fn(&Info) -> bool) -> Vec<&'static str> {
    let mut names: Vec<_> = ALL
        .iter()
        .filter(|info| fact(info))
        .map(|info| info.name)
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn names_are_unique() {
    let unique: BTreeSet<_> = ALL.iter().map(|info| info.name).collect();
    assert_eq!((unique.len(), ALL.len()), (17, 17));
}

/// The whole truth table, written down a second time: whoever changes a fact changes it here
/// too, and sees for which datasets it holds.
#[test]
fn each_fact_holds_for_these_datasets() {
    for (fact, found, expected) in [
        (
            "synthetic, even with a file",
            names(|info| info.text.is_synthetic(true)),
            "burstgpt mix prefix_repetition random random-mm random-rerank timed_trace trace",
        ),
        (
            "synthetic without a file only",
            names(|info| info.text == TextSource::SyntheticWithoutFile),
            "multi-turn",
        ),
        (
            "reads no file",
            names(|info| !info.reads_file),
            "mix prefix_repetition random random-mm random-rerank",
        ),
        (
            "has a clock",
            names(|info| info.has_clock),
            "timed_trace trace",
        ),
        (
            "takes all rows",
            names(|info| info.takes_all_rows),
            "custom custom_audio custom_image spec_bench speed_bench timed_trace trace",
        ),
        (
            "exact lengths",
            names(|info| info.exact_lengths),
            "burstgpt mix prefix_repetition random trace",
        ),
        (
            "aligned by vLLM",
            names(|info| info.aligned_by_vllm),
            "prefix_repetition random",
        ),
        (
            "more than text",
            names(|info| !info.text_only),
            "custom_audio custom_image hf random-mm",
        ),
        (
            "no ids in vLLM",
            names(|info| !info.has_ids_in_vllm),
            "prefix_repetition",
        ),
        ("own warm-up", names(|info| info.has_own_warmup), "random"),
    ] {
        assert_eq!(found.join(" "), expected, "{fact}");
    }
}

#[test]
fn a_flag_belongs_to_the_longest_prefix() {
    for (flag, datasets) in [
        ("random-mm-bucket-config", "random-mm"),
        ("random-input-len", "random random-mm random-rerank"),
        ("sharegpt-output-len", "sharegpt"),
        ("sonnet-input-len", "sonnet"),
        ("custom-output-len", "custom custom_audio custom_image"),
        ("hf-split", "hf"),
        ("bfcl-categories", "hf"),
        ("blazedit-min-distance", "hf"),
        ("asr-min-audio-len-sec", "hf"),
        ("prefix-repetition-suffix-len", "prefix_repetition"),
        ("spec-bench-category", "spec_bench"),
        ("speed-bench-category", "speed_bench"),
        ("timed-trace-label-timestamp", "timed_trace"),
    ] {
        let family = flag_family(flag).unwrap();
        let found = names(|info| info.flag_prefixes.contains(&family));
        assert_eq!(found.join(" "), datasets, "{flag}");
    }
    for flag in ["trace-speed", "multi-turn-think-time", "mix", "seed"] {
        assert_eq!(flag_family(flag), None, "{flag}");
    }
}

#[test]
fn settings_know_whether_their_text_is_synthetic() {
    let path = || "x".into();
    let shape = SyntheticTurns {
        turns: None,
        own_prefix: None,
        conversations: None,
        shared_prefix: 0,
        first_input: LengthDistribution::Constant(1),
        input: LengthDistribution::Constant(1),
        output: LengthDistribution::Constant(1),
    };
    let turns = |source| DatasetSettings::MultiTurn(MultiTurnSettings::new(source));
    for (settings, name, synthetic) in [
        (
            DatasetSettings::BurstGpt(BurstGptSettings { path: path() }),
            "burstgpt",
            true,
        ),
        (
            DatasetSettings::TimedTrace(TimedTraceSettings::default()),
            "timed_trace",
            true,
        ),
        (turns(MultiTurnSource::File(path())), "multi-turn", false),
        (turns(MultiTurnSource::Synthetic(shape)), "multi-turn", true),
    ] {
        assert_eq!(
            (settings.name(), settings.is_synthetic()),
            (name, synthetic)
        );
    }
}
