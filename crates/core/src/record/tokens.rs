//! The tokens of a request and its answer, by the server's counts and by the client's.

use super::{MAX_TOKENS, Record, TokenSource};

/// Why a count of the usage cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impossible {
    /// More output tokens than were requested and than the answer has bytes.
    OutputBeyondBytes,
    /// No output tokens in spite of output.
    NoOutput,
    /// No prompt tokens although a prompt was sent.
    NoPrompt,
    /// More cached tokens than prompt tokens.
    CachedBeyondPrompt,
    /// A negative number, or more tokens than any prompt or answer has.
    NoCount,
}

impl Record {
    /// Input tokens: the server's count where it reported a possible one, else the client's.
    pub fn input_tokens(&self) -> u32 {
        self.usage
            .prompt_tokens
            .filter(|_| !self.has_impossible_prompt())
            .unwrap_or(self.prompt_tokens)
    }

    /// Input tokens from the prefix cache; `None` if the server reported none or an impossible
    /// number, which is one larger than [`Record::input_tokens`].
    pub fn cached_tokens(&self) -> Option<u32> {
        self.usage
            .cached_tokens
            .filter(|&cached| cached <= self.input_tokens())
    }

    /// [`Record::cached_tokens`], or 0 where the usage leaves the number out and the target `reports`
    /// it with other answers: servers leave it out where it is 0. An impossible number is none.
    pub fn cached_or_left_out(&self, reports: bool) -> Option<u32> {
        let left_out = self.usage.prompt_tokens.is_some() && self.usage.cached_tokens.is_none();
        self.cached_tokens().or((reports && left_out).then_some(0))
    }

    /// Output tokens by the server's usage; `None` if it reported none or an impossible number
    /// ([`Record::has_impossible_output`]).
    pub fn reported_output_tokens(&self) -> Option<u32> {
        self.usage
            .completion_tokens
            .filter(|_| !self.has_impossible_output())
    }

    /// Why numbers of the usage cannot be true and are not used: of the output, the prompt, and the
    /// cached tokens.
    pub fn impossible_usage(&self) -> impl Iterator<Item = Impossible> + use<> {
        let cached = self
            .usage
            .cached_tokens
            .filter(|_| self.cached_tokens().is_none());
        let cached = cached.map(|cached| {
            if cached > MAX_TOKENS {
                Impossible::NoCount
            } else {
                Impossible::CachedBeyondPrompt
            }
        });
        [self.impossible_output(), self.impossible_prompt(), cached]
            .into_iter()
            .flatten()
    }

    /// Why the server's count of the prompt cannot be true.
    fn impossible_prompt(&self) -> Option<Impossible> {
        let count = self.usage.prompt_tokens?;
        if count > MAX_TOKENS {
            return Some(Impossible::NoCount);
        }
        (count == 0 && self.prompt_tokens > 0).then_some(Impossible::NoPrompt)
    }

    fn has_impossible_prompt(&self) -> bool {
        self.impossible_prompt().is_some()
    }

    /// True when the server reports no output tokens although there is output, or more than were
    /// requested *and* than there are bytes in its answer. Hidden reasoning has tokens without
    /// bytes, and is left out as far as the server reports it.
    pub fn has_impossible_output(&self) -> bool {
        self.impossible_output().is_some()
    }

    fn impossible_output(&self) -> Option<Impossible> {
        let reported = self.usage.completion_tokens?;
        let visible = reported.saturating_sub(self.usage.reasoning_tokens.unwrap_or_default());
        let requested = u64::from(self.asked_output_tokens.unwrap_or_default());
        // Simulated answers have no bytes.
        let exceeds_bytes =
            self.bytes_received > 0 && u64::from(visible) > self.bytes_received.max(requested);
        let denies_output = reported == 0 && self.marks.first_content.is_some();
        if reported > MAX_TOKENS {
            Some(Impossible::NoCount)
        } else if exceeds_bytes {
            Some(Impossible::OutputBeyondBytes)
        } else {
            denies_output.then_some(Impossible::NoOutput)
        }
    }

    /// Output tokens that the answer's events carry: all but reasoning that the server counts and keeps
    /// to itself.
    pub fn visible_output_tokens(&self) -> u32 {
        self.output_tokens
            .saturating_sub(self.hidden_output_tokens())
    }

    /// Output tokens that the usage counts as reasoning and that did not come.
    ///
    /// Without reasoning in the answer, that is all of it, unless the answer has as many events or
    /// tokens as if nothing were missing: some servers send reasoning as plain text. With reasoning in
    /// the answer, it is what the tokenizer finds missing, if more than half of it is: the answer then
    /// has a summary.
    pub fn hidden_output_tokens(&self) -> u32 {
        let Some(reasoning) = self.usage.reasoning_tokens.filter(|&count| count > 0) else {
            return 0;
        };
        if self.token_source != TokenSource::Usage && self.output_tokens > 0 {
            // Counted by what came.
            return 0;
        }
        let all = self.usage.completion_tokens.unwrap_or_default();
        let reasoning = reasoning.min(all);
        let found = self.tokenizer_output_tokens;
        if self.marks.first_reasoning.is_some() {
            let missing = found.map_or(0, |found| all.saturating_sub(found));
            return if missing > reasoning / 2 {
                missing.min(reasoning)
            } else {
                0
            };
        }
        let rest = all - reasoning;
        let all_came = match found {
            Some(found) => found.abs_diff(all) < found.abs_diff(rest),
            None => self.events.len() > rest as usize + 1,
        };
        if all_came { 0 } else { reasoning }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Event, EventKind, Marks, Nanos, Usage};

    use super::*;

    #[test]
    fn reasoning_that_did_not_come_is_hidden() {
        let record = |found: Option<u32>, events: usize, streamed: bool| Record {
            usage: Usage {
                completion_tokens: Some(100),
                reasoning_tokens: Some(80),
                ..Usage::default()
            },
            output_tokens: 100,
            token_source: TokenSource::Usage,
            tokenizer_output_tokens: found,
            marks: Marks {
                first_reasoning: streamed.then_some(Nanos(1)),
                ..Marks::default()
            },
            events: vec![Event::new(Nanos(2), Nanos::ZERO, EventKind::Text, false, true); events],
            ..Record::default()
        };
        for (found, events, streamed, hidden) in [
            // Kept back as a whole.
            (Some(21), 20, false, 80),
            (None, 20, false, 80),
            // Sent as plain text.
            (Some(97), 100, false, 0),
            (None, 100, false, 0),
            // Sent as reasoning, which another tokenizer counts differently.
            (Some(85), 100, true, 0),
            (None, 25, true, 0),
            // A summary of 15 tokens in place of 80.
            (Some(35), 35, true, 65),
        ] {
            let record = record(found, events, streamed);
            assert_eq!(
                record.hidden_output_tokens(),
                hidden,
                "{found:?} {events} {streamed}"
            );
            assert_eq!(record.visible_output_tokens(), 100 - hidden);
        }
    }
}
