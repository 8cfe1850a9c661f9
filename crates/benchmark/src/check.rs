//! Checks of a server with one plain and one streamed request, and of the token counts of the
//! streamed one.

use std::fmt::Write as _;
use std::sync::Arc;

use inferometer_core::Record;
use inferometer_engine::{RunInput, StopHandle, send_once};
use inferometer_wire::{Prepared, Wire};
use inferometer_workload::{Tokenizer, count_output_tokens};

use crate::error::{Error, OrError};
use crate::prepare::Ready;
use crate::run::{advice, describe_failure};

/// Output tokens that the requests of a check must ask for.
pub const OUTPUT_TOKENS: u64 = 32;
/// Tokens by which a server's count of a prompt may differ: those for its start and end.
const SPECIAL_TOKENS: u32 = 2;
/// Fraction by which two counts of an answer may differ: the text of some tokens does not always
/// tokenize to the same tokens again.
const ANSWER_TOLERANCE: f64 = 0.05;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked, in a word or two.
    pub what: &'static str,
    /// Whether it works.
    pub level: Level,
    /// What was seen.
    pub detail: String,
    /// What to do; `None` where nothing needs to be done.
    pub remedy: Option<String>,
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It works.
    Good,
    /// It works, and there is something worth knowing.
    Note,
    /// It does not work.
    Bad,
}

impl Finding {
    /// Something works.
    pub fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            level: Level::Good,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// Something that is worth knowing.
    pub fn note(what: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            remedy: Some(remedy.into()),
            ..Self::good(what, detail)
        }
    }

    /// Something does not work.
    pub fn bad(what: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level: Level::Bad,
            remedy: Some(remedy.into()),
            ..Self::good(what, detail)
        }
    }
}

/// Sends the first request of `ready` without streaming and the second with it, and calls `found` with
/// each finding; returns the record of the streamed one if it succeeded.
///
/// # Errors
///
/// The request cannot be made without streaming, or the client fails.
pub fn send_both(ready: &Ready, found: &mut dyn FnMut(Finding)) -> Result<Option<Record>, Error> {
    let stop = StopHandle::default();
    found(send_plain(ready, &stop)?);
    match send(&ready.plan, &ready.plan.requests[1], &stop)? {
        Some(record) if record.is_ok() => {
            let events = record.events.len();
            found(if events > 1 {
                Finding::good("streamed request", format!("{events} events with output"))
            } else {
                Finding::bad(
                    "streamed request",
                    format!("{events} event with output: the answer was not streamed"),
                    "check for a buffering proxy (nginx: proxy_buffering off); without a stream, TTFT and ITL are \
                     meaningless",
                )
            });
            Ok(Some(record))
        }
        other => {
            found(failure("streamed request", other.as_ref()));
            Ok(None)
        }
    }
}

fn send_plain(ready: &Ready, stop: &StopHandle) -> Result<Finding, Error> {
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
    Ok(match send(&plan, &request, stop)? {
        Some(record) if record.is_ok() => {
            let ms = record
                .end
                .zip(record.send_start)
                .map(|(end, start)| end.since(start).as_millis_f64());
            Finding::good(
                "plain request",
                format!("answered after {:.0} ms", ms.unwrap_or_default()),
            )
        }
        other => failure("plain request", other.as_ref()),
    })
}

/// The record of one request; `None` if it was not sent.
fn send(plan: &RunInput, request: &Prepared, stop: &StopHandle) -> Result<Option<Record>, Error> {
    let mut records = send_once(plan, std::slice::from_ref(request), 1, stop).or_failure()?;
    Ok(records.pop())
}

fn failure(name: &'static str, record: Option<&Record>) -> Finding {
    let detail = record.map_or_else(|| "the request was not sent".to_owned(), describe_failure);
    Finding::bad(
        name,
        detail,
        advice(record.and_then(|record| record.status)),
    )
}

/// Checks usage, tokenizer and `ignore_eos` with one streamed answer to a request of `ready`, which
/// asked for [`OUTPUT_TOKENS`].
pub fn check_tokens(ready: &Ready, record: &Record, found: &mut dyn FnMut(Finding)) {
    let (Some(prompt), Some(answer)) = (record.usage.prompt_tokens, record.usage.completion_tokens)
    else {
        found(Finding::note(
            "usage",
            "the stream reports no token counts",
            "tokens are then counted with the tokenizer, which must be the model's own (--tokenizer)",
        ));
        return;
    };
    found(Finding::good(
        "usage",
        format!("{prompt} prompt tokens, {answer} answer tokens"),
    ));
    if let Some(tokenizer) = &ready.tokenizer {
        let template = ready.plan.wire.settings().backend.applies_chat_template();
        found(tokens(record, tokenizer, template));
    }
    found(if u64::from(answer) == OUTPUT_TOKENS {
        Finding::good(
            "ignore_eos",
            format!("{OUTPUT_TOKENS} tokens requested and received"),
        )
    } else {
        Finding::note(
            "ignore_eos",
            format!("{OUTPUT_TOKENS} tokens requested, {answer} received"),
            "answer lengths differ from those requested, so the work differs between runs: use a server that supports \
             ignore_eos or min_tokens (--extra-body), or compare tokens, not requests",
        )
    });
}

/// Compares the tokens of a request and its answer, as the server reports them, with what the tokenizer
/// counts.
fn tokens(record: &Record, tokenizer: &Tokenizer, applies_chat_template: bool) -> Finding {
    let prompt = record.usage.prompt_tokens.unwrap_or_default();
    let answer = record.usage.completion_tokens.unwrap_or_default();
    let counted_prompt = record.prompt_tokens;
    let counted_answer = count_output_tokens(tokenizer, &record.text)
        + count_output_tokens(tokenizer, &record.other_text);
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
        Finding::bad(
            "tokenizer",
            detail,
            "this is not the model's tokenizer, so prompt lengths differ from those requested: correct --tokenizer",
        )
    } else if answer_off > 2.0 + ANSWER_TOLERANCE * f64::from(answer) {
        Finding::note(
            "tokenizer",
            detail,
            "prompts agree but answers do not; the server's own counts are used",
        )
    } else {
        Finding::good("tokenizer", detail)
    }
}
