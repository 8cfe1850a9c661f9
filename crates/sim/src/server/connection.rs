//! One client connection, request after request.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inferometer_core::Nanos;
use inferometer_os::clock;
use tokio::net::TcpStream;

use super::http::{ReadError, plain_response, read_request, stream_head};
use super::pace::Pace;
use super::pause::pause;
use super::scheduler::Scheduler;
use super::socket::Conn;
use super::stream::Stream;
use super::ticket::Ending;
use crate::api::{self, AnswerPlan, Endpoint, Reply};
use crate::faults::{self, FaultKind};
use crate::request::HttpRequest;
use crate::shared::Shared;
use crate::text;
use crate::truth::{TruthOutcome, TruthRecord};

/// Bytes that a client may send ahead while its answer is being written; more wait in the kernel.
const READ_AHEAD: usize = 64 * 1024;
/// Bytes that are read and dropped before a connection is closed after a refusal: without a limit,
/// a client could keep it open for ever.
const DRAIN_LIMIT: usize = 64 * 1024 * 1024;

/// Serves a connection until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    scheduler: Rc<Scheduler>,
    socket: TcpStream,
    number: u64,
    accepted: Nanos,
) {
    let stamps = shared.settings.kernel_stamps;
    let Ok(conn) = Conn::new(socket, shared.tls.as_ref(), stamps) else {
        return;
    };
    let mut connection = Connection {
        shared,
        scheduler,
        conn: Rc::new(conn),
        buffer: Vec::new(),
        number,
        accepted,
        served: 0,
    };
    while connection.next().await {}
    connection.conn.send_close_notify();
}

struct Connection {
    shared: Arc<Shared>,
    scheduler: Rc<Scheduler>,
    conn: Rc<Conn>,
    buffer: Vec<u8>,
    number: u64,
    accepted: Nanos,
    served: u32,
}

impl Connection {
    /// Serves one request. False when the connection is to be closed.
    async fn next(&mut self) -> bool {
        let max_body = self.shared.settings.max_body_bytes;
        let request = match read_request(&self.conn, &mut self.buffer, max_body).await {
            Ok(request) => request,
            Err(ReadError::Gone) => return false,
            Err(ReadError::Bad(status, message)) => {
                let body = serde_json::json!({"detail": message}).to_string();
                let answer = plain_response(status, "application/json", "", body.as_bytes(), false);
                self.conn.write(&answer);
                self.drain().await;
                return false;
            }
        };
        self.served += 1;
        if let Some(endpoint) = api::endpoint(&request) {
            return self.generate(&request, endpoint).await;
        }
        let scheduler = &self.scheduler;
        let reply = api::route(&self.shared, &request, || scheduler.reset_prefix_cache());
        self.send(&reply, request.keep_alive);
        self.conn.flush().await.is_ok() && request.keep_alive
    }

    fn send(&self, reply: &Reply, keep_alive: bool) {
        let Reply {
            status,
            content_type,
            extra,
            body,
        } = reply;
        self.conn.write(&plain_response(
            *status,
            content_type,
            extra,
            body,
            keep_alive,
        ));
    }

    async fn generate(&mut self, request: &HttpRequest, endpoint: Endpoint) -> bool {
        let index = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        let mut record = TruthRecord {
            index,
            id: request.id.clone(),
            path: request.path.clone(),
            connection: self.number,
            on_connection: self.served - 1,
            accepted: self.accepted,
            first_byte: request.first_byte,
            body: request.complete,
            request_arrived: request
                .arrived_wall
                .and_then(|wall| self.scheduler.arrival(wall, request.complete)),
            ..TruthRecord::default()
        };
        let fault = self.fault_for(request, index);
        record.fault = fault.map(|fault| fault.name().into());
        match fault {
            Some(FaultKind::ResetBeforeHeaders) => {
                self.conn.reset_on_close();
                self.log(record, TruthOutcome::Done);
                return false;
            }
            Some(FaultKind::StallBeforeHeaders) => {
                self.log(record, TruthOutcome::Done);
                self.drain_until_gone().await;
                return false;
            }
            _ => {}
        }
        let unknown = request
            .fault
            .as_deref()
            .filter(|name| FaultKind::from_name(name).is_none());
        let refusal = unknown
            .map(api::unknown_fault)
            .or_else(|| fault.and_then(api::fault_reply));
        let planned = match refusal {
            Some(reply) => Err(reply),
            None => api::plan_answer(&self.shared, request, endpoint, index),
        };
        match planned {
            Ok(plan) => self.answer(request, Box::new(plan), fault, record).await,
            Err(reply) => {
                record.status = reply.status;
                // Logged first, so that a client that has the answer finds it in the log.
                self.log(record, TruthOutcome::Refused);
                self.send(&reply, request.keep_alive);
                self.conn.flush().await.is_ok() && request.keep_alive
            }
        }
    }

    /// The fault for this request: the one its header names, else one drawn by the fractions. The
    /// draw depends on the request id where there is one, so that a request sent again meets the same
    /// fault.
    fn fault_for(&self, request: &HttpRequest, index: u64) -> Option<FaultKind> {
        if let Some(name) = &request.fault {
            return FaultKind::from_name(name);
        }
        let settings = &self.shared.settings;
        if settings.faults.is_empty() {
            return None;
        }
        let key = request
            .id
            .as_ref()
            .map_or(index, |id| text::hash(id.as_bytes()));
        // 53 bits make every double between 0 and 1 that the fractions can tell apart.
        let unit = (text::mix(settings.seed ^ text::mix(key)) >> 11) as f64 / (1_u64 << 53) as f64;
        faults::select(&settings.faults, unit)
    }

