//! Questions to a server, outside of every measurement.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use inferometer_core::Secret;
use inferometer_wire::{Client, ClientSettings, Live, TlsSettings, Wire, WireError, backend};
use serde_json::Value;

use crate::journal::Identity;
use crate::plan::Target;

/// A client for single questions to one server.
#[derive(Debug)]
pub(crate) struct Side {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

/// What an answer says.
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

impl Side {
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

    /// Is the server up? Any answer but an error of the server counts, because not every server
    /// knows `/health`.
    pub(crate) fn is_healthy(&self) -> bool {
        self.ask(Method::GET, "/health")
            .is_ok_and(|answer| answer.status == 200)
    }

    /// Models and version; an error when nobody listens or access is refused.
    pub(crate) fn identity(&self) -> Result<Identity, String> {
        let models = match self.ask(Method::GET, "/v1/models") {
            Ok(answer) if answer.status == 200 => answer.json().and_then(|json| models(&json)),
            Ok(answer) if matches!(answer.status, 401 | 403) => {
                return Err(format!(
                    "the server refuses access (HTTP {}): set OPENAI_API_KEY, or give the header that it wants \
                     with --header",
                    answer.status
                ));
            }
            Err(error @ WireError::Connect { .. }) => {
                return Err(format!(
                    "{error}. Nothing answers there: start the server first, or correct base_url (--base-url)"
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

    /// Empties the caches of vLLM. The server has them behind its developer mode, and says in the
    /// body whether it has done so; a server without one of the later two caches does not know its
    /// path.
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
                         VLLM_SERVER_DEV_MODE=1 for it; for other servers give --after-bench-cmd with a command \
                         that does it, or --after-bench-cmd '' to do without"
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
    /// The server could not do it at this moment, for example because blocks were still in use.
    NotNow(String),
    /// It will not get better.
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
