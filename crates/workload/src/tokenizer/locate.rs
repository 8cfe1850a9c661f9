//! Finding a tokenizer's files on disk or on the hub.

use std::fs;
use std::path::{Path, PathBuf};

use inferometer_os::files::{self, SMALL_FILE};
use serde_json::Value;

use super::config::Config;
use super::formats::{self, Side, Vocabulary};
use super::overlay::{Class, Overlay};
use super::{TokenizerError, hex_sha256};
use crate::hub::{HubError, HubSettings, RepoKind};

/// The files of a tokenizer, read.
pub(super) struct Files {
    /// Name of the tokenizer file in messages.
    pub(super) tokenizer_name: String,
    /// Content of `tokenizer.json`, or what was made of a vocabulary of another format.
    pub(super) tokenizer: Vec<u8>,
    /// The content of the other files.
    pub(super) config: Config,
    /// What they change in `tokenizer.json`.
    pub(super) overlay: Overlay,
    /// Hash of the vocabulary's files where `tokenizer` was made of them.
    pub(super) sha256: Option<String>,
}

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
/// The model's own settings, which name the class of the tokenizer where nothing else does.
const MODEL: &str = "config.json";
/// Files with the chat template alone, in the order in which the Python library prefers them; both
/// win over the template in the configuration.
const TEMPLATES: [&str; 2] = [
    "additional_chat_templates/default.jinja",
    "chat_template.jinja",
];
/// The template of older processors, which counts where the tokenizer has none.
const TEMPLATE_JSON: &str = "chat_template.json";

/// The vocabulary in a folder or repository, by the names of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Json(String),
    Tekken(String),
    VocabMerges,
    Model(String),
    Ranks(String),
    WordPiece(String),
}

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";

impl Kind {
    /// The first kind that `names` hold, in the order of preference.
    fn choose<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let has = |wanted: &str| names.clone().any(|name| name == wanted);
        if has(TOKENIZER) {
            return Some(Self::Json(TOKENIZER.into()));
        }
        if has(VOCAB) && has(MERGES) {
            return Some(Self::VocabMerges);
        }
        let kinds = names.filter_map(Self::of_file);
        kinds.min_by_key(|kind| match kind {
            Self::Tekken(_) => 0,
            Self::Ranks(_) => 1,
            Self::Model(_) => 2,
            _ => 3,
        })
    }

    /// What a file of this name is; `None` for other files and for those that need a second one.
    fn of_file(name: &str) -> Option<Self> {
        let owned = || name.to_owned();
        let is_model = [
            "tokenizer.model",
            "spiece.model",
            "sentencepiece.bpe.model",
            "spm.model",
        ]
        .contains(&name)
            || name.starts_with("tokenizer.model.")
            || name.contains(".model.v");
        if name.starts_with("tekken") && has_extension(name, "json") {
            Some(Self::Tekken(owned()))
        } else if has_extension(name, "tiktoken") || name == "tiktoken.model" {
            Some(Self::Ranks(owned()))
        } else if is_model {
            Some(Self::Model(owned()))
        } else if name == "vocab.txt" {
            Some(Self::WordPiece(owned()))
        } else {
            None
        }
    }

    /// The names of its files.
    fn names(&self) -> Vec<&str> {
        match self {
            Self::VocabMerges => vec![VOCAB, MERGES],
            Self::Json(name)
            | Self::Tekken(name)
            | Self::Model(name)
            | Self::Ranks(name)
            | Self::WordPiece(name) => vec![name],
        }
    }

    /// The vocabulary of these contents; `None` for `tokenizer.json`, which is one already.
    fn vocabulary(self, mut contents: Vec<Vec<u8>>) -> Option<Vocabulary> {
        let second = contents.split_off(1).pop().unwrap_or_default();
        let first = contents.pop().unwrap_or_default();
        Some(match self {
            Self::Json(_) => return None,
            Self::Tekken(_) => Vocabulary::Tekken(first),
            Self::VocabMerges => Vocabulary::VocabMerges {
                vocab: first,
                merges: second,
            },
            Self::Model(name) => Vocabulary::Model {
                content: first,
                name,
            },
            Self::Ranks(name) => Vocabulary::Ranks {
                content: first,
                name,
            },
            Self::WordPiece(_) => Vocabulary::WordPiece(first),
        })
    }
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Finds the tokenizer that `spec` names: a folder, a file or a Hugging Face id.
pub(super) fn locate(spec: &str, hub: &HubSettings) -> Result<Files, TokenizerError> {
    let path = Path::new(spec);
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let dir = path.parent().unwrap_or(Path::new("."));
        let kind = match &*name {
            VOCAB | MERGES => Kind::VocabMerges,
            other => Kind::of_file(other).unwrap_or_else(|| Kind::Json(other.to_owned())),
        };
        return Source::Folder(dir).read(kind, path.display().to_string());
    }
    if path.is_dir() {
        let names = file_names(path);
        let kind = Kind::choose(names.iter().map(String::as_str)).ok_or_else(|| {
            TokenizerError::NoTokenizerFile {
                dir: path.to_owned(),
                holds: listing(names),
            }
        })?;
        let shown = path.join(kind.names()[0]).display().to_string();
        return Source::Folder(path).read(kind, shown);
    }
    if existing(path.to_owned()).is_some() {
        // A pipe, a device or a link to nothing: reading says which.
        read_bytes(path)?;
    }
    if !is_hub_id(spec) {
        return Err(TokenizerError::NotFound {
            spec: spec.to_owned(),
            reason: "there is no such file or folder".into(),
        });
    }
    let kind = in_repo(spec, hub)?;
    let shown = format!("{} of {spec}", kind.names()[0]);
    Source::of_repo(spec, hub).read(kind, shown)
}

