//! Common prefixes of prompts: how much a prefix cache can reuse from earlier requests, and the
//! salt that prevents it.

use std::collections::{HashMap, HashSet};

use inferometer_core::{Prompt, Request};
use serde_json::Value;

use crate::Tokenizer;

/// Bytes that are compared at a time: about two tokens of text, and two token ids.
const STEP: usize = 8;
/// Once [`MAX_STEPS`] places are remembered, only those at a multiple of this many bytes are added, about
/// a block of 16 tokens as in vLLM's cache.
const BLOCK: usize = 64;
/// Places remembered at every step: those of 8 MB of text, in 20 MB of memory.
const MAX_STEPS: usize = 1 << 20;
/// Texts after this many bytes in all are not compared, so that a large run does not start late for
/// the sake of one statistic.
const MAX_BYTES: usize = 512 << 20;
/// Bytes of prefixes whose tokens are counted, 0.2 s of tokenization; a longer prefix is taken to have
/// its part of the prompt's tokens.
const MAX_COUNTED: usize = 1 << 20;

/// Fraction of all prompt tokens that a prefix cache of unlimited size, without blocks, could reuse from
/// earlier requests. `None` when there is nothing to compare, as with batches.
pub(crate) fn reusable_fraction(
    requests: &[Request],
    tokenizer: Option<&Tokenizer>,
) -> Option<f64> {
    let mut fraction = ReusableFraction::new(tokenizer);
    for request in requests {
        fraction.add(request);
    }
    fraction.result()
}

/// The same, request by request.
///
/// Texts are compared in steps of 8 bytes, and the tokens of a common prefix are counted. Later turns
/// of a conversation hold its whole history, with answers of the requested lengths.
#[derive(Debug)]
pub(crate) struct ReusableFraction<'t> {
    tokenizer: Option<&'t Tokenizer>,
    /// Hashes of the prefixes so far.
    seen: HashSet<u64>,
    /// Tokens of prefixes that were counted, by their hash.
    counts: HashMap<u64, usize>,
    /// Bytes that were counted.
    counted: usize,
    /// Tokens of each conversation so far.
    histories: HashMap<usize, f64>,
    reusable: f64,
    all: f64,
    bytes: usize,
    /// There was a prompt that cannot be compared.
    unknown: bool,
}

/// What a prompt has in common with an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Bytes from the start.
    bytes: usize,
    /// The hash of these bytes.
    hash: u64,
}

impl<'t> ReusableFraction<'t> {
    /// Nothing yet. `tokenizer` counts the tokens of common prefixes; without one, and beyond a
    /// megabyte, they are taken to be spread evenly over a text.
    pub(crate) fn new(tokenizer: Option<&'t Tokenizer>) -> Self {
        Self {
            tokenizer,
            seen: HashSet::new(),
            counts: HashMap::new(),
            counted: 0,
            histories: HashMap::new(),
            reusable: 0.0,
            all: 0.0,
            bytes: 0,
            unknown: false,
        }
    }

    pub(crate) fn add(&mut self, request: &Request) {
        if self.unknown || self.bytes > MAX_BYTES {
            return;
        }
        let own = f64::from(request.prompt_tokens);
        let history = match &request.session {
            Some(turn) if turn.turn > 0 => self
                .histories
                .get(&turn.session)
                .copied()
                .unwrap_or_default(),
            _ => 0.0,
        };
        self.all += own + history;
        if let Some(turn) = &request.session {
            self.histories.insert(
                turn.session,
                history + own + f64::from(request.output_tokens.unwrap_or(0)),
            );
        }
        if history > 0.0 {
            self.reusable += history;
            return;
        }
        let common = match &request.prompt {
            Prompt::Text(text) => self.common_text(text, own),
            Prompt::Tokens(ids) => {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                self.known(&bytes).bytes as f64 / 4.0
            }
            Prompt::Messages(messages) => self.common_text(&content(messages), own),
            Prompt::Parts(parts) => self.common_text(&parts_text(parts), own),
            Prompt::Texts(_) => {
                self.unknown = true;
                return;
            }
        };
        self.reusable += common.min(own);
    }

    pub(crate) fn result(&self) -> Option<f64> {
        (self.all > 0.0 && !self.unknown).then(|| self.reusable / self.all)
    }

    /// Tokens that a text of `own` tokens has in common with an earlier one.
    fn common_text(&mut self, text: &str, own: f64) -> f64 {
        let known = self.known(text.as_bytes());
        if known.bytes == 0 || known.bytes == text.len() {
            return if known.bytes == 0 { 0.0 } else { own };
        }
        let prefix = &text[..text.floor_char_boundary(known.bytes)];
        let counted = self.counts.get(&known.hash).copied().or_else(|| {
            let tokenizer = self.tokenizer?;
            if self.counted + prefix.len() > MAX_COUNTED {
                return None;
            }
            self.counted += prefix.len();
            let count = tokenizer.count(prefix, false);
            self.counts.insert(known.hash, count);
            Some(count)
        });
        counted.map_or_else(
            || known.bytes as f64 / text.len() as f64 * own,
            |count| count as f64,
        )
    }

    /// The longest prefix of `bytes` that an earlier prompt begins with; all its prefixes count as seen
    /// from now on.
    fn known(&mut self, bytes: &[u8]) -> Known {
        self.bytes += bytes.len();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut known = Known { bytes: 0, hash };
        let mut end = 0;
        for step in bytes.chunks(STEP) {
            let mut padded = [0; STEP];
            padded[..step.len()].copy_from_slice(step);
            // The length keeps a short last step apart from one with zeros.
            hash = (hash ^ u64::from_le_bytes(padded) ^ (STEP - step.len()) as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
            end += step.len();
            if self.seen.contains(&hash) {
                known = Known { bytes: end, hash };
            } else if self.seen.len() < MAX_STEPS || end.is_multiple_of(BLOCK) {
                self.seen.insert(hash);
            }
        }
        known
    }
}

/// The texts of messages without the names of their members, which are alike in all of them.
fn content(messages: &[Value]) -> String {
    let texts = messages.iter().map(|message| match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts_text(parts),
        _ => message.to_string(),
    });
    texts.collect()
}

