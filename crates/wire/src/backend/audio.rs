//! `openai-audio`: OpenAI's transcriptions and translations, with the audio as a multipart upload.

use inferometer_core::python::json_bytes;
use inferometer_core::{Prompt, Request};
use serde_json::{Map, Value};

use super::any_choices::AnyChoices;
use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers, no_results};
use super::body::{Body, BodySettings, LengthFields, merge, model};
use crate::error::WireError;

/// The speech-to-text API.
pub(super) static OPENAI_AUDIO: Backend = Backend {
    name: "openai-audio",
    default_endpoint: "/v1/audio/transcriptions",
    suffixes: &["transcriptions", "translations"],
    foreign: None,
    kind: BackendKind::Audio,
    applies_chat_template: true,
    streaming: Streaming::OnRequest,
    length: LengthFields::top(&["max_completion_tokens"]),
    results: no_results,
    body,
    reader: || Box::new(AnyChoices::default()),
    sequences: all_sequences,
    headers: no_headers,
};

fn body(backend: &Backend, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
    let Some(audio) = &request.audio else {
        return Err(backend.refuse("a request without audio", "use a dataset with audio"));
    };
    let mut fields = Map::new();
    fields.insert("model".into(), model(request, settings).into());
    if let Some(tokens) = request.output_tokens {
        fields.insert("max_completion_tokens".into(), tokens.into());
    }
    // Python's spelling of the values, because a form holds text and vLLM's client writes Python's.
    fields.insert(
        "stream".into(),
        if settings.stream { "True" } else { "False" }.into(),
    );
    fields.insert("language".into(), "en".into());
    if settings.stream {
        fields.insert("stream_include_usage".into(), "True".into());
        fields.insert("stream_continuous_usage_stats".into(), "True".into());
    }
    if let Prompt::Text(prompt) = &request.prompt
        && !prompt.is_empty()
    {
        fields.insert("prompt".into(), prompt.as_str().into());
    }
    merge(&mut fields, &settings.sampling);
    merge(&mut fields, &settings.extra_body);
    merge(&mut fields, &request.overrides);
    for field in &settings.omit_fields {
        fields.shift_remove(field);
    }
    let asked = backend.asked(&fields, request, settings);
    let boundary = boundary(&audio.bytes, &fields);
    let mut bytes = Vec::with_capacity(audio.bytes.len() + 1_024);
    let name = header_text(&audio.file_name);
    let kind = audio_type(&audio.file_name);
    part(
        &mut bytes,
        &boundary,
        kind,
        &format!("name=\"file\"; filename=\"{name}\""),
    );
    bytes.extend_from_slice(&audio.bytes);
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in &fields {
        part(
            &mut bytes,
            &boundary,
            "text/plain; charset=utf-8",
            &format!("name=\"{}\"", header_text(name)),
        );
        bytes.extend_from_slice(form_text(value).as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(Body {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        bytes,
        asked,
    })
}

/// The head of a part, laid out as aiohttp does it in vLLM's client.
fn part(bytes: &mut Vec<u8>, boundary: &str, kind: &str, disposition: &str) {
    let head = format!(
        "--{boundary}\r\nContent-Type: {kind}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    );
    bytes.extend_from_slice(head.as_bytes());
}

/// A boundary that does not occur in the content. It is a function of the content alone, so that
/// the same request always has the same bytes.
fn boundary(audio: &[u8], fields: &Map<String, Value>) -> String {
    let texts: Vec<String> = fields.values().map(form_text).collect();
    let mut number = 0_u64;
    loop {
        let boundary = format!("inferometer-{number:016x}");
        let occurs = |content: &[u8]| memchr::memmem::find(content, boundary.as_bytes()).is_some();
        if !occurs(audio) && !texts.iter().any(|text| occurs(text.as_bytes())) {
            return boundary;
        }
        number += 1;
    }
}

/// A value as form text: strings as they are, the rest as JSON with Python's words for true and
/// false.
fn form_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        other => String::from_utf8_lossy(&json_bytes(other)).into_owned(),
    }
}

/// Text that is valid between quotes in a part's header.
fn header_text(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() || character == '"' {
                '_'
            } else {
                character
            }
        })
        .collect()
}

fn audio_type(file_name: &str) -> &'static str {
    let extension = file_name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match extension.as_str() {
        "flac" => "audio/flac",
        "mp3" | "mpga" | "mpeg" => "audio/mpeg",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "m4a" | "mp4" => "audio/mp4",
        "webm" => "audio/webm",
        _ => "audio/wav",
    }
}
