//! Files of the Hugging Face hub: from the cache of the Python library, else over HTTP into that
//! cache.
//!
//! The layout is the Python library's own (`models--OWNER--NAME/{blobs,refs,snapshots}`), so a file
//! that either of the two has fetched is there for both.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use inferometer_core::Secret;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

/// Where the hub is and how it is used.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// Base URL, without a slash at the end.
    pub endpoint: String,
    /// Access token for gated and private repositories.
    pub token: Option<Secret>,
    /// Use the cache alone; open no connection.
    pub offline: bool,
    /// The cache folder (the one that holds `models--…` and `datasets--…`).
    pub cache_dir: PathBuf,
}

/// What kind of repository a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// Why the hub cannot give a file.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not in the cache, and no connection is allowed.
    #[error(
        "{file} of {repo} is not in the cache {} and HF_HUB_OFFLINE is set; unset it to download, set \
         HF_HOME or HF_HUB_CACHE to the cache that has it, or give a local path", cache.display()
    )]
    OfflineMiss {
        /// Repository.
        repo: String,
        /// File.
        file: String,
        /// Cache folder.
        cache: PathBuf,
    },
    /// The repository does not exist, or is private and hides itself.
    #[error(
        "the repository {repo} was not found on {endpoint} (HTTP {status}). Check the spelling; a private \
         repository needs an access token in HF_TOKEN"
    )]
    NoSuchRepo {
        /// Repository.
        repo: String,
        /// Base URL.
        endpoint: String,
        /// HTTP status.
        status: u16,
    },
    /// The repository has no such file.
    #[error("the repository {repo} on {endpoint} has no file {file}")]
    NoSuchFile {
        /// Repository.
        repo: String,
        /// File.
        file: String,
        /// Base URL.
        endpoint: String,
    },
    /// Access is refused.
    #[error(
        "access to {repo} on {endpoint} was refused (HTTP {status}): the repository is gated or private. \
         Accept its terms on its page and set HF_TOKEN to an access token{}",
        if *had_token { "; the token that was sent has no right to it" } else { "; none was sent" }
    )]
    Refused {
        /// Repository.
        repo: String,
        /// Base URL.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// True when a token was sent.
        had_token: bool,
    },
    /// Another answer than expected.
    #[error("{url} answered HTTP {status}; the hub's address comes from HF_ENDPOINT")]
    Status {
        /// Address asked.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer at all.
    #[error(
        "cannot reach {url}: {message}. Set HF_ENDPOINT to a mirror, HF_HUB_OFFLINE=1 to use the cache alone, \
         or give a local path"
    )]
    Unreachable {
        /// Address asked.
        url: String,
        /// Why.
        message: String,
    },
    /// The hub names a file whose path leads out of the repository.
    #[error(
        "{endpoint} lists the file {file:?} in {repo}: expected a relative path without \"..\"; nothing was \
         written. Check HF_ENDPOINT"
    )]
    UnsafeName {
        /// Repository.
        repo: String,
        /// File, as listed.
        file: String,
        /// Base URL.
        endpoint: String,
    },
    /// The cache cannot be written.
    #[error(
        "cannot write to the cache {}: {source}; set HF_HOME or HF_HUB_CACHE to a folder that can be written",
        path.display()
    )]
    Cache {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const MAX_REDIRECTS: usize = 10;
const REVISION: &str = "main";

impl HubSettings {
    /// The settings that the environment asks for: `HF_ENDPOINT`, `HF_TOKEN` (else the token file
    /// that `hf auth login` writes), `HF_HUB_OFFLINE`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Settings that never open a connection, with an empty cache.
    pub fn offline() -> Self {
        let mut settings = Self::from_lookup(|_| None);
        settings.offline = true;
        settings
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
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
        let token = lookup("HF_TOKEN")
            .or_else(|| lookup("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| {
                let file =
                    lookup("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
                lookup("HOME")?;
                fs::read_to_string(file).ok()
            });
        let token = token
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        let offline = lookup("HF_HUB_OFFLINE").is_some_and(|value| {
            matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
        });
        Self {
            endpoint: lookup("HF_ENDPOINT")
                .unwrap_or_else(|| "https://huggingface.co".into())
                .trim_end_matches('/')
                .to_owned(),
            token: token.map(Secret::new),
            offline,
            cache_dir: lookup("HF_HUB_CACHE")
                .or_else(|| lookup("HUGGINGFACE_HUB_CACHE"))
                .map_or_else(|| home.join("hub"), PathBuf::from),
        }
    }

    /// The path of a file of the `main` revision: cached, else downloaded.
    ///
    /// `file` may come from a mirror's listing, so it is checked before any path is made of it.
    pub fn file(&self, kind: RepoKind, repo: &str, file: &str) -> Result<PathBuf, HubError> {
        self.check_inside(repo, file)?;
        if let Some(path) = self.cached(kind, repo, file) {
            return Ok(path);
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
        let mut answer = self.get(&url, repo, "")?.0;
        let text = answer
            .body_mut()
            .with_config()
            .limit(64 << 20)
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

    /// Refuses a file name that would lead out of the repository's folder in the cache.
    fn check_inside(&self, repo: &str, file: &str) -> Result<(), HubError> {
        if is_inside(file) {
            return Ok(());
        }
        let (repo, file, endpoint) = (repo.to_owned(), file.to_owned(), self.endpoint.clone());
        Err(HubError::UnsafeName {
            repo,
            file,
            endpoint,
        })
    }

    fn list_cached(&self, kind: RepoKind, repo: &str) -> Result<Vec<String>, HubError> {
        let miss = || HubError::OfflineMiss {
            repo: repo.into(),
            file: "the list of files".into(),
            cache: self.cache_dir.clone(),
        };
        let snapshot = self.snapshot(kind, repo).ok_or_else(miss)?;
        let mut files = Vec::new();
        walk(&snapshot, &snapshot, &mut files);
        files.sort_unstable();
        Ok(files)
    }

    fn repo_dir(&self, kind: RepoKind, repo: &str) -> PathBuf {
        let prefix = if kind == RepoKind::Dataset {
            "datasets"
        } else {
            "models"
        };
        self.cache_dir
            .join(format!("{prefix}--{}", repo.replace('/', "--")))
    }

    fn snapshot(&self, kind: RepoKind, repo: &str) -> Option<PathBuf> {
        let dir = self.repo_dir(kind, repo);
        let commit = fs::read_to_string(dir.join("refs").join(REVISION)).ok()?;
        let commit = Some(commit.trim()).filter(|commit| is_plain(commit))?;
        Some(dir.join("snapshots").join(commit))
    }

    fn cached(&self, kind: RepoKind, repo: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(kind, repo)?.join(file);
        path.is_file().then_some(path)
    }

    fn download(&self, kind: RepoKind, repo: &str, file: &str) -> Result<PathBuf, HubError> {
        let prefix = if kind == RepoKind::Dataset {
            "datasets/"
        } else {
            ""
        };
        let url = format!("{}/{prefix}{repo}/resolve/{REVISION}/{file}", self.endpoint);
        let (answer, facts) = self.get(&url, repo, file)?;
        let dir = self.repo_dir(kind, repo);
        store(answer, &dir, &facts, file).map_err(|failed| match failed {
            StoreError::Write(path, source) => HubError::Cache { path, source },
            StoreError::Read(message) => HubError::Unreachable { url, message },
        })
    }

    /// Asks for `url` and follows redirects. The token goes to the hub's own host only.
    fn get(&self, url: &str, repo: &str, file: &str) -> Result<(Response<Body>, Facts), HubError> {
        let agent: Agent = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .build()
            .into();
        let mut facts = Facts::default();
        let mut target = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = agent
                .get(&target)
                .header(
                    "user-agent",
                    concat!("inferometer/", env!("CARGO_PKG_VERSION")),
                )
                .header("accept-encoding", "identity");
            if let Some(token) = self
                .token
                .as_ref()
                .filter(|_| origin(&target) == origin(&self.endpoint))
            {
                request = request.header("authorization", format!("Bearer {}", token.expose()));
            }
            let answer = request.call().map_err(|error| HubError::Unreachable {
                url: target.clone(),
                message: error.to_string(),
            })?;
            facts.learn(answer.headers());
            let status = answer.status();
            if status.is_redirection() {
                let location =
                    header(answer.headers(), "location").ok_or_else(|| HubError::Status {
                        url: target.clone(),
                        status: status.as_u16(),
                    })?;
                target = join(&target, &location);
                continue;
            }
            if status.is_success() {
                return Ok((answer, facts));
            }
            return Err(self.refusal(&answer, &target, repo, file));
        }
        Err(HubError::Unreachable {
            url: url.to_owned(),
            message: "too many redirects".into(),
        })
    }

    fn refusal(&self, answer: &Response<Body>, url: &str, repo: &str, file: &str) -> HubError {
        let status = answer.status();
        let endpoint = self.endpoint.clone();
        let repo = repo.to_owned();
        let code = header(answer.headers(), "x-error-code").unwrap_or_default();
        match status {
            StatusCode::NOT_FOUND if code == "RepoNotFound" || file.is_empty() => {
                HubError::NoSuchRepo {
                    repo,
                    endpoint,
                    status: status.as_u16(),
                }
            }
            StatusCode::NOT_FOUND => HubError::NoSuchFile {
                repo,
                file: file.to_owned(),
                endpoint,
            },
            // The hub answers 401 for a repository that does not exist when no token is sent.
            StatusCode::UNAUTHORIZED if code == "RepoNotFound" => HubError::NoSuchRepo {
                repo,
                endpoint,
                status: status.as_u16(),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => HubError::Refused {
                repo,
                endpoint,
                status: status.as_u16(),
                had_token: self.token.is_some(),
            },
            _ => HubError::Status {
                url: url.to_owned(),
                status: status.as_u16(),
            },
        }
    }
}

/// What the answers along a chain of redirects say of a file.
#[derive(Debug, Default)]
struct Facts {
    commit: Option<String>,
    etag: Option<String>,
}

impl Facts {
    fn learn(&mut self, headers: &HeaderMap) {
        if self.commit.is_none() {
            self.commit = header(headers, "x-repo-commit").filter(|commit| is_plain(commit));
        }
        if self.etag.is_none() {
            let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"));
            self.etag = etag
                .map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned())
                .filter(|etag| is_plain(etag));
        }
    }
}

/// True for names that can be a file name: what comes from a server never becomes a path of its
/// choice.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name
            .chars()
            .all(|symbol| symbol.is_ascii_alphanumeric() || "-_.".contains(symbol))
}

/// True for a relative path of plain components: joined to a folder, it stays below that folder.
/// Backslashes and drive letters are refused on every system, since one cache may be shared.
fn is_inside(file: &str) -> bool {
    let mut parts = file.split('/');
    !file.contains(['\\', '\0', ':'])
        && parts.all(|part| !part.is_empty() && part != "." && part != "..")
}

enum StoreError {
    Write(PathBuf, io::Error),
    Read(String),
}

/// Writes a body into the cache: a temporary file first, then renamed, so that no reader sees half
/// a file.
fn store(
    answer: Response<Body>,
    dir: &Path,
    facts: &Facts,
    file: &str,
) -> Result<PathBuf, StoreError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Write(path, source)
    };
    let blobs = dir.join("blobs");
    fs::create_dir_all(&blobs).map_err(at(&blobs))?;
    let temporary = blobs.join(format!(
        "{}.{}.incomplete",
        hex(&Sha256::digest(file)),
        std::process::id()
    ));
    let digest = write_body(answer, &temporary)?;
    let blob = blobs.join(facts.etag.clone().unwrap_or(digest));
    fs::rename(&temporary, &blob).map_err(at(&blob))?;

    let commit = facts.commit.as_deref().unwrap_or(REVISION);
    let path = dir.join("snapshots").join(commit).join(file);
    let parent = path.parent().unwrap_or(dir);
    fs::create_dir_all(parent).map_err(at(parent))?;
    link(&blob, &path, file).map_err(at(&path))?;
    let refs = dir.join("refs");
    fs::create_dir_all(&refs).map_err(at(&refs))?;
    let reference = refs.join(REVISION);
    let fresh = refs.join(format!("{REVISION}.{}.incomplete", std::process::id()));
    fs::write(&fresh, commit)
        .and_then(|()| fs::rename(&fresh, &reference))
        .map_err(at(&reference))?;
    Ok(path)
}

