//! How much memory the answers of a run may take together.
//!
//! The limits of a single answer are wide, because one answer may legitimately be large: a megabyte
//! of text, a batch of embeddings. Many such answers at once would exhaust the memory: the system
//! would kill the process, and what was measured would be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that every answer may hold without asking: 10,000 answers of 4,000 tokens (some 30 KB of
/// text and 64 KB of events each) take nothing from the budget.
pub(crate) const FREE: usize = 1 << 20;
/// The budget is taken in steps of this many bytes, so that the workers do not share a counter
/// with every read.
const STEP: usize = 1 << 20;

/// The memory that the answers of all workers share.
#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    left: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            left: AtomicUsize::new(total),
        })
    }

    /// The part of one answer, which is empty at first.
    pub(crate) fn part(&self) -> Part<'_> {
        Part {
            budget: self,
            taken: 0,
        }
    }
}

/// What one answer holds of the budget. It is given back when this value is dropped.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    budget: &'a Budget,
    taken: usize,
}

impl Part<'_> {
    /// Bytes that all answers may take together.
    pub(crate) fn limit(&self) -> usize {
        self.budget.total
    }

    /// Makes room for an answer of `bytes`; false when the budget is used up.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let Some(missing) = bytes
            .checked_sub(FREE + self.taken)
            .filter(|&more| more > 0)
        else {
            return true;
        };
        let more = missing.next_multiple_of(STEP);
        let left = &self.budget.left;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(more)
        });
        self.taken += if taken.is_ok() { more } else { 0 };
        taken.is_ok()
    }

    /// Leaves what a record of `bytes` keeps after the exchange out of what is given back.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.taken -= bytes.saturating_sub(FREE).min(self.taken);
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.budget.left.fetch_add(self.taken, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_answers_are_free_and_large_ones_share_the_budget() {
        const MB: usize = 1 << 20;
        let budget = Budget::new(10 * MB);
        let mut small: Vec<_> = (0..100).map(|_| budget.part()).collect();
        assert!(small.iter_mut().all(|part| part.grow_to(MB)));
        let mut large = budget.part();
        assert!(large.grow_to(7 * MB) && large.grow_to(5 * MB));
        let mut other = budget.part();
        assert!(other.grow_to(5 * MB) && !other.grow_to(5 * MB + 1));
        // What was refused was not taken.
        drop(large);
        assert!(other.grow_to(11 * MB) && !other.grow_to(12 * MB));
        // Text that a record keeps stays in memory.
        other.keep(4 * MB);
        drop(other);
        assert!(budget.part().grow_to(8 * MB) && !budget.part().grow_to(9 * MB));
    }
}
