//! Questions to a server, outside of every measurement.

use std::time::Duration;

use http::Method;
use inferometer_core::redact::redact_text;
use inferometer_core::{Nanos, Secret};
use inferometer_wire::{
    ClientSettings, ConnectStep, SideClient, SideReply, Timeouts, TlsSettings, Wire, WireError,
    backend,
};

use crate::journal::Identity;
use crate::target::Target;

/// How long `/health` may take: a server that works answers within milliseconds.
const HEALTH_TIMEOUT: Nanos = Nanos::from_millis(2_000);

/// A client for single questions to `target`.
pub(crate) fn client(target: &Target, api_key: Option<Secret>) -> Result<SideClient, String> {
    client_with(target, api_key, Timeouts::default())
}

/// A client for the question whether `target` is healthy, which is asked again and again.
pub(crate) fn health_client(
    target: &Target,
    api_key: Option<Secret>,
) -> Result<SideClient, String> {
    let timeouts = Timeouts {
        connect: HEALTH_TIMEOUT,
        side: HEALTH_TIMEOUT,
        ..Timeouts::default()
    };
    client_with(target, api_key, timeouts)
}

fn client_with(
    target: &Target,
    api_key: Option<Secret>,
    timeouts: Timeouts,
) -> Result<SideClient, String> {
    let explain = |error: WireError| error.to_string();
    let backend = backend::find("openai").map_err(explain)?;
    let wire = Wire::new(ClientSettings {
        api_key,
        timeouts,
        headers: target.headers.clone(),
        tls: TlsSettings {
            insecure: target.insecure,
            ..TlsSettings::default()
        },
        ..ClientSettings::new(backend, &target.url, "")
    })
    .map_err(explain)?;
    SideClient::new(&wire).map_err(|error| error.to_string())
}

/// Is the server up, by its `/health`?
pub(crate) fn is_healthy(side: &SideClient) -> bool {
    side.get("/health").is_ok_and(|answer| answer.status == 200)
}

/// Models and version; an error when nobody listens or access is refused.
pub(crate) fn identity(side: &SideClient) -> Result<Identity, String> {
    let facts = side.inspect(Duration::ZERO).map_err(|error| match error {
        WireError::Connect {
            step: ConnectStep::Reach,
            ..
        } => format!(
            "{error}. Nothing answers there: start the server first, or correct base_url (--base-url)"
        ),
        other => other.to_string(),
    })?;
    if let Some(error) = side.access_refused(&facts) {
        return Err(error.to_string());
    }
    let models = facts.models.map(|models| {
        // The journal keeps them, and a server may list the key that it was sent.
        let ids = models
            .iter()
            .map(|model| redact_text(&model.id).into_owned());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids
    });
    Ok(Identity {
        models,
        version: facts.version,
    })
}

/// The start of the body, for messages.
fn start(answer: &SideReply) -> String {
    String::from_utf8_lossy(&answer.body)
        .chars()
        .take(200)
        .collect()
}

/// Resets the caches of vLLM. The paths exist in its developer mode only, and the body reports
/// whether the cache was reset; a server without one of the later two caches lacks its path.
pub(crate) fn reset_caches(side: &SideClient) -> Result<(), Reset> {
    for (path, needed) in [
        ("/reset_prefix_cache", true),
        ("/reset_mm_cache", false),
        ("/reset_encoder_cache", false),
    ] {
        let answer = side
            .ask(Method::POST, path, None)
            .map_err(|error| Reset::Impossible(error.to_string()))?;
        match answer.status {
            200 if answer
                .json()
                .and_then(|json| json.get("success")?.as_bool())
                == Some(false) =>
            {
                return Err(Reset::NotNow(format!(
                    "POST {path}: the server answers {}",
                    start(&answer)
                )));
            }
            200 => {}
            404 | 405 if !needed => {}
            404 | 405 => {
                return Err(Reset::Impossible(format!(
                    "the server has no {path}, so its cache cannot be reset between runs: vLLM needs \
                     VLLM_SERVER_DEV_MODE=1 for it; for other servers give --after-bench-cmd with a command \
                     that resets it, or --after-bench-cmd '' to skip the reset"
                )));
            }
            status => {
                return Err(Reset::Impossible(format!(
                    "POST {path}: HTTP {status} {}",
                    start(&answer)
                )));
            }
        }
    }
    Ok(())
}

/// Why caches were not emptied.
#[derive(Debug)]
pub(crate) enum Reset {
    /// The server could not do it at this moment, for example because blocks were still in use.
    NotNow(String),
    /// It will not get better.
    Impossible(String),
}
