//! One exchange: a request on a connection, and its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use inferometer_core::{Nanos, Outcome, Record};
use inferometer_os::clock;

use crate::answer::{Answer, Before, Driver, Stream};
use crate::broken::Broken;
use crate::budget;
use crate::connection::{Conn, ConnKind};
use crate::deadline::{self, Deadline};
use crate::judge::content_type;
use crate::live::Live;
use crate::outgoing::Outgoing;
use crate::prepared::Prepared;
use crate::progress::Progress;
use crate::reply::{ERROR_LENGTH, Fault, KeepText, Sink, printable};
use crate::socket::Shared;
use crate::target::Target;
use crate::unknown_fields;
use crate::wire::Wire;

/// Token events for which memory is reserved before the first one comes: 64 KiB per request.
const RESERVE: u32 = 4_096;

/// True for a content coding that changes the bytes (RFC 9110, section 8.4.1, RFC 8878, RFC 7932). Some
/// servers send `none`, `utf-8` or nothing as the value, and mean no coding.
fn is_compressed(encoding: &HeaderValue) -> bool {
    const CODINGS: [&str; 8] = [
        "gzip",
        "x-gzip",
        "deflate",
        "compress",
        "x-compress",
        "br",
        "zstd",
        "dcb",
    ];
    let value = String::from_utf8_lossy(encoding.as_bytes());
    value.split(',').any(|name| {
        CODINGS
            .iter()
            .any(|coding| name.trim().eq_ignore_ascii_case(coding))
    })
}

/// An exchange on one connection.
pub(crate) struct Run<'a> {
    pub(crate) wire: &'a Wire,
    pub(crate) live: &'a Live,
    pub(crate) shared: &'a Shared,
    pub(crate) target: &'a Target,
    pub(crate) prepared: &'a Prepared,
    /// The first byte leaves at this instant at the earliest.
    pub(crate) not_before: Nanos,
    /// Ask the server to close the connection afterwards.
    pub(crate) close: bool,
}

/// True for a status that an answer may come with; 204 and 205 mean that there is none.
fn is_good(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::NO_CONTENT && status != StatusCode::RESET_CONTENT
}

/// Writes the end of an exchange into its record.
pub(crate) fn conclude(result: Result<(), Fault>, keep: KeepText, record: &mut Record) {
    record.end.get_or_insert_with(clock::now);
    match result {
        Ok(()) => record.outcome = Outcome::Ok,
        Err(fault) => {
            record.outcome = fault.outcome;
            record.error = Some(fault.message);
            if record.text.len() + record.other_text.len() > budget::FREE {
                // No number needs the text of a failed answer.
                record.text = String::new();
                record.other_text = String::new();
            }
        }
    }
    if record.has_impossible_output() {
        // The counts of single events come from the same source.
        record.events.iter_mut().for_each(|event| event.tokens = 0);
    }
    if !keeps_text(keep, record) {
        record.text = String::new();
        record.other_text = String::new();
    }
}

/// Whether the text of an answer that has ended is still needed.
fn keeps_text(keep: KeepText, record: &Record) -> bool {
    keep != KeepText::UntilUsage || record.reported_output_tokens().is_none()
}

