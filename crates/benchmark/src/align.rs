//! vLLM's alignment of synthetic prompts with the server's tokenizer.
//!
//! When the server's count of the first prompt differs from the client's, every prompt that is too long
//! for the server is cut to its length there and sent as the server's `/detokenize` gives it back;
//! one that is too short stays as it is. Without `/tokenize` nothing happens.

use std::sync::Arc;

use inferometer_core::{Prompt, Request};
use inferometer_wire::{SideClient, Wire};

use crate::error::{Error, OrError};

/// Requests to `/tokenize` in flight at once. Chosen, not measured.
const IN_FLIGHT: usize = 64;

/// Aligns `requests`; returns the message that vLLM prints about it.
pub(crate) fn align(
    wire: &Arc<Wire>,
    model: &str,
    requests: &mut [Request],
) -> Result<Option<String>, Error> {
    let Some(first) = requests
        .first()
        .filter(|request| request.prompt.as_text().is_some())
    else {
        return Ok(None);
    };
    let expected = first.prompt_tokens as usize;
    let side = SideClient::new(wire).or_failure()?;
    let text = first.prompt.as_text().unwrap_or_default();
    let Some(tokens) = side.block_on(side.tokenize(model, text, false)) else {
        return Ok(Some(
            "WARNING: /tokenize unavailable, skipping alignment.".to_owned(),
        ));
    };
    if tokens.len() == expected {
        return Ok(None);
    }
    let line = format!(
        "WARNING: tokenizer mismatch (server={}, expected={expected}), re-aligning prompts.",
        tokens.len()
    );
    for batch in requests.chunks_mut(IN_FLIGHT) {
        let cut = side.block_on_all(batch.iter().map(|request| {
            let text = request.prompt.as_text().unwrap_or_default();
            cut(&side, model, text, request.prompt_tokens as usize)
        }));
        for (request, text) in batch.iter_mut().zip(cut) {
            if let Some(text) = text {
                request.prompt = Prompt::Text(text);
            }
        }
    }
    Ok(Some(line))
}

/// `text` cut to `wanted` of the server's tokens, if it has more.
async fn cut(side: &SideClient, model: &str, text: &str, wanted: usize) -> Option<String> {
    let tokens = side.tokenize(model, text, false).await?;
    if tokens.len() <= wanted {
        return None;
    }
    side.detokenize(model, &tokens[..wanted]).await
}
