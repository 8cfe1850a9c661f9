//! From the bytes of an answer to the facts of a record.

use inferometer_core::{Ending, Event, EventKind, Outcome, Record, Usage, ending};

pub(crate) use crate::failures::{error_message, failure_words};
use crate::failures::{has_content, is_failure_name, is_heartbeat};
use crate::json::Reason;
use crate::probe::Stamp;
use crate::progress::{Counting, Progress};
use crate::python_json::Repaired;
use crate::sse::{SseError, SseEvent};
pub(crate) use crate::texts::ERROR_LENGTH;
pub use crate::texts::{KeepText, printable};

/// Why an answer is not a good one, in the terms of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The outcome that the request gets.
    pub outcome: Outcome,
    /// What happened, for people.
    pub message: String,
}

impl Fault {
    /// A fault of this kind; the message is cut to 2 KiB, and control characters become spaces.
    pub fn new(outcome: Outcome, message: impl AsRef<str>) -> Self {
        Self {
            outcome,
            message: printable(message.as_ref()),
        }
    }

    /// An answer that the protocol does not allow.
    pub fn malformed(message: impl AsRef<str>) -> Self {
        Self::new(Outcome::Malformed, message)
    }
}

impl From<SseError> for Fault {
    fn from(error: SseError) -> Self {
        Self::malformed(error.to_string())
    }
}

/// Reads one answer of one backend.
pub trait ReplyReader: std::fmt::Debug {
    /// Takes one server-sent event of a streamed answer.
    ///
    /// # Errors
    ///
    /// What is wrong with the event, or the error that it reports.
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault>;

    /// Takes the whole body of an answer that is not streamed.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, or the error that it reports.
    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault>;

    /// Takes the headers of a good answer, before any of its body.
    ///
    /// # Errors
    ///
    /// What is wrong with the headers.
    fn headers(&mut self, headers: &http::HeaderMap, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let (_, _) = (headers, sink);
        Ok(())
    }

    /// True for an API without end markers, where a clean end of the body is the only sign.
    fn ends_by_closing(&self) -> bool {
        false
    }

    /// True for an API whose answers are vectors or scores: NaN in them is not a result.
    fn holds_vectors(&self) -> bool {
        false
    }
}

/// Hands one server-sent event to `reader`. What follows the end marker is counted against the
/// limit, and is not part of the answer.
pub(crate) fn deliver(
    event: SseEvent<'_>,
    reader: &mut dyn ReplyReader,
    record: &mut Record,
    progress: &mut Progress,
    stamp: Stamp,
    max_events: u64,
) -> Result<(), Fault> {
    let over = progress.done;
    let mut sink = Sink::new(record, progress, stamp);
    sink.message(max_events)?;
    if over || is_heartbeat(event.name) {
        return Ok(());
    }
    if !event.name.is_empty() && is_failure_name(event.name) && !event.data.is_empty() {
        return Err(Fault::new(Outcome::StreamError, failure_words(event.data)));
    }
    let Err(fault) = reader.event(event, &mut sink) else {
        return Ok(());
    };
    again(event.data, fault, |json| {
        let data = json.bytes.as_slice();
        reader.event(SseEvent { data, ..event }, &mut sink)
    })
}

/// Hands the whole body of an answer that is not streamed to `reader`.
pub(crate) fn deliver_body(
    body: &[u8],
    reader: &mut dyn ReplyReader,
    sink: &mut Sink<'_>,
) -> Result<(), Fault> {
    let Err(fault) = reader.body(body, sink) else {
        return Ok(());
    };
    again(body, fault, |json| {
        if json.constant_in_list && reader.holds_vectors() {
            return Err(Fault::malformed("NaN or Infinity in a vector"));
        }
        reader.body(&json.bytes, sink)
    })
}

/// Reads `data` once more, as Python does, where a reader refused it as JSON with `fault`. A reader
/// parses the whole of a message before it takes anything of it.
fn again(
    data: &[u8],
    fault: Fault,
    read: impl FnOnce(&Repaired) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let is_json_fault = fault.outcome == Outcome::Malformed;
    let Some(json) = Some(data).filter(|_| is_json_fault).and_then(Repaired::of) else {
        return Err(fault);
    };
    match read(&json) {
        // The words about the message as it came.
        Err(second) if second.outcome == Outcome::Malformed && !json.had_constants => Err(fault),
        other => other,
    }
}

