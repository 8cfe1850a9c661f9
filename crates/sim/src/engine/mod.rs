//! A model of an inference engine with continuous batching: pure, seeded, without I/O and without a
//! clock.
//!
//! The engine works in steps. A step computes tokens of all running requests together: the next
//! token of every request in decode, and chunks of the prompts of requests in prefill. Its duration
//! follows from what it computes ([`StepCost`]); its tokens are emitted when it ends. The driver of
//! the engine supplies the time: the HTTP server supplies real time, a simulation virtual time.
//!
//! ```
//! use inferometer_core::Nanos;
//! use inferometer_sim::engine::{Content, Engine, EngineConfig, EngineRequest};
//!
//! let mut engine = Engine::new(EngineConfig::default(), 0)?;
//! engine.submit(EngineRequest::new(1, Content::Unshared(100), 3), Nanos::ZERO)?;
//! let mut events = Vec::new();
//! while let Some(end) = engine.next_step_at() {
//!     engine.step(end, &mut events);
//! }
//! assert_eq!(events.iter().map(|event| event.tokens).sum::<u32>(), 3);
//! assert!(events[2].finished && events[2].at > events[0].at);
//! # Ok::<(), inferometer_sim::engine::ModelError>(())
//! ```

mod batch;
mod blocks;
mod cluster;
mod config;
mod preset;
mod preset_file;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use inferometer_core::Nanos;
use inferometer_core::random::{StreamRng, stream};
use rand::RngExt;
use rand::distr::Distribution;
use rand_distr::StandardNormal;
use serde::Serialize;

use blocks::BlockPool;
use sequence::{QueueKey, Sequence};

pub use cluster::{Cluster, ClusterConfig, Router, RouterError, Transfer};
pub use config::{EngineConfig, ModelError, Speculation, StepCost, Swap};
pub use preset::{GPUS, Gpu, MODELS, Model, Preset, PresetError};
pub use preset_file::{PRESET_FORMAT_VERSION, PresetFile, PresetFileError};
pub use sequence::{Content, EngineRequest};

/// Tokens that came out for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenEvent {
    /// The request's id.
    pub request: u64,
    /// When: the end of the step.
    pub at: Nanos,
    /// How many.
    pub tokens: u32,
    /// True with the last token.
    pub finished: bool,
    /// When the request first had a part in a step.
    pub first_scheduled: Nanos,
    /// Prompt tokens found in the prefix cache when it first ran.
    pub cached_tokens: u32,
    /// Times that it was preempted so far.
    pub preemptions: u32,
    /// Replica that served it; 0 for a single engine.
    pub replica: u32,
}

/// Positions of draft tokens that [`EngineStats`] counts separately.
pub const POSITIONS: usize = 8;

/// Counters and gauges of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EngineStats {
    /// Requests running.
    pub running: usize,
    /// Requests waiting, preempted ones included.
    pub waiting: usize,
    /// Requests among them whose keys and values wait in the host's memory.
    pub swapped: usize,
    /// KV blocks in use.
    pub blocks_used: usize,
    /// KV blocks in all.
    pub blocks_total: usize,
    /// Tokens in a block.
    pub block_size: u32,
    /// Requests taken in.
    pub submitted: u64,
    /// Requests finished.
    pub finished: u64,
    /// Requests cancelled.
    pub cancelled: u64,
    /// Prompt tokens of all requests when they first ran.
    pub prompt_tokens: u64,
    /// Tokens that came out.
    pub generated_tokens: u64,
    /// Tokens whose keys and values were computed and kept.
    pub computed_tokens: u64,
    /// Tokens whose keys and values came from another engine.
    pub transferred_tokens: u64,
    /// Tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Tokens found there.
    pub prefix_hits: u64,
    /// Times that a request was preempted.
    pub preemptions: u64,
    /// Tokens that were dropped from the KV cache with them.
    pub lost_tokens: u64,
    /// Tokens that went to the host's memory instead.
    pub swapped_out_tokens: u64,
    /// Tokens that came back from there.
    pub swapped_in_tokens: u64,
    /// Drafts verified: decoding requests times steps with draft tokens.
    pub drafts: u64,
    /// Draft tokens verified.
    pub draft_tokens: u64,
    /// Draft tokens accepted.
    pub accepted_tokens: u64,
    /// The same by position in the draft, for the first positions.
    pub accepted_by_position: [u64; POSITIONS],
    /// Steps ended.
    pub steps: u64,
    /// Time spent in steps.
    pub busy: Nanos,
}

