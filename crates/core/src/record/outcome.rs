//! How requests end.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How a request ended. Every request of a run ends in exactly one outcome.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A complete and valid answer.
    Ok,
    /// The server answered with a status that is not one of success (2xx).
    HttpError,
    /// An error object or an error event inside the stream.
    StreamError,
    /// The answer was cut off: the connection ended before the body was complete, or the stream ended
    /// cleanly without any sign (`[DONE]`, `finish_reason`) that it was finished.
    Truncated,
    /// The answer was complete but had no output at all.
    Empty,
    /// Bytes that are not what the protocol allows: malformed SSE, JSON or UTF-8, or over a size
    /// limit.
    Malformed,
    /// The answer came in another content type than the one asked for (one JSON body instead of a
    /// stream).
    WrongContentType,
    /// No connection could be made, or it closed before any byte of the answer.
    ConnectError,
    /// A connect, first-byte, idle or total time limit ran out.
    Timeout,
    /// The client hung up on purpose (`--request-cancellation-rate`).
    Cancelled,
    /// The run ended first: never sent, or still in flight when the run was stopped.
    #[default]
    Unfinished,
}

impl Outcome {
    /// All outcomes, in the order in which tables show them.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::HttpError,
        Self::StreamError,
        Self::Truncated,
        Self::Empty,
        Self::Malformed,
        Self::WrongContentType,
        Self::ConnectError,
        Self::Timeout,
        Self::Cancelled,
        Self::Unfinished,
    ];

    /// The name used in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::HttpError => "http_error",
            Self::StreamError => "stream_error",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::WrongContentType => "wrong_content_type",
            Self::ConnectError => "connect_error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unfinished => "unfinished",
        }
    }

    /// The outcome with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How many requests ended in each outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutcomeCounts(BTreeMap<Outcome, usize>);

impl OutcomeCounts {
    /// Counts one request.
    pub fn add(&mut self, outcome: Outcome) {
        *self.0.entry(outcome).or_default() += 1;
    }

    /// Requests that ended in `outcome`.
    pub fn get(&self, outcome: Outcome) -> usize {
        self.0.get(&outcome).copied().unwrap_or_default()
    }

    /// All requests.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Outcomes that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, usize)> + '_ {
        self.0.iter().map(|(&outcome, &count)| (outcome, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_name() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }
}
