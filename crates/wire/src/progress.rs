//! The state of one answer while it arrives.

use inferometer_core::{Choices, Event, MAX_TOKENS, Nanos, Record};

use crate::texts::{KeepText, printable};

/// Choices that are told apart; no server gives that many.
pub(crate) const MAX_CHOICES: usize = 4_096;

/// Which messages are token events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// Those that carry output: see `docs/backends.md`.
    #[default]
    Output,
    /// As in vLLM's client from 0.33 on: in completions and transcriptions every message with a
    /// choice, in chat those with output or empty content.
    Vllm,
    /// As in vLLM's client before 0.33: in chat, too, every message with a choice.
    VllmEveryChoice,
}

/// A closing message without output, whose token is known only when the usage is.
#[derive(Clone, Copy, Debug)]
struct Closing {
    /// Its place among the events.
    event: usize,
    choice: usize,
    /// It has not even empty text.
    bare: bool,
    /// Because of it, the event before counts as coalesced.
    coalesces: bool,
}

/// What is known of one choice of several.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// First and last token event.
    span: Option<(Nanos, Nanos)>,
    finished: bool,
    /// Its tokens so far, while the server reports them with every event.
    tokens: u32,
    /// Its text, and its reasoning and calls; those of the first choice are in the record.
    text: String,
    other_text: String,
}

/// The state of an answer while it arrives.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) keep: KeepText,
    pub(crate) counting: Counting,
    /// The read that completed the latest token event.
    pub(crate) last_read: u64,
    /// Output tokens up to the latest token event, while the server reports them with every event.
    pub(crate) cumulative: Option<u32>,
    /// Tokens reported by the current message, for its token event.
    pub(crate) named_tokens: Option<u32>,
    /// The counts of single messages are not counts of their tokens: text came with none of them, or
    /// the running count fell.
    pub(crate) uncounted: bool,
    /// The server reported why it stopped.
    pub(crate) finished: bool,
    /// The first choice that stopped for a reason.
    pub(crate) stopped: Option<usize>,
    /// The end marker came.
    pub(crate) done: bool,
    /// Server-sent events of any kind.
    pub(crate) messages: u64,
    /// The number of vectors or scores that were requested, where it is known.
    pub(crate) results: Option<u32>,
    /// An answer that needs no output to be complete (embeddings, scores).
    pub(crate) complete: bool,
    /// Why the server broke the answer off, if it said so.
    pub(crate) broken: Option<String>,
    /// The latest message that is none of the API's, as long as no output or reason follows it.
    pub(crate) stray: Option<Vec<u8>>,
    /// A member of a message that may be output of a kind that is not known.
    pub(crate) unknown_output: Option<String>,
    /// The choice that the current message belongs to.
    pub(crate) choice: usize,
    /// Empty until a second choice appears: most answers have one.
    choices: Vec<Choice>,
    closing: Vec<Closing>,
}

impl Progress {
    pub(crate) fn new(keep: KeepText, counting: Counting) -> Self {
        Self {
            keep,
            counting,
            last_read: 0,
            cumulative: Some(0),
            named_tokens: None,
            uncounted: false,
            finished: false,
            stopped: None,
            done: false,
            messages: 0,
            results: None,
            complete: false,
            broken: None,
            stray: None,
            unknown_output: None,
            choice: 0,
            choices: Vec::new(),
            closing: Vec::new(),
        }
    }

    /// Names the choice that what follows belongs to; `record` holds what came before.
    pub(crate) fn set_choice(&mut self, index: usize, record: &Record) {
        let index = index.min(MAX_CHOICES - 1);
        self.choice = index;
        if index == 0 && self.choices.is_empty() {
            return;
        }
        if self.choices.is_empty() {
            // An answer that is not streamed has text and no events.
            let text = record.marks.first_content.zip(record.marks.last_content);
            let span = record.first_token().zip(record.last_token()).or(text);
            self.choices.push(Choice {
                span,
                finished: self.finished,
                tokens: self.cumulative.unwrap_or_default(),
                ..Choice::default()
            });
        }
        if index >= self.choices.len() {
            self.choices.resize(index + 1, Choice::default());
        }
    }

