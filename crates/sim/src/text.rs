//! The simulator's text: the words of answers, and the counting of prompts.

/// Short common words: most vocabularies hold each of them, with its leading space, as one token.
/// All are plain ASCII letters, so that they need no escaping in JSON.
const WORDS: [&str; 128] = [
    " the", " of", " and", " to", " in", " is", " that", " for", " it", " as", " was", " with",
    " be", " by", " on", " not", " he", " his", " but", " at", " are", " this", " have", " from",
    " or", " had", " an", " they", " which", " one", " you", " were", " her", " all", " she",
    " there", " would", " their", " we", " him", " been", " has", " when", " who", " will",
    " more", " no", " if", " out", " so", " said", " what", " up", " its", " about", " into",
    " than", " them", " can", " only", " other", " new", " some", " could", " time", " these",
    " two", " may", " then", " do", " first", " any", " my", " now", " such", " like", " our",
    " over", " man", " me", " even", " most", " made", " after", " also", " did", " many",
    " before", " must", " through", " back", " years", " where", " much", " your", " way", " well",
    " down", " should", " because", " each", " just", " those", " people", " how", " too",
    " little", " state", " good", " very", " make", " world", " still", " own", " see", " men",
    " work", " long", " get", " here", " between", " both", " life", " being", " under", " never",
    " day", " same",
];

/// Word number `position` of the answer with this key.
pub(crate) fn word(key: u64, position: u32) -> &'static str {
    WORDS[(mix(key ^ (u64::from(position) << 32)) % WORDS.len() as u64) as usize]
}

/// A well mixed 64-bit hash of a number (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A hash of bytes (FNV-1a, mixed).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// A real vocabulary for the simulator.
pub trait Tokenizer: Send + Sync {
    /// The token ids of `text`.
    fn encode(&self, text: &str) -> Vec<u32>;
    /// The text of `tokens`.
    fn decode(&self, tokens: &[u32]) -> String;
    /// Number of tokens in `text`.
    fn count(&self, text: &str) -> usize {
        self.encode(text).len()
    }
}

/// The counting rule without a tokenizer: a token is a run of ASCII letters and digits (or of bytes
/// outside ASCII), or any other single character that is not white space.
pub(crate) fn for_each_token(text: &str, mut visit: impl FnMut(&[u8])) {
    let bytes = text.as_bytes();
    let wordy = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        at += 1;
        if wordy(bytes[start]) {
            while at < bytes.len() && wordy(bytes[at]) {
                at += 1;
            }
        } else if bytes[start].is_ascii_whitespace() {
            continue;
        }
        visit(&bytes[start..at]);
    }
}

/// Number of tokens in `text`: see [`for_each_token`].
pub(crate) fn count_tokens(text: &str) -> usize {
    let mut tokens = 0;
    for_each_token(text, |_| tokens += 1);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_marks() {
        for (text, tokens) in [
            ("", 0),
            ("  ", 0),
            ("Hello, world!", 4),
            ("a1 b2\n(c)", 5),
            ("né à", 2),
        ] {
            assert_eq!(count_tokens(text), tokens, "{text:?}");
        }
    }

    #[test]
    fn words_need_no_escaping_and_depend_on_key_and_position() {
        assert!(WORDS.iter().all(|word| {
            word.bytes()
                .all(|byte| byte == b' ' || byte.is_ascii_lowercase())
        }));
        let answer = |key| {
            (0..20)
                .map(|position| word(key, position))
                .collect::<String>()
        };
        assert_eq!(answer(1), answer(1));
        assert_ne!(answer(1), answer(2));
    }
}