    async fn answer(
        &mut self,
        request: &HttpRequest,
        mut plan: Box<AnswerPlan>,
        fault: Option<FaultKind>,
        mut record: TruthRecord,
    ) -> bool {
        let settings = &self.shared.settings;
        if fault == Some(FaultKind::WrongContentType) {
            plan.stream = false;
        }
        record.status = 200;
        record.streamed = plan.stream;
        record.admitted = Some(clock::now());
        record.prompt_tokens = plan.prompt_tokens;
        record.sequences = plan.sequences();
        if settings.engine.is_none() {
            record.first_schedule = record.admitted;
            self.shared.metrics.queue.add(Nanos::ZERO);
        }
        self.shared
            .metrics
            .prompt_tokens
            .fetch_add(u64::from(plan.prompt_tokens), Ordering::Relaxed);
        let pace = self.pace(&record);
        if plan.stream && !self.send_head(request, &plan, fault).await {
            self.log(record, TruthOutcome::ClientGone);
            return false;
        }
        let tokens_per_event = settings.tokens_per_event;
        let flood = settings.flood.is_some();
        let mut stream = Stream::new(Rc::clone(&self.conn), plan, fault, record, pace);
        stream.chunked = request.chunked_ok;
        stream.keep_alive = request.keep_alive;
        if !stream.plan.stream && !flood {
            stream.skip_to_end(tokens_per_event);
        }
        let delimited = request.chunked_ok || !stream.plan.stream;
        let Some(ending) = self.follow(stream).await else {
            return false;
        };
        self.finish(ending, request.keep_alive && delimited).await
    }

    /// Does what comes after the last write. False when the connection is to be closed.
    async fn finish(&mut self, ending: Ending, keep: bool) -> bool {
        match ending {
            Ending::Done => self.conn.flush().await.is_ok() && keep,
            Ending::Close => {
                let _ = self.conn.flush().await;
                false
            }
            Ending::Reset => {
                self.conn.reset_on_close();
                false
            }
            Ending::HalfClose => {
                if self.conn.flush().await.is_ok() {
                    self.conn.close_sending();
                    self.drain_until_gone().await;
                }
                false
            }
            Ending::Silence => {
                self.drain_until_gone().await;
                false
            }
        }
    }

    /// When the tokens are due by the delays of the settings.
    fn pace(&self, record: &TruthRecord) -> Pace {
        let settings = &self.shared.settings;
        let drawn = settings.ttft.0.fixed().is_none() || settings.itl.0.fixed().is_none();
        let mut rng = drawn.then(|| Box::new(self.shared.stream("sim delays", record.index)));
        let ttft = match &mut rng {
            Some(rng) => settings.ttft.sample(rng),
            None => Nanos::from_secs_f64(settings.ttft.0.mean() / 1e3),
        };
        let due = if settings.flood.is_some() {
            record.body
        } else {
            record.body + ttft
        };
        Pace {
            due,
            itl: settings.itl,
            rng,
        }
    }

    async fn send_head(
        &self,
        request: &HttpRequest,
        plan: &AnswerPlan,
        fault: Option<FaultKind>,
    ) -> bool {
        let extra = if fault == Some(FaultKind::Gzip) {
            "content-encoding: gzip\r\n"
        } else {
            ""
        };
        let head = stream_head(
            plan.format.content_type(),
            extra,
            request.chunked_ok,
            request.keep_alive && request.chunked_ok,
        );
        if fault == Some(FaultKind::SlowHeaders) {
            for byte in &head {
                self.conn.write(std::slice::from_ref(byte));
                pause(Nanos::from_millis(2)).await;
                if self.conn.has_failed() {
                    return false;
                }
            }
        } else {
            self.conn.write(&head);
        }
        !self.conn.has_failed()
    }

    /// Lets the scheduler write the stream while this task listens to the client. `None` if it went
    /// away.
    async fn follow(&mut self, stream: Stream) -> Option<Ending> {
        let ticket = self.scheduler.insert(stream);
        loop {
            let conn = &self.conn;
            tokio::select! {
                biased;
                ending = ticket.ended() => return Some(ending),
                flushed = async { conn.until_blocked().await; conn.flush().await } => match flushed {
                    Ok(()) => self.scheduler.resume(&ticket),
                    Err(_) => break,
                },
                read = conn.read(&mut self.buffer), if self.buffer.len() < READ_AHEAD => {
                    if !matches!(read, Ok(1..)) {
                        break;
                    }
                }
            }
        }
        self.scheduler.cancel(&ticket);
        None
    }

    fn log(&self, mut record: TruthRecord, outcome: TruthOutcome) {
        record.outcome = outcome;
        record.end.get_or_insert_with(clock::now);
        self.shared.truth.push(record);
    }

    /// Sends what is left and reads for a moment what the client still sends: closing with unread
    /// bytes would reset the connection and could take the answer away from the client.
    async fn drain(&mut self) {
        if self.conn.flush().await.is_err() {
            return;
        }
        self.conn.close_sending();
        tokio::select! {
            () = self.drain_until_gone() => {}
            () = pause(Nanos::from_millis(1_000)) => {}
        }
    }

    async fn drain_until_gone(&mut self) {
        let mut total = 0;
        while total < DRAIN_LIMIT {
            self.buffer.clear();
            match self.conn.read(&mut self.buffer).await {
                Ok(read @ 1..) => total += read,
                _ => return,
            }
        }
    }
}