/// The vocabulary of a repository, fetched: what the cache has, else `tokenizer.json`, else the
/// first other kind that the hub lists.
fn in_repo(repo: &str, hub: &HubSettings) -> Result<Kind, TokenizerError> {
    let choose = |names: &[String]| Kind::choose(names.iter().map(String::as_str));
    let cached = hub
        .list_cached(RepoKind::Model, repo)
        .ok()
        .and_then(|names| choose(&names));
    if let Some(kind) = cached {
        return Ok(kind);
    }
    let not_found = |reason: String| TokenizerError::NotFound {
        spec: repo.to_owned(),
        reason,
    };
    match hub.file(RepoKind::Model, repo, TOKENIZER) {
        Ok(_) => return Ok(Kind::Json(TOKENIZER.into())),
        Err(HubError::NoSuchFile { .. }) => {}
        Err(HubError::NoSuchRepo { endpoint, .. }) => {
            return Err(not_found(format!(
                "there is no such file or folder, and no repository of that name on {endpoint}"
            )));
        }
        Err(error) => return Err(error.into()),
    }
    let listed = hub.list(RepoKind::Model, repo).unwrap_or_default();
    let kind = choose(&listed).ok_or_else(|| {
        not_found(format!(
            "the repository {repo} on {} has no tokenizer.json or other tokenizer; expected {} (another format \
             can be converted with Python: AutoTokenizer.from_pretrained({repo:?}).save_pretrained(FOLDER))",
            hub.endpoint,
            formats::NAMES
        ))
    })?;
    for name in kind.names() {
        hub.file(RepoKind::Model, repo, name)?;
    }
    Ok(kind)
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
            is_complete: [MODEL, CONFIG]
                .into_iter()
                .all(|name| hub.is_settled(RepoKind::Model, repo, name)),
        }
    }

    /// The path of an optional file.
    fn file(&self, name: &str) -> Result<Option<PathBuf>, TokenizerError> {
        match self {
            Self::Folder(dir) => Ok(existing(dir.join(name))),
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

impl Source<'_> {
    /// Reads a vocabulary of this kind and the files beside it. `shown` is its name in messages.
    fn read(&self, kind: Kind, shown: String) -> Result<Files, TokenizerError> {
        let mut contents = Vec::new();
        for name in kind.names() {
            let path = self.file(name)?.ok_or_else(|| TokenizerError::Parse {
                file: shown.clone(),
                message: format!("the file {name} beside it is missing"),
            })?;
            contents.push(read_bytes(&path)?);
        }
        let (mut config, side, special) = self.side_files()?;
        let mut overlay = Overlay::default();
        let (tokenizer, sha256) = if let Kind::Json(_) = kind {
            overlay = Overlay::new(&side, &special);
            set_defaults(&mut config, &side);
            (contents.pop().unwrap_or_default(), None)
        } else {
            let all: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            let sha256 = hex_sha256(&all);
            let json = kind
                .vocabulary(contents)
                .map(|vocabulary| formats::tokenizer_json(vocabulary, &side, &mut config))
                .transpose()
                .map_err(|message| TokenizerError::Parse {
                    file: shown.clone(),
                    message,
                })?;
            (json.unwrap_or_default(), Some(sha256))
        };
        Ok(Files {
            tokenizer_name: shown,
            tokenizer,
            config,
            overlay,
            sha256,
        })
    }

    /// What the files beside a vocabulary say: settings, the files themselves, and
    /// `special_tokens_map.json`.
    fn side_files(&self) -> Result<(Config, Side, Value), TokenizerError> {
        let mut template = None;
        for name in TEMPLATES {
            if template.is_none() {
                template = self.text(name)?;
            }
        }
        let special = self.json(SPECIAL)?;
        let processor = match template {
            None => self.json(TEMPLATE_JSON)?,
            Some(_) => None,
        };
        let mut side = Side {
            added: self.json(ADDED)?.unwrap_or_default(),
            model: self.json(MODEL)?.unwrap_or_default(),
            ..Side::default()
        };
        let mut config = Config {
            chat_template: template,
            ..Config::default()
        };
        let own = self.json(CONFIG)?.unwrap_or_default();
        let special = special.unwrap_or_default();
        // The map wins, but counts only where the configuration does not list tokens with their ids.
        if own["added_tokens_decoder"].is_null() {
            config.merge(SPECIAL, &special);
        }
        config.merge(CONFIG, &own);
        if config.chat_template.is_none()
            && let Some(processor) = processor
        {
            config.set_template(TEMPLATE_JSON, &processor);
        }
        side.config = own;
        Ok((config, side, special))
    }
}

/// `path` where anything has this name. A folder, or a link to a file that is gone, is an error when it is
/// read: without the file the tokenizer would be another one.
fn existing(path: PathBuf) -> Option<PathBuf> {
    fs::symlink_metadata(&path).is_ok().then_some(path)
}

/// Sets the special tokens that the class has where the configuration does not name them.
fn set_defaults(config: &mut Config, side: &Side) {
    for (name, token) in Class::of(side).into_iter().flat_map(Class::default_tokens) {
        if side.config.get(*name).is_none() {
            config.set_default(name, token);
        }
    }
}

fn read(path: &Path) -> Result<String, TokenizerError> {
    files::utf8(read_bytes(path)?).map_err(|error| TokenizerError::Parse {
        file: path.display().to_string(),
        message: error.to_string(),
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let content = files::bytes(path, SMALL_FILE).map_err(|source| TokenizerError::Read {
        path: path.to_owned(),
        source,
    })?;
    match foreign_form(&content) {
        None => Ok(content),
        Some(problem) => Err(TokenizerError::Parse {
            file: path.display().to_string(),
            message: problem.to_owned(),
        }),
    }
}

/// What kind of file is in place of a tokenizer's, if it is known.
fn foreign_form(content: &[u8]) -> Option<&'static str> {
    if content.starts_with(b"version https://git-lfs.github.com/spec/") {
        Some("it is a pointer of git LFS, not the file itself; fetch it with: git lfs pull")
    } else if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        Some("it is UTF-16; expected UTF-8")
    } else {
        None
    }
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
    ok && !["json", "model", "tiktoken"]
        .iter()
        .any(|extension| has_extension(spec, extension))
}

/// The names in a folder, sorted.
fn file_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    names
}

