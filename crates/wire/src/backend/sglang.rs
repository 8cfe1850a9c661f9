//! `sglang-native`: SGLang's own `/generate`, whose events repeat the whole text so far (or, with
//! `--incremental-streaming-output`, have only what is new) and the token count.

use inferometer_core::{EventKind, Prompt, Request, Usage};
use serde_json::Map;
use serde_json::value::RawValue;

use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers};
use super::body::{Body, BodySettings, json_body, merge};
use super::message::{check_error, is_list, is_marker, object};
use crate::error::WireError;
use crate::json::{Count, Lenient, Reason, Text, reason, text};
use crate::progress::Counting;
use crate::reply::{Fault, ReplyReader, Sink, not_json};
use crate::sse::SseEvent;

/// SGLang's own API.
pub(super) static SGLANG_NATIVE: Backend = Backend {
    name: "sglang-native",
    default_endpoint: "/generate",
    suffixes: &["generate"],
    foreign: None,
    kind: BackendKind::Generation,
    applies_chat_template: false,
    streaming: Streaming::OnRequest,
    body,
    reader: || Box::new(Reader::default()),
    sequences: all_sequences,
    headers: no_headers,
};

fn body(backend: &Backend, request: &Request, settings: &BodySettings) -> Result<Body, WireError> {
    let remedy = "use a dataset of plain text, or --backend openai-chat";
    backend.refuse_media(request, remedy)?;
    let refuse = |what| backend.refuse(what, remedy);
    let mut sampling = Map::new();
    if let Some(tokens) = request.output_tokens {
        sampling.insert("max_new_tokens".into(), tokens.into());
    }
    if settings.ignore_eos {
        sampling.insert("ignore_eos".into(), true.into());
    }
    merge(&mut sampling, &settings.sampling);
    let mut body = Map::new();
    match &request.prompt {
        Prompt::Text(text) => drop(body.insert("text".into(), text.as_str().into())),
        Prompt::Texts(_) => return Err(refuse("several prompts in one request")),
        Prompt::Tokens(ids) => drop(body.insert("input_ids".into(), ids.clone().into())),
        Prompt::Messages(_) | Prompt::Parts(_) => return Err(refuse("chat messages")),
    }
    body.insert("sampling_params".into(), sampling.into());
    body.insert("stream".into(), settings.stream.into());
    if let Some(count) = settings.logprobs {
        body.insert("return_logprob".into(), true.into());
        body.insert("top_logprobs_num".into(), count.into());
    }
    // One model per server; only LoRA adapters are named.
    if let Some(adapter) = &request.model {
        body.insert("lora_path".into(), adapter.as_str().into());
    }
    merge(&mut body, &settings.extra_body);
    merge(&mut body, &request.overrides);
    Ok(json_body(body, settings))
}

#[derive(Debug, serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    meta_info: Lenient<Meta<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, serde::Deserialize)]
struct Meta<'a> {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    cached_tokens: Count,
    #[serde(borrow, default)]
    finish_reason: Lenient<Reason<'a>>,
}

/// A text that begins with this many bytes of the one before repeats it.
const REPEATS: usize = 16;

/// What the text of an event is.
#[derive(Debug)]
enum Texts {
    /// Not known yet: the text of the event before, and all texts joined.
    Unknown { before: String, joined: String },
    /// The whole text so far, of this many bytes.
    Whole { length: usize },
    /// What is new.
    New,
}

#[derive(Debug)]
struct Reader {
    texts: Texts,
    /// Tokens so far.
    tokens: u32,
}

impl Default for Reader {
    fn default() -> Self {
        let (before, joined) = (String::new(), String::new());
        Self {
            texts: Texts::Unknown { before, joined },
            tokens: 0,
        }
    }
}

impl Reader {
    /// The part of `text` that is new.
    ///
    /// Half a character at the end may be replaced by a whole one later, which changes what came
    /// before.
    fn fragment<'a>(&mut self, text: &'a str, sink: &mut Sink<'_>) -> &'a str {
        match &mut self.texts {
            Texts::New => text,
            Texts::Whole { length } if text.len() + REPEATS < *length => {
                self.texts = Texts::New;
                text
            }
            Texts::Whole { length } => {
                let fragment = text.get(*length..).unwrap_or_default();
                *length = text.len().max(*length);
                fragment
            }
            Texts::Unknown { before, joined } => {
                let known = before.trim_end_matches(char::REPLACEMENT_CHARACTER);
                if !text.starts_with(known) {
                    // So the events before had only what was new, too.
                    let joined = std::mem::take(joined);
                    sink.replace_text(joined);
                    self.texts = Texts::New;
                    return text;
                }
                let fragment = text.get(before.len()..).unwrap_or_default();
                if known.len() >= REPEATS {
                    let length = text.len();
                    self.texts = Texts::Whole { length };
                    return fragment;
                }
                joined.push_str(text);
                text.clone_into(before);
                fragment
            }
        }
    }

    fn take(&mut self, data: &[u8], streamed: bool, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let message: Message<'_> = object(data)?;
        check_error(message.error, false, data)?;
        let mut total = None;
        let mut why = None;
        if let Some(meta) = message.meta_info.as_ref() {
            total = meta.completion_tokens.0;
            sink.usage(Usage {
                prompt_tokens: meta.prompt_tokens.0,
                completion_tokens: total,
                cached_tokens: meta.cached_tokens.0,
                reasoning_tokens: None,
            });
            why = reason(&meta.finish_reason);
        } else if message.text.is_none() {
            sink.stray(data);
            return Ok(());
        }
        let text = text(message.text.as_ref()).unwrap_or_default();
        if streamed {
            let fragment = self.fragment(text, sink);
            let more = total.is_none_or(|total| total > self.tokens);
            self.tokens = total.unwrap_or(self.tokens);
            let every = sink.counting() != Counting::Output;
            if !fragment.is_empty() {
                sink.token(EventKind::Text, fragment);
            } else if why.is_some() && total.is_none() {
                sink.closing(false);
            } else if more || every {
                sink.token(EventKind::Blank, "");
            }
        } else {
            sink.fragment(EventKind::Text, text);
        }
        if let Some(why) = why {
            sink.finish_because(why);
        }
        Ok(())
    }
}

impl ReplyReader for Reader {
    fn event(&mut self, event: SseEvent<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        if is_marker(event, sink) {
            Ok(())
        } else {
            self.take(event.data.trim_ascii(), true, sink)
        }
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        if !is_list(body) {
            return self.take(body, false, sink);
        }
        // Several answers (`n` in the sampling parameters) are a list.
        let answers: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
        for answer in answers {
            self.take(answer.get().as_bytes(), false, sink)?;
        }
        Ok(())
    }
}
