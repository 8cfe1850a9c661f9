//! One worker's connections.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::{http1, http2};
use inferometer_core::{Connection, Nanos, Outcome, Record};

use crate::connect::{self, OpenError, Opened, Spans, Stream};
use crate::error::{ConnectStep, WireError};
use crate::exchange;
use crate::live::Live;
use crate::multiplexed::{Multiplexed, Opener, Opening, Share};
use crate::outgoing::Outgoing;
use crate::reply::{Fault, printable};
use crate::settings::{Balance, ConnectPolicy};
use crate::socket::{Idle, Probe, Shared, Watcher};
use crate::target::Target;
use crate::wire::{Prepared, Wire};

/// A worker's end of the wire: its connections and what they share. Stays on one thread.
///
/// Its futures need a tokio runtime with I/O and time, and with HTTP/2 a `LocalSet`.
#[derive(Debug)]
pub struct Client {
    pub(crate) wire: Arc<Wire>,
    pub(crate) live: Arc<Live>,
    worker: u16,
    shared: Rc<Shared>,
    targets: Vec<TargetState>,
    next_target: Cell<usize>,
    next_id: Cell<u32>,
    next_source: Cell<usize>,
}

/// This worker's connections to one target.
#[derive(Debug, Default)]
struct TargetState {
    idle: RefCell<Vec<Conn>>,
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    /// The HTTP/2 connection that is being opened, for all who would use it.
    opening: RefCell<Option<Rc<Opening>>>,
    in_flight: Cell<usize>,
}

/// Which connection a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Any that is open.
    Any,
    /// One that was opened later than this one, which broke.
    After(u32),
    /// One of its own.
    Own,
}

/// A connection that serves one request at a time, or a share of one that serves many.
pub(crate) struct Conn {
    pub(crate) kind: ConnKind,
    pub(crate) probe: Rc<Probe>,
    id: u32,
    /// What opening cost, until a request has taken note of it.
    spans: Option<Spans>,
    /// Opened ahead or used before.
    pub(crate) reused: bool,
}

pub(crate) enum ConnKind {
    Http1 {
        sender: http1::SendRequest<Full<Bytes>>,
        /// Gone when it has ended: a request that still waits in it is then told so.
        connection: Option<Box<http1::Connection<Stream, Full<Bytes>>>>,
        watcher: Watcher,
        tls: bool,
    },
    Http2 {
        sender: http2::SendRequest<Outgoing>,
        share: Share,
    },
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("id", &self.id)
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

impl Conn {
    fn describe(&mut self) -> Connection {
        let spans = self.spans.take();
        Connection {
            id: self.id,
            reused: self.reused,
            // Names are resolved once, before the run.
            dns: None,
            connect: spans.map(|spans| spans.connect),
            tls: spans.and_then(|spans| spans.tls),
        }
    }
}

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

/// Why a connection could not be had.
struct NoConnection {
    step: ConnectStep,
    reason: String,
    /// False when the time limit ran out.
    in_time: bool,
}

/// Why a side request failed: whether anybody listens is worth knowing.
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

/// Counts a request towards its target's load for as long as it lives.
struct Load<'a>(&'a Cell<usize>);

