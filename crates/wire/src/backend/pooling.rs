//! Backends without generation: embeddings in all their spellings, pooling, rerank. One request,
//! one answer; what is measured is the time to the complete answer.

use http::HeaderMap;
use inferometer_core::{Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::chat::messages;
use super::completions::check_error;
use super::{Backend, BackendKind, Body, add_common, json_body, model};
use crate::error::WireError;
use crate::json::{Length, Side, UsageObject};
use crate::reply::{Fault, ReplyReader, Sink, not_json};
use crate::settings::BodySettings;
use crate::sse::SseEvent;

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

/// A backend with one answer and no output tokens.
#[derive(Debug)]
pub(super) struct Pooling {
    name: &'static str,
    shape: Shape,
}

pub(super) static EMBEDDINGS: Pooling = Pooling {
    name: "openai-embeddings",
    shape: Shape::Input,
};
pub(super) static EMBEDDINGS_CHAT: Pooling = Pooling {
    name: "openai-embeddings-chat",
    shape: Shape::Chat,
};
pub(super) static EMBEDDINGS_CLIP: Pooling = Pooling {
    name: "openai-embeddings-clip",
    shape: Shape::Clip,
};
pub(super) static EMBEDDINGS_VLM2VEC: Pooling = Pooling {
    name: "openai-embeddings-vlm2vec",
    shape: Shape::Vlm2Vec,
};
pub(super) static INFINITY: Pooling = Pooling {
    name: "infinity-embeddings",
    shape: Shape::Infinity,
};
pub(super) static INFINITY_CLIP: Pooling = Pooling {
    name: "infinity-embeddings-clip",
    shape: Shape::InfinityClip,
};
pub(super) static VLLM_POOLING: Pooling = Pooling {
    name: "vllm-pooling",
    shape: Shape::Pooling,
};
pub(super) static VLLM_RERANK: Pooling = Pooling {
    name: "vllm-rerank",
    shape: Shape::Rerank,
};

impl Backend for Pooling {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default_endpoint(&self) -> &'static str {
        match self.shape {
            Shape::Pooling => "/pooling",
            Shape::Rerank => "/v1/rerank",
            Shape::Infinity | Shape::InfinityClip => "/embeddings",
            _ => "/v1/embeddings",
        }
    }

    fn endpoint_suffixes(&self) -> &'static [&'static str] {
        match self.shape {
            Shape::Pooling => &["pooling"],
            Shape::Rerank => &["rerank"],
            _ => &["embeddings"],
        }
    }

    fn kind(&self) -> BackendKind {
        BackendKind::Pooling
    }

    fn applies_chat_template(&self) -> bool {
        matches!(self.shape, Shape::Chat | Shape::Clip | Shape::Vlm2Vec)
    }

    fn can_stream(&self) -> bool {
        false
    }

    fn sequences(&self, request: &Request) -> u32 {
        let all = request.prompt.sequences();
        // The first text is the query; the documents are what is scored.
        let counted = if self.shape == Shape::Rerank {
            all.saturating_sub(1)
        } else {
            all
        };
        u32::try_from(counted.max(1)).unwrap_or(u32::MAX)
    }

    fn body(&self, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
        let mut body = Map::new();
        body.insert("model".into(), model(request, settings).into());
        match self.shape {
            Shape::Input => {
                body.insert("input".into(), self.input(request)?);
                body.insert("truncate_prompt_tokens".into(), (-1).into());
            }
            Shape::Pooling => {
                body.insert("truncate_prompt_tokens".into(), (-1).into());
                match (&request.prompt, request.media.is_empty()) {
                    (Prompt::Messages(_) | Prompt::Parts(_), _) | (Prompt::Text(_), false) => {
                        body.insert("messages".into(), messages(request, self.name)?);
                    }
                    _ => drop(body.insert("input".into(), self.input(request)?)),
                }
            }
            Shape::Rerank => self.rerank(request, &mut body)?,
            Shape::Chat | Shape::Clip | Shape::Vlm2Vec => {
                body.insert("messages".into(), self.chat(request)?);
                body.insert("truncate_prompt_tokens".into(), (-1).into());
            }
            Shape::Infinity | Shape::InfinityClip => self.infinity(request, &mut body)?,
        }
        // vLLM's client forgets the extra body for rerank; a setting that is not sent would be a
        // lie.
        let settings = BodySettings {
            ignore_eos: false,
            ..settings.clone()
        };
        add_common(&mut body, request, &settings);
        Ok(json_body(body, &settings))
    }

    fn reader(&self, _stream: bool) -> Box<dyn ReplyReader> {
        Box::new(Reader { bare: false })
    }
}