impl Run<'_> {
    /// Sends the request and reads the answer to its end.
    pub(crate) async fn execute(&self, conn: &mut Conn, record: &mut Record) -> Result<(), Broken> {
        let timeouts = self.wire.settings.timeouts;
        let before = Before {
            sent: record.bytes_sent,
            received: record.bytes_received,
        };
        let probe = Rc::clone(&conn.probe);
        let body = self.prepared.body.bytes().map_err(|error| {
            let message = format!("cannot read the request's body from its file: {error}");
            Fault::new(Outcome::ConnectError, message)
        })?;
        let mut request = self
            .wire
            .request(self.prepared, body.clone(), self.target, self.close);
        let timer = pin!(deadline::timer());
        if matches!(conn.kind, ConnKind::Http1 { .. }) {
            probe.begin(self.not_before);
            let counter = probe.informational_counter();
            hyper::ext::on_informational(&mut request, move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
        } else {
            // Streams share the socket, so that its marks belong to no single one of them.
            poll_fn(|_| self.shared.poll_gate(self.not_before)).await;
            record.send_start.get_or_insert_with(clock::now);
        }
        let begun = record.send_start.unwrap_or_else(clock::now);
        let deadline = Deadline::new(timeouts, self.prepared.cancel_after, timer, begun);
        let answer = |driver| Answer {
            probe: &probe,
            before,
            deadline,
            driver,
            record,
            taken: None,
            has_head: false,
            memory: self.wire.budget.part(),
        };
        match &mut conn.kind {
            ConnKind::Http1 {
                sender, connection, ..
            } => {
                let head = sender.send_request(request);
                let driver = Driver::Own(connection);
                self.read(answer(driver), pin!(head)).await
            }
            ConnKind::Http2 { sender, .. } => {
                let (body, sending) = Outgoing::new(body, Rc::clone(&probe));
                let head = sender.send_request(request.map(|_| body));
                let driver = Driver::Task(sending);
                self.read(answer(driver), pin!(head)).await
            }
        }
    }

    async fn read(
        &self,
        mut answer: Answer<'_>,
        head: Pin<&mut impl Future<Output = hyper::Result<Response<Incoming>>>>,
    ) -> Result<(), Broken> {
        let (head, body) = answer.head(head).await?.into_parts();
        let at = answer.stamp().at;
        let first = if answer.is_shared() {
            None
        } else {
            answer.probe.first.get()
        };
        answer.record.marks.headers = Some(at);
        answer.record.marks.first_byte = Some(first.map_or(at, |first| first.at));
        answer.record.status = Some(head.status.as_u16());
        let mut body = pin!(body);
        let result = if is_good(head.status) {
            self.read_good(&mut answer, &head.headers, body.as_mut())
                .await
        } else {
            let message = answer
                .read_error(head.status, &head.headers, body.as_mut())
                .await;
            Err(self.refusal(head.status, message))
        };
        answer.settle();
        let keep = self.wire.settings.keep_text;
        if result.is_ok() && keeps_text(keep, answer.record) {
            answer.keep_memory();
        }
        answer.record.end = Some(if result.is_ok() {
            answer.stamp().at
        } else {
            clock::now()
        });
        result.map_err(Broken::Settled)
    }

    /// The fault for a status of failure, with a remedy where there is one.
    fn refusal(&self, status: StatusCode, mut message: String) -> Fault {
        let remedy =
            unknown_fields::remedy(status.as_u16(), &message, || self.prepared.body().ok());
        if !remedy.is_empty() {
            // The remedy must survive the cut of a long body.
            message = printable(&message);
            while message.len() + remedy.len() > ERROR_LENGTH && message.pop().is_some() {}
            message.push_str(&remedy);
        }
        Fault::new(Outcome::HttpError, message)
    }

    async fn read_good(
        &self,
        answer: &mut Answer<'_>,
        headers: &HeaderMap,
        body: Pin<&mut Incoming>,
    ) -> Result<(), Fault> {
        let wire = self.wire;
        if let Some(encoding) = headers.get(CONTENT_ENCODING)
            && is_compressed(encoding)
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            let message =
                format!("unexpected compression ({encoding}): the request did not ask for it");
            return Err(Fault::new(Outcome::WrongContentType, message));
        }
        let mut reader = wire.settings.backend.reader();
        let mut progress = Progress::new(wire.settings.keep_text, wire.settings.counting);
        progress.results = self.prepared.known.results;
        let stamp = answer.stamp();
        reader.headers(headers, &mut Sink::new(answer.record, &mut progress, stamp))?;
        if !wire.streams() {
            return answer
                .read_whole(
                    headers,
                    body,
                    reader.as_mut(),
                    &mut progress,
                    wire.settings.limits.body,
                )
                .await;
        }
        let kind = content_type(headers);
        let limits = wire.settings.limits;
        if let Some(asked) = answer.record.asked_output_tokens {
            answer
                .record
                .events
                .reserve_exact(asked.min(RESERVE) as usize);
        }
        answer
            .read_stream(
                Stream {
                    live: self.live,
                    kind: &kind,
                    limits,
                },
                body,
                reader.as_mut(),
                &mut progress,
            )
            .await
    }
}
