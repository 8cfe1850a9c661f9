//! Completions and chat completions: the answers' shapes as vLLM writes them.

use inferometer_core::EventKind;

use crate::format::{
    Answer, Counts, Events, Finish, Format, TokenPart, put, put_number, put_usage, quoted,
};

/// Name of the function that tool-call answers call.
const DEFAULT_TOOL: &str = "lookup";

/// What all events of one answer share.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Escaped and quoted.
    pub(super) id: String,
    pub(super) created: u64,
    /// Escaped and quoted.
    pub(super) model: String,
}

impl Identity {
    /// `id` and `model` come from the client and are escaped here.
    pub(crate) fn new(id: &str, created: u64, model: &str) -> Self {
        Self {
            id: quoted(id),
            created,
            model: quoted(model),
        }
    }

    /// The beginning of an object with these, without its closing brace.
    pub(super) fn start(&self, object: &str) -> String {
        format!(
            "{{\"id\":{},\"object\":\"{object}\",\"created\":{},\"model\":{}",
            self.id, self.created, self.model
        )
    }
}

/// `/v1/completions`.
pub(crate) struct Completions {
    head: String,
    identity: Identity,
    logprobs: bool,
}

impl Completions {
    pub(crate) fn new(identity: Identity, logprobs: bool) -> Self {
        let head = format!("data: {},\"choices\":[", identity.start("text_completion"));
        Self {
            head,
            identity,
            logprobs,
        }
    }
}

impl Format for Completions {
    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        out.push(|bytes| {
            put(bytes, &[&self.head, "{\"index\":"]);
            put_number(bytes, part.sequence);
            put(bytes, &[",\"text\":\"", part.text, "\",\"logprobs\":"]);
            if self.logprobs {
                put(
                    bytes,
                    &[
                        "{\"text_offset\":[0],\"token_logprobs\":[-0.5],\"tokens\":[\"",
                        part.text,
                    ],
                );
                put(
                    bytes,
                    &["\"],\"top_logprobs\":[{\"", part.text, "\":-0.5}]}"],
                );
            } else {
                put(bytes, &["null"]);
            }
            put_finish(bytes, part.finish);
            put(bytes, &[",\"stop_reason\":null}]"]);
            put_attached_usage(bytes, part.usage);
            put(bytes, &["}\n\n"]);
        });
    }

    fn close(&self, out: &mut Events, _finish: Finish, usage: Option<Counts>) {
        if let Some(counts) = usage {
            out.push(|bytes| {
                put(bytes, &[&self.head, "],\"usage\":"]);
                put_usage(bytes, counts);
                put(bytes, &["}\n\n"]);
            });
        }
    }

    fn whole(&self, answers: &[Answer], finish: Finish, counts: Counts) -> Vec<u8> {
        let mut body = Vec::new();
        put(
            &mut body,
            &[&self.identity.start("text_completion"), ",\"choices\":["],
        );
        for (index, answer) in answers.iter().enumerate() {
            put(
                &mut body,
                &[if index > 0 { "," } else { "" }, "{\"index\":"],
            );
            put_number(&mut body, index as u32);
            put(
                &mut body,
                &[",\"text\":\"", &answer.text, "\",\"logprobs\":null"],
            );
            put_finish(&mut body, Some(finish));
            put(&mut body, &[",\"stop_reason\":null}"]);
        }
        put(&mut body, &["],\"usage\":"]);
        put_usage(&mut body, counts);
        put(&mut body, &["}"]);
        body
    }
}

/// `/v1/chat/completions`.
pub(crate) struct Chat {
    head: String,
    identity: Identity,
    /// Key under which reasoning text goes.
    reasoning_key: &'static str,
    /// Name of the function that tool-call answers call, escaped and quoted.
    tool: String,
    sequences: u32,
}

impl Chat {
    pub(crate) fn new(
        identity: Identity,
        sequences: u32,
        reasoning_key: &'static str,
        tool: Option<&str>,
    ) -> Self {
        let head = format!(
            "data: {},\"choices\":[",
            identity.start("chat.completion.chunk")
        );
        Self {
            head,
            identity,
            reasoning_key,
            tool: quoted(tool.unwrap_or(DEFAULT_TOOL)),
            sequences,
        }
    }

    fn put_tool_call(&self, bytes: &mut Vec<u8>, arguments: &str, first: bool) {
        put(bytes, &["\"tool_calls\":[{\"index\":0,"]);
        if first {
            put(
                bytes,
                &[
                    "\"id\":\"call_0\",\"type\":\"function\",\"function\":{\"name\":",
                    &self.tool,
                ],
            );
            put(bytes, &[",\"arguments\":\"", arguments, "\"}}]"]);
        } else {
            put(
                bytes,
                &["\"function\":{\"arguments\":\"", arguments, "\"}}]"],
            );
        }
    }
}

impl Format for Chat {
    fn open(&self, out: &mut Events, _counts: Counts) {
        for sequence in 0..self.sequences {
            out.push(|bytes| {
                put(bytes, &[&self.head, "{\"index\":"]);
                put_number(bytes, sequence);
                put(
                    bytes,
                    &[",\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"],
                );
                put(bytes, &[",\"logprobs\":null,\"finish_reason\":null}]}\n\n"]);
            });
        }
    }

