//! The state of one answer while it arrives.

use inferometer_core::{Choices, Event, EventKind, MAX_TOKENS, Nanos, Record};

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
    /// The choice whose reason to stop is kept.
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
    /// The answer has audio or images, whose events have no text either.
    pub(crate) media: bool,
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
            media: false,
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
    pub(crate) fn note_closing(&mut self, event: usize, bare: bool) {
        self.closing.push(Closing {
            event,
            choice: self.choice,
            bare,
        });
    }

    /// The number of the first choice that had output and no reason to stop, where other choices
    /// had one.
    pub(crate) fn open_choice(&self) -> Option<usize> {
        let open = |choice: &Choice| choice.span.is_some() && !choice.finished;
        self.choices.iter().position(open).filter(|_| self.finished)
    }

    /// Decides which messages without text carried a token, and gives the record its choices.
    ///
    /// A server that ends an answer with an end-of-text token sends a closing message without text
    /// for it, and counts it in its usage; one that has nothing left to send does not. So closing
    /// messages count as long as the usage holds more tokens than the events before them carry.
    /// One without even empty text (`"delta": {}`) counts only if exactly its token is missing:
    /// otherwise the events carry several tokens each, and nothing says that it carries one.
    /// Without usage, tokens are counted by the text, which has none for it.
    ///
    /// Empty text before the end is a token that decodes to nothing, or a sign of life: it, too, counts
    /// as long as the usage holds tokens for it. Without usage, it is a token.
    pub(crate) fn settle(&mut self, record: &mut Record) {
        if self.uncounted {
            forget_counts(record);
        }
        self.settle_blanks(record);
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

    fn settle_blanks(&mut self, record: &mut Record) {
        let closing = std::mem::take(&mut self.closing);
        // Choices have spans of their own, from which no event can be taken any more.
        let is_open = self.counting == Counting::Output && !self.media && self.choices.is_empty();
        let blanks = Blanks::of(record, &closing, is_open);
        if blanks.is_empty() {
            return;
        }
        let mut counts = blanks.with_token(record, &closing);
        // One pass, since a server may send as many closing events as an answer may have.
        let mut closings = closing.into_iter().peekable();
        let (mut kept, mut leading) = (0, true);
        for place in 0..record.events.len() {
            let event = record.events[place];
            let has_token = if let Some(one) = closings.next_if(|one| one.event == place) {
                let has_token = counts.take_closing(one.bare);
                if let Some(choice) = self.choices.get_mut(one.choice).filter(|_| has_token) {
                    let first = choice.span.map_or(event.at, |(first, _)| first);
                    choice.span = Some((first, event.at.max(first)));
                }
                has_token
            } else if is_open && is_blank(&event) {
                counts.take_open(leading)
            } else {
                leading = false;
                true
            };
            if has_token {
                record.events[kept] = event;
                kept += 1;
            } else if kept > 0 && !event.coalesced() {
                // The one before was the last of its read, but for this one.
                record.events[kept - 1].uncoalesce();
            }
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

/// True for an event with neither text nor a count of its tokens.
fn is_blank(event: &Event) -> bool {
    event.kind == EventKind::Blank && event.tokens == 0
}

/// Numbers of events without text, by where they are.
#[derive(Clone, Copy, Debug, Default)]
struct Blanks {
    /// Before any other event.
    leading: u64,
    /// Later, and not closing.
    inner: u64,
    closing: u64,
    /// Tokens of all other events.
    carried: u64,
}

impl Blanks {
    /// Those in `record`. Without `is_open`, only closing events are without text.
    fn of(record: &Record, closing: &[Closing], is_open: bool) -> Self {
        let mut blanks = Self {
            closing: closing.len() as u64,
            ..Self::default()
        };
        let mut closing = closing.iter().peekable();
        for (place, event) in record.events.iter().enumerate() {
            if closing.next_if(|one| one.event == place).is_some() {
                continue;
            }
            if !is_open || !is_blank(event) {
                blanks.carried += u64::from(event.tokens.max(1));
            } else if blanks.carried == 0 {
                blanks.leading += 1;
            } else {
                blanks.inner += 1;
            }
        }
        blanks
    }

    const fn is_empty(&self) -> bool {
        self.leading + self.inner + self.closing == 0
    }

    /// Which of them have a token by the usage.
    ///
    /// Where it has fewer than the open ones, those before any text are the first that are not tokens: a server that
    /// is still at work on the prompt sends them. Among equals, the later ones have the tokens.
    fn with_token(&self, record: &Record, closing: &[Closing]) -> Kept {
        let hidden = match record.marks.first_reasoning {
            Some(_) => 0,
            None => record.usage.reasoning_tokens.unwrap_or_default(),
        };
        let open = self.leading + self.inner;
        let Some(reported) = record.reported_output_tokens() else {
            let only = self.closing == record.events.len() as u64;
            let named = closing
                .iter()
                .any(|one| record.events[one.event].tokens > 0);
            // Nothing else came, and an answer of one end-of-text token is an answer if the server lists it.
            let is_answer = only && named && record.usage.completion_tokens.is_none();
            return Kept::new(self, self.leading, self.inner, u64::from(is_answer));
        };
        let missing = u64::from(reported.saturating_sub(hidden)).saturating_sub(self.carried);
        if missing >= open {
            return Kept::new(self, self.leading, self.inner, missing - open);
        }
        let inner = self.inner.min(missing);
        let rest = missing - inner;
        let leading = rest.saturating_sub(self.closing);
        Kept::new(self, leading, inner, rest - leading)
    }
}

/// How many of the events without text have no token, or have one. Of the open ones, the first have
/// none; of the closing ones, the last.
#[derive(Clone, Copy, Debug)]
struct Kept {
    leading_without: u64,
    inner_without: u64,
    closing_with: u64,
    /// Each closing event has a token.
    exact: bool,
}

impl Kept {
    /// With tokens for this many `leading` and `inner` ones, and `closing` ones or more.
    const fn new(blanks: &Blanks, leading: u64, inner: u64, closing: u64) -> Self {
        Self {
            leading_without: blanks.leading - leading,
            inner_without: blanks.inner - inner,
            closing_with: closing,
            exact: closing == blanks.closing,
        }
    }

    /// Whether the next open event has a token.
    const fn take_open(&mut self, leading: bool) -> bool {
        let without = if leading {
            &mut self.leading_without
        } else {
            &mut self.inner_without
        };
        let has_token = *without == 0;
        *without = without.saturating_sub(1);
        has_token
    }

    /// Whether the next closing event has a token.
    const fn take_closing(&mut self, bare: bool) -> bool {
        if self.closing_with == 0 || bare && !self.exact {
            return false;
        }
        self.closing_with -= 1;
        true
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