/// A step that is being computed.
#[derive(Clone, Debug, Default)]
struct Step {
    start: Nanos,
    end: Nanos,
    /// Slots with their generations.
    members: Vec<(u32, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    generation: u32,
    sequence: Option<Box<Sequence>>,
}

/// One inference engine. See the [module](self).
#[derive(Clone, Debug)]
pub struct Engine {
    config: EngineConfig,
    rng: StreamRng,
    pool: BlockPool,
    slots: Vec<Slot>,
    free_slots: Vec<u32>,
    by_id: HashMap<u64, u32>,
    waiting: BTreeMap<QueueKey, u32>,
    running: Vec<u32>,
    loras: Vec<u32>,
    step: Option<Step>,
    spare_members: Vec<(u32, u32)>,
    arrivals: u64,
    /// Blocks in use in the host's memory.
    host_blocks: usize,
    /// Tokens on their way there or back in the next step.
    swapping: u64,
    stats: EngineStats,
}

impl Engine {
    /// An idle engine. The seed decides jitter and the acceptance of drafts.
    ///
    /// # Errors
    ///
    /// Settings that no engine can have.
    pub fn new(config: EngineConfig, seed: u64) -> Result<Self, ModelError> {
        config.check()?;
        Ok(Self {
            rng: stream(seed, "sim engine"),
            pool: BlockPool::new(config.num_blocks),
            slots: Vec::new(),
            free_slots: Vec::new(),
            by_id: HashMap::new(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            loras: Vec::new(),
            step: None,
            spare_members: Vec::new(),
            arrivals: 0,
            host_blocks: 0,
            swapping: 0,
            stats: EngineStats::default(),
            config,
        })
    }

    /// The engine's settings.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Longest prompt plus answer that can ever run.
    pub fn context_limit(&self) -> u64 {
        let config = &self.config;
        let room = config.num_blocks as u64 * u64::from(config.block_size);
        let limit = room.min(u64::from(config.max_model_len));
        // A preempted request comes back with all its tokens at once.
        if config.chunked_prefill {
            limit
        } else {
            limit.min(u64::from(config.max_num_batched_tokens))
        }
    }

    /// Refuses a request that can never run.
    ///
    /// # Errors
    ///
    /// A request that needs more tokens than the model's context or more blocks than the cache.
    pub fn check(&self, prompt: u32, output: u32) -> Result<(), ModelError> {
        if prompt == 0 || output == 0 {
            return Err(ModelError::EmptyRequest);
        }
        let needed = u64::from(prompt) + u64::from(output);
        let limit = self.context_limit();
        if needed > limit {
            Err(ModelError::TooLong { needed, limit })
        } else {
            Ok(())
        }
    }

    /// Takes in a request that arrives at `now`. An idle engine begins a step with it at once.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn submit(&mut self, request: EngineRequest, now: Nanos) -> Result<(), ModelError> {
        self.check(request.prompt.len(), request.output_tokens)?;
        if request.lora.is_some() && self.config.max_loras == 0 {
            return Err(ModelError::NoLora);
        }
        if self.by_id.contains_key(&request.id) {
            return Err(ModelError::DuplicateId(request.id));
        }
        let id = request.id;
        let ready = now + self.config.request_overhead;
        let key = (request.priority, ready, self.arrivals);
        self.arrivals += 1;
        let sequence = Sequence::new(
            request,
            key,
            self.config.block_size,
            self.config.prefix_caching,
        );
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize].sequence = Some(Box::new(sequence));
        self.by_id.insert(id, slot);
        self.waiting.insert(key, slot);
        self.stats.submitted += 1;
        if self.step.is_none() {
            self.begin(ready);
        }
        Ok(())
    }

    /// Cancels a request. False when it is not in the engine.
    pub fn cancel(&mut self, id: u64) -> bool {
        let Some(&slot) = self.by_id.get(&id) else {
            return false;
        };
        self.stats.cancelled += 1;
        self.remove(slot);
        true
    }

    /// When the step in progress ends; `None` when the engine is idle.
    pub fn next_step_at(&self) -> Option<Nanos> {
        self.step.as_ref().map(|step| step.end)
    }

