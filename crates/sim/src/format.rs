//! The shapes of answers: each API is one [`Format`].

use inferometer_core::EventKind;

/// Server-sent events that have been written but not yet framed for HTTP.
#[derive(Debug, Default)]
pub(crate) struct Events {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Events {
    /// Appends one event; `write` writes its lines and the empty line after them.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The events in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let event = &self.bytes[start..end];
            start = end;
            event
        })
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Token counts for a usage object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) prompt: u32,
    pub(crate) output: u32,
    pub(crate) cached: u32,
    pub(crate) reasoning: u32,
}

/// One token event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenPart<'a> {
    /// Which of the answers of the request it belongs to.
    pub(crate) sequence: u32,
    /// Its text, which needs no escaping.
    pub(crate) text: &'a str,
    pub(crate) kind: EventKind,
    /// True for the first event of its kind in this answer.
    pub(crate) first_of_kind: bool,
    /// Set on the answer's last event.
    pub(crate) finish: Option<Finish>,
    /// Usage to attach to this event.
    pub(crate) usage: Option<Counts>,
    /// Number of its first token in the answer.
    pub(crate) position: u32,
    /// True when reasoning came before in this answer.
    pub(crate) after_reasoning: bool,
    /// The answer's text up to and with this event; filled only for formats that want it.
    pub(crate) so_far: &'a str,
    /// Counts up to and with this event.
    pub(crate) counts: Counts,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The answer reached its limit.
    Length,
    /// The answer reached its natural end.
    Stop,
    /// The answer is a tool call.
    ToolCalls,
}

impl Finish {
    /// OpenAI's name for it.
    pub(crate) const fn openai(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// The text of one complete answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) tool_arguments: String,
}

/// How an API writes its answers.
pub(crate) trait Format {
    /// Content type of a streamed answer.
    fn content_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// True when its token events repeat the text so far.
    fn wants_whole(&self) -> bool {
        false
    }

    /// Events before the first token event.
    fn open(&self, _out: &mut Events, _counts: Counts) {}

    /// An event that names the role only. False where the API has no such event.
    fn role_only(&self, _out: &mut Events) -> bool {
        false
    }

    /// One token event.
    fn token(&self, out: &mut Events, part: &TokenPart<'_>);

    /// Events between the last token event and the end marker; `usage` if it is to be reported.
    fn close(&self, out: &mut Events, finish: Finish, usage: Option<Counts>);

    /// The end marker.
    fn done(&self, out: &mut Events, _finish: Finish, _usage: Option<Counts>) {
        out.push(|bytes| bytes.extend_from_slice(b"data: [DONE]\n\n"));
    }

    /// The answer as one body.
    fn whole(&self, answers: &[Answer], finish: Finish, counts: Counts) -> Vec<u8>;
}

/// Appends texts.
pub(crate) fn put(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends a number in decimal, without going through the formatting machinery.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u32) {
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

/// Appends OpenAI's usage object.
pub(crate) fn put_usage(out: &mut Vec<u8>, counts: Counts) {
    put(out, &["{\"prompt_tokens\":"]);
    put_number(out, counts.prompt);
    put(out, &[",\"total_tokens\":"]);
    put_number(out, counts.prompt + counts.output);
    put(out, &[",\"completion_tokens\":"]);
    put_number(out, counts.output);
    put(out, &[",\"prompt_tokens_details\":{\"cached_tokens\":"]);
    put_number(out, counts.cached);
    put(out, &["}"]);
    if counts.reasoning > 0 {
        put(
            out,
            &[",\"completion_tokens_details\":{\"reasoning_tokens\":"],
        );
        put_number(out, counts.reasoning);
        put(out, &["}"]);
    }
    put(out, &["}"]);
}

/// `text` as a JSON string with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
