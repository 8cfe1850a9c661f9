//! One request outside every measurement, on a connection of its own.

use std::future::pending;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full, Limited};
use inferometer_core::Nanos;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::connect::{self, OpenError, Opened};
use crate::error::{ConnectStep, WireError};
use crate::reply::printable;
use crate::socket::Shared;
use crate::target::{Scheme, Target};
use crate::tls;
use crate::wire::Wire;

/// A TLS handshake of a server beside us takes milliseconds, across an ocean under a second.
const SUSPICIOUS: Duration = Duration::from_secs(1);
/// How long a server may take to show whether it speaks HTTP or TLS.
const SCHEME_QUESTION: Duration = Duration::from_secs(1);
/// Bytes of an answer to a side request: the counters of a large deployment are some megabytes.
const BODY: usize = 64 << 20;

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
    /// Sends it and reads the whole answer within `limit`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        limit: Nanos,
    ) -> Result<SideReply, WireError> {
        let target = self.target;
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

    /// Opens a connection. One for TLS that fails, or takes suspiciously long, is followed by a
    /// question without TLS: many HTTP servers wait in silence for the rest of what they take for
    /// the first line of a request.
    async fn open(&self) -> Result<Opened, OpenError> {
        let limit = self.wire.settings.timeouts.connect;
        let opening = connect::open(self.wire, self.target, self.source, self.shared, false);
        let opening = async {
            match tokio::time::timeout(limit.to_duration(), opening).await {
                Ok(opened) => opened,
                Err(_) => Err(OpenError::late(limit, self.target)),
            }
        };
        if self.target.url.scheme != Scheme::Https || self.target.proxy.is_some() {
            return opening.await;
        }
        let suspicion = async {
            drop(tokio::time::timeout(SUSPICIOUS, pending::<()>()).await);
            if !self.speaks_http().await {
                pending::<()>().await;
            }
        };
        let opened = tokio::select! {
            biased;
            opened = opening => opened,
            () = suspicion => return Err(OpenError::scheme(self.target)),
        };
        if let Err(error) = &opened
            && matches!(error.step, ConnectStep::Tls | ConnectStep::Reach)
            && self.speaks_http().await
        {
            return Err(OpenError::scheme(self.target));
        }
        opened
    }

    /// True when the target answers a request without TLS.
    async fn speaks_http(&self) -> bool {
        let question = async {
            let mut socket = connect::connect(self.target, self.source, self.shared)
                .await
                .ok()?;
            let host = &self.target.url.authority;
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            socket.write_all(request.as_bytes()).await.ok()?;
            let mut start = [0; 5];
            socket.read_exact(&mut start).await.ok()?;
            (&start == b"HTTP/").then_some(())
        };
        matches!(
            tokio::time::timeout(SCHEME_QUESTION, question).await,
            Ok(Some(()))
        )
    }

    /// True when the target completes a TLS handshake, whatever its certificate.
    pub(crate) async fn speaks_tls(&self) -> bool {
        let question = async {
            let name = ServerName::try_from(self.target.url.host.clone()).ok()?;
            let connector = TlsConnector::from(tls::any_certificate().ok()?);
            let socket = connect::connect(self.target, self.source, self.shared)
                .await
                .ok()?;
            connector.connect(name, socket).await.ok().map(drop)
        };
        self.target.proxy.is_none()
            && matches!(
                tokio::time::timeout(SCHEME_QUESTION, question).await,
                Ok(Some(()))
            )
    }

    async fn send_untimed(
        &self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<SideReply, SideFault> {
        let opened = self.open().await.map_err(SideFault::Connect)?;
        let (mut sender, connection) = connect::http1(self.wire, opened.stream)
            .await
            .map_err(SideFault::Connect)?;
        let limit = self.wire.settings.limits.body.min(BODY);
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
