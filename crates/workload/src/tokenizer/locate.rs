//! Finding a tokenizer's files on disk or on the hub.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::TokenizerError;
use super::config::{Config, template_source};
use crate::hub::{HubError, HubSettings, RepoKind};

/// The files of a tokenizer, read.
pub(super) struct Files {
    /// Name of the tokenizer file in messages.
    pub(super) tokenizer_name: String,
    /// Content of `tokenizer.json`.
    pub(super) tokenizer: Vec<u8>,
    /// The content of the other files.
    pub(super) config: Config,
}

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const TEMPLATE: &str = "chat_template.jinja";
const TEMPLATE_JSON: &str = "chat_template.json";

/// Finds the tokenizer that `spec` names: a folder, a file or a Hugging Face id.
pub(super) fn locate(spec: &str, hub: &HubSettings) -> Result<Files, TokenizerError> {
    let path = Path::new(spec);
    if path.is_file() {
        return from_folder(path, path.parent().unwrap_or(Path::new(".")));
    }
    if path.is_dir() {
        let file = path.join(TOKENIZER);
        if !file.is_file() {
            return Err(TokenizerError::NoTokenizerFile {
                dir: path.to_owned(),
                holds: listing(path),
            });
        }
        return from_folder(&file, path);
    }
    let not_found = |reason: String| TokenizerError::NotFound {
        spec: spec.to_owned(),
        reason,
    };
    if !is_hub_id(spec) {
        return Err(not_found("no such file or folder".into()));
    }
    let file = match hub.file(RepoKind::Model, spec, TOKENIZER) {
        Ok(file) => file,
        Err(HubError::NoSuchFile { .. }) => {
            return Err(not_found(format!(
                "the repository {spec} on {} has no tokenizer.json (a tokenizer of another format can be \
                 converted with Python: AutoTokenizer.from_pretrained({spec:?}).save_pretrained(FOLDER))",
                hub.endpoint
            )));
        }
        Err(HubError::NoSuchRepo { endpoint, .. }) => {
            return Err(not_found(format!(
                "no such file or folder, and no repository of that name on {endpoint}"
            )));
        }
        Err(error) => return Err(error.into()),
    };
    from_hub(spec, &file, hub)
}

fn from_folder(tokenizer: &Path, dir: &Path) -> Result<Files, TokenizerError> {
    let mut config = Config {
        chat_template: optional(&dir.join(TEMPLATE))?,
        ..Config::default()
    };
    if let Some(value) = optional_json(&dir.join(CONFIG))? {
        config.merge(&value);
    }
    if let Some(value) = optional_json(&dir.join(SPECIAL))? {
        config.merge(&value);
    }
    if config.chat_template.is_none()
        && let Some(value) = optional_json(&dir.join(TEMPLATE_JSON))?
    {
        config.chat_template = template_source(&value["chat_template"]);
    }
    Ok(Files {
        tokenizer_name: tokenizer.display().to_string(),
        tokenizer: read_bytes(tokenizer)?,
        config,
    })
}

fn from_hub(spec: &str, tokenizer: &Path, hub: &HubSettings) -> Result<Files, TokenizerError> {
    // The other files are optional, and requested only when earlier ones do not settle everything.
    let fetch = |name: &str| match hub.file(RepoKind::Model, spec, name) {
        Ok(path) => Ok(Some(path)),
        Err(HubError::NoSuchFile { .. } | HubError::OfflineMiss { .. }) => Ok(None),
        Err(error) => Err(TokenizerError::from(error)),
    };
    let mut config = Config::default();
    if let Some(path) = fetch(CONFIG)?
        && let Some(value) = optional_json(&path)?
    {
        config.merge(&value);
    }
    if config.special.is_empty()
        && let Some(path) = fetch(SPECIAL)?
        && let Some(value) = optional_json(&path)?
    {
        config.merge(&value);
    }
    if config.chat_template.is_none()
        && let Some(path) = fetch(TEMPLATE)?
    {
        config.chat_template = optional(&path)?;
    }
    Ok(Files {
        tokenizer_name: format!("{TOKENIZER} of {spec}"),
        tokenizer: read_bytes(tokenizer)?,
        config,
    })
}

fn read(path: &Path) -> Result<String, TokenizerError> {
    fs::read_to_string(path).map_err(|source| TokenizerError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    fs::read(path).map_err(|source| TokenizerError::Read {
        path: path.to_owned(),
        source,
    })
}

fn optional(path: &Path) -> Result<Option<String>, TokenizerError> {
    if path.is_file() {
        read(path).map(Some)
    } else {
        Ok(None)
    }
}

fn optional_json(path: &Path) -> Result<Option<Value>, TokenizerError> {
    let Some(text) = optional(path)? else {
        return Ok(None);
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| TokenizerError::Parse {
            file: path.display().to_string(),
            message: error.to_string(),
        })
}

/// `name` or `owner/name` in the characters that the hub allows.
fn is_hub_id(spec: &str) -> bool {
    let mut parts = spec.split('/');
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-', '~'])
            && part
                .chars()
                .all(|symbol| symbol.is_ascii_alphanumeric() || "-_.".contains(symbol))
    };
    let ok = parts.by_ref().take(2).all(is_name) && parts.next().is_none();
    ok && Path::new(spec)
        .extension()
        .is_none_or(|extension| extension != "json")
}

fn listing(dir: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(12);
    names.truncate(12);
    match (names.is_empty(), more) {
        (true, _) => "nothing".into(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_names_and_paths_are_distinguished() {
        for id in ["gpt2", "Qwen/Qwen3-0.6B", "org/name.v1_2"] {
            assert!(is_hub_id(id), "{id}");
        }
        for path in [
            "./gpt2",
            "/models/x",
            "a/b/c",
            "~/x",
            "tokenizer.json",
            "",
            "a//b",
            "../x",
            "a b",
        ] {
            assert!(!is_hub_id(path), "{path}");
        }
    }

    #[test]
    fn a_folder_without_a_tokenizer_says_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tokenizer.model"), "x").unwrap();
        let error = locate(dir.path().to_str().unwrap(), &HubSettings::offline())
            .err()
            .unwrap();
        let message = error.to_string();
        assert!(message.contains("it holds tokenizer.model"), "{message}");
        assert!(message.contains("save_pretrained"), "{message}");
    }
}
