//! What the server says of itself before the first request is measured.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use inferometer_os::clock;
use inferometer_wire::reply::printable;
use inferometer_wire::{Client, ConnectStep, Live, SideReply, Wire, WireError};
use serde_json::Value;

use crate::error::{Error, OrError};
use crate::settings::TargetSettings;

/// Pause between two tries to reach a server that is still starting.
const RETRY: Duration = Duration::from_millis(500);

/// A client for single questions, outside every measurement.
#[derive(Debug)]
pub struct Side {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Side {
    /// A client for the targets of `wire`.
    pub fn new(wire: &Arc<Wire>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .or_failure()?;
        Ok(Self {
            runtime,
            client: Client::new(wire, 0, Arc::new(Live::default())),
        })
    }

    /// Asks for `path`.
    pub fn get(&self, path: &str) -> Result<SideReply, WireError> {
        self.ask(Method::GET, path, None)
    }

    /// Sends `body` to `path`.
    pub fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<SideReply, WireError> {
        let local = tokio::task::LocalSet::new();
        local.block_on(&self.runtime, self.client.fetch(method, path, body))
    }
}

/// A model as `/v1/models` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Name to use in requests.
    pub id: String,
    /// What it was loaded from, usually a path or a hub id.
    pub root: Option<String>,
    /// The kind of server, as vLLM and llama.cpp name themselves here.
    pub owned_by: Option<String>,
}

/// What the server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its models; `None` when it has no such list.
    pub models: Option<Vec<Served>>,
    /// Its version.
    pub version: Option<String>,
}

/// Asks the server for its models and version, waiting up to `patience` for it to be reachable.
pub fn inspect(
    side: &Side,
    target: &TargetSettings,
    patience: Duration,
) -> Result<ServerFacts, Error> {
    let deadline = clock::now() + patience.into();
    let reply = loop {
        match side.get("/v1/models") {
            Ok(reply) => break Some(reply),
            // Only a server that is not there yet is worth waiting for.
            Err(WireError::Connect {
                step: ConnectStep::Reach | ConnectStep::Proxy,
                ..
            }) if clock::now() < deadline => {
                std::thread::sleep(RETRY);
            }
            Err(error @ WireError::Connect { step, .. }) => {
                return Err(unreachable(&error, step, target, patience));
            }
            // It listens but does not know the question: some servers have no list of models.
            Err(_) => break None,
        }
    };
    if let Some(reply) = &reply
        && matches!(reply.status, 401 | 403)
    {
        return Err(Error::usage(format!(
            "{} refuses access (HTTP {}): set OPENAI_API_KEY, or give the header that it wants with --header",
            target.base_url, reply.status
        )));
    }
    let models = reply
        .filter(|reply| reply.status == 200)
        .and_then(|reply| served(&reply.body));
    let version = side
        .get("/version")
        .ok()
        .filter(|reply| reply.status == 200)
        .and_then(|reply| serde_json::from_slice::<Value>(&reply.body).ok())
        .and_then(|answer| answer.get("version").and_then(Value::as_str).map(printable));
    Ok(ServerFacts { models, version })
}

fn unreachable(
    error: &WireError,
    step: ConnectStep,
    target: &TargetSettings,
    patience: Duration,
) -> Error {
    let url = &target.base_url;
    let remedy = match step {
        ConnectStep::Reach => {
            let waited = if patience.is_zero() {
                "start the server first, or let inferometer wait for it with --ready-check-timeout-sec 600"
                    .into()
            } else {
                format!("it was not there within --ready-check-timeout-sec {}", patience.as_secs())
            };
            format!("Nothing answers at {url} (--base-url, or --host and --port): {waited}")
        }
        ConnectStep::SourceAddress => {
            "Give --source-ip addresses of this machine (ip address lists them), of the \
             same kind, IPv4 or IPv6, as the server's"
                .into()
        }
        ConnectStep::Proxy => {
            "Check --proxy, or http_proxy and the like in the environment; --proxy none goes without".into()
        }
        ConnectStep::Tls => format!(
            "Something answers at {url}, but TLS cannot be agreed on: trust its authority with --ca-cert FILE, give \
             --client-cert and --client-key if it wants to know us, use http:// if it speaks no TLS, or verify \
             nothing with --insecure"
        ),
        ConnectStep::Http2 => format!("Something answers at {url}, but not in HTTP/2"),
    };
    Error::usage(format!("{error}. {remedy}"))
}

fn served(body: &[u8]) -> Option<Vec<Served>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    // Names are shown on terminals and written into files: nothing in them may steer either.
    let text = |model: &Value, key: &str| model.get(key).and_then(Value::as_str).map(printable);
    Some(
        answer
            .get("data")?
            .as_array()?
            .iter()
            .filter_map(|model| {
                Some(Served {
                    id: text(model, "id")?,
                    root: text(model, "root"),
                    owned_by: text(model, "owned_by"),
                })
            })
            .collect(),
    )
}

/// The model's names in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelNames {
    /// Sent in requests.
    pub request: String,
    /// Stands in results, and names the tokenizer unless one is given.
    pub id: String,
}

/// Settles which model is benchmarked.
pub fn model_names(target: &TargetSettings, facts: &ServerFacts) -> Result<ModelNames, Error> {
    let listed = facts.models.as_deref().unwrap_or_default();
    let Some(model) = &target.model else {
        let first = listed.first().ok_or_else(|| {
            Error::usage(format!(
                "--model is missing, and {}/v1/models lists none: name the model with --model",
                target.base_url
            ))
        })?;
        let id = first.root.clone().unwrap_or_else(|| first.id.clone());
        return Ok(ModelNames {
            request: first.id.clone(),
            id,
        });
    };
    let request = target.served_model_name.as_ref().unwrap_or(model);
    // llama.cpp lists one model and takes any name.
    let any_name = listed
        .iter()
        .any(|served| served.owned_by.as_deref() == Some("llamacpp"));
    let known = listed.iter().any(|served| served.id == *request);
    if target.check_model && !listed.is_empty() && !known && !any_name {
        let flag = if target.served_model_name.is_some() {
            "--served-model-name"
        } else {
            "--model"
        };
        let names: Vec<_> = listed.iter().map(|served| served.id.as_str()).collect();
        return Err(Error::usage(format!(
            "{flag} {request}: {} does not serve it. It serves: {}. Use one of these with --served-model-name \
             (--model then only names the tokenizer), or skip this check with --skip-model-check",
            target.base_url,
            names.join(", ")
        )));
    }
    Ok(ModelNames {
        request: request.clone(),
        id: model.clone(),
    })
}
