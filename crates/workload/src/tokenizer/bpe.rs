//! Byte-pair encoding: the algorithm of the Hugging Face model of that name, on compact tables.
//!
//! The result is the same token for token. What differs is the cost: loading takes a fraction of
//! the time, repeated words come from a cache per thread, and short words merge in arrays on the
//! stack.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use super::tables::{MergeTable, TokenTable, hash_bytes};

/// Options of a model beside its vocabulary and merges.
#[derive(Debug, Default, Clone)]
pub(super) struct BpeOptions {
    /// Token for text that the vocabulary cannot spell.
    pub(super) unk_token: Option<String>,
    /// Put before every symbol of a word but the first.
    pub(super) continuing_prefix: String,
    /// Put after the last symbol of a word.
    pub(super) word_suffix: String,
    /// Neighbouring unknown symbols become one token.
    pub(super) fuse_unk: bool,
    /// Unknown symbols are spelled in bytes where tokens `<0x00>` … exist.
    pub(super) byte_fallback: bool,
    /// A word that is in the vocabulary is taken whole, whatever the merges say.
    pub(super) ignore_merges: bool,
}

/// A byte-pair model.
#[derive(Debug)]
pub(super) struct Bpe {
    pub(super) tokens: TokenTable,
    merges: MergeTable,
    options: BpeOptions,
    unk: Option<u32>,
    /// Token of each byte in the byte-level alphabet.
    byte_ids: Option<Box<[u32; 256]>>,
    /// Tokens `<0x00>` … for texts outside the vocabulary.
    fallback_ids: [Option<u32>; 256],
    cache: u64,
}

/// SentencePiece's mark for a space.
pub(super) const UNDERSCORE: char = '▁';

