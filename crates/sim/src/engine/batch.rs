//! What goes into the next step.

use inferometer_core::Nanos;

use super::sequence::QueueKey;
use super::{Engine, Step};

/// What a step computes, for its duration.
#[derive(Default)]
struct Work {
    prefill_tokens: u64,
    decoding: u64,
    kv_tokens: u64,
    lora_loads: u64,
}

impl Engine {
    /// Begins a step at `start` if there is anything to do; requests that arrive later do not take
    /// part.
    pub(super) fn begin(&mut self, start: Nanos) {
        let mut start = start;
        loop {
            let mut budget = self.config.max_num_batched_tokens;
            let preempted = self.schedule_running(&mut budget);
            let mut loads = 0;
            if !preempted {
                self.admit_waiting(&mut budget, start, &mut loads);
            }
            if self
                .running
                .iter()
                .any(|&slot| self.peek(slot).scheduled > 0)
            {
                self.step = Some(self.compose(start, loads));
                return;
            }
            // Only requests from later than `start` can be left; an engine with nothing else waits
            // for them.
            let Some(next) = self
                .waiting
                .keys()
                .map(|key| key.1)
                .filter(|&at| at > start)
                .min()
            else {
                return;
            };
            start = next;
        }
    }

    fn peek(&self, slot: u32) -> &super::Sequence {
        self.slots[slot as usize]
            .sequence
            .as_ref()
            .expect("a slot in a queue holds a sequence")
    }

    fn compose(&mut self, start: Nanos, lora_loads: u64) -> Step {
        let mut members = std::mem::take(&mut self.spare_members);
        let mut work = Work {
            lora_loads,
            ..Work::default()
        };
        for position in 0..self.running.len() {
            let slot = self.running[position];
            let generation = self.slots[slot as usize].generation;
            let sequence = self.sequence(slot);
            if sequence.scheduled == 0 {
                continue;
            }
            sequence.first_scheduled.get_or_insert(start);
            if sequence.is_decoding() {
                work.decoding += 1;
            } else {
                work.prefill_tokens += u64::from(sequence.scheduled);
            }
            work.kv_tokens += u64::from(sequence.computed + sequence.scheduled);
            members.push((slot, generation));
        }
        let mean = self
            .config
            .cost
            .mean(work.prefill_tokens, work.decoding, work.kv_tokens);
        let mut span = Nanos((mean.0 as f64 * self.jitter()).round().max(1.0) as u64);
        if work.decoding > 0
            && let Some(speculation) = &self.config.speculation
        {
            span += Nanos(speculation.draft_time.0 * speculation.acceptance.len() as u64);
        }
        span += Nanos(self.config.lora_load.0 * work.lora_loads);
        if let Some(swap) = self.config.swap {
            span +=
                Nanos((std::mem::take(&mut self.swapping) as f64 * swap.per_token).round() as u64);
        }
        Step {
            start,
            end: start + span,
            members,
        }
    }

    /// Gives the running requests their tokens, in order of admission. True if one was preempted.
    fn schedule_running(&mut self, budget: &mut u32) -> bool {
        let drafts = self
            .config
            .speculation
            .as_ref()
            .map_or(0, |s| s.acceptance.len() as u32);
        let mut preempted = false;
        let mut position = 0;
        while position < self.running.len() && *budget > 0 {
            let slot = self.running[position];
            let sequence = self.peek(slot);
            let missing = sequence.known() - sequence.computed;
            let wanted = if sequence.is_decoding() {
                // No draft beyond the answer's end.
                missing + drafts.min(sequence.output - sequence.generated - 1)
            } else {
                missing
            };
            let tokens = wanted.min(*budget);
            let decoding = sequence.is_decoding();
            let until = sequence.computed + tokens;
            let mut kept = true;
            while !self.reserve(slot, until) {
                let victim = self.worst_running();
                preempted = true;
                *budget += self.peek(victim).scheduled;
                let before = self.running.iter().position(|&other| other == victim);
                self.preempt(victim);
                if before.is_some_and(|before| before < position) {
                    position -= 1;
                }
                if victim == slot {
                    kept = false;
                    break;
                }
            }
            if !kept {
                continue;
            }
            let sequence = self.sequence(slot);
            sequence.scheduled = tokens;
            sequence.drafted = if decoding {
                tokens.saturating_sub(missing)
            } else {
                0
            };
            *budget -= tokens;
            self.register_full_blocks(slot);
            position += 1;
        }
        preempted
    }