fn write_body(answer: Response<Body>, path: &Path) -> Result<String, StoreError> {
    let failed = |source| StoreError::Write(path.to_owned(), source);
    let announced =
        header(answer.headers(), "content-length").and_then(|length| length.parse::<u64>().ok());
    let mut out = fs::File::create(path).map_err(failed)?;
    let mut body = answer
        .into_body()
        .into_with_config()
        .limit(u64::MAX)
        .reader();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut written = 0;
    loop {
        let n = io::Read::read(&mut body, &mut buffer).map_err(|error| {
            let _ = fs::remove_file(path);
            StoreError::Read(error.to_string())
        })?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        out.write_all(&buffer[..n]).map_err(failed)?;
        written += n as u64;
    }
    if announced.is_some_and(|announced| announced != written) {
        let _ = fs::remove_file(path);
        return Err(StoreError::Read("the file broke off".into()));
    }
    out.sync_all().map_err(failed)?;
    Ok(hex(&hash.finalize()))
}

/// Makes the snapshot's entry for a blob: a relative link, or a copy where the system has no links.
fn link(blob: &Path, path: &Path, file: &str) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    #[cfg(unix)]
    {
        let up = "../".repeat(2 + file.matches('/').count());
        let name = blob.file_name().unwrap_or_default().to_string_lossy();
        std::os::unix::fs::symlink(format!("{up}blobs/{name}"), path)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        fs::copy(blob, path).map(|_| ())
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Where a `Location` leads from `base`.
fn join(base: &str, location: &str) -> String {
    if location.contains("://") {
        location.to_owned()
    } else if location.starts_with('/') {
        format!("{}{location}", origin(base))
    } else {
        format!(
            "{}/{location}",
            base.rsplit_once('/').map_or(base, |(folder, _)| folder)
        )
    }
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(root, &path, files);
        } else if let Ok(name) = path.strip_prefix(root) {
            files.push(name.to_string_lossy().replace('\\', "/"));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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

    #[test]
    fn redirects_are_followed_from_where_they_were_given() {
        let base = "https://hub:1/a/resolve/main/x";
        assert_eq!(join(base, "/b/c"), "https://hub:1/b/c");
        assert_eq!(join(base, "https://cdn/x"), "https://cdn/x");
        assert_eq!(join(base, "y"), "https://hub:1/a/resolve/main/y");
        assert_eq!(origin(base), "https://hub:1");
    }

    #[test]
    fn names_from_a_server_never_leave_the_cache() {
        assert!(is_plain("a1b2-c3"));
        for name in ["../x", "a/b", "", ".hidden", "a b"] {
            assert!(!is_plain(name), "{name}");
        }
        for name in [
            "config.json",
            "data/train-0.parquet",
            ".gitattributes",
            "a..b/c",
        ] {
            assert!(is_inside(name), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/.",
            "C:\\x",
            "C:/x",
            "a\\..\\x",
            "x\0",
        ] {
            assert!(!is_inside(name), "{name}");
        }
    }
}
