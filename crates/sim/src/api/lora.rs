//! Loading and unloading of LoRA adapters.

use serde_json::Value;

use super::errors;
use super::reply::Reply;
use crate::request::HttpRequest;
use crate::shared::Shared;

/// `/v1/load_lora_adapter`.
pub(crate) fn load(shared: &Shared, request: &HttpRequest) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let (Some(name), Some(_)) = (body["lora_name"].as_str(), body["lora_path"].as_str()) else {
        return errors::bad_request("lora_name and lora_path are needed", None);
    };
    if shared.load_adapter(name) {
        Reply::text(
            "text/plain; charset=utf-8",
            format!("Success: LoRA adapter '{name}' added successfully."),
        )
    } else {
        errors::bad_request(
            &format!("the LoRA adapter '{name}' is loaded already"),
            Some("lora_name"),
        )
    }
}

/// `/v1/unload_lora_adapter`.
pub(crate) fn unload(shared: &Shared, request: &HttpRequest) -> Reply {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let Some(name) = body["lora_name"].as_str() else {
        return errors::bad_request("lora_name is needed", Some("lora_name"));
    };
    if shared.unload_adapter(name) {
        Reply::text(
            "text/plain; charset=utf-8",
            format!("Success: LoRA adapter '{name}' removed successfully."),
        )
    } else {
        let message = format!("the LoRA adapter '{name}' cannot be found");
        errors::error(404, "NotFoundError", &message, Some("lora_name"))
    }
}
