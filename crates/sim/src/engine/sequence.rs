//! One request inside the engine.

use inferometer_core::Nanos;

use crate::text::mix;

/// What a prompt holds, as far as the prefix cache tells prompts apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// This many tokens that no other request shares.
    Unshared(u32),
    /// These tokens (or any numbers that are equal exactly where tokens are).
    Tokens(Vec<u32>),
}

impl Content {
    /// Number of tokens.
    pub fn len(&self) -> u32 {
        match self {
            Self::Unshared(tokens) => *tokens,
            Self::Tokens(tokens) => tokens.len() as u32,
        }
    }

    /// True without any token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineRequest {
    /// Chosen by the caller; unique among the requests that are in the engine.
    pub id: u64,
    /// The prompt.
    pub prompt: Content,
    /// Tokens that the answer will have.
    pub output_tokens: u32,
    /// The answer's tokens, where later prompts may contain them (conversations); else empty.
    pub answer: Vec<u32>,
    /// Smaller numbers run first; equal ones in order of arrival.
    pub priority: i32,
    /// LoRA adapter, if any.
    pub lora: Option<u32>,
    /// Conversation, for sticky routing.
    pub conversation: Option<u64>,
    /// Prompt tokens whose keys and values come from elsewhere: they need room but no computing.
    pub transferred_tokens: u32,
}

impl EngineRequest {
    /// A plain request.
    pub fn new(id: u64, prompt: Content, output_tokens: u32) -> Self {
        Self {
            id,
            prompt,
            output_tokens,
            answer: Vec::new(),
            priority: 0,
            lora: None,
            conversation: None,
            transferred_tokens: 0,
        }
    }
}

/// Order in which requests wait: priority, arrival, number.
pub(super) type QueueKey = (i32, Nanos, u64);

/// A request's state.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) id: u64,
    pub(super) key: QueueKey,
    pub(super) prompt: u32,
    pub(super) output: u32,
    pub(super) generated: u32,
    /// Tokens whose keys and values are in the cache.
    pub(super) computed: u32,
    /// Tokens given to the step in progress.
    pub(super) scheduled: u32,
    /// Draft tokens among them.
    pub(super) drafted: u32,
    pub(super) blocks: Vec<u32>,
    /// Blocks at the start that are registered in the prefix cache or were found there.
    pub(super) registered: usize,
    pub(super) lora: Option<u32>,
    pub(super) transferred: u32,
    /// Tokens whose keys and values are in the host's memory.
    pub(super) swapped: u32,
    pub(super) first_scheduled: Option<Nanos>,
    pub(super) cached: u32,
    pub(super) preemptions: u32,
    pub(super) hashes: BlockHashes,
}

impl Sequence {
    pub(super) fn new(
        request: EngineRequest,
        key: QueueKey,
        block_size: u32,
        caching: bool,
    ) -> Self {
        let prompt = request.prompt.len();
        let hashes = if caching {
            BlockHashes::new(request.prompt, request.answer, request.lora, block_size)
        } else {
            BlockHashes::default()
        };
        Self {
            id: request.id,
            key,
            prompt,
            output: request.output_tokens,
            generated: 0,
            computed: 0,
            scheduled: 0,
            drafted: 0,
            blocks: Vec::new(),
            registered: 0,
            lora: request.lora,
            transferred: request.transferred_tokens.min(prompt.saturating_sub(1)),
            swapped: 0,
            first_scheduled: None,
            cached: 0,
            preemptions: 0,
            hashes,
        }
    }

    /// Tokens known so far: the prompt and what has been generated.
    pub(super) fn known(&self) -> u32 {
        self.prompt + self.generated
    }

    /// True when only the newest token has to be computed.
    pub(super) fn is_decoding(&self) -> bool {
        self.generated > 0 && self.computed + 1 >= self.known()
    }
}

/// The chained hashes of a sequence's full blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockHashes {
    /// Hashes of the blocks that are full so far.
    pub(super) full: Vec<u64>,
    /// Chained over the tokens after the last full block.
    state: u64,
    filled: u32,
    block_size: u32,
    answer: Vec<u32>,
}

impl BlockHashes {
    fn new(prompt: Content, answer: Vec<u32>, lora: Option<u32>, block_size: u32) -> Self {
        let Content::Tokens(tokens) = prompt else {
            return Self::default();
        };
        let mut hashes = Self {
            full: Vec::with_capacity(tokens.len() / block_size as usize),
            // Adapters change keys and values, so that their blocks must not be mixed up.
            state: mix(lora.map_or(0, |lora| u64::from(lora) + 1)),
            filled: 0,
            block_size,
            answer,
        };
        for token in tokens {
            hashes.push(token);
        }
        hashes
    }

    fn push(&mut self, token: u32) {
        self.state = mix(self.state ^ u64::from(token).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.filled += 1;
        if self.filled == self.block_size {
            self.full.push(self.state);
            self.filled = 0;
        }
    }

    /// Takes in the generated tokens from number `from` to `to`.
    pub(super) fn generated(&mut self, from: u32, to: u32) {
        for position in from..to {
            let Some(&token) = self.answer.get(position as usize) else {
                return;
            };
            self.push(token);
        }
    }
}
