//! JSON as Python's `json` module writes and reads it.
//!
//! `json.dumps` writes `NaN`, `Infinity` and `-Infinity` as they are, and `json.loads` takes them, and
//! of a name that comes twice the last value. A server written in Python sends such JSON, and vLLM's
//! client reads it.

use serde_json::Value;

/// Bytes beyond which a message is not read as Python would: it is a copy, which no budget covers.
const MAX_BYTES: usize = 16 << 20;

/// A JSON text without what only Python reads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// The text: numbers that JSON does not have are null, and names come once.
    pub(crate) bytes: Vec<u8>,
    /// It had numbers that JSON does not have.
    pub(crate) had_constants: bool,
    /// Such a number was an element of a list.
    pub(crate) constant_in_list: bool,
}

impl Repaired {
    /// `data`, which a reader has refused, as Python reads it; `None` where that is not JSON either.
    pub(crate) fn of(data: &[u8]) -> Option<Self> {
        if data.len() > MAX_BYTES {
            return None;
        }
        let (bytes, constants) = without_constants(data);
        // A value keeps the last of several members of one name. What it cannot hold, such as half of a
        // UTF-16 pair, is left to the reader.
        let value = serde_json::from_slice::<Value>(&bytes);
        let once = value.and_then(|value| serde_json::to_vec(&value)).ok();
        let bytes = once.or_else(|| constants.any.then_some(bytes))?;
        Some(Self {
            bytes,
            had_constants: constants.any,
            constant_in_list: constants.in_list,
        })
    }
}

/// Numbers that JSON does not have.
#[derive(Clone, Copy, Debug, Default)]
struct Constants {
    any: bool,
    in_list: bool,
}

/// A copy of `data` with null in place of the constants outside of texts.
fn without_constants(data: &[u8]) -> (Vec<u8>, Constants) {
    const NAMES: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut copy = Vec::with_capacity(data.len());
    let mut constants = Constants::default();
    // The last byte outside of texts that is not white space.
    let mut before = 0;
    let mut rest = data;
    while let Some(&first) = rest.first() {
        let name = NAMES.iter().find(|&&name| rest.starts_with(name));
        let (length, kept): (usize, &[u8]) = match name {
            Some(name) => {
                constants.any = true;
                // A value of an object follows a colon.
                constants.in_list |= matches!(before, b'[' | b',');
                (name.len(), b"null")
            }
            None if first == b'"' => {
                let length = text_length(rest);
                (length, &rest[..length])
            }
            None => (1, &rest[..1]),
        };
        copy.extend_from_slice(kept);
        if !first.is_ascii_whitespace() {
            before = first;
        }
        rest = &rest[length..];
    }
    (copy, constants)
}

/// Bytes of the text that `data` begins with, both quotes included.
fn text_length(data: &[u8]) -> usize {
    let mut escaped = false;
    let end = data.iter().skip(1).position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(data.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(json: &str) -> Option<(String, bool, bool)> {
        Repaired::of(json.as_bytes()).map(|json| {
            let text = String::from_utf8(json.bytes).unwrap();
            (text, json.had_constants, json.constant_in_list)
        })
    }

    #[test]
    fn constants_and_repeated_names_are_read_as_python_reads_them() {
        let found = |text: &str, any, list| Some((text.to_owned(), any, list));
        assert_eq!(
            repaired(r#"{"rate": Infinity, "a": "NaN \" -Infinity"}"#),
            found(r#"{"rate":null,"a":"NaN \" -Infinity"}"#, true, false)
        );
        assert_eq!(
            repaired(r#"{"v":[0.5, NaN,-Infinity]}"#),
            found(r#"{"v":[0.5,null,null]}"#, true, true)
        );
        // json.loads('{"a": 1, "a": 2}') is {"a": 2}.
        assert_eq!(
            repaired(r#"{"a":1,"a":2}"#),
            found(r#"{"a":2}"#, false, false)
        );
        // Half of a UTF-16 pair.
        assert_eq!(
            repaired(r#"{"a":"\ud83d","b":NaN}"#),
            found(r#"{"a":"\ud83d","b":null}"#, true, false)
        );
        for no_json in ["", "nonsense", "{\"a\":", "\"\\"] {
            assert_eq!(
                repaired(no_json).map(|(text, _, _)| text),
                None,
                "{no_json}"
            );
        }
    }
}
