//! What a server's reason to stop means.

/// What a `finish_reason` (or another API's word for it) says about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer is what the model had to say, or all that was asked for.
    Normal,
    /// The server broke the answer off.
    Broken,
    /// A word that is not known.
    Unknown,
}

/// Words for the end of an answer at a token of the model's own, in lower case: of OpenAI's APIs,
/// Anthropic's, TGI's (`eos_token`) and Cohere's (`complete`), and those of inferometer for answers
/// without a reason (`end`, `none`).
const BY_ITSELF: [&str; 14] = [
    "stop",
    "end_turn",
    "eos",
    "eos_token",
    "stop_token",
    "tool_calls",
    "tool_call",
    "function_call",
    "tool_use",
    "complete",
    "completed",
    "end",
    "done",
    "none",
];

/// Words of the other normal ends, in lower case: limits, stop words and filters, of the same APIs,
/// Mistral's (`model_length`), Gemini's behind gateways (`recitation`) and vLLM's (`repetition`).
const OTHER_NORMAL: [&str; 17] = [
    "length",
    "content_filter",
    "repetition",
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "stop_sequence",
    "stop_word",
    "stop_str",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
    "model_length",
    "context_length",
    "incomplete",
    "safety",
    "recitation",
];

/// Parts of words that mean that something went wrong. `insufficient_system_resource` is
/// DeepSeek's.
const BROKEN: [&str; 15] = [
    "abort",
    "error",
    "cancel",
    "fail",
    "timeout",
    "timed_out",
    "deadline",
    "interrupt",
    "disconnect",
    "exception",
    "overload",
    "insufficient",
    "shutdown",
    "crash",
    "killed",
];

/// What `reason` says about the answer that it ends; upper and lower case are the same.
pub fn ending(reason: &str) -> Ending {
    let is = |known: &&str| reason.eq_ignore_ascii_case(known);
    if BY_ITSELF.iter().chain(&OTHER_NORMAL).any(is) {
        return Ending::Normal;
    }
    let lower = reason.to_ascii_lowercase();
    if BROKEN.iter().any(|part| lower.contains(part)) {
        Ending::Broken
    } else {
        Ending::Unknown
    }
}

/// True for a `reason` with which the last token of an answer is probably one that ends it and has no
/// text.
pub fn ends_by_itself(reason: &str) -> bool {
    let is = |known: &&str| reason.eq_ignore_ascii_case(known);
    BY_ITSELF.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_in_any_case() {
        for normal in ["stop", "LENGTH", "tool_calls", "content_filter", "end_turn"] {
            assert_eq!(ending(normal), Ending::Normal, "{normal}");
        }
        for broken in [
            "abort",
            "Aborted",
            "error",
            "ERROR_LIMIT",
            "cancelled",
            "canceled",
            "USER_CANCEL",
            "server_error",
            "insufficient_system_resource",
            "timeout",
        ] {
            assert_eq!(ending(broken), Ending::Broken, "{broken}");
        }
        for unknown in ["", "2", "halt", "speculation"] {
            assert_eq!(ending(unknown), Ending::Unknown, "{unknown}");
        }
    }
}
