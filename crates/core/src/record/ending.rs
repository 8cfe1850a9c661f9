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

/// Words of a normal end, in lower case: of OpenAI's APIs, Anthropic's, Mistral's (`model_length`),
/// Gemini's and Cohere's behind gateways (`recitation`, `complete`), TGI's (`eos_token`), vLLM's
/// (`repetition`), and of inferometer for answers that end without a reason (`end`, `none`).
const NORMAL: [&str; 31] = [
    "stop",
    "length",
    "tool_calls",
    "tool_call",
    "function_call",
    "content_filter",
    "repetition",
    "end_turn",
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "stop_sequence",
    "stop_word",
    "stop_token",
    "stop_str",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
    "model_length",
    "context_length",
    "eos",
    "eos_token",
    "complete",
    "completed",
    "incomplete",
    "safety",
    "recitation",
    "end",
    "done",
    "none",
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
    if NORMAL.iter().any(is) {
        return Ending::Normal;
    }
    let lower = reason.to_ascii_lowercase();
    if BROKEN.iter().any(|part| lower.contains(part)) {
        Ending::Broken
    } else {
        Ending::Unknown
    }
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
