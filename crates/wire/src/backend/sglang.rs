//! `sglang-native`: SGLang's own `/generate`, whose events repeat the whole text so far (or, with
//! `--incremental-streaming-output`, have only what is new) and the token count.

use inferometer_core::{EventKind, Prompt, Request, Usage};
use serde_json::Map;
use serde_json::value::RawValue;

use super::api::{Backend, BackendKind, Streaming, all_sequences, no_headers, no_results};
use super::body::{Body, BodySettings, LengthFields, merge};
use super::completions::index;
use super::message::{check_error, is_list, is_marker, object};
use crate::error::WireError;
use crate::json::{Count, Length, Lenient, Reason, Text, reason, text};
use crate::progress::{Counting, MAX_CHOICES};
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
    length: LengthFields {
        within: Some("sampling_params"),
        limit: &["max_new_tokens"],
        least: &["min_new_tokens"],
        ignore_eos: "ignore_eos",
    },
    results: no_results,
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
    Ok(backend.json_body(request, body, settings))
}

#[derive(Debug, serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    meta_info: Lenient<Meta<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    output_ids: Length,
    /// The number of the answer, of several (`n` in the sampling parameters).
    #[serde(default)]
    index: Count,
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

#[derive(Debug, Default)]
struct Reader {
    /// By the number of the answer.
    answers: Vec<Answer>,
}

/// One answer of several.
#[derive(Debug)]
struct Answer {
    texts: Texts,
    /// Tokens so far.
    tokens: u32,
}

impl Default for Answer {
    fn default() -> Self {
        let (before, joined) = (String::new(), String::new());
        Self {
            texts: Texts::Unknown { before, joined },
            tokens: 0,
        }
    }
}

impl Answer {
    /// Learns from the token ids of an event, with the number of tokens so far, what its texts are.
    ///
    /// The ids of all tokens so far come with the whole text. The ids of new tokens alone come with
    /// what is new, or (in versions before `--incremental-streaming-output`) with the whole text, so
    /// that only a text that comes again shows which: new tokens make the whole text longer.
    fn learn(&mut self, text: &str, ids: usize, total: u32, sink: &mut Sink<'_>) {
        let Texts::Unknown { before, joined } = &mut self.texts else {
            return;
        };
        let new = total.saturating_sub(self.tokens) as usize;
        if self.tokens == 0 || new == 0 {
            // The first event has the same in both forms.
            return;
        }
        let cut = before.ends_with(char::REPLACEMENT_CHARACTER);
        if ids == total as usize {
            let length = before.len();
            self.texts = Texts::Whole { length };
        } else if ids == new && !text.is_empty() && text == before && !cut {
            let joined = std::mem::take(joined);
            sink.replace_text(joined);
            self.texts = Texts::New;
        }
    }

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

    /// A text with the number of tokens so far, and whether it is the last one.
    fn take(&mut self, text: &str, total: Option<u32>, is_last: bool, sink: &mut Sink<'_>) {
        let fragment = self.fragment(text, sink);
        let more = total.is_none_or(|total| total > self.tokens);
        self.tokens = total.unwrap_or(self.tokens);
        let every = sink.counting() != Counting::Output;
        if !fragment.is_empty() {
            sink.token(EventKind::Text, fragment);
        } else if is_last && total.is_none() {
            sink.closing(false);
        } else if more || every {
            sink.token(EventKind::Blank, "");
        }
    }
}

impl Reader {
    /// `number` is that of an answer without an index.
    fn take(
        &mut self,
        data: &[u8],
        streamed: bool,
        number: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), Fault> {
        let message: Message<'_> = object(data)?;
        check_error(message.error, false, data)?;
        let number = message.index.0.map_or(number, |_| index(message.index));
        let number = number.min(MAX_CHOICES - 1);
        sink.choice(number);
        let mut total = None;
        let mut why = None;
        if let Some(meta) = message.meta_info.as_ref() {
            total = meta.completion_tokens.0;
            sink.usage_of_choice(Usage {
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
            if number >= self.answers.len() {
                self.answers.resize_with(number + 1, Answer::default);
            }
            let answer = &mut self.answers[number];
            if let (Some(ids), Some(total)) = (message.output_ids.0, total) {
                answer.learn(text, ids, total, sink);
            }
            answer.take(text, total, why.is_some(), sink);
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
            self.take(event.data.trim_ascii(), true, 0, sink)
        }
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        if !is_list(body) {
            return self.take(body, false, 0, sink);
        }
        // Several answers (`n` in the sampling parameters) are a list.
        let answers: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
        for (number, answer) in answers.into_iter().enumerate() {
            self.take(answer.get().as_bytes(), false, number, sink)?;
        }
        Ok(())
    }
}
