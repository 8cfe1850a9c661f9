//! The paged KV cache: blocks, prefix hashes, and eviction of the least recently used.

use std::collections::HashMap;

/// Marks the ends of the free list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Block {
    users: u32,
    hash: Option<u64>,
    previous: u32,
    next: u32,
}

/// All blocks of a KV cache.
///
/// A block that no request uses stays in the free list with its content, so that a later prompt with
/// the same prefix can reuse it; it is lost only when its turn comes to be overwritten.
/// Blocks without reusable content are overwritten first, then the one unused for longest.
#[derive(Clone, Debug)]
pub(super) struct BlockPool {
    blocks: Vec<Block>,
    by_hash: HashMap<u64, u32>,
    first_free: u32,
    last_free: u32,
    free: usize,
}

impl BlockPool {
    pub(super) fn new(count: usize) -> Self {
        let mut pool = Self {
            blocks: vec![
                Block {
                    users: 0,
                    hash: None,
                    previous: NONE,
                    next: NONE
                };
                count
            ],
            by_hash: HashMap::new(),
            first_free: NONE,
            last_free: NONE,
            free: 0,
        };
        for block in 0..count as u32 {
            pool.push_last(block);
        }
        pool
    }

    /// All blocks.
    pub(super) fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks that no request uses, cached ones included.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// The blocks that hold the longest cached run of `hashes`.
    pub(super) fn lookup(&self, hashes: &[u64]) -> Vec<u32> {
        hashes
            .iter()
            .map_while(|hash| self.by_hash.get(hash).copied())
            .collect()
    }

    /// How many of these blocks are in the free list now: reusing them takes that many free blocks.
    pub(super) fn unused_among(&self, blocks: &[u32]) -> usize {
        blocks
            .iter()
            .filter(|&&block| self.blocks[block as usize].users == 0)
            .count()
    }

    /// Reuses cached blocks.
    pub(super) fn reuse(&mut self, blocks: &[u32]) {
        for &block in blocks {
            if self.blocks[block as usize].users == 0 {
                self.unlink(block);
            }
            self.blocks[block as usize].users += 1;
        }
    }

    /// Takes one free block for new content, forgetting what it held.
    pub(super) fn allocate(&mut self) -> Option<u32> {
        let block = self.first_free;
        if block == NONE {
            return None;
        }
        self.unlink(block);
        let place = &mut self.blocks[block as usize];
        place.users = 1;
        if let Some(hash) = place.hash.take() {
            self.by_hash.remove(&hash);
        }
        Some(block)
    }

    /// Makes a full block findable by the hash of its content and all before it.
    pub(super) fn register(&mut self, block: u32, hash: u64) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.by_hash.entry(hash) {
            entry.insert(block);
            self.blocks[block as usize].hash = Some(hash);
        }
    }

    /// Gives blocks back; the last of them will be overwritten first, because a prefix is worth
    /// more than what follows it.
    pub(super) fn release(&mut self, blocks: &[u32]) {
        for &block in blocks.iter().rev() {
            let place = &mut self.blocks[block as usize];
            place.users -= 1;
            if place.users == 0 {
                if place.hash.is_some() {
                    self.push_last(block);
                } else {
                    self.push_first(block);
                }
            }
        }
    }

    /// Forgets all cached content. False, and nothing happens, while blocks are in use.
    pub(super) fn reset(&mut self) -> bool {
        if self.free < self.blocks.len() {
            return false;
        }
        self.by_hash.clear();
        for block in &mut self.blocks {
            block.hash = None;
        }
        true
    }

    fn push_last(&mut self, block: u32) {
        self.link(self.last_free, block, NONE);
    }

    fn push_first(&mut self, block: u32) {
        self.link(NONE, block, self.first_free);
    }

    fn link(&mut self, previous: u32, block: u32, next: u32) {
        let place = &mut self.blocks[block as usize];
        place.previous = previous;
        place.next = next;
        match previous {
            NONE => self.first_free = block,
            _ => self.blocks[previous as usize].next = block,
        }
        match next {
            NONE => self.last_free = block,
            _ => self.blocks[next as usize].previous = block,
        }
        self.free += 1;
    }

    fn unlink(&mut self, block: u32) {
        let Block { previous, next, .. } = self.blocks[block as usize];
        match previous {
            NONE => self.first_free = next,
            _ => self.blocks[previous as usize].next = next,
        }
        match next {
            NONE => self.last_free = previous,
            _ => self.blocks[next as usize].previous = previous,
        }
        self.free -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_outlives_its_user_until_it_is_the_oldest() {
        let mut pool = BlockPool::new(4);
        let first: Vec<u32> = (0..2).map(|_| pool.allocate().unwrap()).collect();
        pool.register(first[0], 10);
        pool.register(first[1], 11);
        pool.release(&first);
        assert_eq!(pool.free(), 4);
        assert_eq!(pool.lookup(&[10, 11, 12]), first);

        // Two blocks never held anything; then the tail of the cached prefix goes before its head.
        for (free_before, kept) in [(4, 2), (3, 2), (2, 1), (1, 0)] {
            assert_eq!(pool.free(), free_before);
            pool.allocate().unwrap();
            assert_eq!(pool.lookup(&[10, 11]).len(), kept);
        }
        assert_eq!(pool.allocate(), None);
    }

    #[test]
    fn shared_blocks_return_with_their_last_user() {
        let mut pool = BlockPool::new(2);
        let block = pool.allocate().unwrap();
        pool.register(block, 7);
        pool.reuse(&[block]);
        pool.release(&[block]);
        assert_eq!(pool.free(), 1);
        assert!(!pool.reset());
        pool.release(&[block]);
        assert_eq!((pool.free(), pool.unused_among(&[block])), (2, 1));
        assert!(pool.reset());
        assert!(pool.lookup(&[7]).is_empty());
    }
}
