//! The options of vLLM's benchmark that inferometer does not accept unchanged: renamed ones, and
//! refused ones with the reason and a substitute. All others are arguments of `inferometer run`.

/// An option that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The option without dashes.
    pub(crate) flag: &'static str,
    /// Whether a value follows it.
    pub(crate) takes_value: bool,
    /// Why it is refused, and what to do instead.
    pub(crate) reason: &'static str,
}

/// All options that are refused.
pub(crate) const REFUSED: &[Refused] = &[
    Refused {
        flag: "best-of",
        takes_value: true,
        reason: "servers no longer accept it; leave it out, or send it with --extra-body.best_of N",
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
        reason: "it configures vLLM's Python logging, which does not exist here; leave it out",
    },
];

/// Old names and the options that take the same values.
pub(crate) const RENAMED: &[(&str, &str)] = &[
    ("custom-skip-chat-template", "skip-chat-template"),
    ("endpoint-type", "backend"),
];

/// Options of vLLM's parsers, old and new. An abbreviated option means one of these rather than one
/// of ours, because scripts that predate ours use such abbreviations.
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
