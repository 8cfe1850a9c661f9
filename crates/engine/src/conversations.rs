//! Conversations: which request follows which, and what was said so far.
//!
//! A turn is due when the answer before it has ended and the user's think time has passed. Its
//! messages hold the server's own replies, so its body is made when it is due, and the time for
//! that is a part of its lateness.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use inferometer_core::{Nanos, Prompt, Record, Request, SessionTurn};
use inferometer_wire::{Prepared, Wire, WireError};
use serde_json::{Value, json};

/// The error of a turn that is never sent.
pub(crate) const EARLIER_TURN_FAILED: &str = "not sent: an earlier turn of its conversation failed";

/// The conversations of a run.
#[derive(Debug)]
pub struct Conversations {
    requests: Vec<Request>,
    starts: Vec<usize>,
    /// Maximum number active at once, those in think time included; `None` for no limit.
    pub max_active: Option<usize>,
}

/// The turns of a conversation are not adjacent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("request {index} is not followed by the next turn of its conversation")]
pub struct BrokenConversation {
    /// Position of the request in the workload.
    pub index: usize,
}

impl Conversations {
    /// The conversations of `requests`, whose turns must be adjacent and in order; `None` when no
    /// request belongs to one.
    ///
    /// # Errors
    ///
    /// Turns that are not adjacent or not in order.
    pub fn of(requests: &[Request]) -> Result<Option<Self>, BrokenConversation> {
        if requests.iter().all(|request| request.session.is_none()) {
            return Ok(None);
        }
        let turn_of = |index: usize| {
            requests
                .get(index)
                .and_then(|request| request.session.as_ref())
        };
        let mut starts = Vec::new();
        for index in 0..requests.len() {
            let turn = turn_of(index);
            if turn.is_none_or(|turn| turn.turn == 0) {
                starts.push(index);
            }
            let Some(turn) = turn.filter(|turn| turn.has_next) else {
                continue;
            };
            let follows =
                |next: &SessionTurn| next.session == turn.session && next.turn == turn.turn + 1;
            if !turn_of(index + 1).is_some_and(follows) {
                return Err(BrokenConversation { index });
            }
        }
        Ok(Some(Self {
            requests: requests.to_vec(),
            starts,
            max_active: None,
        }))
    }

    /// The requests that open a conversation, in order.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The turn after request `index`, and the think time before it.
    fn next(&self, index: usize) -> Option<(usize, Nanos)> {
        let has_next = self.requests[index]
            .session
            .as_ref()
            .is_some_and(|turn| turn.has_next);
        let think = |turn: &SessionTurn| turn.think;
        has_next.then(|| {
            (
                index + 1,
                self.requests[index + 1]
                    .session
                    .as_ref()
                    .map_or(Nanos::ZERO, think),
            )
        })
    }

    /// The turns after request `index`, up to the end of its conversation.
    fn rest(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.next(index), |&(next, _)| self.next(next)).map(|(next, _)| next)
    }
}

/// The state of the conversations of one worker.
#[derive(Debug)]
pub(crate) struct ConversationState {
    all: Arc<Conversations>,
    wire: Arc<Wire>,
    /// What was said before a turn, by the turn's request.
    histories: RefCell<HashMap<usize, History>>,
}

/// What was said in a conversation so far.
#[derive(Debug, Default)]
struct History {
    messages: Vec<Value>,
    /// Tokens of all messages, without what a chat template adds.
    tokens: u32,
}

/// What comes after a turn that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextTurn {
    /// Nothing: the conversation is over.
    None,
    /// The next turn.
    Due {
        /// Its request.
        index: usize,
        /// When it is due, on the monotonic clock.
        at: Nanos,
    },
    /// The turn failed, and no user can continue from a failed answer: these requests are never
    /// sent.
    Cancelled(Vec<usize>),
}

impl ConversationState {
    pub(crate) fn new(all: &Arc<Conversations>, wire: &Arc<Wire>) -> Self {
        Self {
            all: Arc::clone(all),
            wire: Arc::clone(wire),
            histories: RefCell::default(),
        }
    }

    /// Takes in the answer of a turn that has ended.
    pub(crate) fn turn_ended(&self, record: &Record) -> NextTurn {
        let Some((next, think)) = self.all.next(record.index) else {
            return NextTurn::None;
        };
        let before = self
            .histories
            .borrow_mut()
            .remove(&record.index)
            .unwrap_or_default();
        let (true, Some(end)) = (record.is_ok(), record.end) else {
            return NextTurn::Cancelled(self.all.rest(record.index).collect());
        };
        let request = &self.all.requests[record.index];
        let History {
            mut messages,
            tokens,
        } = before;
        messages.extend(user_messages(&request.prompt));
        messages.push(json!({"role": "assistant", "content": record.text}));
        let prompt = record
            .usage
            .prompt_tokens
            .unwrap_or(tokens.saturating_add(request.prompt_tokens));
        let answer = record
            .reported_output_tokens()
            .unwrap_or(record.events.len() as u32);
        // The history has the first of several choices.
        let answer = answer / record.choices.map_or(1, |choices| choices.count.max(1));
        self.histories.borrow_mut().insert(
            next,
            History {
                messages,
                tokens: prompt.saturating_add(answer),
            },
        );
        NextTurn::Due {
            index: next,
            at: end + think,
        }
    }

    /// The request `index` with all that was said before it; `None` for one that opens a
    /// conversation.
    pub(crate) fn prepare(&self, index: usize) -> Option<Result<Prepared, WireError>> {
        let histories = self.histories.borrow();
        let History { messages, tokens } = histories.get(&index)?;
        let own = &self.all.requests[index];
        let mut messages = messages.clone();
        messages.extend(user_messages(&own.prompt));
        let request = Request {
            prompt: Prompt::Messages(messages),
            prompt_tokens: tokens.saturating_add(own.prompt_tokens),
            ..own.clone()
        };
        Some(self.wire.prepare(&request))
    }
}

/// The user's messages of one turn.
fn user_messages(prompt: &Prompt) -> Vec<Value> {
    match prompt {
        Prompt::Messages(messages) => messages.clone(),
        Prompt::Text(text) => vec![json!({"role": "user", "content": text})],
        Prompt::Parts(parts) => vec![json!({"role": "user", "content": parts})],
        Prompt::Tokens(_) | Prompt::Texts(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(session: usize, turn: usize, has_next: bool) -> Request {
        let think = Nanos(7);
        Request {
            session: Some(SessionTurn {
                session,
                turn,
                has_next,
                think,
            }),
            ..Request::default()
        }
    }

    #[test]
    fn turns_follow_one_another() {
        let requests = [
            request(0, 0, true),
            request(0, 1, true),
            request(0, 2, false),
            request(1, 0, false),
        ];
        let all = Conversations::of(&requests).unwrap().unwrap();
        assert_eq!(all.starts(), [0, 3]);
        assert_eq!(all.next(0), Some((1, Nanos(7))));
        assert_eq!(all.rest(0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(all.next(2), None);
        assert!(Conversations::of(&[Request::default()]).unwrap().is_none());
    }

    #[test]
    fn a_missing_turn_is_an_error() {
        let requests = [request(0, 0, true), request(1, 0, false)];
        assert_eq!(
            Conversations::of(&requests).unwrap_err(),
            BrokenConversation { index: 0 }
        );
    }
}
