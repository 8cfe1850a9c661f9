//! HTTP/1.1 as far as a test server needs it: reading requests, framing answers.
//!
//! It is our own for the same reason as the [server](super).

use std::io;

use inferometer_os::clock;

use super::socket::Conn;
use crate::request::HttpRequest;

/// Most bytes of request line and headers together.
const MAX_HEAD: usize = 64 * 1024;
/// Most headers in a request.
const MAX_HEADERS: usize = 128;

/// Why no request could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The client closed, or the connection broke: no client is left to be answered.
    Gone,
    /// The request breaks the protocol or a limit; answer with this status and text, then close.
    Bad(u16, &'static str),
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

#[derive(Default)]
struct Head {
    length: usize,
    body: BodyLength,
    expects_continue: bool,
}

#[derive(Clone, Copy, Default)]
enum BodyLength {
    #[default]
    None,
    Known(usize),
    Chunked,
}

/// Reads one request; `buffer` keeps what came after it.
pub(crate) async fn read_request(
    conn: &Conn,
    buffer: &mut Vec<u8>,
    max_body: usize,
) -> Result<HttpRequest, ReadError> {
    let mut request = HttpRequest::default();
    let mut searched = 0;
    let mut last_read = clock::now();
    if buffer.is_empty() {
        read_more(conn, buffer).await?;
        last_read = clock::now();
    }
    request.first_byte = last_read;
    let end = loop {
        if let Some(end) = memchr::memmem::find(&buffer[searched..], b"\r\n\r\n") {
            break searched + end + 4;
        }
        if buffer.len() > MAX_HEAD {
            return Err(ReadError::Bad(431, "request headers are too long"));
        }
        searched = buffer.len().saturating_sub(3);
        read_more(conn, buffer).await?;
        last_read = clock::now();
    };
    let head = parse_head(&buffer[..end], &mut request)?;
    buffer.drain(..head.length);
    if head.expects_continue && buffer.is_empty() {
        conn.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        conn.flush().await?;
    }
    match head.body {
        BodyLength::None => {}
        BodyLength::Known(length) => {
            if length > max_body {
                return Err(ReadError::Bad(413, "request body is too large"));
            }
            buffer.reserve(length.saturating_sub(buffer.len()));
            while buffer.len() < length {
                read_more(conn, buffer).await?;
                last_read = clock::now();
            }
            let rest = buffer.split_off(length);
            request.body = std::mem::replace(buffer, rest);
        }
        BodyLength::Chunked => {
            let mut decoder = ChunkedBody::default();
            loop {
                let used = decoder.decode(buffer)?;
                buffer.drain(..used);
                if decoder.body.len() > max_body {
                    return Err(ReadError::Bad(413, "request body is too large"));
                }
                if decoder.done {
                    break;
                }
                read_more(conn, buffer).await?;
                last_read = clock::now();
            }
            request.body = decoder.body;
        }
    }
    request.complete = last_read;
    request.arrived_wall = conn.arrived();
    Ok(request)
}

async fn read_more(conn: &Conn, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
    if buffer.capacity() - buffer.len() < 4096 {
        buffer.reserve(8192);
    }
    if conn.read(buffer).await? == 0 {
        Err(ReadError::Gone)
    } else {
        Ok(())
    }
}

fn parse_head(bytes: &[u8], request: &mut HttpRequest) -> Result<Head, ReadError> {
    if bytes.starts_with(b"PRI * HTTP/2.0") {
        return Err(ReadError::Bad(
            505,
            "this server speaks HTTP/1.1 only; turn off HTTP/2",
        ));
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Err(ReadError::Bad(400, "incomplete request head"));
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Err(ReadError::Bad(431, "too many headers"));
        }
        Err(_) => return Err(ReadError::Bad(400, "malformed request head")),
    }
    let mut head = Head {
        length: bytes.len(),
        ..Head::default()
    };
    let target = parsed.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    request.method = parsed.method.unwrap_or_default().into();
    request.path = path.into();
    request.query = query.into();
    request.chunked_ok = parsed.version == Some(1);
    request.keep_alive = request.chunked_ok;
    for header in parsed.headers.iter() {
        let text = || String::from_utf8_lossy(header.value).trim().to_owned();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let length = text()
                    .parse()
                    .map_err(|_| ReadError::Bad(400, "content-length is not a number"))?;
                head.body = BodyLength::Known(length);
            }
            "transfer-encoding" if text().to_ascii_lowercase().ends_with("chunked") => {
                head.body = BodyLength::Chunked;
            }
            "transfer-encoding" => return Err(ReadError::Bad(501, "unknown transfer-encoding")),
            "expect" => head.expects_continue = text().eq_ignore_ascii_case("100-continue"),
            "connection" => {
                let value = text().to_ascii_lowercase();
                if value.contains("close") {
                    request.keep_alive = false;
                } else if value.contains("keep-alive") {
                    request.keep_alive = true;
                }
            }
            "x-request-id" => request.id = Some(text()),
            "x-api-key" => request.api_key = Some(text()),
            "authorization" => request.authorization = Some(text()),
            "content-type" => request.content_type = Some(text()),
            "x-sim-fault" => request.fault = Some(text()),
            "x-session-id" | "x-correlation-id" => request.conversation = Some(text()),
            _ => {}
        }
    }
    Ok(head)
}