    fn role_only(&self, out: &mut Events) -> bool {
        out.push(|bytes| {
            put(
                bytes,
                &[
                    &self.head,
                    "{\"index\":0,\"delta\":{\"role\":\"assistant\"}",
                ],
            );
            put(bytes, &[",\"logprobs\":null,\"finish_reason\":null}]}\n\n"]);
        });
        true
    }

    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        out.push(|bytes| {
            put(bytes, &[&self.head, "{\"index\":"]);
            put_number(bytes, part.sequence);
            put(bytes, &[",\"delta\":{"]);
            match part.kind {
                EventKind::Text | EventKind::Blank => {
                    put(bytes, &["\"content\":\"", part.text, "\""]);
                }
                EventKind::Reasoning => {
                    put(bytes, &["\"", self.reasoning_key, "\":\"", part.text, "\""]);
                }
                EventKind::ToolCall => self.put_tool_call(bytes, part.text, part.first_of_kind),
            }
            put(bytes, &["},\"logprobs\":null"]);
            put_finish(bytes, part.finish);
            put(bytes, &["}]"]);
            put_attached_usage(bytes, part.usage);
            put(bytes, &["}\n\n"]);
        });
    }

    fn close(&self, out: &mut Events, _finish: Finish, usage: Option<Counts>) {
        if let Some(counts) = usage {
            out.push(|bytes| {
                put(bytes, &[&self.head, "],\"usage\":"]);
                put_usage(bytes, counts);
                put(bytes, &["}\n\n"]);
            });
        }
    }

    fn whole(&self, answers: &[Answer], finish: Finish, counts: Counts) -> Vec<u8> {
        let mut body = Vec::new();
        put(
            &mut body,
            &[&self.identity.start("chat.completion"), ",\"choices\":["],
        );
        for (index, answer) in answers.iter().enumerate() {
            put(
                &mut body,
                &[if index > 0 { "," } else { "" }, "{\"index\":"],
            );
            put_number(&mut body, index as u32);
            put(
                &mut body,
                &[",\"message\":{\"role\":\"assistant\",\"content\":"],
            );
            if answer.tool_arguments.is_empty() {
                put(&mut body, &["\"", &answer.text, "\""]);
            } else {
                put(&mut body, &["null,"]);
                self.put_tool_call(&mut body, &answer.tool_arguments, true);
            }
            if !answer.reasoning.is_empty() {
                put(
                    &mut body,
                    &[",\"", self.reasoning_key, "\":\"", &answer.reasoning, "\""],
                );
            }
            put(&mut body, &["},\"logprobs\":null"]);
            put_finish(&mut body, Some(finish));
            put(&mut body, &["}"]);
        }
        put(&mut body, &["],\"usage\":"]);
        put_usage(&mut body, counts);
        put(&mut body, &["}"]);
        body
    }
}

pub(super) fn put_finish(bytes: &mut Vec<u8>, finish: Option<Finish>) {
    match finish {
        Some(finish) => put(bytes, &[",\"finish_reason\":\"", finish.openai(), "\""]),
        None => put(bytes, &[",\"finish_reason\":null"]),
    }
}

pub(super) fn put_attached_usage(bytes: &mut Vec<u8>, usage: Option<Counts>) {
    if let Some(counts) = usage {
        put(bytes, &[",\"usage\":"]);
        put_usage(bytes, counts);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn part(kind: EventKind) -> TokenPart<'static> {
        TokenPart {
            sequence: 1,
            text: " word",
            kind,
            first_of_kind: true,
            finish: Some(Finish::Length),
            usage: Some(Counts {
                prompt: 3,
                output: 4,
                cached: 2,
                reasoning: 1,
            }),
            position: 0,
            after_reasoning: false,
            so_far: " word",
            counts: Counts::default(),
        }
    }

    fn json(events: &Events) -> Vec<Value> {
        events
            .iter()
            .map(|event| {
                let text = std::str::from_utf8(event).unwrap();
                let data = text
                    .strip_prefix("data: ")
                    .unwrap()
                    .strip_suffix("\n\n")
                    .unwrap();
                serde_json::from_str(data).unwrap()
            })
            .collect()
    }

    #[test]
    fn every_event_is_json_even_with_odd_names() {
        let identity = Identity::new("a\"b", 7, "m\\n\u{e9}");
        let counts = Counts {
            prompt: 3,
            output: 4,
            cached: 2,
            reasoning: 1,
        };
        let mut out = Events::default();
        for logprobs in [false, true] {
            let format = Completions::new(identity.clone(), logprobs);
            format.token(&mut out, &part(EventKind::Text));
            format.close(&mut out, Finish::Length, Some(counts));
        }
        let chat = Chat::new(identity, 2, "reasoning", Some("f\"g"));
        chat.open(&mut out, counts);
        chat.role_only(&mut out);
        for kind in [
            EventKind::Text,
            EventKind::Reasoning,
            EventKind::ToolCall,
            EventKind::Blank,
        ] {
            chat.token(&mut out, &part(kind));
        }
        let events = json(&out);
        assert_eq!(events.len(), 11);
        assert_eq!(events[0]["id"], "a\"b");
        assert_eq!(events[0]["choices"][0]["text"], " word");
        assert_eq!(events[1]["usage"]["total_tokens"], 7);
        assert_eq!(events[8]["choices"][0]["delta"]["reasoning"], " word");
        assert_eq!(
            events[9]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"],
            "f\"g"
        );

        let answer = Answer {
            text: " a b".into(),
            reasoning: " c".into(),
            tool_arguments: String::new(),
        };
        let body: Value =
            serde_json::from_slice(&chat.whole(&[answer.clone(), answer], Finish::Stop, counts))
                .unwrap();
        assert_eq!(body["choices"][1]["message"]["content"], " a b");
        assert_eq!(body["usage"]["completion_tokens"], 4);
    }
}