    /// True when an answer has several choices.
    pub(crate) fn has_choices(&self) -> bool {
        !self.choices.is_empty()
    }

    /// The tokens between two running counts. A count that falls, or that no answer can have, is not a
    /// running count.
    pub(crate) fn gain(&mut self, before: u32, total: u32) -> u32 {
        self.uncounted |= total < before || total > MAX_TOKENS;
        total.saturating_sub(before)
    }

    /// Takes the number of tokens of the current choice so far; returns those that are new, and the sum
    /// over all choices. Servers count each choice for itself in the usage of an event, as vLLM's
    /// `continuous_usage_stats` does.
    pub(crate) fn count_choice(&mut self, total: u32) -> (u32, u32) {
        let before = self.choices.get(self.choice);
        let new = self.gain(before.map_or(total, |choice| choice.tokens), total);
        if let Some(choice) = self.choices.get_mut(self.choice) {
            choice.tokens = total;
        }
        let all = self.choices.iter().map(|choice| choice.tokens);
        (new, all.fold(0, u32::saturating_add))
    }

    /// Where the text of the current choice goes, if it is not the record's own: choices come in
    /// turns, and their texts must not be mixed.
    pub(crate) fn own_text(&mut self, is_answer: bool) -> Option<&mut String> {
        if self.choice == 0 {
            return None;
        }
        let choice = self.choices.get_mut(self.choice)?;
        Some(if is_answer {
            &mut choice.text
        } else {
            &mut choice.other_text
        })
    }

    /// Output of the current choice at `at`.
    #[inline]
    pub(crate) fn note_output(&mut self, at: Nanos) {
        if let Some(choice) = self.choices.get_mut(self.choice) {
            let first = choice.span.map_or(at, |(first, _)| first);
            choice.span = Some((first, at));
        }
        if self.stray.is_some() {
            self.stray = None;
        }
    }

    /// A reason to stop for the current choice.
    pub(crate) fn note_finish(&mut self) {
        self.finished = true;
        self.stray = None;
        if let Some(choice) = self.choices.get_mut(self.choice) {
            choice.finished = true;
        }
    }

    /// The latest event of the record belongs to a closing message without output.
    pub(crate) fn note_closing(&mut self, event: usize, bare: bool, coalesces: bool) {
        self.closing.push(Closing {
            event,
            choice: self.choice,
            bare,
            coalesces,
        });
    }

    /// The number of the first choice that had output and no reason to stop, where other choices
    /// had one.
    pub(crate) fn open_choice(&self) -> Option<usize> {
        let open = |choice: &Choice| choice.span.is_some() && !choice.finished;
        self.choices.iter().position(open).filter(|_| self.finished)
    }

    /// Decides which closing messages carried a token, and gives the record its choices.
    ///
    /// A server that ends an answer with an end-of-text token sends a closing message without text
    /// for it, and counts it in its usage; one that has nothing left to send does not. So closing
    /// messages count as long as the usage holds more tokens than the events before them carry.
    /// One without even empty text (`"delta": {}`) counts only if exactly its token is missing:
    /// otherwise the events carry several tokens each, and nothing says that it carries one.
    /// Without usage, tokens are counted by the text, which has none for it.
    pub(crate) fn settle(&mut self, record: &mut Record) {
        if self.uncounted {
            forget_counts(record);
        }
        if !self.closing.is_empty() {
            self.settle_closing(record);
        }
        let spans = self.choices.iter().filter_map(|choice| choice.span);
        let (count, span) = spans.fold((0, Nanos::ZERO), |(count, sum), (first, last)| {
            (count + 1, Nanos(sum.0 + last.since(first).0))
        });
        if count > 1 {
            record.choices = Some(Choices { count, span });
            self.check_counts(record);
        }
        // A conversation continues from its first choice, so the text of a turn is that one's.
        let is_turn = record.session.is_some();
        for choice in self.choices.drain(..) {
            let text = if is_turn {
                &mut record.other_text
            } else {
                &mut record.text
            };
            text.push_str(&choice.text);
            record.other_text.push_str(&choice.other_text);
        }
    }

