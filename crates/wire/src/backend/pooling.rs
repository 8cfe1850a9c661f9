//! Backends without generation: embeddings in all their forms, pooling, rerank. One request, one
//! answer; what is measured is the time to the complete answer.

use inferometer_core::{Prompt, Request};
use serde_json::{Map, Value, json};

use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers};
use super::body::{Body, BodySettings, LengthFields, add_common, model};
use super::chat::messages;
use super::vectors::Reader;
use crate::error::WireError;

/// Instruction of the VLM2Vec models for an image alone.
const DESCRIBE_IMAGE: &str = "Represent the given image.";
/// Instruction for an image with a question, which follows it.
const DESCRIBE_IMAGE_WITH: &str = "Represent the given image with the following question: ";

/// Where the prompt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Input,
    Chat,
    Clip,
    Vlm2Vec,
    Infinity,
    InfinityClip,
    Pooling,
    Rerank,
}

/// An API with one answer and no output tokens.
const POOLING: Backend = Backend {
    name: "openai-embeddings",
    default_endpoint: "/v1/embeddings",
    suffixes: &["embeddings"],
    foreign: None,
    kind: BackendKind::Pooling,
    applies_chat_template: false,
    streaming: Streaming::Never,
    length: LengthFields::top(&[]),
    results,
    body: |backend, request, settings| body(backend, Shape::Input, request, settings),
    reader: || Box::new(Reader::default()),
    sequences: |request| all_sequences(request).max(1),
    headers: no_headers,
};

pub(super) static EMBEDDINGS: Backend = POOLING;
pub(super) static EMBEDDINGS_CHAT: Backend = Backend {
    name: "openai-embeddings-chat",
    applies_chat_template: true,
    body: |backend, request, settings| body(backend, Shape::Chat, request, settings),
    ..POOLING
};
pub(super) static EMBEDDINGS_CLIP: Backend = Backend {
    name: "openai-embeddings-clip",
    applies_chat_template: true,
    body: |backend, request, settings| body(backend, Shape::Clip, request, settings),
    ..POOLING
};
pub(super) static EMBEDDINGS_VLM2VEC: Backend = Backend {
    name: "openai-embeddings-vlm2vec",
    applies_chat_template: true,
    body: |backend, request, settings| body(backend, Shape::Vlm2Vec, request, settings),
    ..POOLING
};
pub(super) static INFINITY: Backend = Backend {
    name: "infinity-embeddings",
    default_endpoint: "/embeddings",
    body: |backend, request, settings| body(backend, Shape::Infinity, request, settings),
    ..POOLING
};
pub(super) static INFINITY_CLIP: Backend = Backend {
    name: "infinity-embeddings-clip",
    default_endpoint: "/embeddings",
    body: |backend, request, settings| body(backend, Shape::InfinityClip, request, settings),
    ..POOLING
};
pub(super) static VLLM_POOLING: Backend = Backend {
    name: "vllm-pooling",
    default_endpoint: "/pooling",
    suffixes: &["pooling"],
    body: |backend, request, settings| body(backend, Shape::Pooling, request, settings),
    ..POOLING
};
pub(super) static VLLM_RERANK: Backend = Backend {
    name: "vllm-rerank",
    default_endpoint: "/v1/rerank",
    suffixes: &["rerank"],
    // The first text is the query; the documents are what is scored.
    sequences: |request| all_sequences(request).saturating_sub(1).max(1),
    body: |backend, request, settings| body(backend, Shape::Rerank, request, settings),
    ..POOLING
};

fn body(
    backend: &Backend,
    shape: Shape,
    request: &Request,
    settings: &BodySettings,
) -> Result<Body, WireError> {
    let mut body = Map::new();
    body.insert("model".into(), model(request, settings).into());
    match shape {
        Shape::Input => {
            body.insert("input".into(), input(backend, request)?);
            body.insert("truncate_prompt_tokens".into(), (-1).into());
        }
        Shape::Pooling => {
            body.insert("truncate_prompt_tokens".into(), (-1).into());
            match (&request.prompt, request.media.is_empty()) {
                (Prompt::Messages(_) | Prompt::Parts(_), _) | (Prompt::Text(_), false) => {
                    body.insert("messages".into(), messages(request, backend)?);
                }
                _ => drop(body.insert("input".into(), input(backend, request)?)),
            }
        }
        Shape::Rerank => rerank(backend, request, &mut body)?,
        Shape::Chat | Shape::Clip | Shape::Vlm2Vec => {
            body.insert("messages".into(), chat(backend, shape, request)?);
            body.insert("truncate_prompt_tokens".into(), (-1).into());
        }
        Shape::Infinity | Shape::InfinityClip => infinity(backend, shape, request, &mut body)?,
    }
    // vLLM's client drops the extra body for rerank; here every setting is sent.
    let settings = BodySettings {
        ignore_eos: settings.ignore_eos && shape != Shape::Rerank,
        ..settings.clone()
    };
    add_common(&mut body, request, &settings);
    Ok(backend.json_body(request, body, &settings))
}

