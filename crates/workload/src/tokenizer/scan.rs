//! A fast walk over the large parts of a `tokenizer.json`.
//!
//! Nine tenths of such a file are two members of `model`: a map of a hundred thousand tokens and a
//! list of as many merges. They are read here straight into tables. Everything else goes through
//! `serde_json`. Whatever is not supported ends the walk, and the file goes to the crate's own
//! reader, which also gives the error message.

use std::borrow::Cow;

use serde_json::Value;

use super::tables::hash_bytes;

/// The file has something that this reader does not support, or is broken.
#[derive(Debug)]
pub(super) struct Unsupported;

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the walk is.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space.
    pub(super) fn peek(&mut self) -> Result<u8, Unsupported> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(Unsupported)
    }

    /// Skips one byte that must be there.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Unsupported> {
        if self.peek()? != byte {
            return Err(Unsupported);
        }
        self.at += 1;
        Ok(())
    }

    /// Skips a comma, or over `end`; true when something follows.
    pub(super) fn more(&mut self, end: u8) -> Result<bool, Unsupported> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            byte if byte == end => Ok(false),
            _ => Err(Unsupported),
        }
    }

    /// True when a list or map ends right after its start; skips the end.
    pub(super) fn is_empty(&mut self, end: u8) -> Result<bool, Unsupported> {
        let empty = self.peek()? == end;
        self.at += usize::from(empty);
        Ok(empty)
    }

    /// A string; borrowed where it holds no escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Unsupported> {
        self.expect(b'"')?;
        let start = self.at;
        let end = start + memchr::memchr2(b'"', b'\\', &self.bytes[start..]).ok_or(Unsupported)?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Ok(Cow::Borrowed(&self.bytes[start..end]));
        }
        let mut end = end;
        while self.bytes[end] == b'\\' {
            let next = self.bytes.get(end + 2..).ok_or(Unsupported)?;
            end += 2 + memchr::memchr2(b'"', b'\\', next).ok_or(Unsupported)?;
        }
        self.at = end + 1;
        let text: String =
            serde_json::from_slice(&self.bytes[start - 1..=end]).map_err(|_| Unsupported)?;
        Ok(Cow::Owned(text.into_bytes()))
    }

    /// A whole number that fits an id.
    pub(super) fn number(&mut self) -> Result<u32, Unsupported> {
        self.peek()?;
        let digits = self.bytes[self.at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let mut value = 0_u32;
        let mut count = 0;
        for digit in digits {
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(u32::from(digit - b'0')))
                .ok_or(Unsupported)?;
            count += 1;
        }
        self.at += count;
        if count == 0 {
            Err(Unsupported)
        } else {
            Ok(value)
        }
    }

    /// The bytes of any value, which is skipped.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Unsupported> {
        self.peek()?;
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(Unsupported)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => {
                    let ends = |byte: &u8| {
                        matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')
                    };
                    let rest = &self.bytes[self.at..];
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Ok(&self.bytes[start..self.at]);
            }
        }
    }

    /// Any value, read.
    pub(super) fn value(&mut self) -> Result<Value, Unsupported> {
        serde_json::from_slice(self.raw()?).map_err(|_| Unsupported)
    }
}

/// One merge as the file holds it: hashes of its halves, and the text of both.
#[derive(Debug)]
pub(super) struct RawMerge<'a> {
    pub(super) left: u64,
    pub(super) right: u64,
    pub(super) text: MergeText<'a>,
}

/// The halves of a merge.
#[derive(Debug)]
pub(super) enum MergeText<'a> {
    /// Both in one text with a space between, split at the given place.
    Joined(&'a [u8], u32),
    /// Apart.
    Apart(&'a [u8], &'a [u8]),
    /// With escapes.
    Owned(Box<(Vec<u8>, Vec<u8>)>),
}

impl MergeText<'_> {
    /// Left and right half.
    pub(super) fn halves(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Joined(text, at) => (&text[..*at as usize], &text[*at as usize + 1..]),
            Self::Apart(left, right) => (left, right),
            Self::Owned(halves) => (&halves.0, &halves.1),
        }
    }
}

/// Reads a list of merges, `["a b", …]` or `[["a", "b"], …]`; the scanner is at its start.
pub(super) fn merges<'a>(scanner: &mut Scanner<'a>) -> Result<Vec<RawMerge<'a>>, Unsupported> {
    scanner.expect(b'[')?;
    let mut merges = Vec::with_capacity(1 << 17);
    if scanner.is_empty(b']')? {
        return Ok(merges);
    }
    loop {
        let text = if scanner.peek()? == b'[' {
            scanner.expect(b'[')?;
            let left = scanner.string()?;
            scanner.expect(b',')?;
            let right = scanner.string()?;
            scanner.expect(b']')?;
            match (left, right) {
                (Cow::Borrowed(left), Cow::Borrowed(right)) => MergeText::Apart(left, right),
                (left, right) => {
                    MergeText::Owned(Box::new((left.into_owned(), right.into_owned())))
                }
            }
        } else {
            let text = scanner.string()?;
            let space = memchr::memchr(b' ', &text).ok_or(Unsupported)?;
            if memchr::memchr(b' ', &text[space + 1..]).is_some() {
                return Err(Unsupported);
            }
            match text {
                Cow::Borrowed(text) => MergeText::Joined(text, space as u32),
                Cow::Owned(text) => MergeText::Owned(Box::new((
                    text[..space].to_vec(),
                    text[space + 1..].to_vec(),
                ))),
            }
        };
        let (left, right) = text.halves();
        let (left, right) = (hash_bytes(left), hash_bytes(right));
        merges.push(RawMerge { left, right, text });
        if !scanner.more(b']')? {
            return Ok(merges);
        }
    }
}

/// Where the list of merges probably starts: after the last `"merges": [` of the file.
pub(super) fn guess_merges(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::rfind_iter(bytes, b"\"merges\"").find_map(|at| {
        let mut scanner = Scanner::new(bytes, at + b"\"merges\"".len());
        scanner.expect(b':').ok()?;
        (scanner.peek().ok()? == b'[').then(|| scanner.position())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_kind_are_skipped() {
        let text = br#" {"a": [1, {"b": "]}\""}], "c": null, "d": -1.5e3} 7"#;
        let mut scanner = Scanner::new(text, 0);
        assert_eq!(scanner.value().unwrap()["d"], -1500.0);
        assert_eq!(scanner.number().unwrap(), 7);
        assert!(scanner.number().is_err());
    }

    #[test]
    fn strings_with_escapes_are_read() {
        let mut scanner = Scanner::new(br#""plain" "q\"\\" "\u0120x""#, 0);
        assert_eq!(&*scanner.string().unwrap(), b"plain");
        assert_eq!(&*scanner.string().unwrap(), br#"q"\"#);
        assert_eq!(&*scanner.string().unwrap(), "Ġx".as_bytes());
    }

    #[test]
    fn both_spellings_of_merges_are_read() {
        let text = br#"{"vocab": {"merges": 3}, "merges": [["a", "b"], "c d", ["\u0120", "e"]]}"#;
        let mut scanner = Scanner::new(text, guess_merges(text).unwrap());
        let merges = merges(&mut scanner).unwrap();
        let halves: Vec<_> = merges.iter().map(|merge| merge.text.halves()).collect();
        assert_eq!(
            halves,
            [(&b"a"[..], &b"b"[..]), (b"c", b"d"), ("Ġ".as_bytes(), b"e")]
        );
    }
}
