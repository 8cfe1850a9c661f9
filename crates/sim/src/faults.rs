//! Faults that the simulator injects on purpose, so that clients can be tested against them.

use std::fmt;
use std::str::FromStr;

use inferometer_core::Outcome;
use inferometer_core::suggest::meant;

macro_rules! faults {
    ($($variant:ident, $name:literal, $outcome:ident, $doc:literal;)+) => {
        /// A way in which the simulator misbehaves. [`ALL_FAULTS`] describes each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FaultKind {
            $(#[doc = $doc] $variant,)+
        }

        /// Every fault, with what a correct client reports for it.
        pub const ALL_FAULTS: &[FaultInfo] = &[
            $(FaultInfo { kind: FaultKind::$variant, name: $name, doc: $doc, outcome: Outcome::$outcome },)+
        ];
    };
}

faults! {
    Http400, "http_400", HttpError, "status 400 with an error body";
    Http401, "http_401", HttpError, "status 401 with an error body";
    Http404, "http_404", HttpError, "status 404 with an error body";
    Http429, "http_429", HttpError, "status 429 with `Retry-After: 1` and an error body";
    Http500, "http_500", HttpError, "status 500 with a body that is plain text";
    Http503, "http_503", HttpError, "status 503 with an error body of 64 KiB";
    ResetBeforeHeaders, "reset_before_headers", ConnectError, "the connection is reset (RST) once the request is complete";
    ResetMidStream, "reset_mid_stream", Truncated, "the connection is reset (RST) half-way through the answer";
    HalfClose, "half_close", Truncated, "the server closes its sending side half-way, without the closing chunk";
    Stall, "stall", Timeout, "half-way the server falls silent but keeps the connection open";
    StallBeforeHeaders, "stall_before_headers", Timeout, "the server never answers and keeps the connection open";
    SlowHeaders, "slow_headers", Ok, "the answer's headers come one byte at a time, 2 ms apart";
    MalformedSse, "malformed_sse", Malformed, "a line of the stream has no field name";
    MalformedJson, "malformed_json", Malformed, "an event's data is not JSON";
    InvalidUtf8, "invalid_utf8", Malformed, "an event holds bytes that are not UTF-8";
    TruncatedJson, "truncated_json", Malformed, "an event's JSON ends in the middle, then the stream continues";
    SplitBytes, "split_bytes", Ok, "every byte of the stream is a write of its own";
    Crlf, "crlf", Ok, "lines end with CR LF";
    Comments, "comments", Ok, "comments and keep-alive pings come between the events";
    Burst, "burst", Ok, "events are held back and written four at a time";
    HugeEvent, "huge_event", Ok, "one valid event of 8 MiB";
    Endless, "endless", Malformed, "the answer passes max_tokens and continues (10 million tokens) until the client's limit on events or bytes";
    EarlyEnd, "early_end", Truncated, "the stream ends cleanly half-way, with neither finish_reason nor end marker";
    EmptyAnswer, "empty_answer", Empty, "a well-formed stream without any output";
    MissingDone, "missing_done", Ok, "finish_reason comes, but no end marker";
    RoleOnlyFirst, "role_only_first", Ok, "chat only: three events that name the role and nothing else, 5 ms before the first token";
    EmptyFirst, "empty_first", Ok, "the first token decodes to nothing: its event has empty text";
    UsageMissing, "usage_missing", Ok, "no usage, although it was requested";
    UsageOnLastChoice, "usage_on_last_choice", Ok, "usage comes with the last choice instead of in an event of its own";
    UsageInconsistent, "usage_inconsistent", Ok, "usage counts three output tokens too many";
    ErrorInStream, "error_in_stream", StreamError, "half-way an error object comes instead of a token, and the stream ends";
    Gzip, "gzip", WrongContentType, "the answer is compressed although the client did not ask for it";
    WrongContentType, "wrong_content_type", WrongContentType, "one JSON body comes although a stream was requested";
    DuplicateDone, "duplicate_done", Ok, "the end marker comes twice";
    CloseAfterStream, "close_after_stream", Ok, "keep-alive is announced, but the connection is closed after the answer";
}

