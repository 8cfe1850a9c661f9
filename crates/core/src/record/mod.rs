//! What happened: the facts of one attempted request.

mod ending;
mod event;
mod outcome;
mod tokens;

use serde::{Deserialize, Serialize};

pub use self::ending::{Ending, ending, ends_by_itself};
pub use self::event::{Event, EventKind};
pub use self::outcome::{Outcome, OutcomeCounts};
pub use self::tokens::Impossible;
use crate::Nanos;

/// Instants of the answer's milestones, from run start; `None` for what never came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// First byte of the answer.
    pub first_byte: Option<Nanos>,
    /// Status line and headers complete.
    pub headers: Option<Nanos>,
    /// First server-sent event of any kind, role-only chunks included.
    pub first_event: Option<Nanos>,
    /// First non-empty fragment of text, reasoning or tool call.
    pub first_content: Option<Nanos>,
    /// First reasoning fragment.
    pub first_reasoning: Option<Nanos>,
    /// First tool-call fragment.
    pub first_tool_call: Option<Nanos>,
    /// First fragment of answer text.
    pub first_answer: Option<Nanos>,
    /// Last non-empty fragment.
    pub last_content: Option<Nanos>,
    /// The event with the usage numbers.
    pub usage: Option<Nanos>,
    /// The end marker (`[DONE]` or the API's own final event).
    pub done: Option<Nanos>,
}

/// Token counts as the server reported them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All tokens of the prompt, cached ones included. `u32::MAX` is a number that does not fit,
    /// as in the other fields: a negative one, or a larger one.
    pub prompt_tokens: Option<u32>,
    /// `completion_tokens`, `output_tokens`.
    pub completion_tokens: Option<u32>,
    /// Prompt tokens served from the prefix cache.
    pub cached_tokens: Option<u32>,
    /// Output tokens that were reasoning.
    pub reasoning_tokens: Option<u32>,
}

/// Where the number of output tokens of a record comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// The server's usage.
    Usage,
    /// The answer's text, encoded after the run.
    Tokenizer,
    /// The number of token events: neither usage nor a tokenizer was available.
    Events,
    /// No output was counted (a failure, or an endpoint without generation).
    #[default]
    None,
}

/// An answer of several choices (`n` > 1, or several prompts in one request).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// Choices with output.
    pub count: u32,
    /// The sum over the choices of the time from the first to the last token event of each.
    pub span: Nanos,
}

/// More tokens (67 million) than any answer or prompt has: a larger count is wrong. Chosen, not
/// measured.
pub const MAX_TOKENS: u32 = 1 << 26;

/// The connection that carried a request, and what opening it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Number of the connection within its worker.
    pub id: u32,
    /// True when an earlier request used it, or when it was opened before the run.
    pub reused: bool,
    /// Time for name resolution, if it was done for this request.
    pub dns: Option<Nanos>,
    /// Time for the TCP (or Unix socket) connect, if it was done for this request.
    pub connect: Option<Nanos>,
    /// Time for the TLS handshake, if it was done for this request.
    pub tls: Option<Nanos>,
}

