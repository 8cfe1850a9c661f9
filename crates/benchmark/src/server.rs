//! What the server reports of itself before the first request is measured.

use std::time::Duration;

use inferometer_core::redact::redact_text;
use inferometer_wire::{ConnectStep, ServerFacts, SideClient, WireError};

use crate::error::Error;
use crate::settings::TargetSettings;

/// Asks the server for its models and version, waiting up to `timeout` for it to be reachable.
pub(crate) fn inspect(
    side: &SideClient,
    target: &TargetSettings,
    timeout: Duration,
) -> Result<ServerFacts, Error> {
    side.inspect(timeout).map_err(|error| match error {
        WireError::Connect { step, .. } => unreachable(&error, step, target, timeout),
        other => Error::usage(other.to_string()),
    })
}

fn unreachable(
    error: &WireError,
    step: ConnectStep,
    target: &TargetSettings,
    timeout: Duration,
) -> Error {
    let url = &target.base_url;
    let remedy = match step {
        ConnectStep::Reach => {
            let waited = if timeout.is_zero() {
                "start the server first, or wait for it with --ready-check-timeout-sec 600"
                    .into()
            } else {
                format!("it was not reachable within --ready-check-timeout-sec {}", timeout.as_secs())
            };
            format!("Nothing answers at {url} (--base-url, or --host and --port): {waited}")
        }
        ConnectStep::SourceAddress => {
            "Give --source-ip addresses of this machine (ip address lists them), of the \
             same kind, IPv4 or IPv6, as the server's"
                .into()
        }
        ConnectStep::Proxy => {
            "Check --proxy, or http_proxy and the like in the environment; --proxy none uses no proxy".into()
        }
        ConnectStep::Tls => format!(
            "A server answers at {url}, but the TLS handshake failed: trust its authority's certificate, or \
             its own, with --ca-cert FILE, give --client-cert and --client-key if it requires them, use http:// if it does not use TLS, or skip \
             verification with --insecure"
        ),
        ConnectStep::Scheme => format!(
            "Give {} with --base-url",
            match url.split_once("://") {
                Some(("http", rest)) => format!("https://{rest}"),
                Some((_, rest)) => format!("http://{rest}"),
                None => "the other of http:// and https://".to_owned(),
            }
        ),
        ConnectStep::Http2 => format!("A server answers at {url}, but not with HTTP/2"),
    };
    Error::usage(format!("{error}. {remedy}"))
}

/// The names of a run's model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelNames {
    /// Value of `model` in requests.
    pub request: String,
    /// In results; also the tokenizer's name unless one is given.
    pub id: String,
}

/// Determines which model is measured.
///
/// # Errors
///
/// A usage error when no model is named and the server lists none, or when it does not list the named
/// one and that is not allowed.
pub fn model_names(target: &TargetSettings, facts: &ServerFacts) -> Result<ModelNames, Error> {
    let listed = facts.models.as_deref().unwrap_or_default();
    let Some(model) = &target.model else {
        let first = listed.first().ok_or_else(|| {
            let answer = match facts.models_status {
                Some(status) => format!("answers with HTTP {status}"),
                None => "lists none".to_owned(),
            };
            Error::usage(format!(
                "--model is missing, and {}/v1/models {answer}: name the model with --model",
                target.base_url
            ))
        })?;
        // It gets into results, and a server may list the key that it was sent.
        let id = first.root.as_ref().unwrap_or(&first.id);
        let id = redact_text(id).into_owned();
        return Ok(ModelNames {
            request: first.id.clone(),
            id,
        });
    };
    let request = target.served_model_name.as_ref().unwrap_or(model);
    // llama.cpp lists one model and accepts any name.
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
