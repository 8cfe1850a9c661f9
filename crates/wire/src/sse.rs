//! Server-sent events, framed from a byte stream however it is cut.
//!
//! Follows the event stream format of the HTML standard (section 9.2.6, "Interpreting an event
//! stream"), with two deliberate differences: a line that cannot be a field at all is an error
//! rather than ignored, because what a server sends outside the protocol must not vanish from a
//! measurement; and data that the end of the body leaves unterminated is still delivered (see
//! [`Framer::finish`]).
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
        }
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
            return self.dispatch(chunk, place, each);
        }
        if let Some(value) = line.strip_prefix(b"data:") {
            let start = from + 5 + usize::from(value.first() == Some(&b' '));
            return self.add_data(chunk, start, to, place);
        }
        self.other_field(line, chunk, place)
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
    ) -> Result<(), E> {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => return Ok(()),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        match field {
            b"data" => self.add_data(chunk, 0, 0, place),
            b"event" => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                self.name.clear();
                self.name.extend_from_slice(&value[..value.len().min(256)]);
                Ok(())
            }
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
    }

    #[test]
    fn invalid_lines_are_reported() {
        let error = frame(&[b"{\"error\": \"out of memory\"}\n\n"]).unwrap_err();
        assert!(matches!(error, SseError::InvalidLine { line } if line.contains("out of memory")));
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