/// The facts of one attempted request, successful or not.
///
/// All instants count from the start of the run. Numbers are derived from records, never kept
/// beside them. [`Record::service_start`] and [`Record::due`] are the two origins of latency:
/// *service latency* counts from the send, *response latency* from the due instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Position of the request in the workload.
    pub index: usize,
    /// The `x-request-id` that was sent.
    pub id: Option<String>,
    /// When the schedule wants it sent. Never changed afterwards.
    pub due: Nanos,
    /// When it had a slot and the client took it up, never before `due` (even if it was prepared
    /// ahead of time): the lateness against `due` is queueing for a slot plus the client's own delay.
    pub dequeued: Option<Nanos>,
    /// Just before the first byte was handed to the kernel.
    pub send_start: Option<Nanos>,
    /// Just after the last byte was handed to the kernel. On a shared connection (HTTP/2): when the
    /// connection, having taken the last byte, had next written all it had.
    pub send_end: Option<Nanos>,
    /// Milestones of the answer.
    pub marks: Marks,
    /// Token events in order of arrival.
    pub events: Vec<Event>,
    /// When the answer was complete, failed or was cancelled.
    pub end: Option<Nanos>,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status, if one came.
    pub status: Option<u16>,
    /// Why it failed, as text; has the first 2 KiB of an error body.
    pub error: Option<String>,
    /// Prompt tokens as the client counted them.
    pub prompt_tokens: u32,
    /// Output tokens that were requested.
    pub asked_output_tokens: Option<u32>,
    /// Token counts that the server reported.
    pub usage: Usage,
    /// Output tokens, from the best available source.
    pub output_tokens: u32,
    /// Which source that was.
    pub token_source: TokenSource,
    /// Output tokens as the client's tokenizer counts the answer, where it did.
    pub tokenizer_output_tokens: Option<u32>,
    /// `finish_reason` or the API's equivalent.
    pub finish_reason: Option<String>,
    /// The choices of the answer, where it was streamed and there are several.
    pub choices: Option<Choices>,
    /// Events that no blank line separated from the next, as the event stream format requires.
    pub unseparated_events: u32,
    /// The server announced reasoning, sent none of its text and did not count its tokens.
    pub withheld_reasoning: bool,
    /// The first member of the answer's messages that may be output of a kind that is not known: it is
    /// no token event.
    pub unknown_output: Option<String>,
    /// The answer's text. Dropped after the run unless details are kept.
    pub text: String,
    /// The reasoning text and tool-call arguments, kept for counting tokens.
    pub other_text: String,
    /// The connection used.
    pub connection: Connection,
    /// Times that the request was sent again, because a reused connection turned out to be closed or
    /// the server refused it unprocessed.
    pub reconnects: u16,
    /// Worker that sent it.
    pub worker: u16,
    /// Which of the base URLs it went to.
    pub target: u16,
    /// Request bytes sent, headers included; on a shared connection (HTTP/2) those of the body.
    pub bytes_sent: u64,
    /// Answer bytes received, headers included; on a shared connection (HTTP/2) those of the body.
    pub bytes_received: u64,
    /// Input sequences in the request (embeddings and rerank batches), else 1.
    pub sequences: u32,
    /// Seconds of audio in the request.
    pub audio_seconds: f64,
    /// Conversation and turn.
    pub session: Option<(usize, usize)>,
    /// Dataset category or traffic class.
    pub category: Option<String>,
    /// Server-reported queue time in seconds (`metrics.queue_time_ms` in the stream).
    pub server_queue_s: Option<f64>,
    /// Server-reported time to first token in seconds.
    pub server_ttft_s: Option<f64>,
}

impl Record {
    /// Frees what grows with the length of an answer: its events and texts. To be called only when
    /// they are safe elsewhere. The number of events is kept, as the count of last resort of the
    /// output tokens.
    pub fn drop_events(&mut self) {
        if self.is_ok() && self.output_tokens == 0 {
            self.output_tokens = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
            self.token_source = TokenSource::Events;
        }
        self.events = Vec::new();
        self.text = String::new();
        self.other_text = String::new();
    }

    /// A copy without texts and with no events but the first and the last, for statistics of spans.
    #[must_use]
    pub fn outline(&self) -> Self {
        let ends = self
            .events
            .first()
            .into_iter()
            .chain(self.events.iter().skip(1).last());
        Self {
            index: self.index,
            due: self.due,
            dequeued: self.dequeued,
            send_start: self.send_start,
            send_end: self.send_end,
            marks: self.marks,
            events: ends.copied().collect(),
            end: self.end,
            outcome: self.outcome,
            prompt_tokens: self.prompt_tokens,
            usage: self.usage,
            output_tokens: self.output_tokens,
            token_source: self.token_source,
            tokenizer_output_tokens: self.tokenizer_output_tokens,
            choices: self.choices,
            target: self.target,
            withheld_reasoning: self.withheld_reasoning,
            session: self.session,
            category: self.category.clone(),
            ..Self::default()
        }
    }

