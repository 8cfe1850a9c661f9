//! What the events of an answer hold, and what a fault makes of their bytes.

use inferometer_core::EventKind;

use super::Stream;
use crate::api::UsageMode;
use crate::faults::FaultKind;
use crate::format::{Counts, TokenPart};
use crate::scratch::Scratch;
use crate::server::fault_bytes;
use crate::server::http::push_chunk;
use crate::server::ticket::Ending;
use crate::shared::Shared;

impl Stream {
    /// Writes the events that name the role only.
    pub(super) fn write_preface(&mut self, scratch: &mut Scratch) {
        scratch.out.clear();
        for _ in 0..3 {
            scratch.events.clear();
            if self.plan.format.role_only(&mut scratch.events) {
                self.frame(scratch);
            }
        }
        self.conn.write(&scratch.out);
    }

    /// Writes what comes before the first token; ends an answer that has none.
    pub(super) fn begin(&mut self, shared: &Shared, scratch: &mut Scratch) -> Option<Ending> {
        scratch.out.clear();
        if self.opened {
            return None;
        }
        self.opened = true;
        scratch.events.clear();
        let counts = self.counts();
        self.plan.format.open(&mut scratch.events, counts);
        self.frame(scratch);
        if self.fault == Some(FaultKind::EmptyAnswer) {
            return Some(self.close(shared, scratch));
        }
        if !scratch.out.is_empty() && self.fault != Some(FaultKind::Burst) {
            // The opening events are a write of their own, as a real server makes it.
            self.put_on_wire(&scratch.out);
            scratch.out.clear();
        }
        None
    }

    /// Frames the event of the next `tokens` tokens of a sequence.
    pub(super) fn append_event(&mut self, scratch: &mut Scratch, sequence: usize, tokens: u32) {
        let position = self.sequences[sequence].position;
        let last = position + tokens >= self.total();
        let number = sequence as u32;
        let reasoning = self.plan.reasoning_tokens;
        let empty = self.fault == Some(FaultKind::EmptyFirst) && position == 0;
        scratch.text.clear();
        if !empty {
            for position in position..position + tokens {
                self.plan.write_token(number, position, &mut scratch.text);
            }
        }
        if self.plan.format.wants_whole() {
            scratch.so_far.clear();
            for position in 0..position + tokens {
                self.plan.write_token(number, position, &mut scratch.so_far);
            }
        }
        self.sequences[sequence].position += tokens;
        self.sent += tokens;
        let after = self.counts();
        let attached = match (self.fault, self.plan.usage) {
            (Some(FaultKind::UsageMissing), _) | (_, UsageMode::Never) => None,
            (_, UsageMode::Continuous) => Some(after),
            (Some(FaultKind::UsageOnLastChoice), UsageMode::AtEnd) => last.then_some(after),
            (_, UsageMode::AtEnd) => None,
        };
        let kind = match () {
            () if empty => EventKind::Blank,
            () if position < reasoning => EventKind::Reasoning,
            () if self.plan.tool_call => EventKind::ToolCall,
            () => EventKind::Text,
        };
        let part = TokenPart {
            sequence: number,
            text: &scratch.text,
            kind,
            first_of_kind: position == 0 || position == reasoning,
            finish: last.then_some(self.plan.finish),
            usage: attached,
            position,
            after_reasoning: reasoning > 0 && position >= reasoning,
            so_far: &scratch.so_far,
            counts: after,
        };
        scratch.events.clear();
        self.plan.format.token(&mut scratch.events, &part);
        self.frame(scratch);
        self.held_tokens.push(tokens);
    }

    /// Frames the events for the wire, with what a fault makes of their bytes.
    pub(super) fn frame(&mut self, scratch: &mut Scratch) {
        let middle = !self.corrupted && self.sent > 0 && self.is_half_way();
        for event in scratch.events.iter() {
            let Some(fault) = self.fault else {
                push_chunk(&mut scratch.out, event, self.chunked);
                continue;
            };
            scratch.part.clear();
            self.corrupted |= fault_bytes::event(fault, event, middle, &mut scratch.part);
            if let Some(gzip) = &mut self.gzip {
                gzip.push(&mut scratch.part);
            }
            push_chunk(&mut scratch.out, &scratch.part, self.chunked);
        }
    }

    /// Token counts up to now, for usage.
    pub(super) fn counts(&self) -> Counts {
        let mut output = if self.plan.generates { self.sent } else { 0 };
        if self.fault == Some(FaultKind::UsageInconsistent) {
            output += 3;
        }
        let reasoning = self
            .sequences
            .iter()
            .map(|sequence| sequence.position.min(self.plan.reasoning_tokens))
            .sum();
        Counts {
            prompt: self.plan.prompt_tokens,
            output,
            cached: self.record.cached_tokens,
            reasoning,
        }
    }
}
