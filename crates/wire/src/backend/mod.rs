//! The APIs that servers speak: one file each, and one line in [`ALL`].
//!
//! A backend turns a request into a body and an answer into record facts. To add one, write its
//! file, add it to [`ALL`], and give it a golden exchange test.

mod anthropic;
mod audio;
mod chat;
mod completions;
mod legacy;
mod pooling;
mod responses;
mod sglang;

use http::HeaderMap;
use inferometer_core::Request;
use inferometer_core::python::json_bytes;
use serde_json::{Map, Value, json};

use crate::error::WireError;
use crate::reply::{ReplyReader, Sink};
use crate::settings::BodySettings;
use crate::sse::SseEvent;

/// All backends, in the order in which help texts list them.
pub static ALL: &[&dyn Backend] = &[
    &completions::VLLM,
    &completions::OPENAI,
    &chat::OPENAI_CHAT,
    &responses::OPENAI_RESPONSES,
    &audio::OPENAI_AUDIO,
    &pooling::EMBEDDINGS,
    &pooling::EMBEDDINGS_CHAT,
    &pooling::EMBEDDINGS_CLIP,
    &pooling::EMBEDDINGS_VLM2VEC,
    &pooling::INFINITY,
    &pooling::INFINITY_CLIP,
    &pooling::VLLM_POOLING,
    &pooling::VLLM_RERANK,
    &legacy::TGI,
    &legacy::TENSORRT_LLM,
    &legacy::DEEPSPEED_MII,
    &completions::SGLANG,
    &completions::LMDEPLOY,
    &completions::SCALELLM,
    &completions::LLAMA_CPP,
    &anthropic::ANTHROPIC,
    &sglang::SGLANG_NATIVE,
];

/// The backend with this name.
pub fn find(name: &str) -> Result<&'static dyn Backend, WireError> {
    ALL.iter()
        .copied()
        .find(|backend| backend.name() == name)
        .ok_or_else(|| WireError::UnknownBackend {
            name: name.to_owned(),
            known: ALL
                .iter()
                .map(|backend| backend.name())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// What a backend measures, which decides the metrics that make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// Text generation: TTFT, TPOT, ITL.
    Generation,
    /// Embeddings, scores, classification: one answer, end-to-end latency.
    Pooling,
    /// Speech to text: generation plus the real-time factor.
    Audio,
}

/// A request body, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Value of the `content-type` header.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One API.
pub trait Backend: Sync + std::fmt::Debug {
    /// The name after `--backend`.
    fn name(&self) -> &'static str;

    /// The endpoint that fits, for the case that none is given.
    fn default_endpoint(&self) -> &'static str;

    /// Endings of a path that this backend can use.
    fn endpoint_suffixes(&self) -> &'static [&'static str];

    /// What it measures.
    fn kind(&self) -> BackendKind;

    /// True when the server puts its chat template around a plain prompt that this API carries, so
    /// that the client must not do it as well.
    fn applies_chat_template(&self) -> bool;

    /// The body for `request`.
    fn body(&self, request: &Request, settings: &BodySettings) -> Result<Body, WireError>;

    /// A reader for one answer, streamed or not.
    fn reader(&self, stream: bool) -> Box<dyn ReplyReader>;

    /// False for an API that answers in one piece only.
    fn can_stream(&self) -> bool {
        true
    }

    /// True when the answer is asked for as a stream under these settings.
    fn streams(&self, settings: &BodySettings) -> bool {
        settings.stream && self.can_stream()
    }

    /// Input sequences in `request`.
    fn sequences(&self, request: &Request) -> u32 {
        u32::try_from(request.prompt.sequences()).unwrap_or(u32::MAX)
    }

    /// Headers that this API needs beside the usual ones.
    fn headers(&self, headers: &mut HeaderMap, api_key: Option<&str>) {
        let (_, _) = (headers, api_key);
    }

    /// Refuses a path that belongs to another API.
    fn check_endpoint(&self, path: &str) -> Result<(), WireError> {
        let plain = path.split('?').next().unwrap_or(path);
        if self
            .endpoint_suffixes()
            .iter()
            .any(|suffix| plain.ends_with(suffix))
        {
            return Ok(());
        }
        Err(WireError::Endpoint {
            endpoint: path.to_owned(),
            backend: self.name(),
            wanted: self.endpoint_suffixes().join(" or "),
            default: self.default_endpoint(),
        })
    }
}

/// Deals with events that carry no message: an empty one, and the end marker `[DONE]`. True for
/// these.
fn is_marker(event: SseEvent<'_>, sink: &mut Sink<'_>) -> bool {
    match event.data.trim_ascii() {
        b"" => true,
        b"[DONE]" => {
            sink.done();
            true
        }
        _ => false,
    }
}

/// The name of the model for `request`.
fn model<'a>(request: &'a Request, settings: &'a BodySettings) -> &'a str {
    request.model.as_deref().unwrap_or(&settings.model)
}

