//! Compact hash tables for a vocabulary and its merges.
//!
//! A tokenizer of 130,000 tokens is loaded before every run. Two growing hash maps of owned strings
//! take most of that time, so the texts live in one string here and the tables are filled once at
//! their final size.

/// Token texts by id, and ids by text.
#[derive(Debug, Default)]
pub(super) struct TokenTable {
    text: String,
    /// Start and length by id; a length of `u32::MAX` marks an id without a token.
    spans: Vec<(u32, u32)>,
    /// Upper half of the hash and the id plus one; zero marks a free slot.
    slots: Vec<(u32, u32)>,
    len: usize,
    /// Some tokens have equal hashes in the slots, so that their texts must be compared.
    ambiguous: bool,
}

impl TokenTable {
    /// A table of the texts in `text`, cut by `entries` into (end offset, id).
    pub(super) fn new(text: String, entries: &[(u32, u32)]) -> Self {
        let ids = entries
            .iter()
            .map(|entry| entry.1 as usize + 1)
            .max()
            .unwrap_or(0);
        let mut table = Self {
            text,
            spans: vec![(0, u32::MAX); ids],
            slots: vec![(0, 0); slots_for(entries.len())],
            len: entries.len(),
            ambiguous: false,
        };
        let mut start = 0;
        for &(end, id) in entries {
            table.spans[id as usize] = (start, end - start);
            table.insert(id, start as usize, end as usize);
            start = end;
        }
        table
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// One more than the highest id.
    pub(super) fn id_bound(&self) -> u32 {
        self.spans.len() as u32
    }

    /// The id of a token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.id_of_known(hash_bytes(token.as_bytes()), token.as_bytes())
    }

    /// The id of a token whose hash is known.
    pub(super) fn id_of_known(&self, hash: u64, token: &[u8]) -> Option<u32> {
        self.find(hash, |id| {
            self.text(id).is_some_and(|known| known.as_bytes() == token)
        })
    }

    /// The same, for a token that is known to be in the table: its text is compared only where
    /// hashes do not tell tokens apart. A token that is not in the table may be taken for another
    /// one.
    pub(super) fn id_of_member(&self, hash: u64, token: &[u8]) -> Option<u32> {
        if self.ambiguous {
            self.id_of_known(hash, token)
        } else {
            self.find(hash, |_| true)
        }
    }

