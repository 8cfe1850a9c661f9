//! Questions to a server outside every measurement, asked by code that blocks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use inferometer_core::Nanos;
use inferometer_core::redact::redact_text;
use inferometer_os::clock;
use serde_json::{Value, json};

use crate::client::Client;
use crate::connect::OpenError;
use crate::error::{ConnectStep, WireError};
use crate::fetch::SideReply;
use crate::live::Live;
use crate::reply::printable;
use crate::wire::Wire;

/// Pause between two attempts to reach a server that is still starting: short beside the minutes
/// that loading a model takes.
const RETRY: Duration = Duration::from_millis(500);

/// A client for single questions to one server, each on a connection of its own.
#[derive(Debug)]
pub struct SideClient {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// A model as `/v1/models` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedModel {
    /// Name to use in requests, as the server gives it; whoever stores it leaves secrets out.
    pub id: String,
    /// What it was loaded from, usually a path or a hub id.
    pub root: Option<String>,
    /// The kind of server, as vLLM and llama.cpp name themselves here.
    pub owned_by: Option<String>,
}

/// True for the status of a server that may answer otherwise a little later.
fn is_busy(status: u16) -> bool {
    matches!(status, 429 | 500..=599)
}

/// What a server reports about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its models; `None` when it has no such list.
    pub models: Option<Vec<ServedModel>>,
    /// HTTP status of the answer that came in place of the list.
    pub models_status: Option<u16>,
    /// Its version.
    pub version: Option<String>,
}

/// Why a server did not give the tokens of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTokens {
    /// It cannot be reached, with the reason.
    Unreachable(String),
    /// It answered with this HTTP status.
    Status(u16),
    /// Its answer is not usable, with the reason.
    Answer(String),
}

impl SideClient {
    /// A client for the targets of `wire`.
    ///
    /// # Errors
    /// When the operating system gives no event loop.
    pub fn new(wire: &Arc<Wire>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            client: Client::new(wire, 0, Arc::new(Live::default())),
        })
    }

    /// Asks the first target for `path`.
    ///
    /// # Errors
    ///
    /// As [`crate::Client::fetch`].
    pub fn get(&self, path: &str) -> Result<SideReply, WireError> {
        self.ask(Method::GET, path, None)
    }

    /// Sends `body`, which is JSON, to `path` on the first target.
    ///
    /// # Errors
    ///
    /// As [`crate::Client::fetch`].
    pub fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<SideReply, WireError> {
        self.block_on(self.client.fetch(method, path, body))
    }

    /// Like [`SideClient::ask`], but `None` when `interrupt` is ready first.
    ///
    /// # Errors
    /// As [`SideClient::ask`].
    pub fn ask_unless(
        &self,
        interrupt: impl Future<Output = ()>,
        method: Method,
        path: &str,
    ) -> Option<Result<SideReply, WireError>> {
        self.block_on(async {
            tokio::select! {
                biased;
                () = interrupt => None,
                reply = self.client.fetch(method, path, None) => Some(reply),
            }
        })
    }

    /// Waits for a future that uses this client.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Waits for several futures that use this client, which run at the same time. The results have
    /// the order of the futures.
    pub fn block_on_all<F: Future>(&self, futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
        self.block_on(join_all(futures))
    }

    /// Models and version, waiting up to `patience` for the server to be reachable.
    ///
    /// # Errors
    /// [`WireError::Connect`] when it cannot be reached. A server without one of the two paths, or that
    /// refuses it, is not an error.
    pub fn inspect(&self, patience: Duration) -> Result<ServerFacts, WireError> {
        let deadline = clock::now() + Nanos::from(patience);
        let reply = loop {
            match self.block_on(self.client.models()) {
                // A server that loads its model, or one behind a proxy, may not be ready yet.
                Ok(reply) if is_busy(reply.status) && clock::now() < deadline => {
                    std::thread::sleep(RETRY);
                }
                Ok(reply) => break Some(reply),
                // Only a server that is not there yet is worth waiting for.
                Err(WireError::Connect {
                    step: ConnectStep::Reach | ConnectStep::Proxy,
                    ..
                }) if clock::now() < deadline => std::thread::sleep(RETRY),
                Err(error @ WireError::Connect { .. }) => return Err(error),
                Err(_) if self.block_on(self.client.speaks_tls()) => return Err(self.scheme()),
                // It listens but does not know the path: some servers have no list of models.
                Err(_) => break None,
            }
        };
        // Servers with TLS say so in their answer to a request without it, each in its own words.
        if reply.as_ref().is_some_and(|reply| reply.status == 400)
            && self.block_on(self.client.speaks_tls())
        {
            return Err(self.scheme());
        }
        let models = reply
            .as_ref()
            .and_then(SideReply::json)
            .and_then(|answer| served_models(&answer));
        let version = self
            .block_on(self.client.page(0, Method::GET, "/version", None))
            .ok()
            .and_then(|reply| reply.json())
            .and_then(|answer| answer.get("version")?.as_str().map(shown));
        let status = reply.map(|reply| reply.status);
        Ok(ServerFacts {
            models,
            models_status: status.filter(|status| !(200..300).contains(status)),
            version,
        })
    }

    /// [`WireError::AccessRefused`] where the server refused its list of models. A key may be good for
    /// requests and not for the list.
    pub fn access_refused(&self, facts: &ServerFacts) -> Option<WireError> {
        let status = facts
            .models_status
            .filter(|status| matches!(status, 401 | 403))?;
        Some(WireError::AccessRefused {
            target: self.client.wire.targets[0].display.clone(),
            status,
        })
    }

    /// The error for a server that speaks TLS where `http://` was given.
    fn scheme(&self) -> WireError {
        let target = &self.client.wire.targets[0];
        let OpenError { step, reason } = OpenError::scheme(target);
        WireError::Connect {
            target: target.display.clone(),
            reason,
            step,
        }
    }

    /// The server's tokens of `text` by its `/tokenize`.
    ///
    /// # Errors
    /// What became of the question instead.
    pub async fn tokenize(
        &self,
        model: &str,
        text: &str,
        special: bool,
    ) -> Result<Vec<Value>, NoTokens> {
        let body = json!({"model": model, "prompt": text, "add_special_tokens": special});
        self.tokens(&body).await
    }

    /// The same in the words of llama.cpp's server.
    ///
    /// # Errors
    /// What became of the question instead.
    pub async fn tokenize_content(
        &self,
        text: &str,
        special: bool,
    ) -> Result<Vec<Value>, NoTokens> {
        let body = json!({"content": text, "add_special": special, "parse_special": true});
        self.tokens(&body).await
    }

    async fn tokens(&self, body: &Value) -> Result<Vec<Value>, NoTokens> {
        let body = Bytes::from(body.to_string());
        let reply = self.client.page(0, Method::POST, "/tokenize", Some(body));
        let reply = reply.await.map_err(|error| match error {
            WireError::Connect { reason, .. } => NoTokens::Unreachable(reason),
            other => NoTokens::Answer(other.to_string()),
        })?;
        if reply.status != 200 {
            return Err(NoTokens::Status(reply.status));
        }
        let mut answer = reply
            .json()
            .ok_or_else(|| NoTokens::Answer("the answer is not JSON".to_owned()))?;
        match answer.get_mut("tokens").map(Value::take) {
            Some(Value::Array(tokens)) => Ok(tokens),
            _ => Err(NoTokens::Answer("the answer has no tokens".to_owned())),
        }
    }

    /// The text of `tokens` by the server's `/detokenize`.
    pub async fn detokenize(&self, model: &str, tokens: &[Value]) -> Option<String> {
        let body = json!({"model": model, "tokens": tokens});
        let answer = self.post("/detokenize", &body).await?;
        // vLLM, SGLang, llama.cpp.
        let text = ["prompt", "text", "content"]
            .iter()
            .find_map(|key| answer.get(key));
        text?.as_str().map(str::to_owned)
    }

    /// The JSON of a good answer to a JSON body.
    async fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let body = Bytes::from(body.to_string());
        let reply = self.client.page(0, Method::POST, path, Some(body)).await;
        reply.ok()?.json()
    }
}