    /// True for a complete and valid answer.
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// True for a request that the run ended without sending: nothing is known of it, and it did not
    /// fail.
    pub fn is_not_sent(&self) -> bool {
        self.outcome == Outcome::Unfinished && self.send_start.is_none()
    }

    /// True when all tokens of an answer of several came in one event, or in one read: how long each
    /// of them took is unknown. Answers that were not streamed are no such case.
    /// Of several choices, all came in one event each.
    pub fn is_in_one_piece(&self) -> bool {
        let visible = self.visible_output_tokens();
        match self.choices {
            Some(Choices { count, span }) => {
                visible > count && span == Nanos::ZERO && !self.events.is_empty()
            }
            None => {
                visible > 1
                    && self
                        .first_token()
                        .is_some_and(|first| self.last_token() == Some(first))
            }
        }
    }

    /// Origin of service latency: just before the first byte went out.
    pub fn service_start(&self) -> Option<Nanos> {
        self.send_start
    }

    /// Time between the due instant and the send.
    pub fn lateness(&self) -> Option<Nanos> {
        self.send_start.map(|sent| sent.since(self.due))
    }

    /// Arrival of the first token event. `None` for an answer that was not streamed: when its first
    /// token was ready is unknown.
    pub fn first_token(&self) -> Option<Nanos> {
        self.events.first().map(|event| event.at)
    }

    /// Arrival of the last token event.
    pub fn last_token(&self) -> Option<Nanos> {
        self.events.last().map(|event| event.at)
    }

    /// The gaps between successive token events.
    pub fn gaps(&self) -> impl Iterator<Item = Nanos> + '_ {
        self.events
            .windows(2)
            .map(|pair| pair[1].at.since(pair[0].at))
    }

    /// Counts every instant from `start`, the monotonic instant at which the run began, except
    /// [`Record::due`], which always counts from there.
    pub fn rebase(&mut self, start: Nanos) {
        let Marks {
            first_byte,
            headers,
            first_event,
            first_content,
            first_reasoning,
            first_tool_call,
            first_answer,
            last_content,
            usage,
            done,
        } = &mut self.marks;
        let marks = [
            first_byte,
            headers,
            first_event,
            first_content,
            first_reasoning,
            first_tool_call,
            first_answer,
            last_content,
            usage,
            done,
        ];
        let own = [
            &mut self.dequeued,
            &mut self.send_start,
            &mut self.send_end,
            &mut self.end,
        ];
        for instant in marks.into_iter().chain(own).flatten() {
            *instant = instant.since(start);
        }
        for event in &mut self.events {
            event.at = event.at.since(start);
        }
    }
}

/// Records in order of their request's index, which can be visited any number of times.
///
/// A trait rather than a slice so that a run whose events do not fit into memory can be summarised
/// from its log.
pub trait Records {
    /// Number of records.
    fn count(&self) -> usize;
    /// Calls `visitor` with each record in order of its index.
    fn visit(&self, visitor: &mut dyn FnMut(&Record));
}

impl Records for [Record] {
    fn count(&self) -> usize {
        self.len()
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Record)) {
        self.iter().for_each(visitor);
    }
}

impl Records for &[Record] {
    fn count(&self) -> usize {
        self.len()
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Record)) {
        self.iter().for_each(visitor);
    }
}

impl Records for Vec<Record> {
    fn count(&self) -> usize {
        self.len()
    }

