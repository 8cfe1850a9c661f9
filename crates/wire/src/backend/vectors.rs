//! Answers that hold vectors, scores or labels.
//!
//! Each input has one. Their lists may be long, so that they are skipped as soon as it is known that
//! there is something in them.

use std::collections::HashMap;
use std::fmt;

use http::HeaderMap;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::message::{check_error, is_list, object};
use crate::json::{Lenient, actual_error};
use crate::reply::{Fault, ReplyReader, Sink, not_json};
use crate::sse::SseEvent;
use crate::usage::UsageObject;

#[derive(Debug, serde::Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    usage: Lenient<UsageObject>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// OpenAI's embeddings and vLLM's pooling.
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    /// Rerank.
    #[serde(borrow, default)]
    results: Option<&'a RawValue>,
    /// Cohere's and Ollama's embeddings.
    #[serde(borrow, default)]
    embeddings: Option<&'a RawValue>,
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The body is not JSON: vectors as bytes.
    bare: bool,
}

impl ReplyReader for Reader {
    fn holds_vectors(&self) -> bool {
        true
    }

    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        // Never requested; an endpoint that streams nevertheless is caught by its content type.
        self.body(event.data, sink)
    }

    fn headers(&mut self, headers: &HeaderMap, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let kind = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        self.bare = kind.is_some_and(|kind| kind.starts_with("application/octet-stream"));
        if let Some(metadata) = headers.get("metadata")
            && let Ok(answer) = serde_json::from_slice::<Answer<'_>>(metadata.as_bytes())
            && let Some(usage) = answer.usage.0
        {
            sink.usage(usage.input_usage());
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        if self.bare {
            if !body.is_empty() {
                sink.complete();
            }
            return Ok(());
        }
        if is_list(body) {
            // TEI and others: the vectors, scores or labels themselves. One input may have several of
            // them, as its labels or the vectors of its tokens.
            let wanted = sink.results().filter(|&wanted| wanted > 1);
            return take_items(body, wanted, "results", sink);
        }
        let answer: Answer<'_> = object(body)?;
        check_error(answer.error, false, body)?;
        if let Some(usage) = answer.usage.as_ref() {
            sink.usage(usage.input_usage());
        }
        // An answer without any vector or score is empty, which the exchange detects.
        let lists = [
            (answer.data, "embeddings"),
            (answer.results, "scores"),
            (answer.embeddings.and_then(embeddings), "embeddings"),
        ];
        for (list, name) in lists {
            if let Some(list) = list
                .map(|raw| raw.get().as_bytes())
                .filter(|raw| is_list(raw))
            {
                return take_items(list, sink.results(), name, sink);
            }
        }
        if has_values(body)? {
            sink.complete();
        } else {
            sink.stray(body);
        }
        Ok(())
    }
}

/// The list in `embeddings`: its value, or (as Cohere sends it) the first one in an object with a
/// list for each type of number.
fn embeddings(raw: &RawValue) -> Option<&RawValue> {
    #[derive(serde::Deserialize)]
    struct ByType<'a> {
        #[serde(borrow)]
        float: Option<&'a RawValue>,
        #[serde(borrow)]
        int8: Option<&'a RawValue>,
        #[serde(borrow)]
        uint8: Option<&'a RawValue>,
        #[serde(borrow)]
        binary: Option<&'a RawValue>,
        #[serde(borrow)]
        ubinary: Option<&'a RawValue>,
        #[serde(borrow)]
        base64: Option<&'a RawValue>,
    }
    let is_array = |raw: &&RawValue| is_list(raw.get().as_bytes());
    if is_array(&raw) {
        return Some(raw);
    }
    let types: ByType<'_> = serde_json::from_str(raw.get()).ok()?;
    let lists = [
        types.float,
        types.int8,
        types.uint8,
        types.binary,
        types.ubinary,
        types.base64,
    ];
    lists.into_iter().flatten().find(is_array)
}

/// Takes the items of an answer's `list`, of which `wanted` are due. `name` is what they are.
fn take_items(
    list: &[u8],
    wanted: Option<u32>,
    name: &str,
    sink: &mut Sink<'_>,
) -> Result<(), Fault> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Failed<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let items: Vec<&RawValue> =
        serde_json::from_slice(list).map_err(|error| not_json(list, &error))?;
    let mut filled = 0_u32;
    for item in items {
        let raw = item.get();
        if serde_json::from_str::<Filled>(raw).is_ok_and(|item| item.0) {
            filled += 1;
        } else if raw.starts_with('{') {
            let failed: Failed<'_> = serde_json::from_str(raw).unwrap_or_default();
            check_error(actual_error(failed.error), false, raw.as_bytes())?;
        }
    }
    match wanted {
        _ if filled == 0 => {}
        Some(wanted) if wanted != filled => {
            return Err(Fault::malformed(format!(
                "expected {wanted} {name}, got {filled}"
            )));
        }
        _ => sink.complete(),
    }
    Ok(())
}

/// Members that are not vectors, scores or labels.
const ASIDE: [&str; 24] = [
    "index",
    "object",
    "id",
    "document",
    "text",
    "type",
    "model",
    "usage",
    "meta",
    "created",
    "error",
    "errors",
    "code",
    "error_code",
    "status",
    "status_code",
    "detail",
    "details",
    "message",
    "msg",
    "request_id",
    "retry_after",
    "num_classes",
    "modality",
];

/// Whether a JSON value has a number or a text in it, outside of members that are aside.
#[derive(Clone, Copy)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilledVisitor)
    }
}

struct FilledVisitor;

impl<'de> Visitor<'de> for FilledVisitor {
    type Value = Filled;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Filled, E> {
        Ok(Filled(false))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Filled, E> {
        Ok(Filled(false))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
        Ok(Filled(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
        Ok(Filled(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
        Ok(Filled(true))
    }

    fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
        Ok(Filled(!text.is_empty()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Filled, A::Error> {
        while let Some(item) = items.next_element::<Filled>()? {
            if item.0 {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Filled(true));
            }
        }
        Ok(Filled(false))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Filled, A::Error> {
        let mut any = false;
        while let Some(name) = members.next_key::<String>()? {
            if any || ASIDE.contains(&name.as_str()) {
                members.next_value::<IgnoredAny>()?;
            } else {
                any = members.next_value::<Filled>()?.0;
            }
        }
        Ok(Filled(any))
    }
}

/// Whether an object has vectors, scores or labels under a name that is not that of its API: a list
/// or an object with something in it, or a number whose name says that it is a score.
fn has_values(body: &[u8]) -> Result<bool, Fault> {
    let members: HashMap<String, &RawValue> = object(body)?;
    Ok(members.iter().any(|(name, value)| {
        let is_score = ["score", "similarity", "logit", "prob"]
            .iter()
            .any(|part| name.contains(part));
        let value = value.get();
        !ASIDE.contains(&name.as_str())
            && (is_score || value.starts_with(['[', '{']))
            && serde_json::from_str::<Filled>(value).is_ok_and(|value| value.0)
    }))
}