/// Fields common to all generation APIs, in vLLM's order: `ignore_eos`, sampling parameters, extra
/// body, the request's own overrides; each wins over what came before, but keeps its place.
fn add_common(body: &mut Map<String, Value>, request: &Request, settings: &BodySettings) {
    if settings.ignore_eos {
        body.insert("ignore_eos".into(), Value::Bool(true));
    }
    // The merged extra body is one mapping in vLLM's client too, which fixes the order of new keys.
    let mut extra = settings.sampling.clone();
    merge(&mut extra, &settings.extra_body);
    merge(&mut extra, &request.overrides);
    merge(body, &extra);
}

fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        into.insert(key.clone(), value.clone());
    }
}

/// The finished body, without the fields to be omitted.
fn json_body(mut body: Map<String, Value>, settings: &BodySettings) -> Body {
    for field in &settings.omit_fields {
        body.shift_remove(field);
    }
    Body {
        content_type: "application/json".into(),
        bytes: json_bytes(&body),
    }
}

/// `stream_options` that ask for usage numbers.
fn stream_options(settings: &BodySettings) -> Value {
    if settings.continuous_usage {
        json!({"include_usage": true, "continuous_usage_stats": true})
    } else {
        json!({"include_usage": true})
    }
}

#[cfg(test)]
mod tests {
    use inferometer_core::Record;
    use proptest::prelude::*;

    use super::*;
    use crate::reply::{Progress, Sink};
    use crate::settings::KeepText;
    use crate::socket::Stamp;
    use crate::sse::SseEvent;

    /// What a stream of events makes of a record, with a new reader for every event or one for all.
    fn read(backend: &dyn Backend, events: &[String], afresh: bool) -> (Record, bool) {
        let mut record = Record::default();
        let mut progress = Progress::new(KeepText::Always);
        let mut reader = backend.reader(true);
        let mut failed = false;
        for (number, event) in events.iter().enumerate() {
            if afresh {
                reader = backend.reader(true);
            }
            let stamp = Stamp {
                read: number as u64,
                ..Stamp::default()
            };
            let mut sink = Sink::new(&mut record, &mut progress, stamp);
            failed |= sink.message(u64::MAX).is_err();
            failed |= reader
                .event(
                    SseEvent {
                        data: event.as_bytes(),
                        name: b"",
                    },
                    &mut sink,
                )
                .is_err();
        }
        (record, failed)
    }

    fn events() -> impl Strategy<Value = Vec<(usize, String, String)>> {
        let text = prop_oneof![
            "[a-z é☃]{0,6}".prop_map(|text| text),
            Just("\\n".to_owned()),
            Just("\\u00e9\\\"".to_owned()),
            Just("\",\"finish_reason\":\"stop".to_owned()),
            Just("\u{1}".to_owned()),
        ];
        let tail = prop_oneof![
            Just(r#","finish_reason":null}]}"#.to_owned()),
            Just(r#","finish_reason":"stop"}]}"#.to_owned()),
            Just(r#"}],"usage":null}"#.to_owned()),
            Just(r#"}],"usage":{"completion_tokens":3}}"#.to_owned()),
            Just(r#"}],"error":null}"#.to_owned()),
        ];
        proptest::collection::vec((0_usize..5, text, tail), 1..12)
    }

    proptest! {
        #[test]
        fn reading_by_template_gives_what_parsing_gives(parts in events()) {
            let heads = [
                r#"{"choices":[{"index":0,"text":""#,
                r#"{"choices":[{"delta":{"content":""#,
                r#"{"choices":[{"delta":{"role":"assistant","content":""#,
                r#"{"choices":[{"delta":{"reasoning":""#,
                r#"{"choices":[{"delta":{"content":null,"reasoning_content":""#,
            ];
            let events: Vec<String> = parts
                .iter()
                .map(|(head, text, tail)| {
                    let close = if *head == 0 { "" } else { "}" };
                    format!("{}{text}\"{close}{tail}", heads[*head])
                })
                .collect();
            for name in ["vllm", "openai-chat", "openai-audio"] {
                let backend = find(name).unwrap();
                prop_assert_eq!(read(backend, &events, false), read(backend, &events, true));
            }
        }

        #[test]
        fn reading_by_template_gives_what_parsing_gives_for_named_events(parts in events()) {
            let heads = [
                r#"{"type":"response.output_text.delta","delta":""#,
                r#"{"type":"response.reasoning_text.delta","delta":""#,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":""#,
                r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":""#,
                r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":""#,
            ];
            let events: Vec<String> = parts
                .iter()
                .map(|(head, text, _)| format!("{}{text}\"{}", heads[*head], if *head < 2 { "}" } else { "}}" }))
                .collect();
            for name in ["openai-responses", "anthropic"] {
                let backend = find(name).unwrap();
                prop_assert_eq!(read(backend, &events, false), read(backend, &events, true));
            }
        }

        #[test]
        fn no_event_makes_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for backend in ALL {
                let mut record = Record::default();
                let mut progress = Progress::new(KeepText::Always);
                let mut reader = backend.reader(true);
                let mut sink = Sink::new(&mut record, &mut progress, Stamp::default());
                let _ = reader.event(SseEvent { data: &bytes, name: b"" }, &mut sink);
                let _ = reader.body(&bytes, &mut sink);
            }
        }
    }
}
