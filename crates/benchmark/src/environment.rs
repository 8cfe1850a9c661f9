//! What the environment says of a run.

use inferometer_core::Secret;

use crate::error::Error;

/// Variables that runs read as text; those that name folders may be any bytes.
const VARIABLES: [&str; 14] = [
    API_KEY,
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "PYTHONHASHSEED",
];
const API_KEY: &str = "OPENAI_API_KEY";

/// The key of `OPENAI_API_KEY`, if it is set.
///
/// # Errors
///
/// A usage error that names the variable, where one of those that runs read is not UTF-8: without it, a run
/// would go to another address, or without its key.
pub fn api_key() -> Result<Option<Secret>, Error> {
    for name in VARIABLES {
        if std::env::var_os(name).is_some_and(|value| value.to_str().is_none()) {
            return Err(Error::usage(format!(
                "the environment variable {name} is not UTF-8: correct it, or unset it"
            )));
        }
    }
    let key = std::env::var(API_KEY).ok();
    Ok(key.filter(|key| !key.is_empty()).map(Secret::new))
}
