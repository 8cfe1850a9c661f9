//! One plain and one streamed request, and the token counts of the streamed one.

use std::fmt::Write as _;
use std::sync::Arc;

use inferometer_core::Record;
use inferometer_engine::{RunInput, StopHandle, send_once};
use inferometer_wire::Wire;
use inferometer_workload::{HubSettings, Tokenizer, count_output_tokens};

use super::findings::Findings;
use crate::exit::{Failure, OrFail};
use inferometer_benchmark::{Ready, advice, describe_failure};

/// Output tokens per request.
pub(super) const OUTPUT_TOKENS: u64 = 32;
/// Tokens by which a server's count of a prompt may differ: those for its start and end.
const SPECIAL_TOKENS: u32 = 2;
/// Fraction by which two counts of an answer may differ: the text of some tokens does not always
/// tokenize to the same tokens again.
const ANSWER_TOLERANCE: f64 = 0.05;

/// Sends both requests; returns the record of the streamed one if it succeeded.
pub(super) fn send_both(
    ready: &Ready,
    findings: &mut Findings<'_>,
) -> Result<Option<Record>, Failure> {
    let stop = StopHandle::default();
    send_plain(ready, &stop, findings)?;
    let streamed = send_once(&ready.plan, &ready.plan.requests[1..2], 1, &stop)
        .or_failure()?
        .into_iter()
        .next();
    match streamed {
        Some(record) if record.is_ok() => {
            let events = record.events.len();
            if events > 1 {
                findings.good("streamed request", format!("{events} events with output"));
            } else {
                findings.bad(
                    "streamed request",
                    format!("{events} event with output: the answer was not streamed"),
                    "check for a buffering proxy (nginx: proxy_buffering off); without a stream, TTFT and ITL are meaningless",
                );
            }
            Ok(Some(record))
        }
        other => {
            report_failure("streamed request", other.as_ref(), findings);
            Ok(None)
        }
    }
}

fn send_plain(
    ready: &Ready,
    stop: &StopHandle,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let mut settings = ready.plan.wire.settings().clone();
    settings.body.stream = false;
    let plain = Wire::new(settings).or_usage()?;
    let request = plain.prepare(&ready.workload.requests[0]).or_usage()?;
    let plan = RunInput {
        requests: Arc::clone(&ready.plan.requests),
        schedule: Arc::clone(&ready.plan.schedule),
        wire: plain,
        ..ready.plan.clone()
    };
    let record = send_once(&plan, std::slice::from_ref(&request), 1, stop)
        .or_failure()?
        .into_iter()
        .next();
    match record {
        Some(record) if record.is_ok() => {
            let ms = record
                .end
                .zip(record.send_start)
                .map(|(end, start)| end.since(start).as_millis_f64());
            findings.good(
                "plain request",
                format!("answered after {:.0} ms", ms.unwrap_or_default()),
            );
        }
        other => report_failure("plain request", other.as_ref(), findings),
    }
    Ok(())
}

fn report_failure(name: &'static str, record: Option<&Record>, findings: &mut Findings<'_>) {
    let failure = record.map_or_else(|| "the request was not sent".to_owned(), describe_failure);
    findings.bad(
        name,
        failure,
        advice(record.and_then(|record| record.status)),
    );
}

/// Checks usage, tokenizer and ignore_eos with one streamed answer.
pub(super) fn check_tokens(
    record: &Record,
    applies_chat_template: bool,
    tokenizer: &str,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let (Some(prompt), Some(answer)) = (record.usage.prompt_tokens, record.usage.completion_tokens)
    else {
        findings.note(
            "usage",
            "the stream reports no token counts",
            "tokens are then counted with the tokenizer, which must be the model's own (--tokenizer)",
        );
        return Ok(());
    };
    findings.good(
        "usage",
        format!("{prompt} prompt tokens, {answer} answer tokens"),
    );
    let counts = Counts {
        prompt,
        answer,
        counted_prompt: record.prompt_tokens,
        counted_answer: count_answer(record, tokenizer)?,
    };
    check_tokenizer(&counts, applies_chat_template, findings);
    if u64::from(answer) == OUTPUT_TOKENS {
        findings.good(
            "ignore_eos",
            format!("{OUTPUT_TOKENS} tokens requested and received"),
        );
    } else {
        findings.note(
            "ignore_eos",
            format!("{OUTPUT_TOKENS} tokens requested, {answer} received"),
            "answers have other lengths than requested, so the work differs between runs: use a server that supports \
             ignore_eos or min_tokens (--extra-body), or compare tokens, not requests",
        );
    }
    Ok(())
}

/// Tokens of a request and its answer, as the server reports them and as the tokenizer counts them.
struct Counts {
    prompt: u32,
    answer: u32,
    counted_prompt: u32,
    counted_answer: usize,
}

fn count_answer(record: &Record, tokenizer: &str) -> Result<usize, Failure> {
    let tokenizer = Tokenizer::load(tokenizer, &HubSettings::from_env()).or_usage()?;
    Ok(count_output_tokens(&tokenizer, &record.text)
        + count_output_tokens(&tokenizer, &record.other_text))
}

fn check_tokenizer(counts: &Counts, applies_chat_template: bool, findings: &mut Findings<'_>) {
    let Counts {
        prompt,
        answer,
        counted_prompt,
        counted_answer,
    } = *counts;
    // A chat template adds tokens; only the server knows how many.
    let template = prompt.saturating_sub(counted_prompt);
    let chat = applies_chat_template && prompt >= counted_prompt;
    let mut detail = format!(
        "prompt: server {prompt}, tokenizer {counted_prompt}; answer: server {answer}, tokenizer {counted_answer}"
    );
    if chat && template > 0 {
        let _ = write!(detail, " (the chat template adds {template})");
    }
    let answer_off = (counted_answer as f64 - f64::from(answer)).abs();
    if prompt.abs_diff(counted_prompt) > SPECIAL_TOKENS && !chat {
        findings.bad(
            "tokenizer",
            detail,
            "this is not the model's tokenizer, so prompts have other lengths than requested: correct --tokenizer",
        );
    } else if answer_off > 2.0 + ANSWER_TOLERANCE * f64::from(answer) {
        findings.note(
            "tokenizer",
            detail,
            "prompts agree but answers do not; the server's own counts are used",
        );
    } else {
        findings.good("tokenizer", detail);
    }
}
