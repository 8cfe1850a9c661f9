//! Server-sent events, framed from a byte stream however it is cut.
//!
//! Follows the event stream format of the HTML standard (section 9.2.6, "Interpreting an event
//! stream"), with deliberate differences, because what a server sends outside the protocol must not
//! vanish from a measurement:
//! - a line that cannot be a field at all is an error rather than ignored, except white space;
//! - a field named `error` is an event of that name;
//! - data that the end of the body leaves unterminated is still delivered (see [`Framer::finish`]);
//! - a bare line `[DONE]` is the end marker;
//! - a data line that is a complete JSON object (or `[DONE]`) is an event of its own even if another
//!   data line follows without the blank line between them; such events are counted
//!   ([`Framer::unseparated`]). So that such an event has the stamp of its own read, data that is
//!   complete at the end of a chunk is delivered at once.
//!
//! It is our own because every token passes through it after its stamp: it borrows an event from
//! the read that brought it, and copies only what is split between reads. The cost per event is
//! measured by `cargo bench -p inferometer-wire` (`benches/stream.rs`), beside a bare reader.

use memchr::memchr2;

/// One event. The data borrows from the chunk if the event is whole in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The `data` lines joined by line feeds.
    pub data: &'a [u8],
    /// The `event` field, or empty.
    pub name: &'a [u8],
}

/// Why bytes are not an event stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event exceeds the size limit.
    #[error("event larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// A line that is neither a field nor a comment.
    #[error("invalid line in the event stream: {line:?}")]
    InvalidLine {
        /// The start of the line.
        line: String,
    },
}

/// The incremental framer: feed it chunks in order, get events as soon as they are complete.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    /// The unfinished line.
    line: Vec<u8>,
    /// Data of the unfinished event, without a trailing line feed.
    data: Vec<u8>,
    name: Vec<u8>,
    has_data: bool,
    /// The last chunk ended in a carriage return: a line feed that follows belongs to it.
    skip_line_feed: bool,
    /// Nothing has been read yet: a byte order mark may follow.
    at_start: bool,
    /// The event being collected has several lines of data.
    several_lines: bool,
    /// An event was delivered before its blank line.
    early: bool,
    unseparated: u32,
}

/// True for bytes at the start of a body that are, or may become, the first field of an event
/// stream.
pub(crate) fn looks_like_events(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let fields: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
    fields
        .iter()
        .any(|field| start.starts_with(field) || field.starts_with(start))
}

