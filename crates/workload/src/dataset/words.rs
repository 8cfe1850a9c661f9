//! Words that are one token each in any context, so that a text of n words has n tokens.
//!
//! Random token ids do not survive being written as text and read again: neighbours merge, broken
//! UTF-8 becomes other tokens. Words do: tokenizers cut text before the space in front of a word,
//! so tokens never reach over that border. The usable words are found by trial: all words are
//! encoded in texts that join them in two different orders, and a word that is not encoded as its
//! single token in both is left out.

use std::ops::ControlFlow;

use crate::Tokenizer;

/// Words of a tokenizer that are one token each.
#[derive(Debug)]
pub(super) struct Words {
    /// ` word` for each, in one text.
    text: String,
    ends: Vec<u32>,
    /// Words that are one token at the start of a text too, without a space before them.
    first: Vec<u32>,
}

/// More words would make start-up slower, and the text no more varied.
const MAX_WORDS: usize = 4096;
/// With fewer words, texts would repeat one another.
const MIN_WORDS: usize = 64;
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=12;

impl Words {
    /// Finds the words of a tokenizer; `None` when it has too few that hold.
    pub(super) fn find(tokenizer: &Tokenizer) -> Option<Self> {
        let most = if tokenizer.is_fast() {
            MAX_WORDS
        } else {
            MAX_WORDS / 4
        };
        let mut candidates = Vec::with_capacity(most);
        tokenizer.for_each_token(&mut |token| {
            candidates.extend(word_of(token).map(str::to_owned));
            if candidates.len() < most {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        Self::holding(tokenizer, candidates)
    }

    fn holding(tokenizer: &Tokenizer, mut words: Vec<String>) -> Option<Self> {
        let start = words
            .iter()
            .find(|word| tokenizer.encode(word).len() == 1)?
            .clone();
        // Once is enough for nearly all tokenizers; another round checks what a round has left.
        for _ in 0..3 {
            if words.len() < MIN_WORDS {
                return None;
            }
            if holds(tokenizer, &start, words.iter())
                && holds(tokenizer, &start, words.iter().rev())
            {
                return Some(Self::new(tokenizer, &words));
            }
            words.retain(|word| {
                tokenizer
                    .encode(&format!("{start} {word} {word} {start}"))
                    .len()
                    == 4
            });
        }
        None
    }

    fn new(tokenizer: &Tokenizer, words: &[String]) -> Self {
        let mut found = Self {
            text: String::new(),
            ends: Vec::new(),
            first: Vec::new(),
        };
        for (at, word) in words.iter().enumerate() {
            found.text.push(' ');
            found.text.push_str(word);
            found.ends.push(found.text.len() as u32);
            if found.first.len() < MAX_WORDS / 4 && tokenizer.encode(word).len() == 1 {
                found.first.push(at as u32);
            }
        }
        found
    }

    /// Number of words.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Number of words that a text can start with.
    pub(super) fn first_len(&self) -> usize {
        self.first.len()
    }

    /// A word without the space before it, for the start of a text.
    pub(super) fn first(&self, at: usize) -> &str {
        &self.spaced(self.first[at] as usize)[1..]
    }

    /// A word with the space before it.
    pub(super) fn spaced(&self, at: usize) -> &str {
        let start = if at == 0 {
            0
        } else {
            self.ends[at - 1] as usize
        };
        &self.text[start..self.ends[at] as usize]
    }
}

/// The plain word that a token stands for, if it starts a word and is lower-case English letters.
fn word_of(token: &str) -> Option<&str> {
    let word = token.strip_prefix(['Ġ', '▁']).unwrap_or(token);
    let marked = word.len() < token.len();
    let plain = LENGTHS.contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase());
    // Vocabularies that mark the inside of words instead (`##ing`) have unmarked words. Where both
    // kinds are, an unmarked token is the inside of a word, and the trial throws it out.
    (plain && (marked || word.len() > 3)).then_some(word)
}

/// True when a text of these words has one token for each.
fn holds<'a>(tokenizer: &Tokenizer, start: &str, words: impl Iterator<Item = &'a String>) -> bool {
    let mut text = start.to_owned();
    let mut expected = 1;
    for word in words {
        text.push(' ');
        text.push_str(word);
        expected += 1;
    }
    tokenizer.count(&text, false) == expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_builtin_tokenizer_hold_in_any_order() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let words = Words::find(&tokenizer).unwrap();
        assert!(words.len() > 2000, "{}", words.len());
        assert!(words.first_len() > 100, "{}", words.first_len());
        let mut text = words.first(7).to_owned();
        for step in 0..3000 {
            text.push_str(words.spaced(step * 7919 % words.len()));
        }
        assert_eq!(tokenizer.encode(&text).len(), 3001);
    }

    #[test]
    fn only_lower_case_words_are_taken() {
        assert_eq!(word_of("Ġhello"), Some("hello"));
        assert_eq!(word_of("▁of"), Some("of"));
        assert_eq!(word_of("hello"), Some("hello"));
        for token in ["ĠHello", "the", "##ing", "Ġa", "Ġcafé", "Ġ12", "▁▁of"] {
            assert_eq!(word_of(token), None, "{token}");
        }
    }
}
