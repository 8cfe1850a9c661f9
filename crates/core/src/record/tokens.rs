//! The tokens of a request and its answer, by the server's counts and by the client's.

use super::{EventKind, MAX_TOKENS, Record, TokenSource, Usage};

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
        self.reported_input_tokens().unwrap_or(self.prompt_tokens)
    }

    /// Input tokens by the server's usage; `None` if it reported none or an impossible number.
    pub fn reported_input_tokens(&self) -> Option<u32> {
        self.usage
            .prompt_tokens
            .filter(|_| self.impossible_prompt().is_none() && !self.has_cached_beyond_prompt())
    }

    /// Input tokens from the prefix cache; `None` if the server reported none or an impossible
    /// number, which is one larger than its count of the prompt or than [`Record::input_tokens`].
    pub fn cached_tokens(&self) -> Option<u32> {
        self.usage
            .cached_tokens
            .filter(|&cached| cached <= self.input_tokens() && !self.has_cached_beyond_prompt())
    }

    /// More cached tokens than prompt tokens by the usage itself: one of the two numbers is wrong or
    /// leaves out the other, and nothing says which.
    fn has_cached_beyond_prompt(&self) -> bool {
        let Usage {
            prompt_tokens,
            cached_tokens,
            ..
        } = self.usage;
        // A prompt of 0 is impossible by itself, and says nothing about the cache.
        let both = prompt_tokens.filter(|&count| count > 0).zip(cached_tokens);
        both.is_some_and(|(prompt, cached)| cached > prompt && cached <= MAX_TOKENS)
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

    /// Output tokens of the usage that did not come: reasoning that the server counts and keeps to
    /// itself, as far as it says so ([`Record::announced_hidden_tokens`]), else those that neither the
    /// events nor the text hold.
    pub fn hidden_output_tokens(&self) -> u32 {
        if self.withheld_reasoning || self.usage.reasoning_tokens.is_some_and(|count| count > 0) {
            self.announced_hidden_tokens()
        } else {
            self.unannounced_hidden_tokens()
        }
    }

    /// True for an answer with hidden reasoning of unknown length: how many tokens its events carry is
    /// unknown, too.
    pub fn has_unknown_hidden_tokens(&self) -> bool {
        self.withheld_reasoning
            && self.usage.reasoning_tokens.is_none_or(|count| count == 0)
            && self.tokenizer_output_tokens.is_none()
            && !self.is_counted_by_what_came()
    }

    /// Output tokens that the server itself names as reasoning and that did not come.
    ///
    /// Without reasoning in the answer, that is all of it, unless the answer has as many events or
    /// tokens as if nothing were missing: some servers send reasoning as plain text. With reasoning in
    /// the answer, it is what the tokenizer finds missing, if more than half of it is: the answer then
    /// has a summary. Where the server withholds reasoning without a count of its tokens, it is all that
    /// the tokenizer does not find.
    pub fn announced_hidden_tokens(&self) -> u32 {
        if self.is_counted_by_what_came() {
            return 0;
        }
        let all = self.usage.completion_tokens.unwrap_or_default();
        let found = self.tokenizer_output_tokens;
        let Some(reasoning) = self.usage.reasoning_tokens.filter(|&count| count > 0) else {
            let missing = found.filter(|_| self.withheld_reasoning);
            return missing.map_or(0, |found| all.saturating_sub(found));
        };
        let reasoning = reasoning.min(all);
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

    /// Output tokens that the server counts and that did not come, without a word of it, as with
    /// `include_reasoning: false` of vLLM.
    ///
    /// Two counts must agree against the usage: the tokenizer finds less than half of its tokens, and
    /// the events are as many as the tokenizer's tokens. A tokenizer that is not the server's, or text
    /// that does not encode into the tokens that it came from, does not find one token per event. The
    /// frame of a tool call has tokens and no text.
    fn unannounced_hidden_tokens(&self) -> u32 {
        let Some(found) = self.tokenizer_output_tokens else {
            return 0;
        };
        let (Some(all), None, false) = (
            self.reported_output_tokens(),
            self.marks.first_tool_call,
            self.is_counted_by_what_came(),
        ) else {
            return 0;
        };
        let events = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        let agree = events > 0 && events.abs_diff(found) <= (found / AGREEING).max(1);
        if !agree || all / 2 <= found.max(events) {
            return 0;
        }
        // Where the server counts the tokens of each event, these came.
        let counted = self.events.iter().any(|event| event.tokens > 0);
        // Audio and images have tokens and no text; an end-of-text token has an event of its own.
        let blank = self
            .events
            .iter()
            .filter(|event| event.kind == EventKind::Blank);
        let has_media = blank.count() > 1 + self.events.len() / MOSTLY_TEXT;
        if counted || has_media { 0 } else { all - found }
    }

    /// True where the output tokens are counted by text or events: what did not come is not in them.
    fn is_counted_by_what_came(&self) -> bool {
        self.token_source != TokenSource::Usage && self.output_tokens > 0
    }
}

/// Two counts agree if they differ by less than one in this many.
const AGREEING: u32 = 20;
/// In an answer of text, less than one in this many events is without text: a token that is part of a
/// character. Chosen.
const MOSTLY_TEXT: usize = 4;

#[cfg(test)]
mod tests {
    use crate::{Event, Marks, Nanos};

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

    /// 208 tokens by the usage, which says nothing about reasoning.
    fn without_details(found: Option<u32>, events: usize) -> Record {
        Record {
            usage: Usage {
                completion_tokens: Some(208),
                ..Usage::default()
            },
            output_tokens: 208,
            token_source: TokenSource::Usage,
            tokenizer_output_tokens: found,
            events: vec![Event::new(Nanos(2), Nanos::ZERO, EventKind::Text, false, true); events],
            bytes_received: 5_000,
            ..Record::default()
        }
    }

    #[test]
    fn tokens_that_neither_text_nor_events_hold_are_hidden() {
        for (found, events, hidden) in [
            // vLLM with `include_reasoning: false`: 8 tokens came of 208.
            (Some(8), 8, 200),
            (Some(8), 9, 200),
            // Several tokens per event, or a tokenizer of another model.
            (Some(208), 8, 0),
            (Some(100), 208, 0),
            (Some(40), 8, 0),
            // A text that does not encode into its tokens.
            (Some(120), 118, 0),
            (None, 8, 0),
        ] {
            let record = without_details(found, events);
            assert_eq!(record.hidden_output_tokens(), hidden, "{found:?} {events}");
            assert_eq!(record.announced_hidden_tokens(), 0);
            let call = Record {
                marks: Marks {
                    first_tool_call: Some(Nanos(1)),
                    ..Marks::default()
                },
                ..record
            };
            assert_eq!(call.hidden_output_tokens(), 0, "the frame of a call");
            let mut audio = call;
            audio.marks = Marks::default();
            audio
                .events
                .iter_mut()
                .step_by(2)
                .for_each(|event| event.kind = EventKind::Blank);
            assert_eq!(audio.hidden_output_tokens(), 0, "audio chunks");
        }
    }

    #[test]
    fn withheld_reasoning_without_a_count_is_what_the_text_lacks() {
        let record = |found: Option<u32>| Record {
            withheld_reasoning: true,
            ..without_details(found, 3)
        };
        // Anthropic's events carry several tokens each.
        assert_eq!(record(Some(24)).visible_output_tokens(), 24);
        assert_eq!(record(Some(24)).announced_hidden_tokens(), 184);
        assert!(!record(Some(24)).has_unknown_hidden_tokens());
        assert!(record(None).has_unknown_hidden_tokens());
        let counted = Record {
            usage: Usage {
                reasoning_tokens: Some(184),
                ..record(None).usage
            },
            ..record(None)
        };
        assert!(!counted.has_unknown_hidden_tokens());
        assert_eq!(counted.visible_output_tokens(), 24);
        assert!(!without_details(None, 3).has_unknown_hidden_tokens());
    }
}