/// Description of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultInfo {
    /// The fault.
    pub kind: FaultKind,
    /// Its name in settings and in the truth log.
    pub name: &'static str,
    /// What the server does, in one line.
    pub doc: &'static str,
    /// What a correct client reports for a streamed request with this fault.
    pub outcome: Outcome,
}

impl FaultKind {
    /// The description of this fault.
    pub fn info(self) -> &'static FaultInfo {
        // `ALL_FAULTS` and the enum come from the same list, in the same order.
        &ALL_FAULTS[self as usize]
    }

    /// The name used in settings and in the truth log.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The fault with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL_FAULTS
            .iter()
            .find(|fault| fault.name == name)
            .map(|fault| fault.kind)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A fault and the fraction of requests that suffer it, written `NAME=FRACTION`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultFraction {
    /// The fault.
    pub kind: FaultKind,
    /// Fraction of requests, 0 to 1.
    pub fraction: f64,
}

/// Why a fault setting is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No equals sign.
    #[error("invalid fault \"{0}\": expected NAME=FRACTION, such as reset_mid_stream=0.1")]
    NoFraction(String),
    /// The name is not known.
    #[error("unknown fault \"{0}\": expected one of {names}{meant}", names = names(), meant = meant(.0, ALL_FAULTS.iter().map(|fault| fault.name)))]
    UnknownName(String),
    /// Not a number from 0 to 1.
    #[error("invalid fraction of requests \"{0}\": expected a number from 0 to 1")]
    BadFraction(String),
    /// The fractions together exceed 1.
    #[error(
        "the fractions of all faults add up to {0}: expected at most 1, because a request suffers one fault at most"
    )]
    TooMany(String),
}

fn names() -> String {
    ALL_FAULTS
        .iter()
        .map(|fault| fault.name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl FromStr for FaultFraction {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, fraction) = text
            .split_once('=')
            .ok_or_else(|| FaultError::NoFraction(text.into()))?;
        let kind = FaultKind::from_name(name.trim())
            .ok_or_else(|| FaultError::UnknownName(name.trim().into()))?;
        match fraction.trim().parse::<f64>() {
            Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(Self { kind, fraction }),
            _ => Err(FaultError::BadFraction(fraction.trim().into())),
        }
    }
}

impl fmt::Display for FaultFraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.fraction)
    }
}

/// Checks that the fractions do not exceed 1 together.
pub(crate) fn check(faults: &[FaultFraction]) -> Result<(), FaultError> {
    let sum: f64 = faults.iter().map(|fault| fault.fraction).sum();
    if sum > 1.0 + 1e-9 {
        Err(FaultError::TooMany(format!("{sum:.3}")))
    } else {
        Ok(())
    }
}

/// The fault that the draw `unit` (0 to 1) selects.
pub(crate) fn select(faults: &[FaultFraction], unit: f64) -> Option<FaultKind> {
    let mut passed = 0.0;
    faults.iter().find_map(|fault| {
        passed += fault.fraction;
        (unit < passed).then_some(fault.kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for fault in ALL_FAULTS {
            assert_eq!(fault.kind.info(), fault);
            assert_eq!(FaultKind::from_name(fault.name), Some(fault.kind));
        }
    }

    #[test]
    fn invalid_fractions_are_errors() {
        let fault: FaultFraction = "stall=0.25".parse().unwrap();
        assert_eq!(
            fault,
            FaultFraction {
                kind: FaultKind::Stall,
                fraction: 0.25
            }
        );
        assert!(
            "stall"
                .parse::<FaultFraction>()
                .unwrap_err()
                .to_string()
                .contains("NAME=FRACTION")
        );
        assert!(
            "stahl=1"
                .parse::<FaultFraction>()
                .unwrap_err()
                .to_string()
                .contains("reset_mid_stream")
        );
        assert!("stall=1.5".parse::<FaultFraction>().is_err());
        assert!(check(&[fault; 4]).is_ok());
        assert!(check(&[fault; 5]).is_err());
    }

    #[test]
    fn the_draw_picks_in_proportion() {
        let faults = ["stall=0.25".parse().unwrap(), "crlf=0.5".parse().unwrap()];
        assert_eq!(select(&faults, 0.0), Some(FaultKind::Stall));
        assert_eq!(select(&faults, 0.25), Some(FaultKind::Crlf));
        assert_eq!(select(&faults, 0.75), None);
    }
}
