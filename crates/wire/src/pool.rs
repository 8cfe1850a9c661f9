//! One worker's connections: opened, kept, shared, and given to requests.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use inferometer_core::Outcome;

use crate::connect::{self, OpenError, Opened, Stream};
use crate::connection::{Conn, ConnKind, turn};
use crate::error::{ConnectStep, WireError};
use crate::live::Live;
use crate::multiplexed::{Multiplexed, Opener, Opening, Share};
use crate::reply::{Fault, printable};
use crate::settings::ConnectPolicy;
use crate::socket::Shared;
use crate::wire::Wire;

/// Connections opened at the same time before a run: all at once would overflow a server's queue of
/// new connections.
const OPEN_AT_ONCE: usize = 64;

/// The connections of one worker to all targets.
#[derive(Debug)]
pub(crate) struct Pool {
    wire: Arc<Wire>,
    live: Arc<Live>,
    shared: Rc<Shared>,
    targets: Vec<TargetState>,
    next_id: Cell<u32>,
    next_source: Cell<usize>,
}

/// This worker's connections to one target.
#[derive(Debug, Default)]
struct TargetState {
    idle: RefCell<Vec<Conn>>,
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    /// The HTTP/2 connection that is being opened, for all requests that wait for it.
    opening: RefCell<Option<Rc<Opening>>>,
}

/// Which connection a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Any that is open.
    Any,
    /// One that was opened later than this one, which broke.
    After(u32),
    /// One of its own.
    Own,
}

/// Why there is no connection.
struct NoConnection {
    step: ConnectStep,
    reason: String,
    /// False when the time limit expired.
    in_time: bool,
}

impl Pool {
    /// An empty pool; workers begin at different source addresses.
    pub(crate) fn new(
        wire: &Arc<Wire>,
        live: &Arc<Live>,
        shared: &Rc<Shared>,
        first_source: usize,
    ) -> Self {
        Self {
            wire: Arc::clone(wire),
            live: Arc::clone(live),
            shared: Rc::clone(shared),
            targets: wire
                .targets
                .iter()
                .map(|_| TargetState::default())
                .collect(),
            next_id: Cell::new(0),
            next_source: Cell::new(first_source),
        }
    }

    /// Opens `count` connections to each target, so that no request has to wait for them. Does
    /// nothing where every request has a connection of its own.
    pub(crate) async fn open_ahead(&self, count: usize) -> Result<(), WireError> {
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
            for batch in (0..count).collect::<Vec<_>>().chunks(OPEN_AT_ONCE) {
                let opening = batch.iter().map(|_| self.open_one_ahead(number));
                futures_util::future::try_join_all(opening).await?;
            }
        }
        Ok(())
    }

    /// Opens connections until each target has as many idle ones as its part of the next `requests`
    /// needs. Does nothing where requests share connections or each has its own.
    ///
    /// What cannot be opened is left to the request that needs it, whose record then says why.
    pub(crate) async fn open_missing(&self, requests: usize) {
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
                    turn(connection, context);
                    Poll::Ready(())
                })
                .await;
                self.targets[number].idle.borrow_mut().push(conn);
                Ok(1)
            }
            ConnKind::Http2 { share, .. } => Ok(share.0.room()),
        }
    }

    /// An idle connection that is still open, or a new one.
    pub(crate) async fn connection(&self, number: usize, wanted: Wanted) -> Result<Conn, Fault> {
        if self.wire.settings.http2 && wanted != Wanted::Own {
            return self.share(number, wanted).await;
        }
        if wanted == Wanted::Any {
            loop {
                // A statement of its own, so that the pool is not borrowed meanwhile.
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

    /// A stream on an HTTP/2 connection that has room, or on a new one, which all waiting requests
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
            // The result of one attempt holds for all: trying one after another would only take
            // longer.
            if let Some(fault) = &*opening.fault.borrow() {
                return Err(fault.clone());
            }
        }
    }

    fn free_share(state: &TargetState, wanted: Wanted) -> Option<Conn> {
        let mut connections = state.multiplexed.borrow_mut();
        connections.retain(|connection| !connection.sender.is_closed() && !connection.leaves.get());
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
                let OpenError { step, reason } = OpenError::late(limit, &self.wire.targets[number]);
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
                leaves: Cell::new(false),
                allowed,
            });
            // One that serves a single request ends with it.
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
    pub(crate) fn source(&self) -> Option<IpAddr> {
        let sources = &self.wire.settings.source_ips;
        let next = self.next_source.get();
        self.next_source.set(next.wrapping_add(1));
        (!sources.is_empty()).then(|| sources[next % sources.len()])
    }

    /// Keeps a connection for the next request, if it can serve one.
    pub(crate) fn release(&self, number: usize, mut conn: Conn) {
        let ConnKind::Http1 {
            sender, connection, ..
        } = &conn.kind
        else {
            return;
        };
        let keeps = self.wire.settings.connect != ConnectPolicy::PerRequest;
        if keeps && connection.is_some() && sender.is_ready() {
            conn.reused = true;
            self.targets[number].idle.borrow_mut().push(conn);
        }
    }
}
