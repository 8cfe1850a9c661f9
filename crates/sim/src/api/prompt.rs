//! Prompts: how many tokens they have and, where an engine model wants to know, which.

use serde_json::Value;

use super::errors;
use super::reply::Reply;
use crate::engine::Content;
use crate::shared::Shared;
use crate::text::{self, Tokenizer};

/// Tokens that the chat template puts around each message, all but the last before it. The opening
/// of an answer has the ones before a message.
const TOKENS_PER_MESSAGE: u32 = 4;
/// What follows each message.
const END_OF_MESSAGE: &[u8] = b"end of message";
/// Tokens that an image, a video or an audio file counts.
const TOKENS_PER_MEDIA: u32 = 256;

/// Collects the tokens of one prompt, as the server counts them and its prefix cache tells them
/// apart.
#[derive(Clone)]
pub struct PromptBuilder<'a> {
    tokenizer: Option<&'a dyn Tokenizer>,
    count: u32,
    /// Filled only where an engine model looks for common prefixes.
    tokens: Option<Vec<u32>>,
}

impl std::fmt::Debug for PromptBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromptBuilder")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl<'a> PromptBuilder<'a> {
    /// An empty prompt for an engine model; without a tokenizer words and marks count.
    pub fn for_engine(tokenizer: Option<&'a dyn Tokenizer>) -> Self {
        Self {
            tokenizer,
            count: 0,
            tokens: Some(Vec::new()),
        }
    }

    pub(crate) fn new(shared: &'a Shared) -> Self {
        let tokens = shared.settings.engine.is_some().then(Vec::new);
        Self {
            tokenizer: shared.settings.tokenizer.as_deref(),
            count: 0,
            tokens,
        }
    }

    /// Appends a text.
    pub fn text(&mut self, text: &str) {
        match (&mut self.tokens, self.tokenizer) {
            (Some(tokens), Some(tokenizer)) => tokens.extend(tokenizer.encode(text)),
            (Some(tokens), None) => {
                text::for_each_token(text, |token| tokens.push(text::hash(token) as u32));
            }
            (None, tokenizer) => {
                let count =
                    tokenizer.map_or_else(|| text::count_tokens(text), |one| one.count(text));
                self.count = self
                    .count
                    .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
    }

    /// Appends token ids.
    pub fn ids(&mut self, ids: &[u32]) {
        match &mut self.tokens {
            Some(tokens) => tokens.extend_from_slice(ids),
            None => self.count = self.count.saturating_add(ids.len() as u32),
        }
    }

    /// Appends tokens that represent something else than text, equal for equal keys.
    pub(crate) fn special(&mut self, key: &[u8], number: u32) {
        match &mut self.tokens {
            Some(tokens) => {
                let key = text::hash(key);
                tokens.extend(
                    (0..number).map(|position| text::mix(key ^ u64::from(position)) as u32),
                );
            }
            None => self.count = self.count.saturating_add(number),
        }
    }

    /// Appends a message's content: a text, or a list of texts and media. False when it is neither.
    pub fn content(&mut self, content: &Value) -> bool {
        match content {
            Value::Null => true,
            Value::String(text) => {
                self.text(text);
                true
            }
            Value::Array(parts) => parts.iter().all(|part| {
                match part["text"].as_str().or_else(|| part.as_str()) {
                    Some(text) => self.text(text),
                    None => self.special(part.to_string().as_bytes(), TOKENS_PER_MEDIA),
                }
                true
            }),
            _ => false,
        }
    }

    /// Appends a conversation as a chat template would write it. False when it holds no messages.
    pub fn messages(&mut self, messages: &[Value]) -> bool {
        for message in messages {
            let role = message["role"].as_str().unwrap_or_default();
            if !message.is_object() {
                return false;
            }
            self.special(role.as_bytes(), TOKENS_PER_MESSAGE - 1);
            if !self.content(&message["content"]) {
                return false;
            }
            self.special(END_OF_MESSAGE, 1);
        }
        self.special(b"assistant", TOKENS_PER_MESSAGE - 1);
        !messages.is_empty()
    }

    /// Appends the answer to a conversation so far, which ends in the opening of that answer.
    pub fn answer(&mut self, tokens: &[u32]) {
        self.ids(tokens);
        self.special(END_OF_MESSAGE, 1);
    }

    /// The prompt.
    pub fn build(self) -> Content {
        match self.tokens {
            Some(tokens) => Content::Tokens(tokens),
            None => Content::Unshared(self.count),
        }
    }
}

/// The prompts of a completions request: a text, token ids, or a list of either.
pub(crate) fn completions_prompts(shared: &Shared, raw: &str) -> Result<Vec<Content>, Reply> {
    let wrong = |_| {
        errors::bad_request(
            "prompt must be a string, token ids, or a list of either",
            Some("prompt"),
        )
    };
    let from_text = |text: &String| {
        let mut prompt = PromptBuilder::new(shared);
        prompt.text(text);
        prompt.build()
    };
    let from_ids = |ids: &Vec<u32>| {
        let mut prompt = PromptBuilder::new(shared);
        prompt.ids(ids);
        prompt.build()
    };
    let raw = raw.trim_start();
    if raw.starts_with('"') {
        let text: String = serde_json::from_str(raw).map_err(wrong)?;
        return Ok(vec![from_text(&text)]);
    }
    let first = raw
        .strip_prefix('[')
        .map(str::trim_start)
        .and_then(|rest| rest.chars().next());
    match first {
        Some('"') => {
            let texts: Vec<String> = serde_json::from_str(raw).map_err(wrong)?;
            Ok(texts.iter().map(from_text).collect())
        }
        Some('[') => {
            let lists: Vec<Vec<u32>> = serde_json::from_str(raw).map_err(wrong)?;
            Ok(lists.iter().map(from_ids).collect())
        }
        _ => {
            let ids: Vec<u32> = serde_json::from_str(raw).map_err(wrong)?;
            Ok(vec![from_ids(&ids)])
        }
    }
}

/// The prompt of a conversation.
pub(crate) fn chat_prompt(shared: &Shared, messages: &[Value]) -> Result<Content, Reply> {
    let mut prompt = PromptBuilder::new(shared);
    if prompt.messages(messages) {
        Ok(prompt.build())
    } else {
        Err(errors::bad_request(
            "messages must be a list of objects with role and content",
            Some("messages"),
        ))
    }
}
