//! One worker's connections.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use inferometer_core::{Nanos, Outcome, Record};
use inferometer_os::clock;

use crate::broken::Broken;
use crate::error::WireError;
use crate::exchange;
use crate::fetch::{SideReply, SideRequest};
use crate::live::Live;
use crate::pool::{Pool, Wanted};
use crate::prepared::Prepared;
use crate::reply::Fault;
use crate::resend::Resends;
use crate::settings::{Balance, ConnectPolicy};
use crate::socket::Shared;
use crate::target::Scheme;
use crate::wire::Wire;

/// How long the list of models may take.
const MODELS: Nanos = Nanos::from_millis(5_000);

/// A worker's end of the wire: its connections and what they share. Stays on one thread.
///
/// Its futures need a tokio runtime with I/O and time, and with HTTP/2 a `LocalSet`.
#[derive(Debug)]
pub struct Client {
    pub(crate) wire: Arc<Wire>,
    live: Arc<Live>,
    worker: u16,
    shared: Rc<Shared>,
    pool: Pool,
    /// Requests in flight to each target.
    in_flight: Vec<Cell<usize>>,
    next_target: Cell<usize>,
}

/// Counts a request in its target's load as long as this value lives.
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
        let shared = Shared::new(wire.settings.kernel_stamps);
        // Workers begin at different targets, so that the first requests are spread as well.
        let first = usize::from(worker);
        Self {
            pool: Pool::new(wire, &live, &shared, first),
            in_flight: wire.targets.iter().map(|_| Cell::new(0)).collect(),
            next_target: Cell::new(first),
            wire: Arc::clone(wire),
            live,
            worker,
            shared,
        }
    }

    /// Steps of the wall clock seen while stamps were converted, and the largest.
    pub fn clock_steps(&self) -> (u32, Nanos) {
        self.shared.clock_steps()
    }

    /// Time spent spinning by requests that were ready before they were due.
    pub fn spun(&self) -> Nanos {
        self.shared.spun()
    }

    /// Shuts the gates of [`Client::exchange_at`], or opens them.
    ///
    /// An exchange that is polled while they are shut makes its request ready and stops just before
    /// the first byte, and is not woken: poll it again when they are open. This way several
    /// requests that are due together can all be made ready beforehand.
    pub fn shut_gates(&self, shut: bool) {
        self.shared.shut_gates(shut);
    }

    /// Opens `count` connections to each target, so that no request has to wait for them. Does
    /// nothing where every request has a connection of its own.
    ///
    /// # Errors
    ///
    /// A connection cannot be opened.
    pub async fn open_ahead(&self, count: usize) -> Result<(), WireError> {
        self.pool.open_ahead(count).await
    }

    /// Opens connections until each target has as many idle ones as its part of the next `requests`
    /// needs. Does nothing where requests share connections or each has its own.
    ///
    /// What cannot be opened is left to the request that needs it, whose record then says why.
    pub async fn open_missing(&self, requests: usize) {
        self.pool.open_missing(requests).await;
    }

    /// Sends `prepared`, and writes everything that results into `record`.
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
    /// the kernel's hands (a connection, headers, encoding, encryption) is done by then. The rest
    /// of the time is spent spinning on the thread that runs everything else of this client: it
    /// should be no more than a fraction of a millisecond.
    pub async fn exchange_at(&self, not_before: Nanos, prepared: &Prepared, record: &mut Record) {
        let _in_flight = self.live.enter();
        let number = self.choose(prepared);
        let _load = Load::new(&self.in_flight[number]);
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
        let mut resends = Resends::default();
        loop {
            let mut conn = self.pool.connection(number, wanted).await?;
            record.connection = conn.describe();
            let close = policy == ConnectPolicy::PerRequest;
            let run = exchange::Run {
                wire: &self.wire,
                live: &self.live,
                shared: &self.shared,
                target,
                prepared,
                not_before,
                close,
            };
            match run.execute(&mut conn, record).await {
                Ok(()) => {
                    self.pool.release(number, conn);
                    return Ok(());
                }
                // The server closed it before the request came. This is not a failure, but it is
                // counted, and the clock continues from the first attempt.
                Err(Broken::BeforeAnswer(_))
                    if conn.reused && resends.after_a_lost_connection() =>
                {
                    record.reconnects += 1;
                    wanted = Wanted::After(conn.id);
                }
                Err(Broken::BeforeAnswer(fault)) => return Err(fault),
                Err(Broken::Refused { fault, leaves }) => {
                    if leaves {
                        conn.leaves();
                    }
                    resends
                        .after_a_refusal(fault, leaves, record, &self.wire.settings.timeouts)
                        .await?;
                    if leaves && wanted != Wanted::Own {
                        wanted = Wanted::After(conn.id);
                    }
                }
                Err(Broken::Settled(fault)) => {
                    if fault.outcome == Outcome::HttpError {
                        self.pool.release(number, conn);
                    }
                    return Err(fault);
                }
            }
        }
    }

    /// Which target gets this request.
    fn choose(&self, prepared: &Prepared) -> usize {
        let count = self.in_flight.len();
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
                    .min_by_key(|&number| self.in_flight[number].get())
                    .unwrap_or(first)
            }
            _ => by_turns(),
        }
    }

    /// Asks the first target for `path` on a connection of its own: `/v1/models`, `/health`,
    /// `/metrics` …
    ///
    /// `body` is sent as JSON. The answer's status is the caller's to judge.
    ///
    /// # Errors
    ///
    /// No connection, no answer within the limits, or an answer that is not HTTP.
    pub async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<SideReply, WireError> {
        let limit = self.wire.settings.timeouts.side;
        self.side_request(0).send(method, path, body, limit).await
    }

    /// Asks the first target for its list of models, for which a server that works has 5 s.
    pub(crate) async fn models(&self) -> Result<SideReply, WireError> {
        let path = "/v1/models";
        let limit = self.wire.settings.timeouts.side.min(MODELS);
        let start = clock::now();
        let request = self.side_request(0);
        let reply = request.send(Method::GET, path, None, limit).await;
        if let Err(WireError::Side { .. }) = &reply
            && clock::now().since(start) >= limit
        {
            let name = format!("GET {}{path}", request.target.display);
            self.wire.pages.hung(name, limit);
        }
        reply
    }

    /// Asks target `number`, in the order of the base URLs, for a page that a server need not have
    /// (`/version`, `/metrics`, `/tokenize` …).
    ///
    /// Until a page has answered once it has 2 s. One that has not answered in time is not asked
    /// again: see `Wire::unanswered_pages`.
    ///
    /// # Errors
    ///
    /// As [`Client::fetch`], and where the page has not answered before.
    pub async fn page(
        &self,
        number: usize,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<SideReply, WireError> {
        let request = self.side_request(number);
        let name = format!("{method} {}{path}", request.target.display);
        let pages = &self.wire.pages;
        let Some(limit) = pages.limit(&name, self.wire.settings.timeouts.side) else {
            return Err(WireError::Side {
                method: method.to_string(),
                target: request.target.display.clone(),
                path: path.to_owned(),
                reason: "not asked again, because it did not answer before".to_owned(),
            });
        };
        let start = clock::now();
        let reply = request.send(method, path, body, limit).await;
        match &reply {
            Ok(_) => pages.answered(name),
            Err(WireError::Side { .. }) if clock::now().since(start) >= limit => {
                pages.hung(name, limit);
            }
            Err(_) => {}
        }
        reply
    }

    /// True when the first target, which was given as `http://`, completes a TLS handshake.
    pub(crate) async fn speaks_tls(&self) -> bool {
        let request = self.side_request(0);
        request.target.url.scheme == Scheme::Http && request.speaks_tls().await
    }

    fn side_request(&self, number: usize) -> SideRequest<'_> {
        SideRequest {
            wire: &self.wire,
            shared: &self.shared,
            target: &self.wire.targets[number],
            source: self.pool.source(),
        }
    }
}