/// A text of the server as it may be shown and stored: some servers repeat the key that they were sent.
fn shown(text: &str) -> String {
    redact_text(&printable(text)).into_owned()
}

/// The models of a list: in `data` (OpenAI), in `models` (Ollama), or the answer itself. A model is an
/// object with an id or a name, or its name alone.
fn served_models(answer: &Value) -> Option<Vec<ServedModel>> {
    // Names are shown on terminals and written into files: nothing in them may steer either.
    let text = |model: &Value, key: &str| model.get(key).and_then(Value::as_str).map(printable);
    let lists = ["data", "models"]
        .iter()
        .filter_map(|&name| answer.get(name));
    let models = lists.chain([answer]).find_map(Value::as_array)?;
    let named = models.iter().filter_map(|model| {
        let id = ["id", "name", "model"]
            .iter()
            .find_map(|&key| text(model, key));
        Some(ServedModel {
            id: id.or_else(|| model.as_str().map(printable))?,
            root: text(model, "root").map(|root| shown(&root)),
            owned_by: text(model, "owned_by").map(|owner| shown(&owner)),
        })
    });
    Some(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_models_have_many_forms() {
        let names = |answer: Value| {
            let models = served_models(&answer)?;
            Some(models.into_iter().map(|model| model.id).collect::<Vec<_>>())
        };
        let tiny = Some(vec!["tiny".to_owned()]);
        for answer in [
            json!({"object": "list", "data": [{"id": "tiny", "object": "model"}]}),
            json!({"models": [{"name": "tiny"}], "data": [{"id": "tiny"}]}),
            json!({"models": [{"name": "tiny"}]}),
            json!({"data": ["tiny"]}),
            json!([{"id": "tiny"}]),
            json!(["tiny"]),
        ] {
            assert_eq!(names(answer.clone()), tiny, "{answer}");
        }
        assert_eq!(names(json!({"data": []})), Some(Vec::new()));
        assert_eq!(names(json!({"detail": "Not Found"})), None);
    }
}
