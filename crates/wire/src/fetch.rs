//! One request outside every measurement, on a connection of its own.

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;

use crate::connect::{self, OpenError};
use crate::error::WireError;
use crate::reply::printable;
use crate::socket::Shared;
use crate::target::Target;
use crate::wire::Wire;

/// The answer to a side request.
#[derive(Clone, Debug)]
pub struct SideReply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, at most as large as the limits allow.
    pub body: Bytes,
}

impl SideReply {
    /// The body as JSON, if the status is 200.
    pub fn json(&self) -> Option<Value> {
        (self.status == 200)
            .then(|| serde_json::from_slice(&self.body).ok())
            .flatten()
    }
}

/// Why a side request failed: callers need to know whether the server was reached.
enum SideFault {
    Connect(OpenError),
    Answer(String),
}

impl SideFault {
    #[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
    fn answer(error: impl ToString) -> Self {
        Self::Answer(error.to_string())
    }
}

/// Where a side request goes, and from where.
#[derive(Debug)]
pub(crate) struct SideRequest<'a> {
    pub(crate) wire: &'a Wire,
    pub(crate) shared: &'a Rc<Shared>,
    pub(crate) target: &'a Target,
    /// The local address to connect from.
    pub(crate) source: Option<IpAddr>,
}

impl SideRequest<'_> {
    /// Sends it and reads the whole answer; the time limit is `Timeouts::side`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<SideReply, WireError> {
        let target = self.target;
        let limit = self.wire.settings.timeouts.side;
        let fail = |reason: String| WireError::Side {
            method: method.to_string(),
            target: target.display.clone(),
            path: path.to_owned(),
            reason: printable(&reason),
        };
        let request = self.wire.side_request(target, &method, path, body)?;
        let work = self.send_untimed(request);
        match tokio::time::timeout(limit.to_duration(), work).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(SideFault::Connect(error))) => Err(WireError::Connect {
                target: target.display.clone(),
                reason: printable(&error.reason),
                step: error.step,
            }),
            Ok(Err(SideFault::Answer(reason))) => Err(fail(reason)),
            Err(_) => Err(fail(format!(
                "no complete answer within {} s",
                limit.as_secs_f64()
            ))),
        }
    }

    async fn send_untimed(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<SideReply, SideFault> {
        let limit = self.wire.settings.timeouts.connect;
        let opening = connect::open(self.wire, self.target, self.source, self.shared, false);
        let opened = match tokio::time::timeout(limit.to_duration(), opening).await {
            Ok(opened) => opened.map_err(SideFault::Connect)?,
            Err(_) => return Err(SideFault::Connect(OpenError::late(limit))),
        };
        let (mut sender, connection) = connect::http1(self.wire, opened.stream)
            .await
            .map_err(SideFault::Connect)?;
        let limit = self.wire.settings.limits.body;
        let answer = async move {
            let response = sender
                .send_request(request)
                .await
                .map_err(SideFault::answer)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit)
                .collect()
                .await
                .map_err(SideFault::answer)?;
            Ok(SideReply {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        let mut answer = pin!(answer);
        let mut connection = pin!(connection);
        tokio::select! {
            biased;
            reply = &mut answer => reply,
            // The connection may end with its answer; the rest of it is in the channel.
            _ = &mut connection => answer.await,
        }
    }
}
