//! argparse's habits: people's scripts rely on them.
//!
//! vLLM's parser takes `--random_input_len` for `--random-input-len`; only the part before the first dot
//! of an option is treated so. Unique prefixes and "the last one wins" are clap's own abilities, switched
//! on in `args`.

use std::collections::BTreeMap;

/// An option as typed, brought into the form that the parser knows.
pub(crate) fn normalise(argument: String) -> String {
    let Some(option) = argument.strip_prefix("--") else { return argument };
    let end = option.find(['=', '.']).unwrap_or(option.len());
    let (name, rest) = option.split_at(end);
    if !name.contains('_') || name.is_empty() {
        return argument;
    }
    format!("--{}{rest}", name.replace('_', "-"))
}

/// Options that occur more than once, for a warning: only the last one counts.
pub(crate) fn repeated(arguments: &[String]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for argument in arguments.iter().filter(|argument| argument.starts_with("--") && argument.len() > 2) {
        let name = argument.split('=').next().unwrap_or(argument);
        *seen.entry(name).or_default() += 1;
    }
    seen.into_iter().filter(|&(_, count)| count > 1).map(|(name, _)| name.to_owned()).collect()
}

/// A flag of vLLM's benchmark that servebench knows but does not (yet) honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The flag without dashes.
    pub(crate) flag: &'static str,
    /// What to do instead, or why not.
    pub(crate) reason: &'static str,
}

const LATER: &str = "not supported yet";

/// Flags that are refused rather than ignored.
pub(crate) const REFUSED: &[Refused] = &[
    Refused { flag: "asr-max-audio-len-sec", reason: LATER },
    Refused { flag: "asr-min-audio-len-sec", reason: LATER },
    Refused { flag: "bfcl-categories", reason: LATER },
    Refused { flag: "blazedit-max-distance", reason: LATER },
    Refused { flag: "blazedit-min-distance", reason: LATER },
    Refused { flag: "chat-template-kwargs", reason: LATER },
    Refused { flag: "config", reason: LATER },
    Refused { flag: "custom-ensure-client-side-data", reason: LATER },
    Refused { flag: "enable-multimodal-chat", reason: LATER },
    Refused { flag: "hf-name", reason: LATER },
    Refused { flag: "hf-output-len", reason: LATER },
    Refused { flag: "hf-split", reason: LATER },
    Refused { flag: "hf-subset", reason: LATER },
    Refused { flag: "lora-assignment", reason: LATER },
    Refused { flag: "lora-modules", reason: LATER },
    Refused { flag: "no-reranker", reason: LATER },
    Refused { flag: "no-self-timed", reason: LATER },
    Refused { flag: "no-stream", reason: LATER },
    Refused { flag: "plot-dataset-stats", reason: LATER },
    Refused { flag: "plot-timeline", reason: LATER },
    Refused { flag: "prefix-repetition-num-prefixes", reason: LATER },
    Refused { flag: "prefix-repetition-output-len", reason: LATER },
    Refused { flag: "prefix-repetition-prefix-len", reason: LATER },
    Refused { flag: "prefix-repetition-suffix-len", reason: LATER },
    Refused { flag: "probe-request-rate", reason: LATER },
    Refused { flag: "profile", reason: LATER },
    Refused { flag: "random-mm-base-items-per-request", reason: LATER },
    Refused { flag: "random-mm-bucket-config", reason: LATER },
    Refused { flag: "random-mm-limit-mm-per-prompt", reason: LATER },
    Refused { flag: "random-mm-num-mm-items-range-ratio", reason: LATER },
    Refused { flag: "self-timed", reason: LATER },
    Refused { flag: "skip-tokenizer-init", reason: LATER },
    Refused { flag: "spec-bench-category", reason: LATER },
    Refused { flag: "spec-bench-output-len", reason: LATER },
    Refused { flag: "speed-bench-category", reason: LATER },
    Refused { flag: "speed-bench-dataset-subset", reason: LATER },
    Refused { flag: "speed-bench-output-len", reason: LATER },
    Refused { flag: "timed-trace-chunk-hash-size", reason: LATER },
    Refused { flag: "timed-trace-label-hash-ids", reason: LATER },
    Refused { flag: "timed-trace-label-input-length", reason: LATER },
    Refused { flag: "timed-trace-label-output-length", reason: LATER },
    Refused { flag: "timed-trace-label-timestamp", reason: LATER },
    Refused { flag: "timed-trace-sec-multiplier", reason: LATER },
    Refused { flag: "timeline-itl-thresholds", reason: LATER },
    Refused { flag: "tokenizer-mode", reason: LATER },
    Refused { flag: "trust-remote-code", reason: LATER },
    Refused {
        flag: "use-beam-search",
        reason: "it never had an effect in vLLM's benchmark; leave it out, or set it by --extra-body",
    },
    Refused { flag: "best-of", reason: "servers no longer know it; leave it out, or set it by --extra-body" },
];

/// The first argument that is refused.
pub(crate) fn refused(arguments: &[String]) -> Option<Refused> {
    arguments.iter().find_map(|argument| {
        let name = argument.strip_prefix("--")?.split(['=', '.']).next()?;
        REFUSED.iter().find(|refused| refused.flag == name).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_are_dashes_up_to_the_first_dot_or_equals_sign() {
        for (typed, meant) in [
            ("--random_input_len", "--random-input-len"),
            ("--request_rate=in_f", "--request-rate=in_f"),
            ("--extra_body.top_k", "--extra-body.top_k"),
            ("my_model", "my_model"),
            ("--", "--"),
        ] {
            assert_eq!(normalise(typed.to_owned()), meant);
        }
    }

    #[test]
    fn a_flag_that_is_not_built_is_never_ignored() {
        let arguments = ["--model", "m", "--plot-timeline"].map(str::to_owned);
        assert_eq!(refused(&arguments).map(|refused| refused.flag), Some("plot-timeline"));
        assert_eq!(refused(&arguments[..2]), None);
    }

    #[test]
    fn repeated_options_are_found_in_both_spellings() {
        let arguments = ["--seed", "1", "--seed=2", "--model", "--"].map(str::to_owned);
        assert_eq!(repeated(&arguments), ["--seed"]);
    }
}