    /// The first id under this hash that `fits`.
    fn find(&self, hash: u64, fits: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (tag, id) = self.slots[slot];
            if id == 0 {
                return None;
            }
            if tag == (hash >> 32) as u32 && fits(id - 1) {
                return Some(id - 1);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The text of a token.
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        match self.spans.get(id as usize) {
            Some(&(start, len)) if len != u32::MAX => {
                Some(&self.text[start as usize..start as usize + len as usize])
            }
            _ => None,
        }
    }

    fn insert(&mut self, id: u32, start: usize, end: usize) {
        let mask = self.slots.len() - 1;
        let token = &self.text.as_bytes()[start..end];
        let hash = hash_bytes(token);
        let mut slot = hash as usize & mask;
        while self.slots[slot].1 != 0 {
            if self.slots[slot].0 == (hash >> 32) as u32 {
                // A key given twice: the later one counts, as in every JSON reader.
                if self
                    .text(self.slots[slot].1 - 1)
                    .is_some_and(|known| known.as_bytes() == token)
                {
                    self.slots[slot].1 = id + 1;
                    return;
                }
                self.ambiguous = true;
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = ((hash >> 32) as u32, id + 1);
    }
}

/// What a pair of neighbouring tokens merges into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    /// Lower ranks merge first.
    pub(super) rank: u32,
    /// The merged token.
    pub(super) id: u32,
}

/// Merges by pair of tokens.
#[derive(Debug, Default)]
pub(super) struct MergeTable {
    slots: Vec<(u64, Merge)>,
    len: usize,
}

const FREE: u64 = u64::MAX;

impl MergeTable {
    /// A table with room for `merges` pairs.
    pub(super) fn with_capacity(merges: usize) -> Self {
        Self {
            slots: vec![(FREE, Merge { rank: 0, id: 0 }); slots_for(merges)],
            len: 0,
        }
    }

    /// Adds a merge; a pair given twice keeps the later one.
    pub(super) fn insert(&mut self, left: u32, right: u32, merge: Merge) {
        let key = u64::from(left) << 32 | u64::from(right);
        let mask = self.slots.len() - 1;
        let mut slot = hash_pair(key) & mask;
        while self.slots[slot].0 != FREE && self.slots[slot].0 != key {
            slot = (slot + 1) & mask;
        }
        self.len += usize::from(self.slots[slot].0 == FREE);
        self.slots[slot] = (key, merge);
    }

    /// What a pair merges into.
    pub(super) fn get(&self, left: u32, right: u32) -> Option<Merge> {
        if self.len == 0 {
            return None;
        }
        let key = u64::from(left) << 32 | u64::from(right);
        let mask = self.slots.len() - 1;
        let mut slot = hash_pair(key) & mask;
        loop {
            let (found, merge) = self.slots[slot];
            if found == key {
                return Some(merge);
            }
            if found == FREE {
                return None;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// All merged tokens, in no particular order.
    pub(super) fn merged(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots
            .iter()
            .filter(|slot| slot.0 != FREE)
            .map(|slot| slot.1.id)
    }
}

/// A power of two that is at most half full with `entries`.
fn slots_for(entries: usize) -> usize {
    (entries * 2).next_power_of_two().max(8)
}

/// A fast hash of a short text: multiply and rotate over words of eight bytes.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    let mut word = [0; 8];
    let rest = chunks.remainder();
    word[..rest.len()].copy_from_slice(rest);
    hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    hash ^ (hash >> 29)
}

fn hash_pair(key: u64) -> usize {
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ (hash >> 32)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_by_text_and_by_id() {
        let table = TokenTable::new("abcabc".into(), &[(1, 5), (3, 0), (3, 2), (6, 1)]);
        assert_eq!(table.id("a"), Some(5));
        assert_eq!(table.id("bc"), Some(0));
        assert_eq!(table.id(""), Some(2));
        assert_eq!(table.id("abc"), Some(1));
        assert_eq!(table.id("ab"), None);
        assert_eq!(table.text(0), Some("bc"));
        assert_eq!(table.text(3), None);
        assert_eq!(table.text(99), None);
        assert_eq!(table.id_bound(), 6);
    }

    #[test]
    fn members_with_equal_hashes_are_distinguished() {
        // The first two numbers that share the tag and, in a table of eight slots, the place.
        let mut seen = std::collections::HashMap::new();
        let (one, other) = (0_u32..4_000_000)
            .find_map(|number| {
                let text = number.to_string();
                let hash = hash_bytes(text.as_bytes());
                seen.insert((hash >> 32, hash & 7), text.clone())
                    .map(|earlier| (earlier, text))
            })
            .unwrap();
        let end = one.len() as u32;
        let both = TokenTable::new(
            format!("{one}{other}"),
            &[(end, 0), (end + other.len() as u32, 1)],
        );
        let id = |table: &TokenTable, token: &str| {
            table.id_of_member(hash_bytes(token.as_bytes()), token.as_bytes())
        };
        assert_eq!((id(&both, &one), id(&both, &other)), (Some(0), Some(1)));
        assert_eq!(id(&both, "x"), None);
    }

    #[test]
    fn the_later_of_two_equal_merges_counts() {
        let mut merges = MergeTable::with_capacity(2);
        merges.insert(1, 2, Merge { rank: 0, id: 3 });
        merges.insert(1, 2, Merge { rank: 1, id: 4 });
        assert_eq!(merges.get(1, 2), Some(Merge { rank: 1, id: 4 }));
        assert_eq!(merges.get(2, 1), None);
    }
}
