//! Common prefixes of prompts: how much a prefix cache can reuse from earlier requests, and the
//! salt that prevents it.

use std::collections::{HashMap, HashSet};

use inferometer_core::{Prompt, Request};
use serde_json::Value;

use crate::Tokenizer;

/// Bytes of text that are compared at a time: about a block of 16 tokens.
const BLOCK: usize = 64;
/// Token ids that are compared at a time, as in vLLM's cache.
const ID_BLOCK: usize = 16;
/// Texts after this many bytes in all are not compared, so that a large run does not start late for
/// the sake of one statistic.
const MAX_BYTES: usize = 512 << 20;

/// Fraction of all prompt tokens that a prefix cache of unlimited size could reuse from earlier
/// requests. `None` when there is nothing to compare, as with batches.
pub(crate) fn reusable_fraction(requests: &[Request]) -> Option<f64> {
    let mut fraction = ReusableFraction::default();
    for request in requests {
        fraction.add(request);
    }
    fraction.result()
}

/// The same, request by request.
///
/// Texts are compared in blocks of 64 bytes, as if a text's tokens were spread evenly over it.
/// Later turns of a conversation hold its whole history, with answers of the requested lengths.
#[derive(Debug, Default)]
pub(crate) struct ReusableFraction {
    seen: HashSet<u64>,
    /// Tokens of each conversation so far.
    histories: HashMap<usize, f64>,
    reusable: f64,
    all: f64,
    bytes: usize,
    /// There was a prompt that cannot be compared.
    unknown: bool,
}

impl ReusableFraction {
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
        let (fraction, bytes) = match &request.prompt {
            Prompt::Text(text) => known_fraction(text.as_bytes(), BLOCK, &mut self.seen),
            Prompt::Tokens(ids) => {
                let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                known_fraction(&ids, ID_BLOCK * 4, &mut self.seen)
            }
            Prompt::Messages(messages) => {
                let text: String = messages.iter().map(Value::to_string).collect();
                known_fraction(text.as_bytes(), BLOCK, &mut self.seen)
            }
            Prompt::Texts(_) | Prompt::Parts(_) => {
                self.unknown = true;
                return;
            }
        };
        self.reusable += fraction * own;
        self.bytes += bytes;
    }

    pub(crate) fn result(&self) -> Option<f64> {
        (self.all > 0.0 && !self.unknown).then(|| self.reusable / self.all)
    }
}

/// The fraction of `bytes` before the first block that is new after its prefix, and the number of
/// bytes; all blocks count as seen from now on.
fn known_fraction(bytes: &[u8], block: usize, seen: &mut HashSet<u64>) -> (f64, usize) {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut known = 0;
    let mut unbroken = true;
    for chunk in bytes.chunks_exact(block) {
        for word in chunk.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            hash = (hash ^ u64::from_le_bytes(padded))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
        unbroken &= !seen.insert(hash);
        known += if unbroken { block } else { 0 };
    }
    (known as f64 / bytes.len().max(1) as f64, bytes.len())
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
        let fraction = reusable_fraction(&requests).unwrap();
        // All of the third; one block of the fourth, whose rest follows another prefix.
        assert!(
            (fraction - (1.0 + 64.0 / 704.0) / 4.0).abs() < 1e-9,
            "{fraction}"
        );
        assert_eq!(reusable_fraction(&[]), None);
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
            reusable_fraction(&[turn(0, true), turn(1, false)]),
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
