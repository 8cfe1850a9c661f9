//! APIs of older servers, as the legacy benchmark script used them: `tgi`, `tensorrt-llm`,
//! `deepspeed-mii`.

use inferometer_core::{EventKind, Prompt, Request};
use serde_json::value::RawValue;
use serde_json::{Map, json};

use super::any_choices::AnyChoices;
use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers, no_results};
use super::body::{Body, BodySettings, LengthFields, add_common, merge, model};
use super::message::{check_error, is_marker, object};
use crate::error::WireError;
use crate::json::{Count, Lenient, Reason, Text, reason, text};
use crate::reply::{Fault, ReplyReader, Sink};
use crate::sse::SseEvent;

/// The only kind of prompt that these APIs accept.
fn plain_text<'a>(backend: &Backend, request: &'a Request) -> Result<&'a str, WireError> {
    let remedy = "use a dataset of plain text";
    backend.refuse_media(request, remedy)?;
    let refuse = |what| backend.refuse(what, remedy);
    request.prompt.as_text().ok_or_else(|| {
        refuse(match request.prompt {
            Prompt::Tokens(_) => "token ids",
            Prompt::Texts(_) => "several prompts in one request",
            _ => "chat messages",
        })
    })
}

/// Text Generation Inference, `/generate_stream`.
pub(super) static TGI: Backend = Backend {
    name: "tgi",
    default_endpoint: "/generate_stream",
    suffixes: &["generate_stream"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: false,
    streaming: Streaming::Always,
    length: LengthFields {
        within: Some("parameters"),
        limit: &["max_new_tokens"],
        least: &[],
        ignore_eos: "ignore_eos_token",
    },
    results: no_results,
    body: tgi_body,
    reader: || Box::new(TgiReader),
    sequences: all_sequences,
    headers: no_headers,
};

fn tgi_body(
    backend: &Backend,
    request: &Request,
    settings: &BodySettings,
) -> Result<Body, WireError> {
    let mut parameters = Map::new();
    if let Some(tokens) = request.output_tokens {
        parameters.insert("max_new_tokens".into(), tokens.into());
    }
    // The legacy script's way to ask for greedy sampling, which this server has no zero
    // temperature for.
    parameters.insert("do_sample".into(), true.into());
    parameters.insert("temperature".into(), 0.01.into());
    parameters.insert("top_p".into(), 0.99.into());
    parameters.insert("truncate".into(), request.prompt_tokens.into());
    parameters.insert("ignore_eos_token".into(), settings.ignore_eos.into());
    merge(&mut parameters, &settings.sampling);
    merge(&mut parameters, &settings.extra_body);
    merge(&mut parameters, &request.overrides);
    for field in &settings.omit_fields {
        parameters.shift_remove(field);
    }
    let mut body = Map::new();
    body.insert("inputs".into(), plain_text(backend, request)?.into());
    body.insert("parameters".into(), parameters.into());
    Ok(backend.json_body(request, body, settings))
}

#[derive(Debug, serde::Deserialize)]
struct TgiMessage<'a> {
    #[serde(borrow, default)]
    token: Option<TgiToken<'a>>,
    #[serde(borrow, default)]
    details: Lenient<TgiDetails<'a>>,
    #[serde(borrow, default)]
    generated_text: Option<Text<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, serde::Deserialize)]
struct TgiToken<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(default)]
    special: Lenient<bool>,
}

#[derive(Debug, serde::Deserialize)]
struct TgiDetails<'a> {
    #[serde(borrow, default)]
    finish_reason: Lenient<Reason<'a>>,
    #[serde(default)]
    generated_tokens: Count,
    #[serde(default)]
    input_length: Count,
}

#[derive(Debug)]
struct TgiReader;