    /// Admits waiting requests while sequences, tokens and blocks last.
    fn admit_waiting(&mut self, budget: &mut u32, start: Nanos, loads: &mut u64) {
        let mut after: Option<QueueKey> = None;
        while self.running.len() < self.config.max_num_seqs && *budget > 0 {
            let next = match after {
                None => self.waiting.iter().next(),
                Some(key) => {
                    use std::ops::Bound::{Excluded, Unbounded};
                    self.waiting.range((Excluded(key), Unbounded)).next()
                }
            };
            let Some((&key, &slot)) = next else { break };
            after = Some(key);
            if key.1 > start || !self.lora_fits(slot) {
                continue;
            }
            if !self.admit(slot, budget) {
                break;
            }
            self.waiting.remove(&key);
            self.running.push(slot);
            *loads += self.activate_lora(slot);
        }
    }

    /// Finds cached blocks, takes the missing ones, and gives a waiting request its first tokens.
    /// False when there is no room for it now.
    fn admit(&mut self, slot: u32, budget: &mut u32) -> bool {
        let block_size = self.config.block_size;
        let sequence = self.peek(slot);
        let known = sequence.known();
        // The last token is always computed, since its output is what is wanted.
        let usable = ((known - 1) / block_size) as usize;
        // What is in the host's memory comes back whole.
        let swapped = sequence.swapped;
        let found = if self.config.prefix_caching && swapped == 0 {
            let hashes = &sequence.hashes.full;
            self.pool.lookup(&hashes[..usable.min(hashes.len())])
        } else {
            Vec::new()
        };
        let hit = found.len() as u32 * block_size;
        let transferred = if swapped > 0 {
            swapped
        } else {
            sequence.transferred.saturating_sub(hit)
        };
        let missing = known - hit - transferred;
        if !self.config.chunked_prefill && missing > *budget {
            return false;
        }
        let tokens = missing.min(*budget);
        let needed = self
            .config
            .blocks_for(u64::from(hit + transferred + tokens)) as usize
            - found.len();
        if needed + self.pool.unused_among(&found) > self.pool.free() {
            return false;
        }
        self.pool.reuse(&found);
        if swapped > 0 {
            self.leave_host(swapped);
            self.swapping += u64::from(swapped);
            self.stats.swapped_in_tokens += u64::from(swapped);
        } else if self.config.prefix_caching {
            self.stats.prefix_queries += u64::from(known);
            self.stats.prefix_hits += u64::from(hit);
        }
        let sequence = self.sequence(slot);
        let first = sequence.first_scheduled.is_none();
        sequence.registered = found.len();
        sequence.blocks = found;
        sequence.computed = hit + transferred;
        // A request that is preempted later computes everything itself.
        sequence.transferred = 0;
        sequence.swapped = 0;
        if first {
            sequence.cached = hit;
        }
        sequence.scheduled = tokens;
        sequence.drafted = 0;
        let prompt = sequence.prompt;
        self.stats.transferred_tokens += u64::from(transferred - swapped);
        if first {
            self.stats.prompt_tokens += u64::from(prompt);
        }
        *budget -= tokens;
        let reserved = self.reserve(slot, hit + transferred + tokens);
        debug_assert!(reserved, "the free blocks were counted before");
        self.register_full_blocks(slot);
        true
    }

    /// Makes sure that a request's blocks hold `tokens` tokens.
    fn reserve(&mut self, slot: u32, tokens: u32) -> bool {
        let needed = self.config.blocks_for(u64::from(tokens)) as usize;
        let have = self.peek(slot).blocks.len();
        if needed <= have {
            return true;
        }
        if needed - have > self.pool.free() {
            return false;
        }
        for _ in have..needed {
            let block = self.pool.allocate().expect("the free blocks were counted");
            self.sequence(slot).blocks.push(block);
        }
        true
    }

