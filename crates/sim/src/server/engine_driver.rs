//! The engine model on the real clock.

use std::collections::{HashMap, VecDeque};

use inferometer_core::Nanos;

use super::stream::Stream;
use super::ticket::SlotId;
use crate::engine::{Cluster, ClusterConfig, Content, EngineRequest, ModelError, TokenEvent};
use crate::shared::Shared;

/// The engine model of a scheduler, and which of its streams each engine request belongs to.
pub(super) struct EngineDriver {
    cluster: Cluster,
    next_id: u64,
    owners: HashMap<u64, SlotId>,
    /// Tokens that the engine has made and that are not delivered yet.
    events: VecDeque<TokenEvent>,
    buffer: Vec<TokenEvent>,
}

impl EngineDriver {
    pub(super) fn new(config: ClusterConfig, seed: u64) -> Result<Self, ModelError> {
        Ok(Self {
            cluster: Cluster::new(config, seed)?,
            next_id: 0,
            owners: HashMap::new(),
            events: VecDeque::new(),
            buffer: Vec::new(),
        })
    }

    /// Ends the steps that are over.
    pub(super) fn catch_up(&mut self, now: Nanos, shared: &Shared) {
        if self.cluster.next_step_at().is_none_or(|at| at > now) {
            return;
        }
        self.cluster.step(now, &mut self.buffer);
        self.events.extend(self.buffer.drain(..));
        shared.metrics.note_engine(&self.cluster.stats());
    }

    /// Hands the sequences of the stream in `slot` to the engine model.
    pub(super) fn submit(
        &mut self,
        stream: &mut Stream,
        slot: SlotId,
        now: Nanos,
        shared: &Shared,
    ) {
        self.catch_up(now, shared);
        stream.engine_id = Some(self.next_id);
        let plan = &stream.plan;
        let reusable = plan.generates && shared.settings.tokenizer.is_none();
        for (sequence, prompt) in plan.prompts.iter().enumerate() {
            let id = self.next_id;
            self.next_id += 1;
            self.owners.insert(id, slot);
            let request = EngineRequest {
                // An empty prompt still has its beginning-of-text token.
                prompt: if prompt.is_empty() {
                    Content::Unshared(1)
                } else {
                    prompt.clone()
                },
                answer: if reusable {
                    plan.answer_token_ids(sequence as u32)
                } else {
                    Vec::new()
                },
                priority: plan.priority,
                lora: plan.lora,
                conversation: plan.conversation,
                ..EngineRequest::new(id, Content::Unshared(1), plan.output_tokens)
            };
            let taken = self.cluster.submit(request, now);
            debug_assert!(
                taken.is_ok(),
                "the plan was checked against the engine's limits: {taken:?}"
            );
            stream.record.replica = taken.unwrap_or_default();
        }
        shared.metrics.note_engine(&self.cluster.stats());
    }

    /// When the engine has something to do next; `Nanos::MAX` while it is idle.
    pub(super) fn next_step_at(&self) -> Nanos {
        self.cluster.next_step_at().unwrap_or(Nanos::MAX)
    }

    /// True while tokens wait to be delivered.
    pub(super) fn has_tokens(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next tokens to deliver, and where their stream is unless it has ended.
    pub(super) fn next_tokens(&mut self) -> Option<(TokenEvent, Option<SlotId>)> {
        let event = self.events.pop_front()?;
        let owner = if event.finished {
            self.owners.remove(&event.request)
        } else {
            self.owners.get(&event.request).copied()
        };
        Some((event, owner))
    }

    /// Cancels what is left of the `sequences` requests from number `base` on.
    pub(super) fn cancel(&mut self, base: u64, sequences: u32, shared: &Shared) {
        for id in base..base + u64::from(sequences) {
            if self.owners.remove(&id).is_some() {
                self.cluster.cancel(id);
            }
        }
        shared.metrics.note_engine(&self.cluster.stats());
    }

    /// Empties the prefix caches. False if one was in use, and kept.
    pub(super) fn reset_prefix_cache(&mut self) -> bool {
        self.cluster.reset_prefix_cache()
    }
}
