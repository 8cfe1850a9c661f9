//! Lenient types for the servers' JSON, borrowed from the input.
//!
//! They are our own because an event is parsed for every token whose text [`crate::template`] does
//! not recognise: serde's standard types would copy every text and refuse a whole message for one
//! field of an unexpected type.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Unexpected, Visitor,
};
use serde_json::Value;
use serde_json::value::RawValue;

/// Text, borrowed from the input wherever it has no escapes.
///
/// `Option<Cow<str>>` would always copy, which is why this type exists. Half of a UTF-16 pair in an
/// escape, which servers send when they cut an emoji between two tokens, is not
/// valid text but no reason to lose an answer: it becomes U+FFFD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Text<'_> {
    /// The text if it is part of the input itself.
    pub(crate) fn borrowed(&self) -> Option<&str> {
        match &self.0 {
            Cow::Borrowed(text) => Some(text),
            Cow::Owned(_) => None,
        }
    }
}

impl<'a> Text<'a> {
    /// The text that a JSON value holds; an error for any other value.
    pub(crate) fn of_raw(raw: &'a str) -> serde_json::Result<Self> {
        let Some(inner) = raw
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        else {
            return Err(serde_json::Error::invalid_type(
                Unexpected::Other("a value other than text"),
                &"a text",
            ));
        };
        if !inner.contains('\\') {
            return Ok(Self(Cow::Borrowed(inner)));
        }
        let text = serde_json::from_str(raw).or_else(|_| unpaired(raw))?;
        Ok(Self(Cow::Owned(text)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Self::of_raw(raw).map_err(D::Error::custom)
    }
}

/// The text of a JSON string whose escapes hold lone halves of UTF-16 pairs.
fn unpaired(raw: &str) -> serde_json::Result<String> {
    // Read as bytes, such halves become three bytes of their own, which nothing else yields: the
    // input is UTF-8.
    let bytes = serde_json::from_str::<Bytes>(raw)?.0;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if chunk.invalid().first() == Some(&0xed) {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Ok(text)
}

/// The content of a JSON string as bytes.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }
}

/// Where an optional text is not null, the text.
pub(crate) fn text<'a>(text: Option<&'a Text<'_>>) -> Option<&'a str> {
    text.map(|text| &*text.0)
}

/// A field beside the answer itself. Its content never costs the answer: what cannot be read as a
/// `T` counts as missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lenient<T>(pub(crate) Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Lenient<T> {
    pub(crate) const fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }

    pub(crate) const fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        // serde would read a list as an object's members in order, which no server means.
        let readable = raw != "null" && !raw.starts_with('[');
        Ok(Self(if readable {
            serde_json::from_str(raw).ok()
        } else {
            None
        }))
    }
}

/// Why a server stopped: a text, the `type` of an object with its `message`, or a number's digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason<'a> {
    /// The reason.
    pub(crate) kind: Cow<'a, str>,
    /// What the server says about it.
    pub(crate) words: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Reason<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Typed<'a> {
            #[serde(borrow, rename = "type")]
            kind: Text<'a>,
            #[serde(borrow, default)]
            message: Lenient<Text<'a>>,
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let plain = |kind| Self { kind, words: None };
        let read = match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Text<'de>>(raw).map(|text| plain(text.0)),
            Some(b'{') => serde_json::from_str::<Typed<'de>>(raw).map(|typed| Self {
                kind: typed.kind.0,
                words: typed.message.0.map(|text| text.0),
            }),
            Some(b'-' | b'0'..=b'9') => Ok(plain(Cow::Borrowed(raw))),
            _ => Err(serde_json::Error::custom("expected a reason to stop")),
        };
        let read = read.map_err(D::Error::custom)?;
        if is_placeholder(&read.kind) {
            return Err(D::Error::custom("expected a reason to stop"));
        }
        Ok(read)
    }
}

/// True for a text that servers send with every message in place of a null: nothing, or the word for
/// it in JSON or Python.
fn is_placeholder(reason: &str) -> bool {
    let reason = reason.trim();
    let is = |word: &str| reason.eq_ignore_ascii_case(word);
    reason.is_empty() || is("null") || is("none")
}

/// The reason, where there is one.
pub(crate) fn reason<'a>(reason: &'a Lenient<Reason<'a>>) -> Option<&'a Reason<'a>> {
    reason.as_ref()
}

/// The value of `error`, unless it means that there is none: servers send null, an empty text, or an
/// object whose members are all null or empty with every good message.
pub(crate) fn actual_error(error: Option<&RawValue>) -> Option<&RawValue> {
    error.filter(|raw| serde_json::from_str(raw.get()).map_or(true, |value| is_error_value(&value)))
}

/// A token count: any JSON value is accepted, and anything but a number is unknown. A number that is
/// no count (negative, or too large) is `u32::MAX`, which the record takes for impossible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u32>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let digits = raw
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(raw);
        if let Ok(count) = digits.parse() {
            return Ok(Self(Some(count)));
        }
        // Too large, negative, or with a decimal point.
        let number = digits.parse::<f64>().ok().filter(|number| !number.is_nan());
        Ok(Self(number.map(|number| {
            if number < 0.0 {
                u32::MAX
            } else {
                number as u32
            }
        })))
    }
}

/// The number of elements of a JSON array, or of the array inside an object's `tokens`; the
/// elements themselves are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Option<usize>);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Tokens {
            tokens: Length,
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(match raw.as_bytes().first() {
            Some(b'[') => Self(
                serde_json::from_str::<Elements>(raw)
                    .ok()
                    .map(|elements| elements.0),
            ),
            Some(b'{') => serde_json::from_str::<Tokens>(raw)
                .map(|object| object.tokens)
                .unwrap_or_default(),
            _ => Self(None),
        })
    }
}

