//! What faults make of the bytes of an answer.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::http::plain_response;
use super::ticket::Ending;
use crate::faults::FaultKind;

/// Size of the huge event: larger than any buffer that a client starts with.
const HUGE_BYTES: usize = 8 * 1024 * 1024;

/// The event that the error-in-stream fault sends.
pub(crate) const ERROR_EVENT: &[u8] =
    b"data: {\"error\":{\"message\":\"simulated fault: engine died\",\"type\":\"InternalServerError\",\
      \"param\":null,\"code\":500}}\n\n";

/// Appends `event` to `out` as the fault wants it. `middle` says that the moment of the faults of a
/// single event has come; returns true when such a fault was made.
pub(crate) fn event(fault: FaultKind, event: &[u8], middle: bool, out: &mut Vec<u8>) -> bool {
    match fault {
        FaultKind::Crlf => {
            for &byte in event {
                if byte == b'\n' {
                    out.push(b'\r');
                }
                out.push(byte);
            }
            return false;
        }
        FaultKind::Comments => {
            out.extend_from_slice(b": keep-alive\n\n:\n: ping\n");
            out.extend_from_slice(event);
            return false;
        }
        _ if !middle => {}
        FaultKind::MalformedSse => {
            // The data without its field name.
            out.extend_from_slice(event.strip_prefix(b"data: ").unwrap_or(event));
            return true;
        }
        FaultKind::MalformedJson => {
            out.extend_from_slice(b"data: {\"id\": oops, choices}\n\n");
            return true;
        }
        FaultKind::InvalidUtf8 => {
            // A byte that never occurs in UTF-8, and two that are no characters alone.
            let at = text_start(event);
            out.extend_from_slice(&event[..at]);
            out.extend_from_slice(&[0xff, 0x80, 0xfe]);
            out.extend_from_slice(&event[at..]);
            return true;
        }
        FaultKind::TruncatedJson => {
            out.extend_from_slice(&event[..event.len() / 2]);
            out.extend_from_slice(b"\n\n");
            return true;
        }
        FaultKind::HugeEvent => {
            let start = text_start(event);
            out.extend_from_slice(&event[..start]);
            out.resize(out.len() + HUGE_BYTES, b'x');
            out.extend_from_slice(&event[start..]);
            return true;
        }
        _ => {}
    }
    out.extend_from_slice(event);
    false
}

/// Where the token's text begins in an event: after a quote that is followed by a space.
fn text_start(event: &[u8]) -> usize {
    memchr::memmem::find(event, b"\" ").map_or(event.len().min(8), |quote| quote + 1)
}

/// An answer in one body as the fault wants it, and what becomes of the connection.
pub(crate) fn whole(fault: Option<FaultKind>, body: &[u8], keep_alive: bool) -> (Vec<u8>, Ending) {
    let whole = |body: &[u8]| plain_response(200, "application/json", "", body, keep_alive);
    let mut bytes = whole(body);
    let half = bytes.len() - body.len() / 2;
    match fault {
        Some(FaultKind::ResetMidStream) => {
            bytes.truncate(half);
            (bytes, Ending::Reset)
        }
        Some(FaultKind::HalfClose) => {
            bytes.truncate(half);
            (bytes, Ending::HalfClose)
        }
        Some(FaultKind::Stall) => {
            bytes.truncate(half);
            (bytes, Ending::Silence)
        }
        Some(FaultKind::MalformedJson | FaultKind::TruncatedJson) => {
            (whole(&body[..body.len() / 2]), Ending::Done)
        }
        Some(FaultKind::InvalidUtf8) => {
            let mut body = body.to_vec();
            let at = body.len() / 2;
            body[at] = 0xff;
            (whole(&body), Ending::Done)
        }
        Some(FaultKind::Gzip) => {
            let mut gzip = Gzip::new();
            let mut packed = body.to_vec();
            gzip.push(&mut packed);
            packed.extend_from_slice(&gzip.finish());
            let extra = "content-encoding: gzip\r\n";
            (
                plain_response(200, "application/json", extra, &packed, keep_alive),
                Ending::Done,
            )
        }
        Some(FaultKind::CloseAfterStream) => (bytes, Ending::Close),
        _ => (bytes, Ending::Done),
    }
}

/// Compresses the parts of an answer into one gzip stream.
pub(crate) struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    pub(crate) fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::default()))
    }

    /// Replaces `part` by its compressed bytes, which can be read without those to come.
    pub(crate) fn push(&mut self, part: &mut Vec<u8>) {
        self.0.write_all(part).expect(IN_MEMORY);
        self.0.flush().expect(IN_MEMORY);
        *part = std::mem::take(self.0.get_mut());
    }

    /// The last block and the trailer.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.finish().expect(IN_MEMORY)
    }
}

/// Why an encoder that writes to memory has no errors.
const IN_MEMORY: &str = "writing to memory cannot fail";

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn compressed_parts_are_one_stream() {
        let mut gzip = Gzip::new();
        let mut bytes = Vec::new();
        for text in ["data: one\n\n", "", "data: two\n\n"] {
            let mut part = text.as_bytes().to_vec();
            gzip.push(&mut part);
            bytes.extend_from_slice(&part);
        }
        bytes.extend_from_slice(&gzip.finish());
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "data: one\n\ndata: two\n\n");
    }

    const EVENT: &[u8] = b"data: {\"choices\":[{\"text\":\" a\"}]}\n\n";

    fn corrupted(fault: FaultKind) -> Vec<u8> {
        let mut out = Vec::new();
        event(fault, EVENT, true, &mut out);
        out
    }

    #[test]
    fn harmless_faults_keep_the_data_and_harmful_ones_do_not() {
        let json = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?;
            let data = text
                .lines()
                .find_map(|line| line.strip_prefix("data: "))?
                .to_owned();
            serde_json::from_str::<serde_json::Value>(&data).ok()
        };
        for fault in [FaultKind::Crlf, FaultKind::Comments] {
            assert_eq!(json(&corrupted(fault)), json(EVENT), "{fault}");
        }
        for fault in [
            FaultKind::MalformedSse,
            FaultKind::MalformedJson,
            FaultKind::InvalidUtf8,
            FaultKind::TruncatedJson,
        ] {
            assert_eq!(json(&corrupted(fault)), None, "{fault}");
        }
        let huge = corrupted(FaultKind::HugeEvent);
        assert!(huge.len() > HUGE_BYTES && json(&huge).is_some());
    }
}