fn listing(mut names: Vec<String>) -> String {
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
        fs::write(dir.path().join("model.bin"), "x").unwrap();
        let error = locate(dir.path().to_str().unwrap(), &HubSettings::offline())
            .err()
            .unwrap();
        let message = error.to_string();
        assert!(message.contains("it holds model.bin"), "{message}");
        assert!(message.contains("save_pretrained"), "{message}");
    }

    /// Each was taken for a file that is not there, and the tokenizer for one without a chat template.
    #[test]
    fn what_is_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let message = |spec: &Path| {
            let located = locate(spec.to_str().unwrap(), &HubSettings::offline());
            located.err().map(|error| error.to_string())
        };
        fs::write(at(TOKENIZER), "{}").unwrap();
        assert_eq!(message(dir.path()), None);
        for name in ["chat_template.jinja", CONFIG, SPECIAL, MODEL] {
            std::os::unix::fs::symlink("/nowhere/x", at(name)).unwrap();
            let dangling = message(dir.path()).unwrap();
            assert!(dangling.contains(name), "{dangling}");
            fs::remove_file(at(name)).unwrap();
            fs::create_dir(at(name)).unwrap();
            let folder = message(dir.path()).unwrap();
            assert!(
                folder.contains(name) && folder.contains("it is a folder"),
                "{folder}"
            );
            fs::remove_dir(at(name)).unwrap();
        }
        fs::remove_file(at(TOKENIZER)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at(TOKENIZER)).unwrap();
        for spec in [dir.path(), &at(TOKENIZER)] {
            let device = message(spec).unwrap();
            assert!(device.contains("tokenizer.json: it is a"), "{device}");
        }
    }

    #[test]
    fn files_in_another_form_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKENIZER);
        for (content, words) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"[..],
                "git lfs pull",
            ),
            (b"\xff\xfe{\0}\0", "UTF-16"),
        ] {
            fs::write(&path, content).unwrap();
            let located = locate(path.to_str().unwrap(), &HubSettings::offline());
            let message = located.err().unwrap().to_string();
            assert!(message.contains(words), "{message}");
        }
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