fn input(backend: &Backend, request: &Request) -> Result<Value, WireError> {
    backend.refuse_media(request, "use --backend openai-embeddings-chat")?;
    match &request.prompt {
        Prompt::Text(text) => Ok(text.as_str().into()),
        Prompt::Tokens(ids) => Ok(ids.clone().into()),
        Prompt::Texts(texts) => Ok(texts.clone().into()),
        Prompt::Messages(_) | Prompt::Parts(_) => {
            Err(backend.refuse("chat messages", "use --backend openai-embeddings-chat"))
        }
    }
}

fn rerank(
    backend: &Backend,
    request: &Request,
    body: &mut Map<String, Value>,
) -> Result<(), WireError> {
    match &request.prompt {
        Prompt::Texts(texts) if texts.len() >= 2 => {
            body.insert("query".into(), texts[0].as_str().into());
            body.insert("documents".into(), texts[1..].into());
            body.insert("truncate_prompt_tokens".into(), (-1).into());
            Ok(())
        }
        _ => Err(backend.refuse(
            "a prompt without a query and documents",
            "use --dataset-name random-rerank",
        )),
    }
}

fn chat(backend: &Backend, shape: Shape, request: &Request) -> Result<Value, WireError> {
    let mut request = request.clone();
    if let (Shape::Clip, false, Prompt::Text(text)) =
        (shape, request.media.is_empty(), &mut request.prompt)
    {
        // CLIP embeds either a text or an image.
        text.clear();
    }
    if shape != Shape::Vlm2Vec || request.media.is_empty() {
        return messages(&request, backend);
    }
    let Prompt::Text(question) = &request.prompt else {
        return Err(backend.refuse(
            "images with anything but plain text",
            "use a dataset of plain text and images",
        ));
    };
    // As in vLLM's client: odd requests ask a question about the image, even ones do not.
    let number: String = request
        .id
        .iter()
        .filter_map(|id| id.rsplit('-').next())
        .collect();
    let odd = number.parse::<u64>().is_ok_and(|number| number % 2 == 1);
    let text = if odd {
        format!("{DESCRIBE_IMAGE_WITH}{question}")
    } else {
        DESCRIBE_IMAGE.to_owned()
    };
    let mut content = request.media.clone();
    content.push(json!({"type": "text", "text": text}));
    Ok(json!([{"role": "user", "content": content}]))
}

fn infinity(
    backend: &Backend,
    shape: Shape,
    request: &Request,
    body: &mut Map<String, Value>,
) -> Result<(), WireError> {
    let text = request.prompt.as_text().unwrap_or_default();
    let text_counts = shape == Shape::Infinity && !text.is_empty();
    match request.media.as_slice() {
        [] => drop(body.insert("input".into(), input(backend, request)?)),
        [item] if !text_counts => {
            let kind = item["type"].as_str().unwrap_or_default();
            let url = [&item[kind]["url"], &item[kind]]
                .into_iter()
                .find_map(Value::as_str);
            let Some(url) = url else {
                return Err(backend.refuse(
                    "this kind of content part",
                    "use image_url, video_url or audio_url",
                ));
            };
            let modality = kind.strip_suffix("_url").unwrap_or(kind);
            body.insert("input".into(), url.into());
            body.insert("modality".into(), modality.into());
        }
        [_] => {
            return Err(backend.refuse(
                "text and an image at once",
                "use --backend infinity-embeddings-clip",
            ));
        }
        _ => {
            return Err(
                backend.refuse("several images in one request", "use one image per request")
            );
        }
    }
    Ok(())
}

/// The number of vectors or scores that a body asks for; `None` where it has none of the known inputs.
pub(super) fn results(body: &Map<String, Value>) -> Option<u32> {
    if let Some(documents) = body.get("documents").and_then(Value::as_array) {
        let most = body
            .get("top_n")
            .and_then(Value::as_u64)
            .filter(|&most| most > 0);
        let all = documents.len() as u64;
        return u32::try_from(most.map_or(all, |most| most.min(all))).ok();
    }
    match body.get("input") {
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => Some(1),
        Some(Value::Array(items)) => u32::try_from(items.len()).ok(),
        Some(Value::String(_)) => Some(1),
        _ => body.contains_key("messages").then_some(1),
    }
}