    /// Makes the blocks that are full once the step is over findable.
    pub(super) fn register_full_blocks(&mut self, slot: u32) {
        if !self.config.prefix_caching {
            return;
        }
        let block_size = self.config.block_size;
        let sequence = self.slots[slot as usize]
            .sequence
            .as_mut()
            .expect("the caller holds the slot");
        let certain = sequence.computed + sequence.scheduled - sequence.drafted;
        let full = ((certain / block_size) as usize).min(sequence.hashes.full.len());
        while sequence.registered < full {
            let at = sequence.registered;
            self.pool
                .register(sequence.blocks[at], sequence.hashes.full[at]);
            sequence.registered += 1;
        }
    }

    /// The running request that is preempted first: the last by priority and arrival.
    fn worst_running(&self) -> u32 {
        let worst = self
            .running
            .iter()
            .copied()
            .max_by_key(|&slot| self.peek(slot).key);
        worst.expect("a request that runs asks for room")
    }

    /// Blocks of host memory that this many tokens need.
    fn host_need(&self, tokens: u32) -> usize {
        self.config.blocks_for(u64::from(tokens)) as usize
    }

    /// Frees the host's memory of a request that had `tokens` tokens there.
    pub(super) fn leave_host(&mut self, tokens: u32) {
        if tokens > 0 {
            self.host_blocks -= self.host_need(tokens);
            self.stats.swapped -= 1;
        }
    }

    /// Preempts a running request. Where the host's memory has room, its keys and
    /// values go there; else it will compute all its tokens again.
    fn preempt(&mut self, slot: u32) {
        let computed = self.peek(slot).computed;
        let need = self.host_need(computed);
        let to_host = computed > 0
            && self
                .config
                .swap
                .is_some_and(|swap| self.host_blocks + need <= swap.blocks);
        if to_host {
            self.host_blocks += need;
            self.swapping += u64::from(computed);
            self.stats.swapped += 1;
            self.stats.swapped_out_tokens += u64::from(computed);
        }
        self.running.retain(|&other| other != slot);
        let sequence = self.slots[slot as usize]
            .sequence
            .as_mut()
            .expect("a victim is running");
        let lost = if to_host { 0 } else { sequence.computed };
        sequence.swapped = if to_host { sequence.computed } else { 0 };
        sequence.computed = 0;
        sequence.scheduled = 0;
        sequence.drafted = 0;
        sequence.registered = 0;
        sequence.preemptions += 1;
        let blocks = std::mem::take(&mut sequence.blocks);
        let key = sequence.key;
        self.pool.release(&blocks);
        self.waiting.insert(key, slot);
        self.stats.preemptions += 1;
        self.stats.lost_tokens += u64::from(lost);
    }

    /// True when the request's adapter is active or can be made active.
    fn lora_fits(&self, slot: u32) -> bool {
        let Some(lora) = self.peek(slot).lora else {
            return true;
        };
        if self.loras.contains(&lora) || self.loras.len() < self.config.max_loras {
            return true;
        }
        self.idle_lora().is_some()
    }

    /// Position of the adapter unused for longest that no running request needs.
    fn idle_lora(&self) -> Option<usize> {
        self.loras.iter().position(|&lora| {
            !self
                .running
                .iter()
                .any(|&slot| self.peek(slot).lora == Some(lora))
        })
    }

    /// Makes the adapter of a request active; returns 1 if it had to be loaded.
    fn activate_lora(&mut self, slot: u32) -> u64 {
        let Some(lora) = self.peek(slot).lora else {
            return 0;
        };
        if let Some(at) = self.loras.iter().position(|&active| active == lora) {
            let lora = self.loras.remove(at);
            self.loras.push(lora);
            return 0;
        }
        if self.loras.len() >= self.config.max_loras {
            // The request runs already, so its own adapter cannot be the one that goes: it is not
            // loaded.
            if let Some(at) = self.idle_lora() {
                self.loras.remove(at);
            }
        }
        self.loras.push(lora);
        1
    }
}
