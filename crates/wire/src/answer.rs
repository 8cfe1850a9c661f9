//! The answer of one exchange, read part by part into its record.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use inferometer_core::{Nanos, Outcome, Record, redact_url};
use inferometer_os::clock;

use crate::broken::{Broken, end_of_stream};
use crate::budget::Part;
use crate::connection::{OwnConnection, turn};
use crate::deadline::{Activity, Deadline, Expired, INFORMATIONAL};
use crate::json::is_error_value;
use crate::judge::{
    broken_body, chain, conclusion, content_type, may_be_event_stream, whole_conclusion,
};
use crate::live::Live;
use crate::probe::{Probe, Sending, Stamp};
use crate::progress::Progress;
use crate::reply::{Fault, ReplyReader, Sink, deliver, deliver_body, error_message};
use crate::settings::Limits;
use crate::sse::{Framer, looks_like_events};

/// Bytes of an error body that are read: far more than the 2 KiB that are kept. If there is more,
/// the connection cannot be used again.
const ERROR_BODY: usize = 64 << 10;
/// Bytes counted by earlier attempts of the same request.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Who polls the connection while the exchange waits for its answer.
pub(crate) enum Driver<'a> {
    /// The exchange: an HTTP/1.1 connection belongs to one, which saves a task switch per event.
    Own(&'a mut Option<OwnConnection>),
    /// A task of its own, for the streams of an HTTP/2 connection.
    Task(Rc<Sending>),
}

impl Driver<'_> {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Self::Own(connection) = self {
            turn(connection, context);
        }
    }
}

/// What a streamed answer is read with.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub(crate) live: &'a Live,
    /// Its content type.
    pub(crate) kind: &'a str,
    pub(crate) limits: Limits,
}

/// An answer on its way, and the record that it fills.
pub(crate) struct Answer<'a> {
    pub(crate) probe: &'a Probe,
    pub(crate) before: Before,
    pub(crate) deadline: Deadline<'a>,
    pub(crate) driver: Driver<'a>,
    pub(crate) record: &'a mut Record,
    /// When the last part of the answer was taken, for a shared socket, which cannot know it.
    pub(crate) taken: Option<Nanos>,
    /// Status and headers are complete.
    pub(crate) has_head: bool,
    /// Its part of the memory for answers.
    pub(crate) memory: Part<'a>,
}

