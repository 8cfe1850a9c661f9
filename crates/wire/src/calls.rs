//! Tool calls in the forms in which servers send them.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::json::{Lenient, Text};

/// The tool calls of a message: a list, or (as Text Generation Inference sends it) one object.
#[derive(Debug, Default)]
pub(crate) struct Calls<'a>(pub(crate) Vec<Call<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Calls<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let calls = match raw.as_bytes().first() {
            Some(b'[') => serde_json::from_str(raw).map_err(D::Error::custom)?,
            Some(b'{') => {
                let call: Call<'_> = serde_json::from_str(raw).map_err(D::Error::custom)?;
                // An object without a function is a placeholder.
                Vec::from_iter(call.function.is_some().then_some(call))
            }
            _ => Vec::new(),
        };
        Ok(Self(calls))
    }
}

/// One tool call, or a part of one.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Call<'a> {
    #[serde(borrow)]
    pub(crate) function: Option<Function<'a>>,
}

/// The function that is called.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Function<'a> {
    #[serde(borrow)]
    pub(crate) name: Lenient<Text<'a>>,
    #[serde(borrow)]
    pub(crate) arguments: Option<Arguments<'a>>,
}

/// The arguments of a call: a text, or a JSON value, which counts as the text that it is written as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments<'a>(pub(crate) Text<'a>);

impl<'a> Arguments<'a> {
    /// The arguments that a JSON value holds.
    pub(crate) fn of_raw(raw: &'a str) -> serde_json::Result<Self> {
        if raw.starts_with('"') {
            return Text::of_raw(raw).map(Self);
        }
        let text = if raw == "null" { "" } else { raw };
        Ok(Self(Text(Cow::Borrowed(text))))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Self::of_raw(raw).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_a_list_or_one_object() {
        let arguments = |json: &str| {
            let calls: Calls<'_> = serde_json::from_str(json).unwrap();
            let functions = calls.0.iter().filter_map(|call| call.function.as_ref());
            let arguments =
                functions.map(|function| function.arguments.clone().unwrap_or_default());
            arguments
                .map(|arguments| arguments.0.0.into_owned())
                .collect::<Vec<_>>()
        };
        for (json, expected) in [
            (
                r#"[{"function":{"arguments":"{\"a\":1}"}}]"#,
                &["{\"a\":1}"][..],
            ),
            (r#"{"function":{"name":null,"arguments":" a"}}"#, &[" a"]),
            (
                r#"[{"function":{"name":7,"arguments":{"a": 1}}}]"#,
                &["{\"a\": 1}"],
            ),
            (r#"[{"function":{"name":"f","arguments":null}}]"#, &[""]),
            ("{}", &[]),
            ("null", &[]),
            ("\"\"", &[]),
        ] {
            assert_eq!(arguments(json), expected, "{json}");
        }
    }
}
