//! Files of the Hugging Face hub: from the cache of the Python library, else over HTTP into that
//! cache.
//!
//! The layout is the Python library's own (`models--OWNER--NAME/{blobs,refs,snapshots}`), so a file
//! that either of the two has fetched is there for both.
//!
//! The client is our own because it needs little: one listing per dataset and one download per
//! file, each a GET that follows redirects. The crate `hf-hub` is a client for the whole API on top
//! of `reqwest`: version 1.0.0 would add more than a hundred crates to the lock file, among them a
//! second HTTP client beside `ureq`.

mod cache;
mod error;
mod facts;
mod http;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use inferometer_core::Secret;
use serde_json::Value;

pub use self::error::{HubError, TokenUse};

/// The revision that files are taken from; there is no flag for another one.
const REVISION: &str = "main";

/// Most bytes of a listing that are read. At about a hundred bytes per file this is room for half a
/// million files; more comes from a wrong or hostile server.
const MAX_LISTING: u64 = 64 << 20;

/// Where the hub is and how it is used.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// Base URL, without a slash at the end.
    pub endpoint: String,
    /// Access token for gated and private repositories. It goes to the endpoint's own host only, and
    /// over plain HTTP only to this machine, unless [`HubSettings::token_over_http`] is set.
    pub token: Option<Secret>,
    /// Send the token over plain HTTP to another machine as well, where all on the way can read it.
    pub token_over_http: bool,
    /// Use the cache alone; open no connection.
    pub offline: bool,
    /// The cache folder (the one that holds `models--…` and `datasets--…`).
    pub cache_dir: PathBuf,
}

/// The kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl HubSettings {
    /// The settings that the environment asks for: `HF_ENDPOINT`, `HF_TOKEN` (else the token file
    /// that `hf auth login` writes), `HF_HUB_OFFLINE`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`,
    /// and our own `INFEROMETER_HF_TOKEN_OVER_HTTP`.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// Settings that never open a connection, with an empty cache.
    pub fn offline() -> Self {
        let mut settings = Self::from_lookup(|_| None);
        settings.offline = true;
        settings
    }

    /// Names of folders may be any bytes; other values are text.
    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| lookup(name).and_then(|value| value.into_string().ok());
        let home = lookup("HF_HOME").map_or_else(
            || {
                let cache = lookup("XDG_CACHE_HOME").map(PathBuf::from);
                let home = lookup("HOME")
                    .or_else(|| lookup("USERPROFILE"))
                    .unwrap_or_else(|| ".".into());
                cache
                    .unwrap_or_else(|| Path::new(&home).join(".cache"))
                    .join("huggingface")
            },
            PathBuf::from,
        );
        let token = text("HF_TOKEN")
            .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| {
                let file =
                    lookup("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
                lookup("HOME")?;
                fs::read_to_string(file).ok()
            });
        let token = token
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        let is_on = |name| {
            text(name).is_some_and(|value| {
                matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
            })
        };
        let offline = is_on("HF_HUB_OFFLINE");
        let token_over_http = is_on("INFEROMETER_HF_TOKEN_OVER_HTTP");
        Self {
            endpoint: text("HF_ENDPOINT")
                .unwrap_or_else(|| "https://huggingface.co".into())
                .trim_end_matches('/')
                .to_owned(),
            token: token.map(Secret::new),
            token_over_http,
            offline,
            cache_dir: lookup("HF_HUB_CACHE")
                .or_else(|| lookup("HUGGINGFACE_HUB_CACHE"))
                .map_or_else(|| home.join("hub"), PathBuf::from),
        }
    }

    /// The path of a file of the `main` revision: cached, else downloaded.
    ///
    /// `file` may come from a mirror's listing, so it is checked before any path is made of it.
    ///
    /// # Errors
    ///
    /// A name that leaves the cache, a repository or file that does not exist, and a hub that does
    /// not answer.
    pub fn file(&self, kind: RepoKind, repo: &str, file: &str) -> Result<PathBuf, HubError> {
        self.check_inside(repo, file)?;
        if let Some(path) = self.cached(kind, repo, file) {
            return Ok(path);
        }
        if self.is_known_absent(kind, repo, file) {
            return Err(HubError::NoSuchFile {
                repo: repo.into(),
                file: file.into(),
                endpoint: self.endpoint.clone(),
            });
        }
        if self.offline {
            return Err(HubError::OfflineMiss {
                repo: repo.into(),
                file: file.into(),
                cache: self.cache_dir.clone(),
            });
        }
        self.download(kind, repo, file)
    }

    /// The names of all files of the `main` revision.
    ///
    /// # Errors
    ///
    /// A repository that does not exist, and a hub that does not answer.
    pub fn list(&self, kind: RepoKind, repo: &str) -> Result<Vec<String>, HubError> {
        if self.offline {
            return self.list_cached(kind, repo);
        }
        let plural = if kind == RepoKind::Dataset {
            "datasets"
        } else {
            "models"
        };
        let url = format!("{}/api/{plural}/{repo}/revision/{REVISION}", self.endpoint);
        let mut answer = self.get(&url, repo)?;
        let text = answer
            .body_mut()
            .with_config()
            .limit(MAX_LISTING)
            .read_to_string();
        let unreadable = |message: String| HubError::Unreachable {
            url: url.clone(),
            message,
        };
        let value: Value =
            serde_json::from_str(&text.map_err(|error| unreadable(error.to_string()))?)
                .map_err(|error| unreadable(format!("the answer is not JSON: {error}")))?;
        let files = value["siblings"].as_array().into_iter().flatten();
        let files: Vec<String> = files
            .filter_map(|file| Some(file["rfilename"].as_str()?.to_owned()))
            .collect();
        files
            .iter()
            .try_for_each(|file| self.check_inside(repo, file))?;
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_sets_the_hub() {
        let settings = HubSettings::from_lookup(|name| match name {
            "HF_ENDPOINT" => Some("http://mirror:8080/".into()),
            "HF_TOKEN" => Some(" hf_x\n".into()),
            "HF_HUB_OFFLINE" => Some("true".into()),
            "HF_HOME" => Some("/data/hf".into()),
            _ => None,
        });
        assert_eq!(settings.endpoint, "http://mirror:8080");
        assert_eq!(settings.token.unwrap().expose(), "hf_x");
        assert!(settings.offline);
        assert_eq!(settings.cache_dir, Path::new("/data/hf/hub"));
    }
}
