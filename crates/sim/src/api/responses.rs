//! OpenAI's responses API.

use inferometer_core::EventKind;

use super::openai::Identity;
use crate::format::{Answer, Counts, Events, Finish, Format, TokenPart, put};

/// `/v1/responses`.
pub(crate) struct Responses {
    identity: Identity,
}

impl Responses {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity }
    }

    fn response(
        &self,
        status: &str,
        answer: Option<&Answer>,
        finish: Finish,
        usage: Option<Counts>,
    ) -> String {
        let output = answer.map_or_else(|| "[]".to_owned(), output_items);
        let details = if finish == Finish::Length && status == "incomplete" {
            "{\"reason\":\"max_output_tokens\"}"
        } else {
            "null"
        };
        let usage = usage.map_or_else(|| "null".to_owned(), usage_object);
        format!(
            "{{\"id\":{},\"object\":\"response\",\"created_at\":{},\"status\":\"{status}\",\
             \"incomplete_details\":{details},\"model\":{},\"output\":{output},\"usage\":{usage}}}",
            self.identity.id, self.identity.created, self.identity.model
        )
    }
}

fn output_items(answer: &Answer) -> String {
    let mut items = Vec::new();
    if !answer.reasoning.is_empty() {
        items.push(format!(
            "{{\"type\":\"reasoning\",\"id\":\"rs_0\",\"summary\":[],\"content\":[{{\"type\":\"reasoning_text\",\"text\":\"{}\"}}]}}",
            answer.reasoning
        ));
    }
    items.push(format!(
        "{{\"type\":\"message\",\"id\":\"msg_0\",\"status\":\"completed\",\"role\":\"assistant\",\
         \"content\":[{{\"type\":\"output_text\",\"text\":\"{}\",\"annotations\":[]}}]}}",
        answer.text
    ));
    format!("[{}]", items.join(","))
}

fn usage_object(counts: Counts) -> String {
    format!(
        "{{\"input_tokens\":{},\"input_tokens_details\":{{\"cached_tokens\":{}}},\"output_tokens\":{},\
         \"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
        counts.prompt,
        counts.cached,
        counts.output,
        counts.reasoning,
        counts.prompt + counts.output
    )
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

impl Format for Responses {
    fn open(&self, out: &mut Events, _counts: Counts) {
        let response = self.response("in_progress", None, Finish::Stop, None);
        event(out, "response.created", &[",\"response\":", &response]);
        event(out, "response.in_progress", &[",\"response\":", &response]);
    }

    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        let (name, item, item_id, index) = match part.kind {
            EventKind::Reasoning => ("response.reasoning_text.delta", "reasoning", "rs_0", "0"),
            _ => (
                "response.output_text.delta",
                "message",
                "msg_0",
                if part.after_reasoning { "1" } else { "0" },
            ),
        };
        if part.first_of_kind {
            let item =
                format!("{{\"type\":\"{item}\",\"id\":\"{item_id}\",\"status\":\"in_progress\"}}");
            event(
                out,
                "response.output_item.added",
                &[",\"output_index\":", index, ",\"item\":", &item],
            );
        }
        event(
            out,
            name,
            &[
                ",\"item_id\":\"",
                item_id,
                "\",\"output_index\":",
                index,
                ",\"content_index\":0,\"delta\":\"",
                part.text,
                "\"",
            ],
        );
    }

    fn close(&self, out: &mut Events, _finish: Finish, _usage: Option<Counts>) {
        event(
            out,
            "response.output_text.done",
            &[",\"item_id\":\"msg_0\",\"content_index\":0"],
        );
    }

    fn done(&self, out: &mut Events, finish: Finish, usage: Option<Counts>) {
        let status = if finish == Finish::Length {
            "incomplete"
        } else {
            "completed"
        };
        let response = self.response(status, None, finish, usage);
        event(
            out,
            &format!("response.{status}"),
            &[",\"response\":", &response],
        );
    }

    fn whole(&self, answers: &[Answer], finish: Finish, counts: Counts) -> Vec<u8> {
        let status = if finish == Finish::Length {
            "incomplete"
        } else {
            "completed"
        };
        self.response(status, answers.first(), finish, Some(counts))
            .into_bytes()
    }
}