/// Decodes a chunked body as its bytes arrive.
#[derive(Default)]
struct ChunkedBody {
    body: Vec<u8>,
    left: usize,
    in_chunk: bool,
    in_trailer: bool,
    done: bool,
}

impl ChunkedBody {
    /// Takes in what it can of `bytes` and returns how many bytes it has used.
    fn decode(&mut self, bytes: &[u8]) -> Result<usize, ReadError> {
        const BAD: ReadError = ReadError::Bad(400, "malformed chunked body");
        let mut at = 0;
        while !self.done {
            if self.in_chunk && self.left > 0 {
                let take = self.left.min(bytes.len() - at);
                self.body.extend_from_slice(&bytes[at..at + take]);
                self.left -= take;
                at += take;
                if self.left > 0 {
                    return Ok(at);
                }
            }
            let Some(line_end) = memchr::memchr(b'\n', &bytes[at..]) else {
                return if bytes.len() - at > 1024 {
                    Err(BAD)
                } else {
                    Ok(at)
                };
            };
            let line = bytes[at..at + line_end].trim_ascii();
            at += line_end + 1;
            if self.in_trailer {
                self.done = line.is_empty();
            } else if self.in_chunk {
                if !line.is_empty() {
                    return Err(BAD);
                }
                self.in_chunk = false;
            } else {
                let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
                let digits = std::str::from_utf8(digits).map_err(|_| BAD)?;
                self.left = usize::from_str_radix(digits.trim(), 16).map_err(|_| BAD)?;
                if self.left > usize::MAX / 2 {
                    return Err(BAD);
                }
                self.in_chunk = self.left > 0;
                self.in_trailer = self.left == 0;
            }
        }
        Ok(at)
    }
}

/// The reason phrase of a status.
pub(crate) fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}

/// A whole answer with a body of known length. `extra` holds further header lines, each ending in
/// CR LF.
pub(crate) fn plain_response(
    status: u16,
    content_type: &str,
    extra: &str,
    body: &[u8],
    keep_alive: bool,
) -> Vec<u8> {
    let connection = if keep_alive {
        ""
    } else {
        "connection: close\r\n"
    };
    let mut bytes = format!(
        "HTTP/1.1 {status} {}\r\nserver: inferometer-sim\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n{extra}{connection}\r\n",
        reason(status),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a streamed answer.
pub(crate) fn stream_head(
    content_type: &str,
    extra: &str,
    chunked: bool,
    keep_alive: bool,
) -> Vec<u8> {
    let framing = if chunked {
        "transfer-encoding: chunked\r\n"
    } else {
        ""
    };
    let connection = if keep_alive {
        ""
    } else {
        "connection: close\r\n"
    };
    format!(
        "HTTP/1.1 200 OK\r\nserver: inferometer-sim\r\ncontent-type: {content_type}\r\n\
         cache-control: no-cache\r\n{framing}{extra}{connection}\r\n"
    )
    .into_bytes()
}

/// Appends `part` as one HTTP chunk, or as it is where the answer is not chunked.
pub(crate) fn push_chunk(out: &mut Vec<u8>, part: &[u8], chunked: bool) {
    if part.is_empty() {
        return;
    }
    if !chunked {
        out.extend_from_slice(part);
        return;
    }
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0_u8; 16];
    let mut first = digits.len();
    let mut length = part.len();
    while length > 0 {
        first -= 1;
        digits[first] = HEX[length & 15];
        length >>= 4;
    }
    out.extend_from_slice(&digits[first..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_is_read_whatever_its_segments() {
        let wire = b"5;x=y\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nNEXT";
        for step in 1..wire.len() {
            let mut decoder = ChunkedBody::default();
            let mut buffer = Vec::new();
            for part in wire.chunks(step) {
                buffer.extend_from_slice(part);
                let used = decoder.decode(&buffer).unwrap();
                buffer.drain(..used);
            }
            assert!(decoder.done);
            assert_eq!(decoder.body, b"hello 0123456789");
            assert_eq!(buffer, b"NEXT", "segments of {step}");
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for wire in [
            &b"zz\r\n"[..],
            b"1\r\nab\r\n",
            b"ffffffffffffffffff\r\n",
            b"-1\r\n",
        ] {
            assert!(ChunkedBody::default().decode(wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn chunks_carry_their_length_in_hexadecimal() {
        let mut out = Vec::new();
        push_chunk(&mut out, &[b'x'; 26], true);
        assert!(out.starts_with(b"1a\r\nx") && out.ends_with(b"x\r\n"));
    }
}
