//! The native APIs of TGI, SGLang and Triton with TensorRT-LLM.

use super::openai::Identity;
use crate::format::{Answer, Counts, Events, Finish, Format, TokenPart, put, put_number};

/// TGI's `/generate_stream` and `/generate`.
pub(crate) struct Tgi;

const fn tgi_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Length => "length",
        Finish::Stop | Finish::ToolCalls => "eos_token",
    }
}

impl Format for Tgi {
    fn wants_whole(&self) -> bool {
        true
    }

    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        out.push(|bytes| {
            put(bytes, &["data:{\"index\":"]);
            put_number(bytes, part.position);
            put(
                bytes,
                &[
                    ",\"token\":{\"id\":1,\"text\":\"",
                    part.text,
                    "\",\"logprob\":-0.5,\"special\":false}",
                ],
            );
            match part.finish {
                None => put(bytes, &[",\"generated_text\":null,\"details\":null"]),
                Some(finish) => {
                    put(
                        bytes,
                        &[
                            ",\"generated_text\":\"",
                            part.so_far,
                            "\",\"details\":{\"finish_reason\":\"",
                        ],
                    );
                    put(bytes, &[tgi_reason(finish), "\",\"generated_tokens\":"]);
                    put_number(bytes, part.counts.output);
                    put(bytes, &[",\"seed\":null,\"input_length\":"]);
                    put_number(bytes, part.counts.prompt);
                    put(bytes, &["}"]);
                }
            }
            put(bytes, &["}\n\n"]);
        });
    }

    fn close(&self, _out: &mut Events, _finish: Finish, _usage: Option<Counts>) {}

    fn done(&self, _out: &mut Events, _finish: Finish, _usage: Option<Counts>) {}

    fn whole(&self, answers: &[Answer], finish: Finish, counts: Counts) -> Vec<u8> {
        let text = answers.first().map_or("", |answer| &answer.text);
        format!(
            "{{\"generated_text\":\"{text}\",\"details\":{{\"finish_reason\":\"{}\",\"generated_tokens\":{},\
             \"input_length\":{}}}}}",
            tgi_reason(finish),
            counts.output,
            counts.prompt
        )
        .into_bytes()
    }
}

/// Triton's `/v2/models/NAME/generate_stream` and `generate`.
pub(crate) struct Triton {
    accumulate: bool,
}

impl Triton {
    /// With `accumulate`, every event repeats the text so far.
    pub(crate) fn new(accumulate: bool) -> Self {
        Self { accumulate }
    }
}

impl Format for Triton {
    fn wants_whole(&self) -> bool {
        self.accumulate
    }

    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        let text = if self.accumulate {
            part.so_far
        } else {
            part.text
        };
        out.push(|bytes| {
            put(
                bytes,
                &["data: {\"model_name\":\"ensemble\",\"model_version\":\"1\",\"sequence_id\":0,"],
            );
            put(bytes, &["\"text_output\":\"", text, "\"}\n\n"]);
        });
    }

    fn close(&self, _out: &mut Events, _finish: Finish, _usage: Option<Counts>) {}

    fn done(&self, _out: &mut Events, _finish: Finish, _usage: Option<Counts>) {}

    fn whole(&self, answers: &[Answer], _finish: Finish, _counts: Counts) -> Vec<u8> {
        let text = answers.first().map_or("", |answer| &answer.text);
        format!(
            "{{\"model_name\":\"ensemble\",\"model_version\":\"1\",\"text_output\":\"{text}\"}}"
        )
        .into_bytes()
    }
}

/// SGLang's `/generate`: every event repeats the text so far.
pub(crate) struct SglangGenerate {
    identity: Identity,
}

impl SglangGenerate {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity }
    }

    fn put_answer(&self, bytes: &mut Vec<u8>, text: &str, finish: Option<Finish>, counts: Counts) {
        put(
            bytes,
            &[
                "{\"text\":\"",
                text,
                "\",\"meta_info\":{\"id\":",
                &self.identity.id,
                ",\"finish_reason\":",
            ],
        );
        match finish {
            None => put(bytes, &["null"]),
            Some(Finish::Length) => {
                put(bytes, &["{\"type\":\"length\",\"length\":"]);
                put_number(bytes, counts.output);
                put(bytes, &["}"]);
            }
            Some(Finish::Stop | Finish::ToolCalls) => {
                put(bytes, &["{\"type\":\"stop\",\"matched\":2}"]);
            }
        }
        put(bytes, &[",\"prompt_tokens\":"]);
        put_number(bytes, counts.prompt);
        put(bytes, &[",\"completion_tokens\":"]);
        put_number(bytes, counts.output);
        put(bytes, &[",\"cached_tokens\":"]);
        put_number(bytes, counts.cached);
        put(bytes, &["}}"]);
    }
}

impl Format for SglangGenerate {
    fn wants_whole(&self) -> bool {
        true
    }

    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        out.push(|bytes| {
            put(bytes, &["data: "]);
            self.put_answer(bytes, part.so_far, part.finish, part.counts);
            put(bytes, &["\n\n"]);
        });
    }

    fn close(&self, _out: &mut Events, _finish: Finish, _usage: Option<Counts>) {}

    fn whole(&self, answers: &[Answer], finish: Finish, counts: Counts) -> Vec<u8> {
        let mut body = Vec::new();
        let text = answers.first().map_or("", |answer| &answer.text);
        self.put_answer(&mut body, text, Some(finish), counts);
        body
    }
}