impl<'a> Load<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Client {
    /// The client of worker number `worker`, which publishes its counters in `live`.
    pub fn new(wire: &Arc<Wire>, worker: u16, live: Arc<Live>) -> Self {
        Self {
            wire: Arc::clone(wire),
            live,
            worker,
            shared: Shared::new(wire.settings.kernel_stamps),
            targets: wire
                .targets
                .iter()
                .map(|_| TargetState::default())
                .collect(),
            // Workers begin at different targets, so that the first requests are spread as well.
            next_target: Cell::new(usize::from(worker)),
            next_id: Cell::new(0),
            next_source: Cell::new(usize::from(worker)),
        }
    }

    /// Steps of the wall clock seen while stamps were converted, and the largest.
    pub fn clock_steps(&self) -> (u32, Nanos) {
        self.shared.clock_steps()
    }

    /// Time that requests which were ready before they were due have spent spinning until then.
    pub fn spun(&self) -> Nanos {
        self.shared.spun()
    }

    pub(crate) fn poll_gate(&self, instant: Nanos) -> Poll<()> {
        self.shared.poll_gate(instant)
    }

    /// Shuts the gates of [`Client::exchange_at`], or opens them.
    ///
    /// An exchange that is polled while they are shut makes its request ready and stops just before
    /// the first byte, without a wake-up to come: poll it again when they are open. So several
    /// requests that are due together can all be made ready beforehand.
    pub fn shut_gates(&self, shut: bool) {
        self.shared.shut_gates(shut);
    }

    /// Opens `count` connections to each target, so that no request has to wait for them. Does
    /// nothing where every request has a connection of its own.
    pub async fn open_ahead(&self, count: usize) -> Result<(), WireError> {
        if self.wire.settings.connect == ConnectPolicy::PerRequest {
            return Ok(());
        }
        for number in 0..self.targets.len() {
            if self.wire.settings.http2 {
                let mut room = 0;
                while room < count {
                    room += self.open_one_ahead(number).await?;
                }
                continue;
            }
            for batch in (0..count).collect::<Vec<_>>().chunks(64) {
                let opening = batch.iter().map(|_| self.open_one_ahead(number));
                futures_util::future::try_join_all(opening).await?;
            }
        }
        Ok(())
    }

    /// Sees to it that each target has an idle connection for its part of the next `requests`, by
    /// opening those that are missing. Does nothing where requests share connections or each has
    /// its own.
    ///
    /// What cannot be opened is left to the request that needs it, whose record then says why.
    pub async fn open_missing(&self, requests: usize) {
        let settings = &self.wire.settings;
        if settings.connect == ConnectPolicy::PerRequest || settings.http2 {
            return;
        }
        let each = requests.div_ceil(self.targets.len());
        for number in 0..self.targets.len() {
            let missing = {
                let mut idle = self.targets[number].idle.borrow_mut();
                // The server may have closed some meanwhile.
                idle.retain_mut(Conn::is_usable);
                each.saturating_sub(idle.len())
            };
            let opening = (0..missing).map(|_| self.open_one_ahead(number));
            drop(futures_util::future::join_all(opening).await);
        }
    }

    /// Opens a connection and returns how many requests it carries at once.
    async fn open_one_ahead(&self, number: usize) -> Result<usize, WireError> {
        let target = &self.wire.targets[number];
        let mut conn = self
            .open_in_time(number)
            .await
            .map_err(|error| WireError::Connect {
                target: target.display.clone(),
                reason: printable(&error.reason),
                step: error.step,
            })?;
        conn.reused = true;
        // The request that uses it did not wait for it.
        conn.spans = None;
        match &mut conn.kind {
            ConnKind::Http1 { connection, .. } => {
                // A connection takes requests only after its first turn.
                poll_fn(|context| {
                    exchange::turn(connection, context);
                    Poll::Ready(())
                })
                .await;
                self.targets[number].idle.borrow_mut().push(conn);
                Ok(1)
            }
            ConnKind::Http2 { share, .. } => Ok(share.0.room()),
        }
    }

    /// Sends `prepared` and writes into `record` all that comes of it.
    ///
    /// On return the record has its outcome. If the future is dropped earlier, the record keeps the
    /// facts up to then and its outcome stays `unfinished`. Instants are absolute: see
    /// `Record::rebase`.
    pub async fn exchange(&self, prepared: &Prepared, record: &mut Record) {
        self.exchange_at(Nanos::ZERO, prepared, record).await;
    }

    /// Like [`Client::exchange`], but no byte of the request leaves before `not_before` on the
    /// monotonic clock.
    ///
    /// Called a little before that instant, all that a request costs before its first byte is in
    /// the kernel's hands (a connection, headers, encoding, encryption) is done by then. What is
    /// left of the time is spent spinning, on the thread that runs everything else of this client:
    /// not more than a fraction of a millisecond should be left.
    pub async fn exchange_at(&self, not_before: Nanos, prepared: &Prepared, record: &mut Record) {
        let _in_flight = self.live.enter();
        let number = self.choose(prepared);
        let _load = Load::new(&self.targets[number].in_flight);
        record.worker = self.worker;
        record.target = number as u16;
        let result = self.attempts(not_before, prepared, number, record).await;
        exchange::conclude(result, self.wire.settings.keep_text, record);
        self.live.count_end(record.is_ok());
    }

    async fn attempts(
        &self,
        not_before: Nanos,
        prepared: &Prepared,
        number: usize,
        record: &mut Record,
    ) -> Result<(), Fault> {
        let target = &self.wire.targets[number];
        let policy = self.wire.settings.connect;
        let mut wanted = if policy == ConnectPolicy::PerRequest {
            Wanted::Own
        } else {
            Wanted::Any
        };
        loop {
            let mut conn = self.connection(number, wanted).await?;
            record.connection = conn.describe();
            let close = policy == ConnectPolicy::PerRequest;
            let run = exchange::Run {
                client: self,
                target,
                prepared,
                not_before,
                close,
            };
            match run.execute(&mut conn, record).await {
                Ok(()) => {
                    self.give_back(number, conn, policy);
                    return Ok(());
                }
                Err(exchange::Broken::BeforeAnswer(_)) if conn.reused && wanted == Wanted::Any => {
                    // The server had closed it before the request came. This is nobody's failure,
                    // but it is counted, and the clock runs on from the first attempt.
                    record.reconnects += 1;
                    wanted = Wanted::After(conn.id);
                }
                Err(exchange::Broken::BeforeAnswer(fault)) => return Err(fault),
                Err(exchange::Broken::Settled(fault)) => {
                    if fault.outcome == Outcome::HttpError {
                        self.give_back(number, conn, policy);
                    }
                    return Err(fault);
                }
            }
        }
    }

    /// Which target gets this request.
    fn choose(&self, prepared: &Prepared) -> usize {
        let count = self.targets.len();
        if count == 1 {
            return 0;
        }
        let by_turns = || {
            let next = self.next_target.get();
            self.next_target.set(next.wrapping_add(1));
            next % count
        };
        match (self.wire.settings.balance, prepared.session) {
            (Balance::SessionSticky, Some(session)) => session % count,
            (Balance::LeastInFlight, _) => {
                let first = by_turns();
                (0..count)
                    .map(|step| (first + step) % count)
                    .min_by_key(|&number| self.targets[number].in_flight.get())
                    .unwrap_or(first)
            }
            _ => by_turns(),
        }
    }

    /// An idle connection that is still open, or a new one.
    async fn connection(&self, number: usize, wanted: Wanted) -> Result<Conn, Fault> {
        if self.wire.settings.http2 && wanted != Wanted::Own {
            return self.share(number, wanted).await;
        }
        if wanted == Wanted::Any {
            loop {
                // Taken by a statement of its own, so that the pool is not borrowed meanwhile.
                let Some(mut conn) = self.targets[number].idle.borrow_mut().pop() else {
                    break;
                };
                if conn.is_usable() {
                    return Ok(conn);
                }
            }
        }
        self.open(number).await
    }

    /// A share of an HTTP/2 connection that has room, or of a new one, which all who wait for it
    /// share.
    async fn share(&self, number: usize, wanted: Wanted) -> Result<Conn, Fault> {
        let state = &self.targets[number];
        loop {
            if let Some(conn) = Self::free_share(state, wanted) {
                return Ok(conn);
            }
            let opening = state.opening.borrow().clone();
            let Some(opening) = opening else {
                let opener = Opener::new(&state.opening);
                let opened = self.open(number).await;
                opener.opening.fault.replace(opened.as_ref().err().cloned());
                return opened;
            };
            opening.over.notified().await;
            // What one of them learned of the server holds for all: trying in turn would only take
            // longer.
            if let Some(fault) = &*opening.fault.borrow() {
                return Err(fault.clone());
            }
        }
    }

    fn free_share(state: &TargetState, wanted: Wanted) -> Option<Conn> {
        let mut connections = state.multiplexed.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed());
        let fits = |connection: &&Rc<Multiplexed>| {
            connection.active.get() < connection.room()
                && !matches!(wanted, Wanted::After(broken) if connection.id <= broken)
        };
        let connection = Rc::clone(connections.iter().find(fits)?);
        Some(Conn {
            probe: Rc::clone(&connection.probe),
            id: connection.id,
            spans: None,
            reused: true,
            kind: ConnKind::Http2 {
                sender: connection.sender.clone(),
                share: Share::new(connection),
            },
        })
    }

    async fn open(&self, number: usize) -> Result<Conn, Fault> {
        let target = &self.wire.targets[number].display;
        self.open_in_time(number).await.map_err(|error| {
            let outcome = if error.in_time {
                Outcome::ConnectError
            } else {
                Outcome::Timeout
            };
            Fault::new(
                outcome,
                format!("cannot connect to {target}: {}", error.reason),
            )
        })
    }

    async fn open_in_time(&self, number: usize) -> Result<Conn, NoConnection> {
        let limit = self.wire.settings.timeouts.connect;
        match tokio::time::timeout(limit.to_duration(), self.open_untimed(number)).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(OpenError { step, reason })) => Err(NoConnection {
                step,
                reason,
                in_time: true,
            }),
            Err(_) => {
                let OpenError { step, reason } = OpenError::late(limit);
                Err(NoConnection {
                    step,
                    reason,
                    in_time: false,
                })
            }
        }
    }

    async fn open_untimed(&self, number: usize) -> Result<Conn, OpenError> {
        let target = &self.wire.targets[number];
        let http2 = self.wire.settings.http2;
        let Opened {
            stream,
            probe,
            watcher,
            spans,
        } = connect::open(&self.wire, target, self.source(), &self.shared, http2).await?;
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.live.count_opened();
        let kind = if http2 {
            let (sender, allowed) = connect::http2(&self.wire, stream, &probe).await?;
            let connection = Rc::new(Multiplexed {
                sender: sender.clone(),
                probe: Rc::clone(&probe),
                id,
                active: Cell::new(0),
                allowed,
            });
            // One that serves a single request ends with it, when its last owner lets go.
            if self.wire.settings.connect != ConnectPolicy::PerRequest {
                self.targets[number]
                    .multiplexed
                    .borrow_mut()
                    .push(Rc::clone(&connection));
            }
            ConnKind::Http2 {
                sender,
                share: Share::new(connection),
            }
        } else {
            let tls = matches!(stream, Stream::Tls(..));
            let (sender, connection) = connect::http1(&self.wire, stream).await?;
            ConnKind::Http1 {
                sender,
                connection: Some(Box::new(connection)),
                watcher,
                tls,
            }
        };
        Ok(Conn {
            kind,
            probe,
            id,
            spans: Some(spans),
            reused: false,
        })
    }

    /// The local address for the next connection.
    fn source(&self) -> Option<IpAddr> {
        let sources = &self.wire.settings.source_ips;
        let next = self.next_source.get();
        self.next_source.set(next.wrapping_add(1));
        (!sources.is_empty()).then(|| sources[next % sources.len()])
    }

    fn give_back(&self, number: usize, mut conn: Conn, policy: ConnectPolicy) {
        let ConnKind::Http1 {
            sender, connection, ..
        } = &conn.kind
        else {
            return;
        };
        if policy != ConnectPolicy::PerRequest && connection.is_some() && sender.is_ready() {
            conn.reused = true;
            self.targets[number].idle.borrow_mut().push(conn);
        }
    }

    /// Asks the first target for `path` on a connection of its own: `/v1/models`, `/health`,
    /// `/metrics` …
    ///
    /// `body` is sent as JSON. The answer's status is the caller's to judge.
    pub async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<SideReply, WireError> {
        self.fetch_from(0, method, path, body).await
    }

    /// Like [`Client::fetch`], from target `number`, in the order of the base URLs.
    pub async fn fetch_from(
        &self,
        number: usize,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<SideReply, WireError> {
        let target = &self.wire.targets[number];
        let limit = self.wire.settings.timeouts.side;
        let fail = |reason: String| WireError::Side {
            method: method.to_string(),
            target: target.display.clone(),
            path: path.to_owned(),
            reason: printable(&reason),
        };
        let request = self.wire.side_request(target, &method, path, body)?;
        let work = self.fetch_untimed(target, request);
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

    async fn fetch_untimed(
        &self,
        target: &Target,
        request: http::Request<Full<Bytes>>,
    ) -> Result<SideReply, SideFault> {
        let limit = self.wire.settings.timeouts.connect;
        let opening = connect::open(&self.wire, target, self.source(), &self.shared, false);
        let opened = match tokio::time::timeout(limit.to_duration(), opening).await {
            Ok(opened) => opened.map_err(SideFault::Connect)?,
            Err(_) => return Err(SideFault::Connect(OpenError::late(limit))),
        };
        let (mut sender, connection) = connect::http1(&self.wire, opened.stream)
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
            // The connection may end with its answer; what is left of it is in the channel.
            _ = &mut connection => answer.await,
        }
    }
}

impl Conn {
    /// True for an idle connection on which a request may still be tried.
    fn is_usable(&mut self) -> bool {
        match &mut self.kind {
            ConnKind::Http1 {
                sender,
                connection,
                watcher,
                tls,
            } => {
                let open = match watcher.look() {
                    Idle::Quiet => true,
                    Idle::Closed => false,
                    // Nothing may come unasked over plain HTTP. Under TLS it has to be read to know
                    // what it is.
                    Idle::BytesWait => {
                        if *tls {
                            exchange::turn(connection, &mut Context::from_waker(Waker::noop()));
                        }
                        *tls
                    }
                };
                open && connection.is_some() && sender.is_ready()
            }
            ConnKind::Http2 { sender, .. } => !sender.is_closed(),
        }
    }
}