impl Pooling {
    fn refuse(&self, what: &'static str, remedy: &'static str) -> WireError {
        WireError::Prompt {
            backend: self.name,
            what,
            remedy,
        }
    }

    fn input(&self, request: &Request) -> Result<Value, WireError> {
        if !request.media.is_empty() || request.audio.is_some() {
            return Err(self.refuse(
                "images, video or audio",
                "use --backend openai-embeddings-chat",
            ));
        }
        match &request.prompt {
            Prompt::Text(text) => Ok(text.as_str().into()),
            Prompt::Tokens(ids) => Ok(ids.clone().into()),
            Prompt::Texts(texts) => Ok(texts.clone().into()),
            Prompt::Messages(_) | Prompt::Parts(_) => {
                Err(self.refuse("chat messages", "use --backend openai-embeddings-chat"))
            }
        }
    }

    fn rerank(&self, request: &Request, body: &mut Map<String, Value>) -> Result<(), WireError> {
        match &request.prompt {
            Prompt::Texts(texts) if texts.len() >= 2 => {
                body.insert("query".into(), texts[0].as_str().into());
                body.insert("documents".into(), texts[1..].into());
                body.insert("truncate_prompt_tokens".into(), (-1).into());
                Ok(())
            }
            _ => Err(self.refuse(
                "a prompt without a query and documents",
                "use --dataset-name random-rerank",
            )),
        }
    }

    fn chat(&self, request: &Request) -> Result<Value, WireError> {
        let mut request = request.clone();
        if let (Shape::Clip, false, Prompt::Text(text)) =
            (self.shape, request.media.is_empty(), &mut request.prompt)
        {
            // CLIP embeds either a text or an image.
            text.clear();
        }
        if self.shape != Shape::Vlm2Vec || request.media.is_empty() {
            return messages(&request, self.name);
        }
        let Prompt::Text(question) = &request.prompt else {
            return Err(self.refuse(
                "images with anything but plain text",
                "use a dataset of plain text and images",
            ));
        };
        // Odd requests ask a question about the image, even ones and those without a number do not.
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

    fn infinity(&self, request: &Request, body: &mut Map<String, Value>) -> Result<(), WireError> {
        let text = request.prompt.as_text().unwrap_or_default();
        let text_counts = self.shape == Shape::Infinity && !text.is_empty();
        match request.media.as_slice() {
            [] => drop(body.insert("input".into(), self.input(request)?)),
            [item] if !text_counts => {
                let kind = item["type"].as_str().unwrap_or_default();
                let url = [&item[kind]["url"], &item[kind]]
                    .into_iter()
                    .find_map(Value::as_str);
                let Some(url) = url else {
                    return Err(self.refuse(
                        "this kind of content part",
                        "use image_url, video_url or audio_url",
                    ));
                };
                let modality = kind.strip_suffix("_url").unwrap_or(kind);
                body.insert("input".into(), url.into());
                body.insert("modality".into(), modality.into());
            }
            [_] => {
                return Err(self.refuse(
                    "text and an image at once",
                    "use --backend infinity-embeddings-clip",
                ));
            }
            _ => {
                return Err(self.refuse("several images in one request", "use one image a request"));
            }
        }
        Ok(())
    }
}

#[derive(Debug, serde::Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    usage: Side<UsageObject>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    data: Length,
    #[serde(default)]
    results: Length,
}

#[derive(Debug)]
struct Reader {
    /// The body is not JSON: vectors as bytes.
    bare: bool,
}

impl ReplyReader for Reader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        // Never asked for; an endpoint that streams nevertheless is caught by its content type.
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
        let answer: Answer<'_> =
            serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
        check_error(answer.error, false, body)?;
        if let Some(usage) = answer.usage.as_ref() {
            sink.usage(usage.input_usage());
        }
        // An answer without any vector or score is empty, which the exchange notices.
        if answer
            .data
            .0
            .or(answer.results.0)
            .is_none_or(|length| length > 0)
        {
            sink.complete();
        }
        Ok(())
    }
}