    /// Forgets the tokens of the events where the choices' counts do not sum up to that of the answer:
    /// the server's numbers were other ones than those of each choice.
    fn check_counts(&self, record: &mut Record) {
        let counted: u32 = self.choices.iter().map(|choice| choice.tokens).sum();
        let total = record.usage.completion_tokens;
        if counted > 0 && total.is_some_and(|total| total != counted) {
            forget_counts(record);
        }
    }

    fn settle_closing(&mut self, record: &mut Record) {
        let closing = std::mem::take(&mut self.closing);
        let tokens = |event: &Event| u64::from(event.tokens.max(1));
        let all: u64 = record.events.iter().map(tokens).sum();
        let in_closing = closing.iter().map(|one| tokens(&record.events[one.event]));
        let carried = all - in_closing.sum::<u64>();
        let only = closing.len() == record.events.len();
        let named = closing
            .iter()
            .any(|one| record.events[one.event].tokens > 0);
        let hidden = match record.marks.first_reasoning {
            Some(_) => 0,
            None => record.usage.reasoning_tokens.unwrap_or_default(),
        };
        let reported = record
            .reported_output_tokens()
            .map(|tokens| u64::from(tokens.saturating_sub(hidden)));
        let mut missing = match reported {
            Some(reported) => reported.saturating_sub(carried),
            // Nothing else came, and an answer of one end-of-text token is an answer if the server lists it.
            None if only && named && record.usage.completion_tokens.is_none() => 1,
            None => 0,
        };
        let exact = missing == closing.len() as u64;
        // One pass, since a server may send as many closing events as an answer may have.
        let mut closing = closing.into_iter().peekable();
        let mut kept = 0;
        for place in 0..record.events.len() {
            let event = record.events[place];
            if let Some(closing) = closing.next_if(|closing| closing.event == place) {
                if missing == 0 || (closing.bare && !exact) {
                    if closing.coalesces && !event.coalesced() && kept > 0 {
                        record.events[kept - 1].uncoalesce();
                    }
                    continue;
                }
                missing -= 1;
                if let Some(choice) = self.choices.get_mut(closing.choice) {
                    let first = choice.span.map_or(event.at, |(first, _)| first);
                    choice.span = Some((first, event.at.max(first)));
                }
            }
            record.events[kept] = event;
            kept += 1;
        }
        record.events.truncate(kept);
    }

    /// Keeps the reason of an answer that the server broke off.
    pub(crate) fn break_off(&mut self, reason: &str, words: Option<&str>) {
        if self.broken.is_none() {
            let words = words.map(|words| format!(": {words}")).unwrap_or_default();
            self.broken = Some(printable(&format!(
                "the server ended the answer with {reason:?}{words}"
            )));
        }
    }
}

/// Makes the tokens of all events unknown.
fn forget_counts(record: &mut Record) {
    record.events.iter_mut().for_each(|event| event.tokens = 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_turn_is_that_of_its_first_choice() {
        for (session, text, other) in [(None, "ab", ""), (Some((0, 1)), "a", "b")] {
            let mut record = Record {
                session,
                text: "a".to_owned(),
                ..Record::default()
            };
            let mut progress = Progress::new(KeepText::Always, Counting::Output);
            progress.set_choice(1, &record);
            progress.own_text(true).unwrap().push('b');
            progress.settle(&mut record);
            assert_eq!(
                (record.text.as_str(), record.other_text.as_str()),
                (text, other)
            );
        }
    }
}