impl Bpe {
    pub(super) fn new(tokens: TokenTable, merges: MergeTable, options: BpeOptions) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut fallback_ids = [None; 256];
        for (byte, id) in fallback_ids.iter_mut().enumerate() {
            *id = tokens.id(&format!("<0x{byte:02X}>"));
        }
        let byte_ids = byte_alphabet_ids(&tokens);
        let unk = options
            .unk_token
            .as_deref()
            .and_then(|token| tokens.id(token));
        Self {
            tokens,
            merges,
            options,
            unk,
            byte_ids,
            fallback_ids,
            cache: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The same vocabulary with other options; `None` where bytes are to be spelled in tokens that are
    /// not all there.
    pub(super) fn with_options(self, options: BpeOptions) -> Option<Self> {
        let partial = options.byte_fallback && self.fallback_ids.contains(&None);
        (!partial).then(|| Self::new(self.tokens, self.merges, options))
    }

    /// True when no merge reaches across the start of a run of `▁`, so that such places are hard
    /// borders.
    pub(super) fn underscore_is_border(&self) -> bool {
        let spells_all =
            self.options.byte_fallback && self.fallback_ids.iter().all(Option::is_some);
        // Unknown tokens that fuse would reach over a border, so borders need full byte fallback.
        (spells_all || self.unk.is_none() || !self.options.fuse_unk)
            && self.options.continuing_prefix.is_empty()
            && self.options.word_suffix.is_empty()
            && !self.options.ignore_merges
            && !self
                .merges
                .merged()
                .any(|id| self.tokens.text(id).is_some_and(crosses_underscore))
    }

    /// Appends the tokens of a word of the vocabulary's own alphabet.
    pub(super) fn encode_word(&self, word: &str, out: &mut Vec<u32>) {
        if word.is_empty() {
            return;
        }
        if self.options.ignore_merges
            && let Some(id) = self.tokens.id(word)
        {
            out.push(id);
            return;
        }
        with_cache(self.cache, word, out, |out| {
            let mut symbols = Vec::with_capacity(word.len());
            self.spell(word, &mut symbols);
            self.merge(&mut symbols);
            out.extend_from_slice(&symbols);
        });
    }

    /// Appends the tokens of a word given as plain text to a model with the byte-level alphabet.
    pub(super) fn encode_bytes(&self, word: &str, out: &mut Vec<u32>) {
        if word.is_empty() {
            return;
        }
        with_cache(self.cache, word, out, |out| {
            let simple = !self.options.ignore_merges
                && self.options.continuing_prefix.is_empty()
                && self.options.word_suffix.is_empty();
            match &self.byte_ids {
                Some(ids) if simple => {
                    let mut symbols = [0; SHORT];
                    if word.len() <= SHORT {
                        for (symbol, byte) in symbols.iter_mut().zip(word.bytes()) {
                            *symbol = ids[byte as usize];
                        }
                        let len = self.merge_short(&mut symbols, word.len());
                        out.extend_from_slice(&symbols[..len]);
                    } else {
                        let mut symbols: Vec<u32> =
                            word.bytes().map(|byte| ids[byte as usize]).collect();
                        self.merge_long(&mut symbols);
                        out.extend_from_slice(&symbols);
                    }
                }
                _ => {
                    let mapped: String = word.bytes().map(byte_char).collect();
                    if self.options.ignore_merges
                        && let Some(id) = self.tokens.id(&mapped)
                    {
                        out.push(id);
                        return;
                    }
                    let mut symbols = Vec::with_capacity(mapped.len());
                    self.spell(&mapped, &mut symbols);
                    self.merge(&mut symbols);
                    out.extend_from_slice(&symbols);
                }
            }
        });
    }

    /// The symbols that a word starts from: its characters, or what stands for them.
    fn spell(&self, word: &str, symbols: &mut Vec<u32>) {
        let mut pending_unk = false;
        let last = word.char_indices().next_back().map_or(0, |(at, _)| at);
        let mut scratch = String::new();
        for (at, symbol) in word.char_indices() {
            let mut text = &word[at..at + symbol.len_utf8()];
            let prefixed = at > 0 && !self.options.continuing_prefix.is_empty();
            let suffixed = at == last && !self.options.word_suffix.is_empty();
            if prefixed || suffixed {
                scratch.clear();
                if prefixed {
                    scratch.push_str(&self.options.continuing_prefix);
                }
                scratch.push(symbol);
                if suffixed {
                    scratch.push_str(&self.options.word_suffix);
                }
                text = &scratch;
            }
            if let Some(id) = self.tokens.id(text) {
                symbols.push(id);
                pending_unk = false;
                continue;
            }
            if self.options.byte_fallback {
                let bytes: Option<Vec<u32>> = text
                    .bytes()
                    .map(|byte| self.fallback_ids[byte as usize])
                    .collect();
                if let Some(bytes) = bytes {
                    symbols.extend(bytes);
                    // As in the reference: a spelled symbol does not end a run of unknown ones.
                    continue;
                }
            }
            if let Some(unk) = self.unk {
                if !(pending_unk && self.options.fuse_unk) {
                    symbols.push(unk);
                }
                pending_unk = true;
            }
        }
    }

    fn merge(&self, symbols: &mut Vec<u32>) {
        let len = symbols.len();
        if len <= SHORT {
            let len = self.merge_short(symbols, len);
            symbols.truncate(len);
        } else {
            self.merge_long(symbols);
        }
    }

    /// Merges up to [`SHORT`] symbols in place: again and again the lowest rank, leftmost first.
    fn merge_short(&self, symbols: &mut [u32], mut len: usize) -> usize {
        const NONE: (u32, u32) = (u32::MAX, 0);
        let pair = |left: u32, right: u32| {
            self.merges
                .get(left, right)
                .map_or(NONE, |merge| (merge.rank, merge.id))
        };
        let mut ranks = [NONE; SHORT];
        for at in 1..len {
            ranks[at - 1] = pair(symbols[at - 1], symbols[at]);
        }
        while len > 1 {
            let mut best = 0;
            for at in 1..len - 1 {
                if ranks[at].0 < ranks[best].0 {
                    best = at;
                }
            }
            if ranks[best].0 == u32::MAX {
                break;
            }
            symbols[best] = ranks[best].1;
            symbols.copy_within(best + 2..len, best + 1);
            if best + 2 < len {
                ranks.copy_within(best + 2..len - 1, best + 1);
            }
            len -= 1;
            ranks[len - 1] = NONE;
            if best + 1 < len {
                ranks[best] = pair(symbols[best], symbols[best + 1]);
            }
            if best > 0 {
                ranks[best - 1] = pair(symbols[best - 1], symbols[best]);
            }
        }
        len
    }

    /// Merges any number of symbols with a heap of candidate pairs.
    fn merge_long(&self, symbols: &mut Vec<u32>) {
        const END: usize = usize::MAX;
        let len = symbols.len();
        let mut next: Vec<usize> = (1..=len)
            .map(|at| if at == len { END } else { at })
            .collect();
        let mut previous: Vec<usize> = (0..len)
            .map(|at| if at == 0 { END } else { at - 1 })
            .collect();
        let mut alive = vec![true; len];
        let mut heap: BinaryHeap<Reverse<(u32, usize, u32)>> = (1..len)
            .filter_map(|at| {
                let merge = self.merges.get(symbols[at - 1], symbols[at])?;
                Some(Reverse((merge.rank, at - 1, merge.id)))
            })
            .collect();
        while let Some(Reverse((_, at, id))) = heap.pop() {
            if !alive[at] || next[at] == END {
                continue;
            }
            let right = next[at];
            // An entry is stale when its pair has changed since.
            if self
                .merges
                .get(symbols[at], symbols[right])
                .is_none_or(|merge| merge.id != id)
            {
                continue;
            }
            symbols[at] = id;
            alive[right] = false;
            next[at] = next[right];
            if next[at] != END {
                previous[next[at]] = at;
                if let Some(merge) = self.merges.get(symbols[at], symbols[next[at]]) {
                    heap.push(Reverse((merge.rank, at, merge.id)));
                }
            }
            if previous[at] != END
                && let Some(merge) = self.merges.get(symbols[previous[at]], symbols[at])
            {
                heap.push(Reverse((merge.rank, previous[at], merge.id)));
            }
        }
        let mut at = 0;
        symbols.retain(|_| {
            at += 1;
            alive[at - 1]
        });
    }
}

/// Longest word, in symbols, that merges without a heap: up to about this length, searching an
/// array on the stack for the lowest rank is cheaper than keeping a heap.
const SHORT: usize = 32;

/// True when `▁` follows another character inside the token.
fn crosses_underscore(token: &str) -> bool {
    let mut before = UNDERSCORE;
    token.chars().any(|symbol| {
        let crosses = symbol == UNDERSCORE && before != UNDERSCORE;
        before = symbol;
        crosses
    })
}

/// The character that stands for a byte in byte-level vocabularies: printable bytes stand for
/// themselves, the others for the characters from 256 on.
pub(super) fn byte_char(byte: u8) -> char {
    BYTE_CHARS[byte as usize]
}

/// The byte that a character of a byte-level vocabulary stands for.
pub(super) fn char_byte(symbol: char) -> Option<u8> {
    match u32::from(symbol) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x143 => OTHER_BYTES.get(code as usize - 0x100).copied(),
        _ => None,
    }
}

const fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

const BYTE_CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let mut byte = 0;
    let mut other = 0;
    while byte < 256 {
        if stands_for_itself(byte as u8) {
            chars[byte] = byte as u8 as char;
        } else {
            chars[byte] = match char::from_u32(0x100 + other) {
                Some(symbol) => symbol,
                None => '\0',
            };
            other += 1;
        }
        byte += 1;
    }
    chars
};

const OTHER_BYTES: [u8; 68] = {
    let mut bytes = [0; 68];
    let mut byte = 0;
    let mut other = 0;
    while byte < 256 {
        if !stands_for_itself(byte as u8) {
            bytes[other] = byte as u8;
            other += 1;
        }
        byte += 1;
    }
    bytes
};

fn byte_alphabet_ids(tokens: &TokenTable) -> Option<Box<[u32; 256]>> {
    let mut ids = Box::new([0; 256]);
    let mut text = [0; 4];
    for (byte, id) in ids.iter_mut().enumerate() {
        *id = tokens.id(BYTE_CHARS[byte].encode_utf8(&mut text))?;
    }
    Some(ids)
}

/// Hashes the words of the cache with the tables' own function.
#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(7) ^ hash_bytes(bytes);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Default)]
struct WordCache {
    owner: u64,
    words: HashMap<Box<str>, (u32, u32), BuildHasherDefault<WordHasher>>,
    tokens: Vec<u32>,
}

/// Words that one thread caches; more would cost more memory than they save time.
const CACHED_WORDS: usize = 100_000;
/// Longer words are rare, so that caching them saves little.
const CACHED_BYTES: usize = 64;

thread_local! {
    static CACHE: RefCell<WordCache> = RefCell::default();
}

/// Appends the tokens of `word` from this thread's cache, or by `compute`.
fn with_cache(owner: u64, word: &str, out: &mut Vec<u32>, compute: impl FnOnce(&mut Vec<u32>)) {
    if word.len() > CACHED_BYTES {
        return compute(out);
    }
    CACHE.with_borrow_mut(|cache| {
        if cache.owner != owner {
            *cache = WordCache {
                owner,
                ..WordCache::default()
            };
        }
        if let Some(&(start, len)) = cache.words.get(word) {
            out.extend_from_slice(&cache.tokens[start as usize..(start + len) as usize]);
            return;
        }
        let start = out.len();
        compute(out);
        if cache.words.len() < CACHED_WORDS {
            let span = (cache.tokens.len() as u32, (out.len() - start) as u32);
            cache.tokens.extend_from_slice(&out[start..]);
            cache.words.insert(word.into(), span);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_their_characters_are_inverse() {
        for byte in 0..=255 {
            assert_eq!(char_byte(byte_char(byte)), Some(byte));
        }
        assert_eq!(byte_char(b' '), 'Ġ');
        assert_eq!(byte_char(b'\n'), 'Ċ');
        assert_eq!(char_byte('あ'), None);
    }

    #[test]
    fn an_underscore_inside_a_token_is_seen() {
        assert!(!crosses_underscore("▁▁the"));
        assert!(!crosses_underscore("the"));
        assert!(crosses_underscore("of▁the"));
    }
}
