//! The ways in which an exchange fails, as far as they decide whether the request is sent again.

use inferometer_core::Outcome;

use crate::judge::{StreamEnd, chain, stream_end};
use crate::reply::Fault;

/// How an exchange went wrong.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection was lost before any byte of the answer: on a reused connection, worth another
    /// attempt.
    BeforeAnswer(Fault),
    /// The request has provably not been processed, so that it is safe to send it again.
    Refused {
        fault: Fault,
        /// The connection takes no further requests.
        leaves: bool,
    },
    /// The outcome is final.
    Settled(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Settled(fault)
    }
}

/// What the server's word on this very stream means; `None` where it has said nothing of it.
pub(crate) fn end_of_stream(error: &hyper::Error) -> Option<Broken> {
    let (leaves, what) = match stream_end(error)? {
        StreamEnd::Reset => {
            let message = format!(
                "the server reset the stream before any byte of the answer: {}",
                chain(error)
            );
            let fault = Fault::new(Outcome::ConnectError, message);
            return Some(Broken::Settled(fault));
        }
        StreamEnd::RefusedStream => (false, "the stream (REFUSED_STREAM)"),
        StreamEnd::GoingAway => (
            true,
            "the request, because it closes the connection (GOAWAY)",
        ),
    };
    let message = format!("the server refused {what}: {}", chain(error));
    let fault = Fault::new(Outcome::ConnectError, message);
    Some(Broken::Refused { fault, leaves })
}
