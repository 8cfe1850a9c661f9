//! Forgiving, borrowed pieces of the servers' JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use servebench_core::Usage;

/// Text, borrowed from the input wherever it has no escapes.
///
/// `Option<Cow<str>>` would always copy, which is why this type exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl Text<'_> {
    /// The text if it is part of the input itself.
    pub(crate) fn borrowed(&self) -> Option<&str> {
        match &self.0 {
            Cow::Borrowed(text) => Some(text),
            Cow::Owned(_) => None,
        }
    }
}

/// Where an optional text is not null, the text.
pub(crate) fn text<'a>(text: Option<&'a Text<'_>>) -> Option<&'a str> {
    text.map(|text| &*text.0)
}

/// A token count: any JSON value is accepted, and what is no count is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u32>);

/// The number of elements of a JSON array, or of the array inside an object's `tokens`; the elements
/// themselves are skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) Option<usize>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Count, E> {
        Ok(Count(Some(u32::try_from(value).unwrap_or(u32::MAX))))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Count, E> {
        Ok(Count((value >= 0.0).then_some(value as u32)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, value: &str) -> Result<Count, E> {
        Ok(Count(value.parse().ok()))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Count, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LengthVisitor)
    }
}

struct LengthVisitor;

impl<'de> Visitor<'de> for LengthVisitor {
    type Value = Length;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_u64<E>(self, _: u64) -> Result<Length, E> {
        Ok(Length(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Length, E> {
        Ok(Length(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Length, E> {
        Ok(Length(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Length, E> {
        Ok(Length(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Length, E> {
        Ok(Length(None))
    }

    fn visit_unit<E>(self) -> Result<Length, E> {
        Ok(Length(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Length, A::Error> {
        let mut length = 0;
        while items.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        Ok(Length(Some(length)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Length, A::Error> {
        let mut length = Length(None);
        while let Some(key) = entries.next_key::<Text<'_>>()? {
            if key.0 == "tokens" {
                length = entries.next_value()?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(length)
    }
}

/// The `usage` object in the spellings of all servers.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct UsageObject {
    prompt_tokens: Count,
    completion_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    cache_read_input_tokens: Count,
    prompt_tokens_details: Option<InputDetails>,
    input_tokens_details: Option<InputDetails>,
    completion_tokens_details: Option<OutputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
}

impl UsageObject {
    /// The counts in our words.
    pub(crate) fn usage(&self) -> Usage {
        let cached = self.prompt_tokens_details.or(self.input_tokens_details).and_then(|x| x.cached_tokens.0);
        let reasoning = self.completion_tokens_details.or(self.output_tokens_details);
        Usage {
            prompt_tokens: self.prompt_tokens.0.or(self.input_tokens.0),
            completion_tokens: self.completion_tokens.0.or(self.output_tokens.0),
            cached_tokens: cached.or(self.cache_read_input_tokens.0),
            reasoning_tokens: reasoning.and_then(|details| details.reasoning_tokens.0),
        }
    }

    /// The counts of an answer that has no output tokens, where some servers give only the total.
    pub(crate) fn input_usage(&self) -> Usage {
        let usage = self.usage();
        Usage { prompt_tokens: usage.prompt_tokens.or(self.total_tokens.0), ..usage }
    }
}

/// Server-side times of a request (`--enable-per-request-metrics` of vLLM).
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct ServerMetrics {
    pub(crate) queue_time_ms: Option<f64>,
    pub(crate) time_to_first_token_ms: Option<f64>,
}
