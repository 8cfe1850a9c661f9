//! The APIs that servers speak: one file for each API or family of APIs, and one line in [`ALL`] for
//! each backend.
//!
//! A backend turns a request into a body and an answer into record facts. To add one, write its
//! file, add it to [`ALL`], and give it a golden exchange test.

mod anthropic;
mod any_choices;
mod api;
mod audio;
mod body;
mod chat;
mod completions;
mod legacy;
mod message;
mod pooling;
mod responses;
mod sglang;
mod vectors;

use inferometer_core::suggest::meant;

use crate::error::WireError;

pub use api::{Backend, BackendKind};
pub use body::{Asked, Body, BodySettings};

/// All backends, in the order in which help texts list them.
pub static ALL: &[&Backend] = &[
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
///
/// # Errors
///
/// An unknown name.
pub fn find(name: &str) -> Result<&'static Backend, WireError> {
    ALL.iter()
        .copied()
        .find(|backend| backend.name() == name)
        .ok_or_else(|| {
            let known: Vec<_> = ALL.iter().map(|backend| backend.name()).collect();
            WireError::UnknownBackend {
                name: name.to_owned(),
                known: known.join(", ") + &meant(name, known.iter().copied()),
            }
        })
}

#[cfg(test)]
mod tests {
    use inferometer_core::Record;
    use proptest::prelude::*;

    use super::*;
    use crate::probe::Stamp;
    use crate::progress::{Counting, Progress};
    use crate::reply::{KeepText, Sink};
    use crate::sse::SseEvent;

    /// What a stream of events makes of a record, with a new reader for every event or one for all.
    fn read(backend: &Backend, events: &[String], afresh: bool) -> (Record, bool) {
        let mut record = Record::default();
        let mut progress = Progress::new(KeepText::Always, Counting::Output);
        let mut reader = backend.reader();
        let mut failed = false;
        for (number, event) in events.iter().enumerate() {
            if afresh {
                reader = backend.reader();
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
        fn no_reader_panics_on_any_event(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for backend in ALL {
                let mut record = Record::default();
                let mut progress = Progress::new(KeepText::Always, Counting::Output);
                let mut reader = backend.reader();
                let mut sink = Sink::new(&mut record, &mut progress, Stamp::default());
                let _ = reader.event(SseEvent { data: &bytes, name: b"" }, &mut sink);
                let _ = reader.body(&bytes, &mut sink);
            }
        }
    }
}