/// True for the data of a whole event: a JSON object, or the end marker.
fn is_complete(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    data == b"[DONE]"
        || data.first() == Some(&b'{')
            && data.last() == Some(&b'}')
            && serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

/// Where the data of the event being collected is.
#[derive(Clone, Copy)]
enum Place {
    /// In the framer's own buffer (or nowhere yet).
    Kept,
    /// In the present chunk, not copied.
    Chunk { from: usize, to: usize },
}

impl Framer {
    /// A framer that refuses events larger than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            name: Vec::new(),
            has_data: false,
            skip_line_feed: false,
            at_start: true,
            several_lines: false,
            early: false,
            unseparated: 0,
        }
    }

    /// Events so far that no blank line separated from the next.
    pub fn unseparated(&self) -> u32 {
        self.unseparated
    }

    /// Bytes of an unfinished event that are kept until the rest comes.
    pub fn buffered(&self) -> usize {
        self.line.len() + self.data.len() + self.name.len()
    }

    /// Takes the next bytes and calls `each` for every event that they complete; an error of `each`
    /// stops the work and is returned.
    ///
    /// # Errors
    ///
    /// The error of `each`, and an event beyond the limit of memory.
    pub fn push<E: From<SseError>>(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        let mut place = Place::Kept;
        if self.skip_line_feed && !chunk.is_empty() {
            self.skip_line_feed = false;
            at = usize::from(chunk[0] == b'\n');
        }
        while let Some(length) = memchr2(b'\n', b'\r', &chunk[at..]) {
            let end = at + length;
            if self.line.is_empty() {
                self.take_line(chunk, at, end, &mut place, &mut each)?;
            } else {
                self.grow(length)?;
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&chunk[at..end]);
                self.keep(chunk, &mut place);
                // A line that was split between chunks is not in this chunk, so its data is copied.
                let mut inner = Place::Kept;
                self.take_line(&line, 0, line.len(), &mut inner, &mut each)?;
                self.keep(&line, &mut inner);
                line.clear();
                self.line = line;
            }
            at = end + 1;
            if chunk[end] == b'\r' {
                match chunk.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.skip_line_feed = true,
                }
            }
        }
        if self.has_data && at == chunk.len() && self.is_whole(chunk, place) {
            self.dispatch(chunk, &mut place, &mut each)?;
            self.early = true;
        }
        self.keep(chunk, &mut place);
        self.grow(chunk.len() - at)?;
        self.line.extend_from_slice(&chunk[at..]);
        Ok(())
    }

    /// Ends the stream after a clean end of the body: delivers data that no blank line has
    /// terminated.
    ///
    /// The standard drops it. Servers that forget the last line feed mean it, and dropping it would
    /// lose a token or the usage numbers.
    ///
    /// # Errors
    ///
    /// The error of `each`.
    pub fn finish<E: From<SseError>>(
        &mut self,
        mut each: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        // The line feed that may follow a final carriage return will not come, and must not swallow
        // the one that is added here.
        self.skip_line_feed = false;
        if !self.line.is_empty() {
            self.push(b"\n", &mut each)?;
        }
        if self.has_data {
            self.push(b"\n", &mut each)
        } else {
            Ok(())
        }
    }

    /// True when part of an event has arrived.
    pub fn is_inside_event(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    fn grow<E: From<SseError>>(&self, more: usize) -> Result<(), E> {
        if self.line.len() + self.data.len() + more > self.limit {
            return Err(SseError::TooLarge { limit: self.limit }.into());
        }
        Ok(())
    }

    /// Copies the event's data out of a chunk that is about to go away.
    fn keep(&mut self, chunk: &[u8], place: &mut Place) {
        if let Place::Chunk { from, to } = *place {
            self.data.extend_from_slice(&chunk[from..to]);
            *place = Place::Kept;
        }
    }

    fn take_line<E: From<SseError>>(
        &mut self,
        chunk: &[u8],
        from: usize,
        to: usize,
        place: &mut Place,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = from;
        if self.at_start {
            self.at_start = false;
            if chunk[from..to].starts_with(b"\xef\xbb\xbf") {
                from += 3;
            }
        }
        let line = &chunk[from..to];
        if line.is_empty() {
            self.early = false;
            return self.dispatch(chunk, place, each);
        }
        if let Some(value) = line.strip_prefix(b"data:") {
            let start = from + 5 + usize::from(value.first() == Some(&b' '));
            self.separate(chunk, place, each)?;
            return self.add_data(chunk, start, to, place);
        }
        if line.trim_ascii_end() == b"[DONE]" {
            self.separate(chunk, place, each)?;
            return self.add_data(chunk, from, to, place);
        }
        if line[0].is_ascii_whitespace() {
            // Heartbeats are white space, alone or in front of a field.
            let from = to - line.trim_ascii_start().len();
            if from == to {
                return Ok(());
            }
            return self.take_line(chunk, from, to, place, each);
        }
        self.other_field(line, chunk, place, each)
    }

    /// True if the data so far is one line that is an event by itself.
    fn is_whole(&self, chunk: &[u8], place: Place) -> bool {
        let data = match place {
            Place::Chunk { from, to } => &chunk[from..to],
            Place::Kept => &self.data,
        };
        !self.several_lines && is_complete(data)
    }

    /// Before another line of data, delivers the line before it if that is an event by itself, whatever
    /// comes: at the end of a chunk it is delivered before the next line is known.
    fn separate<E: From<SseError>>(
        &mut self,
        chunk: &[u8],
        place: &mut Place,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if std::mem::take(&mut self.early) || self.has_data && self.is_whole(chunk, *place) {
            self.unseparated = self.unseparated.saturating_add(1);
            if self.has_data {
                self.dispatch(chunk, place, each)?;
            }
        }
        Ok(())
    }

    fn add_data<E: From<SseError>>(
        &mut self,
        chunk: &[u8],
        from: usize,
        to: usize,
        place: &mut Place,
    ) -> Result<(), E> {
        self.grow(to - from)?;
        if self.has_data {
            self.several_lines = true;
            self.keep(chunk, place);
            self.data.push(b'\n');
            self.data.extend_from_slice(&chunk[from..to]);
        } else {
            self.has_data = true;
            *place = Place::Chunk { from, to };
        }
        Ok(())
    }

    fn other_field<E: From<SseError>>(
        &mut self,
        line: &[u8],
        chunk: &[u8],
        place: &mut Place,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => return Ok(()),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                self.separate(chunk, place, each)?;
                self.add_data(chunk, 0, 0, place)
            }
            b"event" => {
                // A name may follow its data; a second one, or one in a stream without blank lines,
                // begins another event.
                let begins = !self.name.is_empty() || self.unseparated > 0;
                let apart = std::mem::take(&mut self.early)
                    || self.has_data && begins && self.is_whole(chunk, *place);
                if apart {
                    self.unseparated = self.unseparated.saturating_add(1);
                    self.dispatch(chunk, place, each)?;
                }
                self.name.clear();
                self.name.extend_from_slice(&value[..value.len().min(256)]);
                Ok(())
            }
            _ if field.eq_ignore_ascii_case(b"error") && !value.is_empty() => each(SseEvent {
                data: value,
                name: b"error",
            }),
            _ if field
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) =>
            {
                Ok(())
            }
            _ => {
                let line = String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned();
                Err(SseError::InvalidLine { line }.into())
            }
        }
    }

    fn dispatch<E: From<SseError>>(
        &mut self,
        chunk: &[u8],
        place: &mut Place,
        each: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let data = match *place {
            Place::Chunk { from, to } => &chunk[from..to],
            Place::Kept => &self.data,
        };
        let result = if self.has_data {
            each(SseEvent {
                data,
                name: &self.name,
            })
        } else {
            Ok(())
        };
        *place = Place::Kept;
        self.has_data = false;
        self.several_lines = false;
        if self.data.capacity() > 1 << 16 {
            self.data = Vec::new();
        }
        self.data.clear();
        self.name.clear();
        result
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Seen = Vec<(Vec<u8>, Vec<u8>)>;

    fn frame(chunks: &[&[u8]]) -> Result<Seen, SseError> {
        let mut framer = Framer::new(1 << 20);
        let mut seen = Vec::new();
        let mut each = |event: SseEvent<'_>| {
            seen.push((event.name.to_vec(), event.data.to_vec()));
            Ok(())
        };
        for chunk in chunks {
            framer.push(chunk, &mut each)?;
        }
        framer.finish(&mut each)?;
        Ok(seen)
    }

    fn data(text: &str) -> Vec<String> {
        let seen = frame(&[text.as_bytes()]).unwrap();
        seen.into_iter()
            .map(|(_, data)| String::from_utf8(data).unwrap())
            .collect()
    }

    #[test]
    fn all_line_ends_and_spellings_are_accepted() {
        assert_eq!(
            data("data: a\n\ndata:b\r\n\r\ndata:  c\r\rdata: d\n\n"),
            ["a", "b", " c", "d"]
        );
        assert_eq!(data(": ping\n\n:\n\nid: 7\nretry: 10\ndata: x\n\n"), ["x"]);
        assert_eq!(
            data("data: one\ndata: two\ndata\ndata: four\n\n"),
            ["one\ntwo\n\nfour"]
        );
        assert_eq!(data("\u{feff}data: a\n\n"), ["a"]);
        assert_eq!(data("data\n\ndata:\n\n"), ["", ""]);
        assert_eq!(data("event: x\n\n\n\n"), Vec::<String>::new());
    }

    #[test]
    fn a_missing_last_blank_line_loses_nothing() {
        assert_eq!(data("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
        assert_eq!(data("data: a\n\ndata: [DONE]\n"), ["a", "[DONE]"]);
    }

    #[test]
    fn a_name_applies_to_its_own_event_only() {
        let seen = frame(&[b"event: error\ndata: a\n\ndata: b\n\n"]).unwrap();
        assert_eq!(
            seen,
            [
                (b"error".to_vec(), b"a".to_vec()),
                (Vec::new(), b"b".to_vec())
            ]
        );
        // The fields of an event have no order.
        let seen = frame(&[b"data: {}\nevent: error\n\ndata: b\n\n"]).unwrap();
        assert_eq!(seen[0], (b"error".to_vec(), b"{}".to_vec()));
    }

    #[test]
    fn invalid_lines_are_reported() {
        let error = frame(&[b"{\"error\": \"out of memory\"}\n\n"]).unwrap_err();
        assert!(matches!(error, SseError::InvalidLine { line } if line.contains("out of memory")));
    }

    #[test]
    fn events_without_a_blank_line_between_them_are_told_apart() {
        let stream =
            "data: {\"a\":1}\ndata: {\"b\":2}\nevent: x\ndata: {\"c\":3}\ndata: [DONE]\n\n";
        let read = |size: usize| {
            let mut framer = Framer::new(1 << 20);
            let mut seen = Vec::new();
            let mut each = |event: SseEvent<'_>| {
                seen.push(String::from_utf8([event.name, b"|", event.data].concat()).unwrap());
                Ok::<(), SseError>(())
            };
            for chunk in stream.as_bytes().chunks(size) {
                framer.push(chunk, &mut each).unwrap();
            }
            framer.finish(&mut each).unwrap();
            (seen, framer.unseparated())
        };
        let wanted = ["|{\"a\":1}", "|{\"b\":2}", "x|{\"c\":3}", "|[DONE]"].map(String::from);
        for size in [1, 3, 14, stream.len()] {
            assert_eq!(read(size), (wanted.to_vec(), 3), "{size} bytes at a time");
        }
        // Several lines of one event, none of which is an event by itself.
        assert_eq!(
            data("data: {\ndata: \"a\": 1\ndata: }\n\n"),
            ["{\n\"a\": 1\n}"]
        );
        // The first line is an event whatever follows: where a read ends after it, it is delivered at once.
        assert_eq!(data("data: {}\ndata: text\n\n"), ["{}", "text"]);
        assert_eq!(data("data: {}\n\n[DONE]\n\n"), ["{}", "[DONE]"]);
    }

    #[test]
    fn complete_data_does_not_wait_for_its_blank_line() {
        let mut framer = Framer::new(1_000);
        let mut seen = 0;
        for chunk in ["data: {\"a\":1}\n", "\n", "data: {\"b\":2}\n", "\n"] {
            let each = |_: SseEvent<'_>| {
                seen += 1;
                Ok::<(), SseError>(())
            };
            framer.push(chunk.as_bytes(), each).unwrap();
            assert_eq!(framer.unseparated(), 0);
        }
        assert_eq!(seen, 2);
    }

    #[test]
    fn white_space_is_a_heartbeat_and_error_a_name() {
        assert_eq!(
            data("data: a\n\n\t\n\n \ndata: b\n\n   data: c\n\n"),
            ["a", "b", "c"]
        );
        let seen = frame(&[b"error: model crashed\n\n"]).unwrap();
        assert_eq!(seen, [(b"error".to_vec(), b"model crashed".to_vec())]);
    }

    #[test]
    fn an_event_stream_is_recognised_by_its_first_bytes() {
        for events in [
            "data: {}",
            "d",
            "\r\n: ping",
            "event: x",
            "\u{feff}id: 1",
            "retry",
        ] {
            assert!(looks_like_events(events.as_bytes()), "{events:?}");
        }
        for other in ["{\"error\":1}", "<html>", "[1]", "datum"] {
            assert!(!looks_like_events(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn an_endless_line_or_event_meets_the_limit() {
        let mut framer = Framer::new(1_000);
        let mut push = |chunk: &[u8]| framer.push::<SseError>(chunk, |_| Ok(()));
        assert!((0..1_000).any(|_| push(b"xxxxxxxxxx").is_err()));
        let mut framer = Framer::new(1_000);
        let mut push = |chunk: &[u8]| framer.push::<SseError>(chunk, |_| Ok(()));
        assert!((0..1_000).any(|_| push(b"data: y\n").is_err()));
        assert!(
            Framer::new(5)
                .push::<SseError>(b"data: 123456\n\n", |_| Ok(()))
                .is_err()
        );
    }

    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
        let line = prop_oneof![
            "data: ?[a-z{}:\"é☃\u{feff}]{0,12}",
            Just(String::from("data")),
            "event: ?[a-z]{0,5}",
            ":[ a-z]{0,5}",
            "id: [0-9]{1,3}",
            Just(String::new()),
            Just(String::new()),
        ];
        proptest::collection::vec((line, end), 0..40).prop_map(|lines| {
            lines
                .into_iter()
                .flat_map(|(line, end)| (line + end).into_bytes())
                .collect()
        })
    }

    proptest! {
        #[test]
        fn any_segmentation_gives_the_same_events(
            stream in streams(),
            mark in any::<bool>(),
            cuts in proptest::collection::vec(0_usize..600, 0..30),
        ) {
            let mut bytes = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
            bytes.extend(stream);
            let whole = frame(&[&bytes]).unwrap();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&frame(&single).unwrap(), &whole);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < bytes.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(&frame(&pieces).unwrap(), &whole);
        }

        #[test]
        fn it_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = frame(&[&bytes]);
        }
    }
}
