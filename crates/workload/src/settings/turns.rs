//! Options of conversations.

use std::path::PathBuf;

use crate::LengthDistribution;

/// Options of `multi-turn`.
#[derive(Clone, Debug)]
pub struct MultiTurnSettings {
    /// Where the conversations come from.
    pub source: MultiTurnSource,
    /// Conversations with fewer user turns are left out; synthetic ones have at least this many.
    pub min_turns: usize,
    /// User turns after this many are left out.
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
    /// Generated here.
    Synthetic(SyntheticTurns),
}

/// The shape of synthetic conversations, in tokens.
#[derive(Clone, Debug)]
pub struct SyntheticTurns {
    /// User turns in a conversation; `None` draws uniformly from `min_turns` to `max_turns`.
    pub turns: Option<LengthDistribution>,
    /// Tokens at the start of a first turn that are the conversation's own.
    pub own_prefix: Option<LengthDistribution>,
    /// Maximum number of conversations.
    pub conversations: Option<usize>,
    /// Tokens at the start of every first turn, the same for all conversations.
    pub shared_prefix: u64,
    /// The first turn, without the shared start.
    pub first_input: LengthDistribution,
    /// Later turns.
    pub input: LengthDistribution,
    /// Answers.
    pub output: LengthDistribution,
}

impl MultiTurnSettings {
    /// All turns of a source, without pauses.
    pub fn new(source: MultiTurnSource) -> Self {
        Self {
            source,
            min_turns: 1,
            max_turns: usize::MAX,
            output_len: None,
            think_seconds: 0.0,
        }
    }
}