    /// Ends all steps that are over at `now`, appends their tokens to `events`, and begins the
    /// next.
    ///
    /// A step that is noticed late still ends, and the next begins, at its own instant: lateness of
    /// the driver does not slow the engine down.
    pub fn step(&mut self, now: Nanos, events: &mut Vec<TokenEvent>) {
        while let Some(step) = self.step.take_if(|step| step.end <= now) {
            self.stats.steps += 1;
            self.stats.busy += step.end.since(step.start);
            for &(slot, generation) in &step.members {
                if self.slots[slot as usize].generation == generation {
                    self.complete(slot, step.end, events);
                }
            }
            self.spare_members = step.members;
            self.spare_members.clear();
            self.begin(step.end);
        }
    }

    /// Forgets the content of the prefix cache. False while requests use it.
    pub fn reset_prefix_cache(&mut self) -> bool {
        self.pool.reset()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            blocks_used: self.pool.total() - self.pool.free(),
            blocks_total: self.pool.total(),
            block_size: self.config.block_size,
            ..self.stats
        }
    }

    /// Requests in the engine.
    pub fn in_flight(&self) -> usize {
        self.by_id.len()
    }

    fn sequence(&mut self, slot: u32) -> &mut Sequence {
        self.slots[slot as usize]
            .sequence
            .as_mut()
            .expect("a slot in a queue holds a sequence")
    }

    /// Books what a step has computed for one request.
    fn complete(&mut self, slot: u32, at: Nanos, events: &mut Vec<TokenEvent>) {
        let (scheduled, drafted) = {
            let sequence = self.sequence(slot);
            (
                std::mem::take(&mut sequence.scheduled),
                std::mem::take(&mut sequence.drafted),
            )
        };
        let accepted = self.accept(drafted);
        let sequence = self.slots[slot as usize]
            .sequence
            .as_mut()
            .expect("checked by its generation");
        let kept = scheduled - drafted;
        sequence.computed += kept;
        self.stats.computed_tokens += u64::from(kept);
        if sequence.computed < sequence.known() {
            return;
        }
        let tokens = (1 + accepted).min(sequence.output - sequence.generated);
        // Accepted drafts are in the cache already; the newest token is not.
        sequence.computed += tokens - 1;
        self.stats.computed_tokens += u64::from(tokens - 1);
        self.stats.drafts += u64::from(drafted > 0);
        self.stats.draft_tokens += u64::from(drafted);
        for count in self
            .stats
            .accepted_by_position
            .iter_mut()
            .take(tokens as usize - 1)
        {
            *count += 1;
        }
        self.stats.accepted_tokens += u64::from(tokens - 1);
        let before = sequence.generated;
        sequence.generated += tokens;
        sequence.hashes.generated(before, sequence.generated);
        self.stats.generated_tokens += u64::from(tokens);
        let finished = sequence.generated == sequence.output;
        events.push(TokenEvent {
            request: sequence.id,
            at,
            tokens,
            finished,
            first_scheduled: sequence.first_scheduled.unwrap_or(at),
            cached_tokens: sequence.cached,
            preemptions: sequence.preemptions,
            replica: 0,
        });
        if finished {
            self.register_full_blocks(slot);
            self.stats.finished += 1;
            self.remove(slot);
        }
    }

    /// How many of the drafts are accepted: the run before the first that is not.
    fn accept(&mut self, drafted: u32) -> u32 {
        let Some(speculation) = self.config.speculation.as_ref().filter(|_| drafted > 0) else {
            return 0;
        };
        let drafts = &speculation.acceptance[..drafted as usize];
        let rng = &mut self.rng;
        drafts
            .iter()
            .take_while(|&&chance| rng.random::<f64>() < chance)
            .count() as u32
    }

    fn remove(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        let Some(sequence) = place.sequence.take() else {
            return;
        };
        self.leave_host(sequence.swapped);
        self.pool.release(&sequence.blocks);
        self.by_id.remove(&sequence.id);
        if self.waiting.remove(&sequence.key).is_none() {
            self.running.retain(|&other| other != slot);
        }
        self.free_slots.push(slot);
    }

    fn jitter(&mut self) -> f64 {
        let sigma = self.config.cost.jitter;
        if sigma == 0.0 {
            return 1.0;
        }
        let unit: f64 = StandardNormal.sample(&mut self.rng);
        (sigma * unit - sigma * sigma / 2.0).exp()
    }
}
