//! What faults make of the bytes of an answer.

use super::http::plain_response;
use super::stream::Ending;
use crate::faults::FaultKind;

/// Size of the huge event.
const HUGE: usize = 8 * 1024 * 1024;

/// The event that the error-in-stream fault sends.
pub(crate) const ERROR_EVENT: &[u8] =
    b"data: {\"error\":{\"message\":\"simulated fault: engine died\",\"type\":\"InternalServerError\",\
      \"param\":null,\"code\":500}}\n\n";

/// Appends `event` to `out` as the fault wants it. `middle` says that the moment of the
/// single-event faults has come; true is returned when such a fault was used up.
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
            // A byte that never occurs in UTF-8, and two that cannot stand alone.
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
            out.resize(out.len() + HUGE, b'x');
            out.extend_from_slice(&event[start..]);
            return true;
        }
        _ => {}
    }
    out.extend_from_slice(event);
    false
}

/// Where the token's text begins in an event: after a quote that stands before a space.
fn text_start(event: &[u8]) -> usize {
    memchr::memmem::find(event, b"\" ").map_or(event.len().min(8), |quote| quote + 1)
}

/// An answer in one piece as the fault wants it, and how the connection goes on.
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
            let mut gzip = Gzip::default();
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

/// A gzip stream of stored (uncompressed) blocks: RFC 1951 and 1952 without any compressor.
#[derive(Default)]
pub(crate) struct Gzip {
    started: bool,
    crc: Crc,
    size: u32,
}

impl Gzip {
    /// Replaces `part` by its blocks.
    pub(crate) fn push(&mut self, part: &mut Vec<u8>) {
        let plain = std::mem::take(part);
        if !std::mem::replace(&mut self.started, true) {
            part.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        }
        self.crc.update(&plain);
        self.size = self.size.wrapping_add(plain.len() as u32);
        for block in plain.chunks(0xffff) {
            part.push(0);
            part.extend_from_slice(&(block.len() as u16).to_le_bytes());
            part.extend_from_slice(&(!(block.len() as u16)).to_le_bytes());
            part.extend_from_slice(block);
        }
    }

    /// The last block and the trailer.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut end = vec![1, 0, 0, 0xff, 0xff];
        end.extend_from_slice(&self.crc.value().to_le_bytes());
        end.extend_from_slice(&self.size.to_le_bytes());
        end
    }
}

/// CRC-32 as gzip wants it, bit by bit: it serves a rare fault.
struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 ^= u32::from(byte);
            for _ in 0..8 {
                self.0 = (self.0 >> 1) ^ (0xedb8_8320 & (self.0 & 1).wrapping_neg());
            }
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_gzips() {
        let mut crc = Crc::default();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0xcbf4_3926);
    }

    const EVENT: &[u8] = b"data: {\"choices\":[{\"text\":\" a\"}]}\n\n";

    fn bent(fault: FaultKind) -> Vec<u8> {
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
            assert_eq!(json(&bent(fault)), json(EVENT), "{fault}");
        }
        for fault in [
            FaultKind::MalformedSse,
            FaultKind::MalformedJson,
            FaultKind::InvalidUtf8,
            FaultKind::TruncatedJson,
        ] {
            assert_eq!(json(&bent(fault)), None, "{fault}");
        }
        let huge = bent(FaultKind::HugeEvent);
        assert!(huge.len() > HUGE && json(&huge).is_some());
    }
}
