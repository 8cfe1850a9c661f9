//! Checks that synthetic prompts have the requested length by the server's tokenizer.
//!
//! A few prompts are counted by the server's `/tokenize`. If all have their length,
//! nothing else is asked. Otherwise every prompt is corrected: one that is too long is cut to the server's
//! tokens and decoded by its `/detokenize`, one that is too short gets more of its own words, until
//! the server counts the requested number.

use std::sync::Arc;

use inferometer_core::{Prompt, Request};
use inferometer_wire::{NoTokens, SideClient, Wire};
use serde_json::{Value, json};

use crate::error::{Error, OrError};

/// Prompts counted to decide whether all must be. Chosen, not measured.
const SAMPLE: usize = 8;
/// Requests to `/tokenize` in flight at once. Chosen, not measured.
const IN_FLIGHT: usize = 32;
/// Maximum corrections of one prompt. Chosen, not measured.
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
    let side = SideClient::new(wire).or_failure()?;
    let step = requests.len().div_ceil(SAMPLE);
    let mut wrong = 0;
    let mut checked = 0;
    for request in requests.iter().step_by(step) {
        let text = request.prompt.as_text().unwrap_or_default();
        let Some(tokens) = side.block_on(tokenize(&side, model, text)) else {
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
        let found = side.block_on_all(batch.iter().map(|request| {
            let text = request.prompt.as_text().unwrap_or_default().to_owned();
            correct(&side, model, text, request.prompt_tokens as usize)
        }));
        for (request, found) in batch.iter_mut().zip(found) {
            let Some((text, found)) = found else {
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

/// Counts plain prompts by the server's tokenizer; false when the server has no `/tokenize`.
pub(crate) fn count(
    wire: &Arc<Wire>,
    model: &str,
    requests: &mut [Request],
) -> Result<bool, Error> {
    let side = SideClient::new(wire).or_failure()?;
    let mut plain: Vec<&mut Request> = requests
        .iter_mut()
        .filter(|request| {
            request
                .prompt
                .as_text()
                .is_some_and(|text| !text.is_empty())
        })
        .collect();
    for batch in plain.chunks_mut(IN_FLIGHT) {
        let found = side.block_on_all(batch.iter().map(|request| {
            let text = request.prompt.as_text().unwrap_or_default().to_owned();
            let side = &side;
            async move {
                tokenize(side, model, &text)
                    .await
                    .map(|tokens| tokens.len())
            }
        }));
        for (request, found) in batch.iter_mut().zip(found) {
            let Some(found) = found else {
                return Ok(false);
            };
            request.prompt_tokens = u32::try_from(found).unwrap_or(u32::MAX);
        }
    }
    Ok(true)
}

/// The server's tokens of `text`, special tokens included.
async fn tokenize(side: &SideClient, model: &str, text: &str) -> Option<Vec<Value>> {
    let tokens = side.tokenize(model, text, true).await;
    // A server that has other words for this path finds no text in the request.
    match tokens {
        Ok(tokens) if text.is_empty() || !tokens.is_empty() => Some(tokens),
        Err(NoTokens::Unreachable(_)) => None,
        _ => side
            .tokenize_content(text, true)
            .await
            .ok()
            .filter(|tokens| !tokens.is_empty()),
    }
}

/// `text` changed to `wanted` of the server's tokens, or as close as possible; and their number.
async fn correct(
    side: &SideClient,
    model: &str,
    mut text: String,
    wanted: usize,
) -> Option<(String, usize)> {
    // Special tokens at the start must not become text.
    let special = tokenize(side, model, "").await?.len();
    let mut tokens = tokenize(side, model, &text).await?;
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
            text = side.detokenize(model, &tokens[front..wanted]).await?;
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
        tokens = tokenize(side, model, &text).await?;
    }
    if tokens.len().abs_diff(wanted) < best.1.abs_diff(wanted) {
        best = (text, tokens.len());
    }
    Some(best)
}