/// The texts of content parts; images and other media as they are.
fn parts_text(parts: &[Value]) -> String {
    let texts = parts.iter().map(|part| match part["text"].as_str() {
        Some(text) => text.to_owned(),
        None => part.to_string(),
    });
    texts.collect()
}

/// Puts the salt in front of every prompt. Later turns of a conversation have it in their history.
pub(crate) fn add_salt(requests: &mut [Request], salt: &str, tokenizer: Option<&Tokenizer>) {
    let line = format!("{salt}\n");
    let more = tokenizer.map_or(0, |tokenizer| tokenizer.count(&line, false)) as u32;
    for request in requests {
        if request.session.as_ref().is_some_and(|turn| turn.turn > 0) {
            continue;
        }
        let salted = match &mut request.prompt {
            Prompt::Text(text) => {
                text.insert_str(0, &line);
                1
            }
            Prompt::Texts(texts) => {
                for text in &mut *texts {
                    text.insert_str(0, &line);
                }
                texts.len() as u32
            }
            Prompt::Parts(parts) => {
                parts.insert(0, serde_json::json!({"type": "text", "text": line}));
                1
            }
            Prompt::Messages(messages) => {
                match messages.first_mut().map(|message| &mut message["content"]) {
                    Some(Value::String(text)) => {
                        text.insert_str(0, &line);
                        1
                    }
                    Some(Value::Array(parts)) => {
                        parts.insert(0, serde_json::json!({"type": "text", "text": line}));
                        1
                    }
                    _ => 0,
                }
            }
            Prompt::Tokens(ids) => match tokenizer {
                Some(tokenizer) => {
                    ids.splice(0..0, tokenizer.encode(&line));
                    1
                }
                None => 0,
            },
        };
        request.prompt_tokens += salted * more;
    }
}

#[cfg(test)]
mod tests {
    use inferometer_core::SessionTurn;

    use super::*;

    fn text(text: String) -> Request {
        Request {
            prompt_tokens: 100,
            prompt: Prompt::Text(text),
            ..Request::default()
        }
    }

    #[test]
    fn text_seen_before_is_reusable() {
        let (a, b) = ("a".repeat(640), "b".repeat(640));
        let requests = [
            text(a.clone()),
            text(b.clone()),
            text(a.clone()),
            text(format!("{}{b}", &a[..64])),
        ];
        let fraction = reusable_fraction(&requests, None).unwrap();
        // All of the third; 64 bytes of the fourth, whose rest follows another prefix.
        assert!(
            (fraction - (1.0 + 64.0 / 704.0) / 4.0).abs() < 1e-9,
            "{fraction}"
        );
        assert_eq!(reusable_fraction(&[], None), None);
    }

    #[test]
    fn the_tokens_of_a_common_prefix_are_counted() {
        let tokenizer = Tokenizer::builtin().unwrap();
        // Numbers take more tokens a byte than words.
        let shared = "the same words come first in both of these prompts, and then: ";
        let prompt = |end: &str| {
            let text = format!("{shared}{end}");
            Request {
                prompt_tokens: tokenizer.count(&text, false) as u32,
                ..self::text(text)
            }
        };
        let requests = [prompt("8461937502"), prompt("3917264805 5172093846")];
        let all: u32 = requests.iter().map(|request| request.prompt_tokens).sum();
        let exact = tokenizer.count(shared, false) as f64 / f64::from(all);
        let found = reusable_fraction(&requests, Some(&tokenizer)).unwrap();
        // A step of 8 bytes is at most three tokens.
        assert!(found <= exact + 1.0 / f64::from(all) && found > exact - 3.0 / f64::from(all));
    }

    #[test]
    fn token_ids_and_messages_are_compared_by_what_they_hold() {
        let ids = |last| Request {
            prompt_tokens: 100,
            prompt: Prompt::Tokens((0..99).chain([last]).collect()),
            ..Request::default()
        };
        let fraction = reusable_fraction(&[ids(99), ids(500)], None).unwrap();
        assert!((fraction - 98.0 / 200.0).abs() < 1e-9, "{fraction}");
        let message = |text: &str| Request {
            prompt_tokens: 10,
            prompt: Prompt::Messages(vec![serde_json::json!({"role": "user", "content": text})]),
            ..Request::default()
        };
        let messages = [message("what is a cat?"), message("name five rivers")];
        assert_eq!(reusable_fraction(&messages, None), Some(0.0));
    }

    #[test]
    fn later_turns_reuse_the_whole_history() {
        let turn = |turn, has_next| Request {
            session: Some(SessionTurn {
                session: 0,
                turn,
                has_next,
                ..SessionTurn::default()
            }),
            output_tokens: Some(50),
            ..text(format!("{turn}"))
        };
        // 100, then 150 + 100.
        assert_eq!(
            reusable_fraction(&[turn(0, true), turn(1, false)], None),
            Some(150.0 / 350.0)
        );
    }

    #[test]
    fn salt_goes_in_front_and_is_counted() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let mut requests = [text("hello world".into())];
        add_salt(&mut requests, "run 7", Some(&tokenizer));
        assert_eq!(requests[0].prompt.as_text(), Some("run 7\nhello world"));
        assert!(requests[0].prompt_tokens > 100);
    }
}