impl Answer<'_> {
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.driver, Driver::Task(_))
    }

    /// The stamp of the current part: that of the last read, because nothing is read ahead. A
    /// connection that streams share reads again only after they have had their turns: see
    /// [`Probe::share`].
    pub(crate) fn stamp(&self) -> Stamp {
        self.probe.last.get()
    }

    /// How far the exchange has come.
    fn activity(&self) -> Activity {
        let probe = self.probe;
        if let Driver::Task(sending) = &self.driver {
            let sent = sending.end.get();
            return Activity {
                sent,
                read: self.taken,
                flushed: sent.is_some(),
                has_head: self.has_head,
            };
        }
        // Informational answers are not the answer, which has not begun.
        let begun = probe.first.get().is_some() && (self.has_head || probe.informational() == 0);
        let read = begun.then(|| probe.last.get().user);
        Activity {
            sent: probe.write_end.get(),
            read,
            flushed: probe.flushed.get(),
            has_head: self.has_head,
        }
    }

    /// Copies what the socket has recorded into the record, which must hold it even if the exchange
    /// is dropped now.
    fn sync(&mut self) {
        if let Driver::Task(sending) = &self.driver {
            self.record.send_end = sending.end.get().or(self.record.send_end);
            self.record.bytes_sent = self.before.sent + sending.taken.get();
            return;
        }
        if self.record.send_start.is_none() {
            self.record.send_start = self.probe.write_start.get();
        }
        if let Some(end) = self.probe.write_end.get() {
            self.record.send_end = Some(end);
        }
        self.record.bytes_sent = self.before.sent + self.probe.bytes_out.get();
        self.record.bytes_received = self.before.received + self.probe.bytes_in.get();
    }

    /// Waits for status and headers.
    pub(crate) async fn head(
        &mut self,
        mut head: Pin<&mut impl Future<Output = hyper::Result<Response<Incoming>>>>,
    ) -> Result<Response<Incoming>, Broken> {
        let result = poll_fn(|context| {
            self.driver.poll(context);
            self.sync();
            if let Poll::Ready(result) = head.as_mut().poll(context) {
                return Poll::Ready(Ok(result));
            }
            if self.probe.informational() > INFORMATIONAL {
                return Poll::Ready(Err(Expired::Informational));
            }
            self.deadline.poll(context, self.activity()).map(Err)
        })
        .await;
        self.has_head = true;
        if self.is_shared() {
            self.sync();
            self.taken = result.is_ok().then(clock::now);
        }
        match result {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.no_head(&error)),
            Err(expired) => Err(Broken::Settled(self.timeout_fault(expired))),
        }
    }

    /// The fault for an answer without status and headers.
    fn no_head(&self, error: &hyper::Error) -> Broken {
        // For a stream among others, only its headers show that something came. If the server has
        // reset this very stream, it knows of it, and another connection is no remedy.
        let nothing = if self.is_shared() {
            !error.is_parse()
        } else {
            self.probe.first.get().is_none()
        };
        if self.is_shared()
            && let Some(broken) = end_of_stream(error)
        {
            return broken;
        }
        // A request that the connection had not accepted when it ended has no answer either.
        let nothing = nothing || error.is_canceled();
        if nothing {
            let message = format!(
                "the connection was lost before any byte of the answer: {}",
                chain(error)
            );
            return Broken::BeforeAnswer(Fault::new(Outcome::ConnectError, message));
        }
        let parse = error.is_parse() || error.is_parse_too_large();
        let (outcome, what) = if parse {
            (Outcome::Malformed, "invalid HTTP in the answer")
        } else {
            (
                Outcome::Truncated,
                "the connection ended before the answer's headers were complete",
            )
        };
        Broken::Settled(Fault::new(outcome, format!("{what}: {}", chain(error))))
    }

    /// The fault for an expired limit.
    fn timeout_fault(&self, expired: Expired) -> Fault {
        expired.fault(self.deadline.timeouts(), self.probe.informational())
    }

    /// The next part of the body, `None` at its clean end.
    async fn next(&mut self, mut body: Pin<&mut Incoming>) -> Result<Option<Bytes>, Stop> {
        loop {
            let frame = poll_fn(|context| {
                // What is there already comes first. The connection gives one part at a time and
                // does not read on until it is taken, so that the stamp of the last read belongs to
                // this part.
                if let Poll::Ready(frame) = body.as_mut().poll_frame(context) {
                    return Poll::Ready(Ok(frame));
                }
                self.driver.poll(context);
                if let Poll::Ready(frame) = body.as_mut().poll_frame(context) {
                    return Poll::Ready(Ok(frame));
                }
                self.deadline.poll(context, self.activity()).map(Err)
            })
            .await;
            self.sync();
            match frame {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    if self.is_shared() {
                        self.taken = Some(clock::now());
                    }
                    // Trailers are ignored.
                    if let Ok(data) = frame.into_data() {
                        if self.is_shared() {
                            // Content only: headers are compressed against those of other streams.
                            self.before.received += data.len() as u64;
                            self.record.bytes_received = self.before.received;
                        }
                        return Ok(Some(data));
                    }
                }
                Ok(Some(Err(error))) => return Err(Stop::Broken(broken_body(&error))),
                Err(Expired::AfterDone) => return Err(Stop::AfterDone),
                Err(expired) => return Err(Stop::Broken(self.timeout_fault(expired))),
            }
        }
    }

    pub(crate) async fn read_stream(
        &mut self,
        stream: Stream<'_>,
        mut body: Pin<&mut Incoming>,
        reader: &mut dyn ReplyReader,
        progress: &mut Progress,
    ) -> Result<(), Fault> {
        let limits = stream.limits;
        let mut framer = Framer::new(limits.event);
        let mut received = 0_u64;
        let trusted = may_be_event_stream(stream.kind);
        let mut begun = false;
        loop {
            let data = match self.next(body.as_mut()).await {
                Ok(Some(data)) => data,
                Ok(None) => break,
                // The answer is complete; only the connection has failed.
                Err(_) if progress.done => return conclusion(self.record, progress, reader),
                Err(stop) => return Err(stop.fault()),
            };
            if !begun && let Some(first) = data.trim_ascii_start().first() {
                begun = true;
                // No field begins with a brace: some servers send their errors as plain JSON.
                let is_stream = looks_like_events(&data) || trusted && *first != b'{';
                if !is_stream {
                    return Err(self.not_a_stream(stream.kind, &data, body).await);
                }
            }
            received += data.len() as u64;
            if received > limits.stream {
                let message = format!("answer larger than the limit of {} bytes", limits.stream);
                return Err(Fault::malformed(message));
            }
            let stamp = self.stamp();
            let events_before = self.record.events.len();
            let record = &mut *self.record;
            let pushed = framer.push(&data, |event| {
                deliver(event, reader, record, progress, stamp, limits.events)
            });
            self.record.unseparated_events = framer.unseparated();
            match pushed {
                Err(_) if progress.done => return conclusion(self.record, progress, reader),
                other => other?,
            }
            let text = self.record.text.len() + self.record.other_text.len();
            if text > limits.text {
                let message = format!("answer text longer than the limit of {} bytes", limits.text);
                return Err(Fault::malformed(message));
            }
            let events = size_of_val(self.record.events.as_slice());
            self.hold(framer.buffered() + text + events)?;
            let live = stream.live;
            live.count_events((self.record.events.len() - events_before) as u64);
            if progress.done {
                self.deadline.done(self.activity());
            }
        }
        if !trusted && !begun {
            return Err(self.not_a_stream(stream.kind, b"", body).await);
        }
        self.finish_stream(framer, reader, progress, limits)
    }

    /// Delivers what the end of the body leaves in the framer, and judges the whole stream.
    fn finish_stream(
        &mut self,
        mut framer: Framer,
        reader: &mut dyn ReplyReader,
        progress: &mut Progress,
        limits: Limits,
    ) -> Result<(), Fault> {
        let stamp = self.stamp();
        let open = framer.is_inside_event();
        let record = &mut *self.record;
        let rest =
            framer.finish(|event| deliver(event, reader, record, progress, stamp, limits.events));
        match rest {
            // What follows the end marker is not part of the answer.
            Err(_) if progress.done => {}
            Err(fault) if open && fault.outcome == Outcome::Malformed => {
                let message = format!(
                    "the stream ended in the middle of an event: {}",
                    fault.message
                );
                return Err(Fault::new(Outcome::Truncated, message));
            }
            other => other?,
        }
        conclusion(self.record, progress, reader)
    }

    pub(crate) async fn read_whole(
        &mut self,
        headers: &HeaderMap,
        body: Pin<&mut Incoming>,
        reader: &mut dyn ReplyReader,
        progress: &mut Progress,
        limit: usize,
    ) -> Result<(), Fault> {
        if content_type(headers).starts_with("text/event-stream") {
            let message = "unexpected event stream: the request asked for a plain answer";
            return Err(Fault::new(Outcome::WrongContentType, message));
        }
        let bytes = match self.collect(body, limit).await {
            Ok((bytes, true)) => bytes,
            Ok((_, false)) => {
                return Err(Fault::malformed(format!(
                    "answer larger than the limit of {limit} bytes"
                )));
            }
            Err(stop) => return Err(stop.fault()),
        };
        let stamp = self.stamp();
        deliver_body(&bytes, reader, &mut Sink::new(self.record, progress, stamp))?;
        whole_conclusion(self.record, progress)
    }

    /// Up to `limit` bytes of the body, and whether that was all.
    async fn collect(
        &mut self,
        mut body: Pin<&mut Incoming>,
        limit: usize,
    ) -> Result<(Vec<u8>, bool), Stop> {
        let mut bytes = Vec::new();
        while let Some(data) = self.next(body.as_mut()).await? {
            let room = limit - bytes.len();
            self.hold(bytes.len() + data.len().min(room))
                .map_err(Stop::Broken)?;
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((bytes, false));
            }
        }
        Ok((bytes, true))
    }

    /// Describes an answer with a status of failure, with the start of the body.
    pub(crate) async fn read_error(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Pin<&mut Incoming>,
    ) -> String {
        let reason = status.canonical_reason().unwrap_or_default();
        let mut message = format!("HTTP {} {reason}", status.as_u16());
        let header = |name| {
            headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
        };
        if status.is_redirection()
            && let Some(location) = header(LOCATION)
        {
            let remedy =
                "redirects are not followed; give the final address with --base-url and --endpoint";
            // The query of a signed address is a key to it.
            message.extend([" to ", &redact_url(&location), ": ", remedy]);
        }
        if let Some(after) = header(RETRY_AFTER) {
            message.extend([" (Retry-After: ", &after, ")"]);
        }
        if let Ok((bytes, _)) = self.collect(body, ERROR_BODY).await
            && !bytes.is_empty()
        {
            message.extend([": ", String::from_utf8_lossy(&bytes).trim()]);
        }
        message
    }

    /// The fault for a good answer that is not an event stream, of which `start` has been read.
    async fn not_a_stream(&mut self, kind: &str, start: &[u8], body: Pin<&mut Incoming>) -> Fault {
        let mut bytes = start.to_vec();
        let room = ERROR_BODY.saturating_sub(bytes.len());
        if let Ok((rest, _)) = self.collect(body, room).await {
            bytes.extend_from_slice(&rest);
        }
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes)
            && value.get("error").is_some_and(is_error_value)
        {
            return Fault::new(Outcome::StreamError, error_message(&value));
        }
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(500)]).into_owned();
        if may_be_event_stream(kind) {
            return Fault::malformed(format!("the body is not an event stream: {start}"));
        }
        let message = format!(
            "invalid content type {kind}: expected an event stream (see --no-streaming): {start}"
        );
        Fault::new(Outcome::WrongContentType, message)
    }

    /// Makes room for `bytes` of this answer in the memory that all answers share.
    fn hold(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.memory.grow_to(bytes) {
            return Ok(());
        }
        Err(Fault::malformed(format!(
            "answer of {bytes} bytes, while the answers of this run together hold the limit of {} bytes",
            self.memory.limit()
        )))
    }

    /// Leaves in the budget what the record keeps.
    pub(crate) fn keep_memory(&mut self) {
        let record = &self.record;
        self.memory
            .keep(record.text.len() + record.other_text.len());
    }

    /// Polls the connection once after the end of the answer, so that it can be used again.
    pub(crate) fn settle(&mut self) {
        self.driver.poll(&mut Context::from_waker(Waker::noop()));
        self.sync();
    }
}

/// Why there is no further part of a body.
enum Stop {
    Broken(Fault),
    /// The end marker came, but not the end of the body.
    AfterDone,
}

impl Stop {
    fn fault(self) -> Fault {
        match self {
            Self::Broken(fault) => fault,
            Self::AfterDone => Fault::new(
                Outcome::Timeout,
                "the body did not end after the end marker",
            ),
        }
    }
}
