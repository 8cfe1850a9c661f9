//! vLLM's alignment of made-up prompts with the server's tokenizer.
//!
//! When the server counts the first prompt otherwise than the client, every prompt that is too long
//! for the server is cut to its length there and sent as the server's `/detokenize` gives it back;
//! one that is too short stays. Without `/tokenize` nothing happens.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use inferometer_core::{Prompt, Request};
use inferometer_wire::{Client, Live, Wire};
use serde_json::{Value, json};

use crate::error::{Error, OrError};

/// Questions under way at once.
const IN_FLIGHT: usize = 64;

/// Aligns `requests`; returns the lines that vLLM prints about it.
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_failure()?;
    let local = tokio::task::LocalSet::new();
    let asker = Rc::new(Asker {
        client: Client::new(wire, 0, Arc::new(Live::default())),
        model: model.to_owned(),
    });
    let text = first.prompt.as_text().unwrap_or_default().to_owned();
    let Some(tokens) = local.block_on(&runtime, asker.tokenize(&text)) else {
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
        let work = batch.iter().map(|request| {
            let asker = Rc::clone(&asker);
            let text = request.prompt.as_text().unwrap_or_default().to_owned();
            let wanted = request.prompt_tokens as usize;
            local.spawn_local(async move { asker.cut(&text, wanted).await })
        });
        let work: Vec<_> = work.collect();
        for (request, task) in batch.iter_mut().zip(work) {
            if let Ok(Some(text)) = local.block_on(&runtime, task) {
                request.prompt = Prompt::Text(text);
            }
        }
    }
    Ok(Some(line))
}

struct Asker {
    client: Client,
    model: String,
}

impl Asker {
    /// The server's tokens of `text`.
    async fn tokenize(&self, text: &str) -> Option<Vec<Value>> {
        let body = json!({"model": self.model, "prompt": text, "add_special_tokens": false});
        match self
            .ask("/tokenize", &body)
            .await?
            .get_mut("tokens")?
            .take()
        {
            Value::Array(tokens) => Some(tokens),
            _ => None,
        }
    }

    /// `text` cut to `wanted` of the server's tokens, if it has more.
    async fn cut(&self, text: &str, wanted: usize) -> Option<String> {
        let tokens = self.tokenize(text).await?;
        if tokens.len() <= wanted {
            return None;
        }
        let body = json!({"model": self.model, "tokens": tokens[..wanted]});
        self.ask("/detokenize", &body)
            .await?
            .get("prompt")?
            .as_str()
            .map(str::to_owned)
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