struct Elements(usize);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Elements, A::Error> {
        let mut length = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        Ok(Elements(length))
    }
}

/// Server-side times of a request (`--enable-per-request-metrics` of vLLM).
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct ServerMetrics {
    pub(crate) queue_time_ms: Lenient<f64>,
    pub(crate) time_to_first_token_ms: Lenient<f64>,
}

/// False for the values of `error` that mean that there is none: null, false, 0, an empty text, and
/// lists and objects of nothing else.
pub(crate) fn is_error_value(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(is_error_value),
        Value::Object(members) => members.values().any(is_error_value),
    }
}

#[cfg(test)]
mod tests {
    use inferometer_core::Usage;

    use super::*;
    use crate::usage::UsageObject;

    fn read<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
        serde_json::from_str(json)
    }

    #[test]
    fn only_half_a_pair_is_replaced() {
        let text = |json| read::<Text<'_>>(json).map(|text| text.0.into_owned()).ok();
        assert_eq!(text(r#""a\ud83d""#).as_deref(), Some("a\u{fffd}"));
        assert_eq!(
            text(r#""\ude00\ud83d b""#).as_deref(),
            Some("\u{fffd}\u{fffd} b")
        );
        assert_eq!(
            text(r#""\ud83dx\ud83d\ude00""#).as_deref(),
            Some("\u{fffd}x😀")
        );
        assert_eq!(text(r#""\u00e9\n""#).as_deref(), Some("é\n"));
        for broken in [
            r#""\ud8""#,
            r#""\x""#,
            "\"\u{1}\"",
            "\"\\n\u{1}\"",
            "7",
            "{}",
            "\"",
        ] {
            assert_eq!(text(broken), None, "{broken}");
        }
        assert!(read::<Text<'_>>(r#""plain""#).unwrap().borrowed().is_some());
    }

    #[test]
    fn lenient_fields_are_read_or_ignored() {
        let usage = |json: &str| {
            read::<Lenient<UsageObject>>(json)
                .unwrap()
                .0
                .map(|usage| usage.usage())
        };
        assert_eq!(usage("null"), None);
        assert_eq!(usage("\"n/a\""), None);
        assert_eq!(usage("1e400"), None);
        let reported = usage(
            r#"{"prompt_tokens":3,"completion_tokens":1e400,"prompt_tokens_details":"none","completion_tokens_details":[1e999]}"#,
        );
        assert_eq!(
            reported,
            Some(Usage {
                prompt_tokens: Some(3),
                completion_tokens: Some(u32::MAX),
                ..Usage::default()
            })
        );
        let count = |json: &str| read::<Count>(json).unwrap().0;
        assert_eq!(
            [
                count("7"),
                count("7.0"),
                count("\"7\""),
                count("4294967296")
            ],
            [Some(7), Some(7), Some(7), Some(u32::MAX)]
        );
        assert_eq!(
            [count("true"), count("[1]"), count("\"\""), count("null")],
            [None; 4]
        );
        assert_eq!([count("-1"), count("-0.5")], [Some(u32::MAX); 2]);
        let length = |json: &str| read::<Length>(json).unwrap().0;
        assert_eq!(
            [
                length("[1e400,{}]"),
                length(r#"{"tokens":[1]}"#),
                length("[]")
            ],
            [Some(2), Some(1), Some(0)]
        );
        assert_eq!(
            [length("1e400"), length("{}"), length(r#"{"tokens":1e400}"#)],
            [None; 3]
        );
        let why = |json: &str| {
            reason(&read(json).unwrap()).map(|reason| {
                let words = reason.words.as_deref().unwrap_or_default().to_owned();
                (reason.kind.clone().into_owned(), words)
            })
        };
        let plain = |kind: &str| Some((kind.to_owned(), String::new()));
        assert_eq!(why(r#""stop""#), plain("stop"));
        assert_eq!(why(r#"{"type":"length","length":3}"#), plain("length"));
        assert_eq!(
            why(r#"{"type":"abort","message":"too long","status_code":400}"#),
            Some(("abort".to_owned(), "too long".to_owned()))
        );
        assert_eq!(why("2"), plain("2"));
        assert_eq!(
            [why("null"), why("true"), why("{}"), why("[]"), why("\"\"")],
            [const { None }; 5]
        );
        for placeholder in [
            r#""null""#,
            r#""None""#,
            r#""NONE""#,
            r#"" ""#,
            r#"{"type":"none"}"#,
        ] {
            assert_eq!(why(placeholder), None, "{placeholder}");
        }
    }

    #[test]
    fn only_an_actual_error_is_one() {
        for nothing in [
            "null",
            "{ }",
            "\"\"",
            "[]",
            "false",
            "0",
            "0.0",
            "[null]",
            r#"{"code":null,"message":null}"#,
            r#"{"code":0,"message":"","param":{"name":[]}}"#,
        ] {
            assert!(actual_error(read(nothing).unwrap()).is_none(), "{nothing}");
        }
        for error in [
            "\"x\"",
            "true",
            "500",
            "-0.5",
            r#"{"code":500,"message":""}"#,
            r#"{"detail":[{"message":"x"}]}"#,
        ] {
            assert!(actual_error(read(error).unwrap()).is_some(), "{error}");
        }
    }
}
