//! Transcriptions and translations: multipart requests with an audio file.

use super::answer_plan::{AnswerPlan, AnswerRequest, UsageMode};
use super::errors;
use super::openai::{Identity, put_attached_usage, put_finish};
use super::prompt::PromptBuilder;
use super::reply::Reply;
use crate::format::{Answer, Counts, Events, Finish, Format, TokenPart, put, put_usage};
use crate::request::HttpRequest;
use crate::shared::Shared;

/// Tokens of the prompt per second of audio, as in Whisper: 1,500 for 30 seconds.
const TOKENS_PER_SECOND: f64 = 50.0;
/// Words spoken per second: tokens of the answer where the request has no limit.
const WORDS_PER_SECOND: f64 = 3.0;
/// Bytes per second of audio where the file does not say (16 kHz, 16 bit, one channel).
const BYTES_PER_SECOND: f64 = 32_000.0;

/// `/v1/audio/transcriptions` and `/v1/audio/translations`.
pub(crate) fn plan(
    shared: &Shared,
    request: &HttpRequest,
    index: u64,
) -> Result<AnswerPlan, Reply> {
    let boundary = request.content_type.as_deref().and_then(boundary_of);
    let Some(boundary) = boundary else {
        return Err(errors::bad_request(
            "the request must be multipart/form-data with a boundary",
            Some("body"),
        ));
    };
    let parts = multipart(&request.body, &boundary);
    let field = |name: &str| {
        parts
            .iter()
            .find(|(part, _)| part == name)
            .map(|(_, value)| String::from_utf8_lossy(value).trim().to_owned())
    };
    let is_true = |name: &str| {
        field(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
    };
    let Some((_, file)) = parts.iter().find(|(name, _)| name == "file") else {
        return Err(errors::bad_request("the request has no file", Some("file")));
    };
    let seconds = wav_seconds(file).unwrap_or(file.len() as f64 / BYTES_PER_SECOND);
    let mut prompt = PromptBuilder::new(shared);
    prompt.special(file, (seconds * TOKENS_PER_SECOND).ceil().max(1.0) as u32);
    let number = |name: &str| field(name).and_then(|value| value.parse().ok());
    let usage = match (
        is_true("stream_include_usage"),
        is_true("stream_continuous_usage_stats"),
    ) {
        (true, true) => UsageMode::Continuous,
        (true, false) => UsageMode::AtEnd,
        _ => UsageMode::Never,
    };
    let answer = AnswerRequest {
        model: field("model"),
        prompts: vec![prompt.build()],
        output_tokens: number("max_completion_tokens").or_else(|| number("max_tokens")),
        default_output: (seconds * WORDS_PER_SECOND).ceil().max(1.0) as u32,
        ignore_eos: is_true("ignore_eos"),
        stream: is_true("stream"),
        usage,
        id_prefix: "trsc",
        ..AnswerRequest::default()
    };
    answer.plan(shared, request, index, |identity, _| {
        Box::new(Transcription::new(&identity, seconds))
    })
}

struct Transcription {
    head: String,
    seconds: f64,
}

impl Transcription {
    fn new(identity: &Identity, seconds: f64) -> Self {
        let head = format!(
            "data: {},\"choices\":[",
            identity.start("transcription.chunk")
        );
        Self { head, seconds }
    }
}

impl Format for Transcription {
    fn token(&self, out: &mut Events, part: &TokenPart<'_>) {
        out.push(|bytes| {
            put(
                bytes,
                &[&self.head, "{\"delta\":{\"content\":\"", part.text, "\"}"],
            );
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

    fn whole(&self, answers: &[Answer], _finish: Finish, _counts: Counts) -> Vec<u8> {
        let text = answers.first().map_or("", |answer| &answer.text);
        let seconds = self.seconds.ceil() as u64;
        format!("{{\"text\":\"{text}\",\"usage\":{{\"type\":\"duration\",\"seconds\":{seconds}}}}}")
            .into_bytes()
    }
}

fn boundary_of(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = rest
        .split(';')
        .find_map(|pair| pair.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches('"').to_owned())
}

/// Names and contents of the parts (RFC 7578).
fn multipart<'a>(body: &'a [u8], boundary: &str) -> Vec<(String, &'a [u8])> {
    let delimiter = format!("--{boundary}");
    let finder = memchr::memmem::Finder::new(delimiter.as_bytes());
    let starts: Vec<usize> = finder.find_iter(body).collect();
    let mut parts = Vec::new();
    for pair in starts.windows(2) {
        let part = &body[pair[0] + delimiter.len()..pair[1]];
        let Some(split) = memchr::memmem::find(part, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&part[..split]);
        let content = &part[split + 4..];
        let content = content.strip_suffix(b"\r\n").unwrap_or(content);
        let name = head
            .split(';')
            .find_map(|item| item.trim().strip_prefix("name="));
        if let Some(name) = name {
            let name = name.split("\r\n").next().unwrap_or_default();
            parts.push((name.trim_matches('"').to_owned(), content));
        }
    }
    parts
}

/// Length of a WAV file in seconds, by its header.
fn wav_seconds(file: &[u8]) -> Option<f64> {
    if file.len() < 44 || &file[..4] != b"RIFF" || &file[8..12] != b"WAVE" {
        return None;
    }
    let bytes_per_second = u32::from_le_bytes(file[28..32].try_into().ok()?);
    (bytes_per_second > 0).then(|| (file.len() - 44) as f64 / f64::from(bytes_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_their_boundary() {
        let body = b"--XY\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsim\r\n--XY\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
            \x00\r\n--X\r\n--XY--\r\n";
        let parts = multipart(body, "XY");
        assert_eq!(
            parts,
            [
                ("model".to_owned(), &b"sim"[..]),
                ("file".to_owned(), &b"\x00\r\n--X"[..])
            ]
        );
        assert_eq!(
            boundary_of("multipart/form-data; boundary=\"XY\"").as_deref(),
            Some("XY")
        );
        assert_eq!(boundary_of("application/json; boundary=XY"), None);
    }
}
