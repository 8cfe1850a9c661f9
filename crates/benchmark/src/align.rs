//! vLLM's alignment of synthetic prompts with the server's tokenizer.
//!
//! When the server's count of the first prompt differs from the client's, every prompt that has
//! more tokens by the server's count than it should have is cut to that number of the server's tokens, and
//! sent as the text that `/detokenize` returns for them; one that has fewer stays as it is. Without `/tokenize` nothing happens.

use std::sync::Arc;

use inferometer_core::{Prompt, Request};
use inferometer_wire::{NoTokens, SideClient, Wire};

use crate::error::{Error, OrError};

/// Requests to `/tokenize` in flight at once. Chosen, not measured.
const IN_FLIGHT: usize = 64;

/// Aligns `requests`; returns the message that vLLM prints about it. `url` is that of the server.
pub(crate) fn align(
    wire: &Arc<Wire>,
    url: &str,
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
    let tokens = match side.block_on(side.tokenize(model, text, false)) {
        Ok(tokens) => tokens,
        Err(why) => return Ok(Some(skipped(&why, url, model))),
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

/// The line of vLLM 0.33 for a server without `/tokenize`. Reasons that vLLM prints as Python's
/// exceptions are in our own words.
fn skipped(why: &NoTokens, url: &str, model: &str) -> String {
    let what = match why {
        NoTokens::Unreachable(reason) => format!("{url} unreachable ({reason})"),
        NoTokens::Status(404) => format!(
            "/tokenize unavailable (404 Not Found: either this server has no /tokenize route, or it does not serve \
             a model named `{model}` (its served names are listed by GET /v1/models))"
        ),
        NoTokens::Status(status) => format!("/tokenize unavailable (HTTP {status})"),
        NoTokens::Answer(reason) => format!("/tokenize probe failed ({reason})"),
    };
    format!("WARNING: {what}, skipping alignment.")
}

/// `text` cut to `wanted` of the server's tokens, if it has more.
async fn cut(side: &SideClient, model: &str, text: &str, wanted: usize) -> Option<String> {
    let tokens = side.tokenize(model, text, false).await.ok()?;
    if tokens.len() <= wanted {
        return None;
    }
    side.detokenize(model, &tokens[..wanted]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_named_as_vllm_names_it() {
        let line = |why| skipped(&why, "http://127.0.0.1:1", "m");
        assert_eq!(
            line(NoTokens::Status(404)),
            "WARNING: /tokenize unavailable (404 Not Found: either this server has no /tokenize route, or it does \
             not serve a model named `m` (its served names are listed by GET /v1/models)), skipping alignment."
        );
        assert_eq!(
            line(NoTokens::Status(500)),
            "WARNING: /tokenize unavailable (HTTP 500), skipping alignment."
        );
        assert_eq!(
            line(NoTokens::Unreachable("refused".into())),
            "WARNING: http://127.0.0.1:1 unreachable (refused), skipping alignment."
        );
    }
}
