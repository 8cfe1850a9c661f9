//! Anthropic's messages API.

use inferometer_core::EventKind;

use super::openai::Identity;
use crate::format::{Answer, Counts, Events, Finish, Format, TokenPart, put};

/// `/v1/messages`.
pub(crate) struct Messages {
    identity: Identity,
}

impl Messages {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity }
    }

    fn message(&self, content: &str, stop: &str, counts: Counts) -> String {
        format!(
            "{{\"id\":{},\"type\":\"message\",\"role\":\"assistant\",\"model\":{},\"content\":{content},\
             \"stop_reason\":{stop},\"stop_sequence\":null,\"usage\":{{\"input_tokens\":{},\
             \"cache_read_input_tokens\":{},\"output_tokens\":{}}}}}",
            self.identity.id,
            self.identity.model,
            uncached(counts),
            counts.cached,
            counts.output
        )
    }
}

/// `input_tokens` of this API, which leaves out what came from the cache.
fn uncached(counts: Counts) -> u32 {
    counts.prompt.saturating_sub(counts.cached)
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "\"max_tokens\"",
        Finish::Stop => "\"end_turn\"",
        Finish::ToolCalls => "\"tool_use\"",
    }
}

fn event(out: &mut Events, name: &str, rest: &[&str]) {
    out.push(|bytes| {
        put(
            bytes,
            &["event: ", name, "\ndata: {\"type\":\"", name, "\""],
        );
        put(bytes, rest);
        put(bytes, &["}\n\n"]);
    });
}

impl Format for Messages {
    fn open(&self, out: &mut Events, counts: Counts) {
        let message = self.message("[]", "null", counts);
        event(out, "message_start", &[",\"message\":", &message]);
        event(out, "ping", &[]);
    }

    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        let index = if part.after_reasoning { "1" } else { "0" };
        let (block, delta, key) = match part.kind {
            EventKind::Reasoning => (
                "{\"type\":\"thinking\",\"thinking\":\"\"}",
                "thinking_delta",
                "thinking",
            ),
            _ => ("{\"type\":\"text\",\"text\":\"\"}", "text_delta", "text"),
        };
        if part.first_of_kind {
            if part.after_reasoning {
                event(out, "content_block_stop", &[",\"index\":0"]);
            }
            event(
                out,
                "content_block_start",
                &[",\"index\":", index, ",\"content_block\":", block],
            );
        }
        event(
            out,
            "content_block_delta",
            &[
                ",\"index\":",
                index,
                ",\"delta\":{\"type\":\"",
                delta,
                "\",\"",
                key,
                "\":\"",
                part.text,
                "\"}",
            ],
        );
    }

    fn close(&self, out: &mut Events, finish: Finish, usage: Option<Counts>) {
        let counts = usage.unwrap_or_default();
        let last_block = if counts.reasoning > 0 { "1" } else { "0" };
        event(out, "content_block_stop", &[",\"index\":", last_block]);
        let (prompt, output) = (uncached(counts).to_string(), counts.output.to_string());
        let delta = [
            ",\"delta\":{\"stop_reason\":",
            stop_reason(finish),
            ",\"stop_sequence\":null}",
        ]
        .concat();
        if usage.is_some() {
            let numbers = [
                ",\"usage\":{\"input_tokens\":",
                &prompt,
                ",\"output_tokens\":",
                &output,
                "}",
            ];
            event(out, "message_delta", &[&delta, &numbers.concat()]);
        } else {
            event(out, "message_delta", &[&delta]);
        }
    }

    fn done(&self, out: &mut Events, _finish: Finish, _usage: Option<Counts>) {
        event(out, "message_stop", &[]);
    }

    fn whole(&self, answers: &[Answer], finish: Finish, counts: Counts) -> Vec<u8> {
        let mut blocks = Vec::new();
        for answer in answers {
            if !answer.reasoning.is_empty() {
                blocks.push(format!(
                    "{{\"type\":\"thinking\",\"thinking\":\"{}\"}}",
                    answer.reasoning
                ));
            }
            blocks.push(format!(
                "{{\"type\":\"text\",\"text\":\"{}\"}}",
                answer.text
            ));
        }
        self.message(
            &format!("[{}]", blocks.join(",")),
            stop_reason(finish),
            counts,
        )
        .into_bytes()
    }
}
