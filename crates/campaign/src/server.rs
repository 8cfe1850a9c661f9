//! Requests to a server outside of every measurement: health, identity, caches.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use inferometer_core::Secret;
use inferometer_wire::{Client, ClientSettings, Live, TlsSettings, Wire, WireError, backend};
use serde_json::Value;

use crate::journal::Identity;
use crate::target::Target;

/// A client for single requests to one server.
#[derive(Debug)]
pub(crate) struct ServerClient {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// Status and body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The beginning of the body, for messages.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body)
            .chars()
            .take(200)
            .collect()
    }
}

impl ServerClient {
    pub(crate) fn new(target: &Target, api_key: Option<Secret>) -> Result<Self, String> {
        let explain = |error: WireError| error.to_string();
        let backend = backend::find("openai").map_err(explain)?;
        let wire = Wire::new(ClientSettings {
            api_key,
            headers: target.headers.clone(),
            tls: TlsSettings {
                insecure: target.insecure,
                ..TlsSettings::default()
            },
            ..ClientSettings::new(backend, &target.url, "")
        })
        .map_err(explain)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            client: Client::new(&wire, 0, Arc::new(Live::default())),
            runtime,
        })
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Result<Answer, WireError> {
        let local = tokio::task::LocalSet::new();
        let reply = local.block_on(&self.runtime, self.client.fetch(method, path, None))?;
        Ok(Answer {
            status: reply.status,
            body: reply.body,
        })
    }

    /// True when `/health` answers with 200.
    pub(crate) fn is_healthy(&self) -> bool {
        self.ask(Method::GET, "/health")
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Models and version; an error when no server listens or access is refused.
    pub(crate) fn identity(&self) -> Result<Identity, String> {
        let models = match self.ask(Method::GET, "/v1/models") {
            Ok(answer) if answer.status == 200 => answer.json().and_then(|json| models(&json)),
            Ok(answer) if matches!(answer.status, 401 | 403) => {
                return Err(format!(
                    "the server refuses access (HTTP {}): set OPENAI_API_KEY, or pass the header that it expects \
                     with --header",
                    answer.status
                ));
            }
            Err(error @ WireError::Connect { .. }) => {
                return Err(format!(
                    "{error}. No server answers there: start the server first, or correct base_url (--base-url)"
                ));
            }
            Ok(_) | Err(_) => None,
        };
        let version = match self.ask(Method::GET, "/version") {
            Ok(answer) if answer.status == 200 => answer
                .json()
                .and_then(|json| json.get("version")?.as_str().map(str::to_owned)),
            _ => None,
        };
        Ok(Identity { models, version })
    }

    /// Empties the caches of vLLM. The server offers this in its developer mode only, and reports in
    /// the body whether it has done so; a server without one of the later two caches does not know
    /// its path.
    pub(crate) fn reset_caches(&self) -> Result<(), Reset> {
        for (path, needed) in [
            ("/reset_prefix_cache", true),
            ("/reset_mm_cache", false),
            ("/reset_encoder_cache", false),
        ] {
            let answer = self
                .ask(Method::POST, path)
                .map_err(|error| Reset::Impossible(error.to_string()))?;
            match answer.status {
                200 if answer
                    .json()
                    .and_then(|json| json.get("success")?.as_bool())
                    == Some(false) =>
                {
                    return Err(Reset::NotNow(format!(
                        "POST {path}: the server answers {}",
                        answer.text()
                    )));
                }
                200 => {}
                404 | 405 if !needed => {}
                404 | 405 => {
                    return Err(Reset::Impossible(format!(
                        "the server does not know {path}, so its cache cannot be emptied between runs: vLLM needs \
                         VLLM_SERVER_DEV_MODE=1 for it; for other servers pass --after-bench-cmd with a command \
                         that does it, or --after-bench-cmd '' to skip it"
                    )));
                }
                status => {
                    return Err(Reset::Impossible(format!(
                        "POST {path}: HTTP {status} {}",
                        answer.text()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Why caches were not emptied.
#[derive(Debug)]
pub(crate) enum Reset {
    /// Not possible at this moment, for example because blocks were still in use.
    NotNow(String),
    /// Not possible at all.
    Impossible(String),
}

fn models(answer: &Value) -> Option<Vec<String>> {
    let list = answer.get("data")?.as_array()?;
    let mut ids: Vec<String> = list
        .iter()
        .filter_map(|model| model.get("id")?.as_str().map(str::to_owned))
        .collect();
    ids.sort();
    Some(ids)
}
