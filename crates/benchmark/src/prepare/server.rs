//! What is asked of the server and loaded for it before a workload can be built.

use inferometer_wire::{ServerFacts, SideClient};
use inferometer_workload::{HubSettings, Tokenizer};

use super::wire::wire;
use crate::error::{Error, OrError};
use crate::server::{ModelNames, inspect, model_names};
use crate::settings::Settings;

/// Models and version of the server, and the names of the model to measure.
pub(super) fn ask_server(settings: &Settings) -> Result<(ServerFacts, ModelNames), Error> {
    let names = ModelNames {
        request: String::new(),
        id: String::new(),
    };
    let side = SideClient::new(&wire(settings, &names, false)?).or_failure()?;
    let facts = inspect(&side, &settings.target, settings.load.ready_check)?;
    let model = model_names(&settings.target, &facts)?;
    Ok((facts, model))
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

/// Loads a tokenizer from a name, a path or the hub.
pub(super) fn load_tokenizer(spec: &str) -> Result<Tokenizer, Error> {
    Tokenizer::load(spec, &HubSettings::from_env()).or_usage()
}
