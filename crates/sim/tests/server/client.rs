//! A small strict HTTP and SSE client, written apart from the server so that both cannot be wrong
//! alike.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use inferometer_core::{Nanos, Outcome};
use inferometer_os::clock;
use serde_json::Value;

/// An answer as it came.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How the exchange ended before the answer was complete, if it did.
    pub(crate) broken: Option<ErrorKind>,
    /// When each part of the body had been read.
    pub(crate) reads: Vec<(usize, Nanos)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// One connection.
pub(crate) struct Client<S: Read + Write = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn patience(self, timeout: Duration) -> Self {
        self.stream.set_read_timeout(Some(timeout)).unwrap();
        self
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads more; false at the end or on an error, which is noted.
    fn more(&mut self, answer: &mut Answer) -> bool {
        let mut chunk = [0; 16_384];
        match self.stream.read(&mut chunk) {
            Ok(0) => {
                answer.broken = Some(ErrorKind::UnexpectedEof);
                false
            }
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                true
            }
            Err(error) => {
                answer.broken = Some(error.kind());
                false
            }
        }
    }

    /// Reads one answer; stops once its body passes `limit` bytes.
    pub(crate) fn answer(&mut self, limit: usize) -> Answer {
        let mut answer = Answer::default();
        let end = loop {
            if let Some(end) = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break end + 4;
            }
            if !self.more(&mut answer) {
                return answer;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut lines = head.split("\r\n");
        answer.status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        answer.headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        if answer.header("transfer-encoding") == Some("chunked") {
            self.chunked_body(&mut answer, limit);
        } else {
            let length: usize = answer
                .header("content-length")
                .map_or(usize::MAX, |text| text.parse().unwrap());
            while self.buffer.len() < length.min(limit) && self.more(&mut answer) {}
            let take = length.min(self.buffer.len());
            answer.body = self.buffer.drain(..take).collect();
        }
        answer
    }

    fn chunked_body(&mut self, answer: &mut Answer, limit: usize) {
        loop {
            let Some(line_end) = self.buffer.windows(2).position(|window| window == b"\r\n") else {
                if self.more(answer) {
                    continue;
                }
                return;
            };
            let length =
                usize::from_str_radix(std::str::from_utf8(&self.buffer[..line_end]).unwrap(), 16)
                    .unwrap();
            while self.buffer.len() < line_end + 2 + length + 2 {
                if !self.more(answer) {
                    return;
                }
            }
            let chunk: Vec<u8> = self.buffer.drain(..line_end + 2 + length + 2).collect();
            assert_eq!(&chunk[chunk.len() - 2..], b"\r\n");
            if length == 0 {
                return;
            }
            answer
                .body
                .extend_from_slice(&chunk[line_end + 2..line_end + 2 + length]);
            answer.reads.push((answer.body.len(), clock::now()));
            if answer.body.len() > limit {
                return;
            }
        }
    }
}

/// One request on a connection of its own.
pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut client = Client::connect(address);
    client.send("POST", path, headers, body.to_string().as_bytes());
    client.answer(usize::MAX)
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send("GET", path, &[], b"");
    client.answer(usize::MAX)
}

/// The data of a stream's events, or `None` where the bytes are not server-sent events.
pub(crate) fn events(body: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(body).ok()?.replace("\r\n", "\n");
    let mut events = Vec::new();
    for block in text.split("\n\n") {
        let mut data = Vec::new();
        for line in block
            .split('\n')
            .filter(|line| !line.is_empty() && !line.starts_with(':'))
        {
            let (field, value) = line.split_once(':')?;
            match field {
                "data" => data.push(value.strip_prefix(' ').unwrap_or(value)),
                "event" => {}
                _ => return None,
            }
        }
        if !data.is_empty() {
            events.push(data.join("\n"));
        }
    }
    Some(events)
}

/// What a correct client makes of a streamed OpenAI answer with at most `limit` bytes.
pub(crate) fn judge(answer: &Answer, limit: usize) -> Outcome {
    if answer.status == 0 {
        return match answer.broken {
            Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Outcome::Timeout,
            _ => Outcome::ConnectError,
        };
    }
    if answer.status != 200 {
        return Outcome::HttpError;
    }
    let plain = answer.header("content-encoding").is_none();
    if !plain
        || !answer
            .header("content-type")
            .is_some_and(|value| value.starts_with("text/event-stream"))
    {
        return Outcome::WrongContentType;
    }
    match answer.broken {
        Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Outcome::Timeout,
        Some(_) => return Outcome::Truncated,
        None => {}
    }
    let Some(events) = events(&answer.body).filter(|_| answer.body.len() <= limit) else {
        return Outcome::Malformed;
    };
    let (mut tokens, mut finished) = (0, false);
    for data in &events {
        if data == "[DONE]" {
            finished = true;
            continue;
        }
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            return Outcome::Malformed;
        };
        if event.get("error").is_some() {
            return Outcome::StreamError;
        }
        for choice in event["choices"].as_array().unwrap() {
            finished |= choice["finish_reason"].is_string();
            let delta = &choice["delta"];
            tokens += usize::from(
                choice["text"].is_string()
                    || delta["tool_calls"].is_array()
                    || delta["reasoning"].is_string()
                    || (delta["content"].is_string() && delta.get("role").is_none()),
            );
        }
    }
    match (tokens, finished) {
        (_, false) => Outcome::Truncated,
        (0, true) => Outcome::Empty,
        _ => Outcome::Ok,
    }
}
