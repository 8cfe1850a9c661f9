//! Are synthetic prompts as long for the server as they are meant to be?
//!
//! A few prompts are counted by the server's `/tokenize`. When they all have their length, nothing
//! else is asked. Otherwise every prompt is corrected: one that is too long is cut to the server's
//! tokens and written again by its `/detokenize`, one that is too short gets more of its own words,
//! until the server counts what was asked for.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use inferometer_core::{Prompt, Request};
use inferometer_wire::{Client, Live, Wire};
use serde_json::{Value, json};

use crate::error::{Error, OrError};

/// Prompts counted before it is decided whether all must be.
const SAMPLE: usize = 8;
/// Questions under way at once.
const IN_FLIGHT: usize = 32;
/// Corrections of one prompt.
const ATTEMPTS: usize = 6;

/// Checks and corrects `requests`; `None` when the server has no `/tokenize`, or nothing can be
/// compared.
pub(crate) fn verify(
    wire: &Arc<Wire>,
    model: &str,
    requests: &mut [Request],
) -> Result<Option<Value>, Error> {
    if requests.is_empty()
        || requests
            .iter()
            .any(|request| request.prompt.as_text().is_none())
    {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_failure()?;
    let local = tokio::task::LocalSet::new();
    let asker = Rc::new(Asker {
        client: Client::new(wire, 0, Arc::new(Live::default())),
        model: model.to_owned(),
    });
    let step = requests.len().div_ceil(SAMPLE);
    let mut wrong = 0;
    let mut checked = 0;
    for request in requests.iter().step_by(step) {
        let text = request.prompt.as_text().unwrap_or_default();
        let Some(tokens) = local.block_on(&runtime, asker.tokenize(text)) else {
            return Ok(None);
        };
        checked += 1;
        wrong += usize::from(tokens.len() != request.prompt_tokens as usize);
    }
    if wrong == 0 {
        return Ok(Some(
            json!({"checked": checked, "wrong": 0, "corrected": 0}),
        ));
    }
    let (mut corrected, mut missed, mut largest) = (0, 0, 0_u64);
    for batch in requests.chunks_mut(IN_FLIGHT) {
        let work: Vec<_> = batch
            .iter()
            .map(|request| {
                let asker = Rc::clone(&asker);
                let text = request.prompt.as_text().unwrap_or_default().to_owned();
                let wanted = request.prompt_tokens as usize;
                local.spawn_local(async move { asker.correct(text, wanted).await })
            })
            .collect();
        for (request, task) in batch.iter_mut().zip(work) {
            let Ok(Some((text, found))) = local.block_on(&runtime, task) else {
                missed += 1;
                continue;
            };
            let off = (found as u64).abs_diff(u64::from(request.prompt_tokens));
            largest = largest.max(off);
            missed += usize::from(off > 0);
            if request.prompt.as_text() != Some(text.as_str()) {
                corrected += 1;
                request.prompt = Prompt::Text(text);
            }
            request.prompt_tokens = found as u32;
        }
    }
    Ok(Some(json!({
        "checked": requests.len(),
        "wrong": missed,
        "corrected": corrected,
        "largest_error_tokens": largest,
    })))
}

struct Asker {
    client: Client,
    model: String,
}

impl Asker {
    /// The server's tokens of `text`, special tokens included.
    async fn tokenize(&self, text: &str) -> Option<Vec<Value>> {
        let body = json!({"model": self.model, "prompt": text, "add_special_tokens": true});
        match self
            .ask("/tokenize", &body)
            .await?
            .get_mut("tokens")?
            .take()
        {
            // A server that has this path for something else finds no text in our question.
            Value::Array(tokens) if text.is_empty() || !tokens.is_empty() => Some(tokens),
            _ => None,
        }
    }

    async fn detokenize(&self, tokens: &[Value]) -> Option<String> {
        let body = json!({"model": self.model, "tokens": tokens});
        self.ask("/detokenize", &body)
            .await?
            .get("prompt")?
            .as_str()
            .map(str::to_owned)
    }

    /// `text` with as many of the server's tokens as wanted, or as close as it gets; and their
    /// number.
    async fn correct(&self, mut text: String, wanted: usize) -> Option<(String, usize)> {
        // Special tokens in front must not be written out as text.
        let special = self.tokenize("").await?.len();
        let mut tokens = self.tokenize(&text).await?;
        let mut best = (text.clone(), tokens.len());
        for _ in 0..ATTEMPTS {
            let off = tokens.len().abs_diff(wanted);
            if off < best.1.abs_diff(wanted) {
                best = (text.clone(), tokens.len());
            }
            if off == 0 {
                break;
            }
            if tokens.len() > wanted {
                let front = special.min(wanted);
                text = self.detokenize(&tokens[front..wanted]).await?;
            } else {
                let words: Vec<&str> = text
                    .split_whitespace()
                    .take(wanted - tokens.len())
                    .collect();
                if words.is_empty() {
                    break;
                }
                text = format!("{text} {}", words.join(" "));
            }
            tokens = self.tokenize(&text).await?;
        }
        if tokens.len().abs_diff(wanted) < best.1.abs_diff(wanted) {
            best = (text, tokens.len());
        }
        Some(best)
    }

    async fn ask(&self, path: &str, body: &Value) -> Option<Value> {
        let body = Bytes::from(body.to_string());
        let reply = self
            .client
            .fetch(Method::POST, path, Some(body))
            .await
            .ok()?;
        (reply.status == 200)
            .then(|| serde_json::from_slice(&reply.body).ok())
            .flatten()
    }
}