impl ReplyReader for TgiReader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let data = event.data;
        if is_marker(event, sink) {
            return Ok(());
        }
        let message: TgiMessage<'_> = object(data)?;
        check_error(message.error, false, data)?;
        if let Some(token) = &message.token {
            let fragment = text(token.text.as_ref()).unwrap_or_default();
            sink.tokens_in_message(1);
            if token.special == Lenient(Some(true)) || fragment.is_empty() {
                sink.token(EventKind::Blank, "");
            } else {
                sink.token(EventKind::Text, fragment);
            }
        }
        if let Some(details) = message.details.as_ref() {
            sink.usage(inferometer_core::Usage {
                prompt_tokens: details.input_length.0,
                completion_tokens: details.generated_tokens.0,
                ..Default::default()
            });
        }
        // The last event repeats the whole text, and says why it ends.
        if message.generated_text.is_some() || !message.details.is_none() {
            let why = message
                .details
                .as_ref()
                .and_then(|details| reason(&details.finish_reason));
            match why {
                Some(why) => sink.finish_because(why),
                None => sink.finish("end"),
            }
            sink.done();
        } else if message.token.is_none() {
            sink.stray(data);
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        self.event(
            SseEvent {
                data: body,
                name: b"",
            },
            sink,
        )
    }
}

/// TensorRT-LLM behind Triton, `/v2/models/ensemble/generate_stream`.
pub(super) static TENSORRT_LLM: Backend = Backend {
    name: "tensorrt-llm",
    default_endpoint: "/v2/models/ensemble/generate_stream",
    suffixes: &["generate_stream"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: false,
    streaming: Streaming::Always,
    length: LengthFields {
        least: &["min_length", "min_tokens"],
        ..LengthFields::top(&["max_tokens"])
    },
    results: no_results,
    body: tensorrt_body,
    reader: || Box::new(TensorRtReader),
    sequences: all_sequences,
    headers: no_headers,
};

fn tensorrt_body(
    backend: &Backend,
    request: &Request,
    settings: &BodySettings,
) -> Result<Body, WireError> {
    let mut body = Map::new();
    // Deltas, not the whole text again with every token: the bytes would grow with its square.
    body.insert("accumulate_tokens".into(), false.into());
    body.insert("text_input".into(), plain_text(backend, request)?.into());
    body.insert("temperature".into(), 0.0.into());
    body.insert("top_p".into(), 1.0.into());
    if let Some(tokens) = request.output_tokens {
        body.insert("max_tokens".into(), tokens.into());
    }
    body.insert("stream".into(), true.into());
    if let (true, Some(tokens)) = (settings.ignore_eos, request.output_tokens) {
        body.insert("min_length".into(), tokens.into());
    }
    let plain = BodySettings {
        ignore_eos: false,
        ..settings.clone()
    };
    add_common(&mut body, request, &plain);
    Ok(backend.json_body(request, body, settings))
}

#[derive(Debug, serde::Deserialize)]
struct TensorRtMessage<'a> {
    #[serde(borrow, default)]
    text_output: Option<Text<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Debug)]
struct TensorRtReader;

impl ReplyReader for TensorRtReader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let data = event.data;
        if is_marker(event, sink) {
            return Ok(());
        }
        let message: TensorRtMessage<'_> = object(data)?;
        check_error(message.error, false, data)?;
        if let Some(fragment) = text(message.text_output.as_ref()) {
            sink.token(
                if fragment.is_empty() {
                    EventKind::Blank
                } else {
                    EventKind::Text
                },
                fragment,
            );
        } else {
            sink.stray(data);
        }
        Ok(())
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        self.event(
            SseEvent {
                data: body,
                name: b"",
            },
            sink,
        )
    }

    fn ends_by_closing(&self) -> bool {
        true
    }
}

/// DeepSpeed-MII's completions, which do not stream.
pub(super) static DEEPSPEED_MII: Backend = Backend {
    name: "deepspeed-mii",
    default_endpoint: "/v1/completions",
    suffixes: &["completions", "generate"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: false,
    streaming: Streaming::Never,
    length: LengthFields::top(&["max_tokens"]),
    results: no_results,
    body: mii_body,
    reader: || Box::new(AnyChoices::default()),
    sequences: all_sequences,
    headers: no_headers,
};

fn mii_body(
    backend: &Backend,
    request: &Request,
    settings: &BodySettings,
) -> Result<Body, WireError> {
    let mut body = Map::new();
    body.insert("model".into(), model(request, settings).into());
    body.insert("prompt".into(), plain_text(backend, request)?.into());
    if let Some(tokens) = request.output_tokens {
        body.insert("max_tokens".into(), tokens.into());
    }
    body.insert("temperature".into(), 0.01.into());
    body.insert("top_p".into(), json!(1.0));
    add_common(&mut body, request, settings);
    Ok(backend.json_body(request, body, settings))
}