/// Where a [`ReplyReader`] puts what it finds; everything gets the stamp of the read that brought
/// it.
#[derive(Debug)]
pub struct Sink<'a> {
    record: &'a mut Record,
    progress: &'a mut Progress,
    stamp: Stamp,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(record: &'a mut Record, progress: &'a mut Progress, stamp: Stamp) -> Self {
        Self {
            record,
            progress,
            stamp,
        }
    }

    /// Counts a server-sent event of any kind.
    pub(crate) fn message(&mut self, limit: u64) -> Result<(), Fault> {
        if self.progress.messages >= limit {
            return Err(Fault::malformed(format!(
                "more than {limit} events in the answer"
            )));
        }
        self.progress.messages += 1;
        self.progress.named_tokens = None;
        self.progress.choice = 0;
        self.record.marks.first_event.get_or_insert(self.stamp.at);
        Ok(())
    }

    /// The choice that the rest of the message belongs to (until the next call).
    pub fn choice(&mut self, index: usize) {
        self.progress.set_choice(index, self.record);
    }

    /// Which messages count.
    pub fn counting(&self) -> Counting {
        self.progress.counting
    }

    /// A token event with some text, which may be empty ([`EventKind::Blank`]).
    pub fn token(&mut self, kind: EventKind, text: &str) {
        self.push_event(kind);
        self.progress.note_output(self.stamp.at);
        self.put(kind, text);
    }

    /// Output that is neither text nor a call: audio, an image. A token event unless the message
    /// has one.
    pub fn media(&mut self, counted: bool) {
        self.progress.media = true;
        if !counted {
            self.token(EventKind::Blank, "");
        }
        let marks = &mut self.record.marks;
        marks.first_content.get_or_insert(self.stamp.at);
        marks.last_content = Some(self.stamp.at);
    }

    /// A closing message (one with a reason to stop) without output. Whether it is a token event is
    /// decided at the end of the answer: see `Progress::settle`. `bare`: without even empty text.
    pub fn closing(&mut self, bare: bool) {
        if self.progress.counting != Counting::Output {
            self.token(EventKind::Blank, "");
            return;
        }
        let event = self.record.events.len();
        self.push_event(EventKind::Blank);
        self.progress.note_closing(event, bare);
    }

    /// A message that is none of the API's: progress, results of a filter, or a failure in words of
    /// the server's own. If no output and no reason to stop follows it, it is why.
    pub fn stray(&mut self, data: &[u8]) {
        if !self.progress.finished && has_content(data) {
            self.progress.stray = Some(data[..data.len().min(MAX_STRAY)].to_vec());
        }
    }

    /// A message that is not even that: an answer in a known form whose text is empty.
    pub(crate) fn not_stray(&mut self) {
        self.progress.stray = None;
    }

    /// A member of a message that may be output of a kind that is not known: the record names it, and so
    /// does the message of an answer without any output that is known.
    pub fn unknown_output(&mut self, name: &str) {
        if self.progress.unknown_output.is_none() {
            self.progress.unknown_output = Some(printable(name));
        }
        let is_beside = BESIDE_OUTPUT.iter().any(|part| name.contains(part));
        if self.record.unknown_output.is_none() && !is_beside {
            self.record.unknown_output = Some(printable(name));
        }
    }

    /// True when a member of unknown meaning has been named.
    pub(crate) fn has_unknown_output(&self) -> bool {
        self.progress.unknown_output.is_some()
    }

    /// Reasoning whose text the server keeps to itself, without a count of its tokens so far.
    pub(crate) fn withhold(&mut self) {
        self.record.withheld_reasoning = true;
    }

    /// Output that comes as a whole, in an answer without token events a token event.
    pub(crate) fn piece(&mut self, kind: EventKind, text: &str) {
        if self.has_tokens() || text.is_empty() {
            self.fragment(kind, text);
        } else {
            self.token(kind, text);
        }
    }

    /// Output text that comes with a token event recorded already (a second choice or channel).
    pub fn fragment(&mut self, kind: EventKind, text: &str) {
        if !text.is_empty() || kind == EventKind::ToolCall {
            self.progress.note_output(self.stamp.at);
            self.put(kind, text);
        }
    }

    fn put(&mut self, kind: EventKind, text: &str) {
        if text.is_empty() && kind != EventKind::ToolCall {
            return;
        }
        let at = self.stamp.at;
        let marks = &mut self.record.marks;
        marks.first_content.get_or_insert(at);
        marks.last_content = Some(at);
        let first = match kind {
            EventKind::Reasoning => &mut marks.first_reasoning,
            EventKind::ToolCall => &mut marks.first_tool_call,
            EventKind::Text | EventKind::Blank => &mut marks.first_answer,
        };
        first.get_or_insert(at);
        if self.progress.keep != KeepText::Never {
            let is_answer = matches!(kind, EventKind::Text | EventKind::Blank);
            let own = match (self.progress.own_text(is_answer), is_answer) {
                (Some(own), _) => own,
                (None, true) => &mut self.record.text,
                (None, false) => &mut self.record.other_text,
            };
            own.push_str(text);
        }
    }

    /// Replaces the text of the current choice so far, where it is kept.
    pub(crate) fn replace_text(&mut self, text: String) {
        if self.progress.keep != KeepText::Never {
            let own = self.progress.own_text(true);
            *own.unwrap_or(&mut self.record.text) = text;
        }
    }

    fn push_event(&mut self, kind: EventKind) {
        let stamp = self.stamp;
        let same_read = self.progress.last_read == stamp.read;
        if let Some(last) = self.record.events.last_mut()
            && (same_read || stamp.kernel && last.kernel_stamped() && last.at == stamp.at)
        {
            // It came in the same read as this one, or the kernel had merged the two before they
            // were read, so that its stamp is only an upper bound.
            last.coalesce();
        }
        self.progress.last_read = stamp.read;
        let mut event = Event::new(
            stamp.at,
            stamp.user.since(stamp.at),
            kind,
            false,
            stamp.kernel,
        );
        match self.progress.named_tokens.take() {
            Some(tokens) => {
                event.tokens = u16::try_from(tokens).unwrap_or(u16::MAX);
                // Text has tokens, so a count that does not grow with it is none of its tokens: a
                // placeholder, or the total of the answer. The frame of a call has some of its own.
                let is_text = matches!(kind, EventKind::Text | EventKind::Reasoning);
                self.progress.uncounted |= tokens == 0 && is_text;
            }
            None => self.progress.cumulative = None,
        }
        self.record.events.push(event);
    }

    /// Token counts. Passed before the token event of the same message, they also give its tokens.
    pub fn usage(&mut self, usage: Usage) {
        if usage == Usage::default() {
            return;
        }
        self.keep_usage(usage);
        if let (Some(total), Some(before)) = (usage.completion_tokens, self.progress.cumulative) {
            self.progress.named_tokens = Some(self.progress.gain(before, total));
            self.progress.cumulative = Some(total);
        }
    }

    /// Token counts in a message of one choice, of an answer that may have several: see
    /// `Progress::count_choice`.
    pub(crate) fn usage_of_choice(&mut self, mut usage: Usage) {
        let of_choice = usage
            .completion_tokens
            .filter(|_| self.progress.has_choices());
        let Some(total) = of_choice else {
            return self.usage(usage);
        };
        let (new, all) = self.progress.count_choice(total);
        usage.completion_tokens = Some(all);
        self.keep_usage(usage);
        if self.progress.cumulative.is_some() {
            self.progress.named_tokens = Some(new);
            self.progress.cumulative = Some(all);
        }
    }

    fn keep_usage(&mut self, usage: Usage) {
        let known = &mut self.record.usage;
        known.prompt_tokens = usage.prompt_tokens.or(known.prompt_tokens);
        known.completion_tokens = usage.completion_tokens.or(known.completion_tokens);
        known.cached_tokens = usage.cached_tokens.or(known.cached_tokens);
        known.reasoning_tokens = usage.reasoning_tokens.or(known.reasoning_tokens);
        self.record.marks.usage = Some(self.stamp.at);
    }

    /// The number of tokens in the token event of the current message, where the server lists them.
    pub fn tokens_in_message(&mut self, tokens: usize) {
        if self.progress.named_tokens.is_none() {
            self.progress.named_tokens = u32::try_from(tokens).ok();
        }
    }

    /// Why the server stopped. The last reason is kept; of several choices, that of the first to stop,
    /// unless another one's is not known.
    pub fn finish(&mut self, reason: &str) {
        self.finish_with(reason, None);
    }

    /// Why the server stopped, with its own words about it where there are any.
    pub(crate) fn finish_because(&mut self, reason: &Reason<'_>) {
        self.finish_with(&reason.kind, reason.words.as_deref());
    }

    fn finish_with(&mut self, reason: &str, words: Option<&str>) {
        self.progress.note_finish();
        if ending(reason) == Ending::Broken {
            self.progress.break_off(reason, words);
        }
        let choice = self.progress.choice;
        let is_unknown = ending(reason) == Ending::Unknown;
        if is_unknown || self.progress.stopped.is_none_or(|first| first == choice) {
            self.progress.stopped = Some(choice);
            self.record.finish_reason = Some(printable(reason));
        }
    }

    /// The end marker.
    pub fn done(&mut self) {
        self.progress.done = true;
        self.record.marks.done.get_or_insert(self.stamp.at);
    }

    /// The answer is complete although it has no output tokens.
    pub fn complete(&mut self) {
        self.progress.complete = true;
    }

    /// The number of vectors or scores that were requested, where it is known.
    pub fn results(&self) -> Option<u32> {
        self.progress.results
    }

    /// True when output came before.
    pub(crate) fn has_content(&self) -> bool {
        self.record.marks.first_content.is_some()
    }

    /// True when at least one token event came before.
    pub fn has_tokens(&self) -> bool {
        !self.record.events.is_empty()
    }

    /// The record, for facts that only one backend knows.
    pub fn record(&mut self) -> &mut Record {
        self.record
    }
}

/// Parts of the names of members that accompany output and are none.
const BESIDE_OUTPUT: [&str; 8] = [
    "annotation",
    "citation",
    "search_results",
    "provider_specific",
    "signature",
    "opaque",
    "encrypted",
    "token_ids",
];

/// Bytes of a stray message that are kept.
const MAX_STRAY: usize = 16 << 10;

/// The fault for bytes that should have been JSON.
pub(crate) fn not_json(data: &[u8], error: &serde_json::Error) -> Fault {
    let start = String::from_utf8_lossy(&data[..data.len().min(200)]);
    Fault::malformed(format!("invalid JSON ({error}): {start}"))
}
