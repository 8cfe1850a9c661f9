//! Finding a tokenizer's files on disk or on the hub.

use std::fs;
use std::path::{Path, PathBuf};

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
/// Files with the chat template alone, in the order in which the Python library prefers them; both
/// win over the template in the configuration.
const TEMPLATES: [&str; 2] = [
    "additional_chat_templates/default.jinja",
    "chat_template.jinja",
];
/// The template of older processors, which counts where the tokenizer has none.
const TEMPLATE_JSON: &str = "chat_template.json";

/// Finds the tokenizer that `spec` names: a folder, a file or a Hugging Face id.
pub(super) fn locate(spec: &str, hub: &HubSettings) -> Result<Files, TokenizerError> {
    let path = Path::new(spec);
    if path.is_file() {
        let dir = path.parent().unwrap_or(Path::new("."));
        return read_files(&Source::Folder(dir), path, path.display().to_string());
    }
    if path.is_dir() {
        let file = path.join(TOKENIZER);
        if !file.is_file() {
            return Err(TokenizerError::NoTokenizerFile {
                dir: path.to_owned(),
                holds: listing(path),
            });
        }
        return read_files(&Source::Folder(path), &file, file.display().to_string());
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
    let source = Source::of_repo(spec, hub);
    read_files(&source, &file, format!("{TOKENIZER} of {spec}"))
}

/// Where the files beside the tokenizer are.
enum Source<'a> {
    Folder(&'a Path),
    Repo {
        repo: &'a str,
        hub: &'a HubSettings,
        /// All files that the tokenizer has are in the cache.
        is_complete: bool,
    },
}

impl<'a> Source<'a> {
    /// A repository. The configuration is fetched last, here and, where the Python library filled
    /// the cache, together with the rest, so that nothing is missing where it is cached.
    fn of_repo(repo: &'a str, hub: &'a HubSettings) -> Self {
        Self::Repo {
            repo,
            hub,
            is_complete: hub.is_settled(RepoKind::Model, repo, CONFIG),
        }
    }

    /// The path of an optional file.
    fn file(&self, name: &str) -> Result<Option<PathBuf>, TokenizerError> {
        match self {
            Self::Folder(dir) => Ok(Some(dir.join(name)).filter(|path| path.is_file())),
            Self::Repo {
                repo,
                hub,
                is_complete: true,
            } => Ok(hub.cached(RepoKind::Model, repo, name)),
            Self::Repo { repo, hub, .. } => match hub.file(RepoKind::Model, repo, name) {
                Ok(path) => Ok(Some(path)),
                Err(HubError::NoSuchFile { .. } | HubError::OfflineMiss { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, TokenizerError> {
        self.file(name)?.map(|path| read(&path)).transpose()
    }

    fn json(&self, name: &str) -> Result<Option<Value>, TokenizerError> {
        let Some(path) = self.file(name)? else {
            return Ok(None);
        };
        serde_json::from_str(&read(&path)?)
            .map(Some)
            .map_err(|error| TokenizerError::Parse {
                file: path.display().to_string(),
                message: error.to_string(),
            })
    }
}

fn read_files(
    source: &Source<'_>,
    tokenizer: &Path,
    tokenizer_name: String,
) -> Result<Files, TokenizerError> {
    let mut template = None;
    for name in TEMPLATES {
        if template.is_none() {
            template = source.text(name)?;
        }
    }
    let special = source.json(SPECIAL)?;
    let processor = match template {
        None => source.json(TEMPLATE_JSON)?,
        Some(_) => None,
    };
    let mut config = Config {
        chat_template: template,
        ..Config::default()
    };
    for file in [source.json(CONFIG)?, special].into_iter().flatten() {
        config.merge(&file);
    }
    if config.chat_template.is_none()
        && let Some(processor) = processor
    {
        config.chat_template = template_source(&processor["chat_template"]);
    }
    Ok(Files {
        tokenizer_name,
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

    /// The order of `PreTrainedTokenizerBase.from_pretrained` in transformers 5.19; the last one is
    /// that of its processors.
    #[test]
    fn templates_in_files_of_their_own_win() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let template = || {
            locate(dir.path().to_str().unwrap(), &HubSettings::offline())
                .unwrap()
                .config
                .chat_template
        };
        write(TOKENIZER, "{}");
        assert_eq!(template(), None);
        write(TEMPLATE_JSON, r#"{"chat_template": "processor"}"#);
        assert_eq!(template().as_deref(), Some("processor"));
        write(CONFIG, r#"{"chat_template": "config"}"#);
        assert_eq!(template().as_deref(), Some("config"));
        write("additional_chat_templates/tool_use.jinja", "tools");
        write("chat_template.jinja", "file");
        assert_eq!(template().as_deref(), Some("file"));
        write("additional_chat_templates/default.jinja", "named default");
        assert_eq!(template().as_deref(), Some("named default"));
    }
}
