//! What is asked of the server and loaded for it before a workload can be built.

use inferometer_os::clock;
use inferometer_results::local_seconds;
use inferometer_wire::{ServerFacts, SideClient};
use inferometer_workload::{
    BUILTIN, DatasetSettings, HubError, HubSettings, Tokenizer, TokenizerError,
};

use super::wire::wire;
use crate::compat::Compat;
use crate::error::{Cause, Error, OrError};
use crate::server::{ModelNames, inspect, model_names};
use crate::settings::Settings;

/// What a server answers before a run.
pub(super) struct Asked {
    pub(super) facts: ServerFacts,
    pub(super) model: ModelNames,
    /// Pages that have not answered.
    pub(super) warnings: Vec<String>,
}

/// Models and version of the server, and the names of the model to measure.
pub(super) fn ask_server(settings: &Settings) -> Result<Asked, Error> {
    let names = ModelNames {
        request: String::new(),
        id: String::new(),
    };
    let wire = wire(settings, &names, false)?;
    let side = SideClient::new(&wire).or_failure()?;
    let facts = inspect(&side, &settings.target, settings.load.ready_check)?;
    let mut warnings = Vec::new();
    if let Some(refused) = side.access_refused(&facts) {
        // A key may be good for requests and not for the list.
        if settings.target.model.is_none() {
            return Err(Error::usage(refused.to_string()));
        }
        warnings.push(format!(
            "the list of models cannot be read: {refused}. The run continues with --model"
        ));
    }
    let model = model_names(&settings.target, &facts)?;
    warnings.extend(wire.unanswered_pages());
    Ok(Asked {
        facts,
        model,
        warnings,
    })
}

/// A warning about a model that the server does not list, where that is not an error.
pub(super) fn unlisted(
    settings: &Settings,
    facts: &ServerFacts,
    model: &ModelNames,
) -> Option<String> {
    let listed = facts
        .models
        .as_deref()
        .filter(|models| !models.is_empty())?;
    let known = listed.iter().any(|served| served.id == model.request);
    (settings.compat.is_vllm() && !known).then(|| {
        let names: Vec<_> = listed.iter().map(|served| served.id.as_str()).collect();
        format!(
            "the server does not list the model {}; it lists {}",
            model.request,
            names.join(", ")
        )
    })
}

/// Loads a tokenizer from a name, a path or the hub. Its chat template sees today's date where vLLM's
/// client would show it, and a fixed one otherwise.
pub(super) fn load_tokenizer(spec: &str, compat: Compat) -> Result<Tokenizer, Error> {
    load(spec, compat).map_err(refused)
}

fn load(spec: &str, compat: Compat) -> Result<Tokenizer, TokenizerError> {
    let tokenizer = Tokenizer::load(spec, &HubSettings::from_env())?;
    Ok(if compat.is_vllm() {
        tokenizer.at_local_time(local_seconds(clock::wall()))
    } else {
        tokenizer
    })
}

/// A tokenizer that cannot be loaded, with the remedies where it is absent.
fn refused(error: TokenizerError) -> Error {
    if error.is_absent() {
        return Error::usage(format!("{error}. {REMEDIES}"));
    }
    Error::Usage(Cause::of(error))
}

const REMEDIES: &str = "Without the hub: --tokenizer FOLDER for a local copy, --tokenizer builtin for the \
    vocabulary inside inferometer, HF_ENDPOINT for a mirror, or --skip-tokenizer-init for datasets that need none";

/// A tokenizer of a run.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) tokenizer: Tokenizer,
    /// What it was loaded from.
    pub(super) id: String,
    /// Why it replaces the model's own.
    pub(super) substitute: Option<String>,
}

/// Loads the tokenizer that `--tokenizer` names, else that of the model `model`. Where the model has
/// none here, as with an invented name or without a connection, the built-in one is used: the server's
/// `/tokenize` then gives the lengths.
pub(super) fn load_for_run(settings: &Settings, model: &str) -> Result<Loaded, Error> {
    if let Some(spec) = &settings.target.tokenizer {
        return Ok(Loaded {
            tokenizer: load_tokenizer(spec, settings.compat)?,
            id: spec.clone(),
            substitute: None,
        });
    }
    // Ids of another vocabulary mean something else to the server.
    let sends_ids = settings.content.token_ids
        || matches!(settings.workload.dataset, DatasetSettings::TimedTrace(_));
    match load(model, settings.compat) {
        Ok(tokenizer) => Ok(Loaded {
            tokenizer,
            id: model.to_owned(),
            substitute: None,
        }),
        Err(error) if error.is_absent() && !sends_ids => Ok(Loaded {
            tokenizer: Tokenizer::substitute().or_failure()?,
            id: BUILTIN.to_owned(),
            substitute: Some(reason(&error)),
        }),
        Err(error) => Err(refused(error)),
    }
}

/// Why a tokenizer is absent, in few words.
fn reason(error: &TokenizerError) -> String {
    match error {
        TokenizerError::NotFound { reason, .. } => reason
            .split_once(" (another format")
            .map_or(reason.as_str(), |(reason, _)| reason)
            .to_owned(),
        TokenizerError::Hub(HubError::Unreachable { url, message }) => {
            format!("cannot reach {url}: {message}")
        }
        TokenizerError::Hub(HubError::OfflineMiss { .. }) => {
            "it is not in the cache and HF_HUB_OFFLINE is set".to_owned()
        }
        other => other.to_string(),
    }
}
