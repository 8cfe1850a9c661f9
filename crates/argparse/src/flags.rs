//! The options of vLLM's benchmark that inferometer does not take as they are: renamed ones, and
//! refused ones with the reason and a substitute. Whatever stands in neither list is an argument of
//! `inferometer run`.

/// An option that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The option without dashes.
    pub(crate) flag: &'static str,
    /// It is followed by a value.
    pub(crate) takes_value: bool,
    /// Why, and what to do instead.
    pub(crate) reason: &'static str,
}

/// All options that are refused.
pub(crate) const REFUSED: &[Refused] = &[
    Refused {
        flag: "best-of",
        takes_value: true,
        reason: "servers no longer know it; leave it out, or send it with --extra-body.best_of N",
    },
    Refused {
        flag: "use-beam-search",
        takes_value: false,
        reason: "it never had an effect in vLLM's benchmark; leave it out, or send it with \
                 --extra-body.use_beam_search true",
    },
    Refused {
        flag: "log-config-file",
        takes_value: true,
        reason: "it configures vLLM's own Python logging, of which there is none here; leave it out",
    },
];

/// Old spellings that are new ones with the same value.
pub(crate) const RENAMED: &[(&str, &str)] = &[
    ("custom-skip-chat-template", "skip-chat-template"),
    ("endpoint-type", "backend"),
];

/// Options of vLLM's parsers, old and new. A shortened option means one of these before it means
/// one of ours, because scripts were written before ours existed.
const LISTS: [&str; 2] = [
    include_str!("../data/vllm_0.33_flags.txt"),
    include_str!("../data/legacy_script_flags.txt"),
];

/// The names of vLLM's options, without dashes.
pub(crate) fn of_vllm() -> impl Iterator<Item = &'static str> {
    lines()
        .filter_map(|line| line.strip_prefix("--"))
        .map(|line| line.split(' ').next().unwrap_or(line))
}

/// The lines of the lists: an option, and a value that its parser takes.
pub(crate) fn lines() -> impl Iterator<Item = &'static str> {
    LISTS.into_iter().flat_map(str::lines)
}