    fn visit(&self, visitor: &mut dyn FnMut(&Record)) {
        self.iter().for_each(visitor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebasing_leaves_the_due_instant_alone() {
        let mut record = Record {
            due: Nanos(5),
            send_start: Some(Nanos(1_006)),
            events: vec![Event::new(
                Nanos(1_010),
                Nanos::ZERO,
                EventKind::Text,
                false,
                false,
            )],
            marks: Marks {
                done: Some(Nanos(1_020)),
                ..Marks::default()
            },
            ..Record::default()
        };
        record.rebase(Nanos(1_000));
        assert_eq!((record.due, record.send_start), (Nanos(5), Some(Nanos(6))));
        assert_eq!(
            (record.events[0].at, record.marks.done),
            (Nanos(10), Some(Nanos(20)))
        );
        assert_eq!(record.lateness(), Some(Nanos(1)));
    }

    #[test]
    fn an_impossible_usage_is_ignored() {
        let record =
            |completion: u32, reasoning: Option<u32>, asked: Option<u32>, bytes: u64| Record {
                usage: Usage {
                    completion_tokens: Some(completion),
                    reasoning_tokens: reasoning,
                    prompt_tokens: Some(completion),
                    ..Usage::default()
                },
                asked_output_tokens: asked,
                bytes_received: bytes,
                prompt_tokens: 7,
                ..Record::default()
            };
        let absurd = record(4_000_000_000, None, Some(10), 2_500);
        assert_eq!(
            (absurd.reported_output_tokens(), absurd.input_tokens()),
            (None, 7)
        );
        assert!(absurd.has_impossible_output());
        let faults: Vec<Impossible> = absurd.impossible_usage().collect();
        assert_eq!(faults, [Impossible::NoCount; 2]);
        // Hidden reasoning, a limit that the server ignored, tokens that decode to nothing, a
        // simulated answer.
        for good in [
            record(5_000, Some(4_900), None, 2_500),
            record(1_024, None, Some(128), 200_000),
            record(4_000, None, Some(4_000), 2_500),
            record(4_000, None, None, 0),
        ] {
            assert_eq!(good.reported_output_tokens(), good.usage.completion_tokens);
        }
        assert_eq!(
            record(5_000, None, Some(128), 2_500).reported_output_tokens(),
            None
        );
        assert_eq!(
            record(u32::MAX, Some(u32::MAX), None, 2_500).reported_output_tokens(),
            None
        );
        assert_eq!(Record::default().reported_output_tokens(), None);
        let denied = Record {
            marks: Marks {
                first_content: Some(Nanos(5)),
                ..Marks::default()
            },
            ..record(0, None, Some(10), 2_500)
        };
        assert_eq!(denied.reported_output_tokens(), None);
    }

    #[test]
    fn no_prompt_is_free_and_no_cache_exceeds_its_prompt() {
        let record = |prompt: Option<u32>, cached: Option<u32>| Record {
            usage: Usage {
                prompt_tokens: prompt,
                cached_tokens: cached,
                ..Usage::default()
            },
            prompt_tokens: 50,
            ..Record::default()
        };
        let facts = |record: Record| {
            (
                record.input_tokens(),
                record.cached_tokens(),
                record.impossible_usage().next(),
            )
        };
        let (beyond, no_prompt, no_count) = (
            Some(Impossible::CachedBeyondPrompt),
            Some(Impossible::NoPrompt),
            Some(Impossible::NoCount),
        );
        assert_eq!(facts(record(Some(60), Some(60))), (60, Some(60), None));
        // Neither number is used: the prompt may lack what the cache held.
        assert_eq!(facts(record(Some(10), Some(11))), (50, None, beyond));
        assert_eq!(record(Some(10), Some(11)).impossible_usage().count(), 1);
        assert_eq!(facts(record(Some(0), Some(0))), (50, Some(0), no_prompt));
        assert_eq!(facts(record(Some(u32::MAX), None)), (50, None, no_count));
        assert_eq!(facts(record(None, Some(u32::MAX))), (50, None, no_count));
        assert_eq!(facts(record(None, None)), (50, None, None));
        // An image, of which the client counts no tokens, or an empty prompt.
        let empty = Record {
            prompt_tokens: 0,
            ..record(Some(0), None)
        };
        assert_eq!(facts(empty), (0, None, None));
    }
}
