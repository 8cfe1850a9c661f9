//! The cache folder: where files are, and how they get there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::facts::{Facts, header, is_plain};
use super::{HubError, HubSettings, REVISION, RepoKind};

impl HubSettings {
    /// Refuses a file name that would lead out of the repository's folder in the cache.
    pub(crate) fn check_inside(&self, repo: &str, file: &str) -> Result<(), HubError> {
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

    pub(crate) fn list_cached(&self, kind: RepoKind, repo: &str) -> Result<Vec<String>, HubError> {
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

    pub(super) fn repo_dir(&self, kind: RepoKind, repo: &str) -> PathBuf {
        let prefix = if kind == RepoKind::Dataset {
            "datasets"
        } else {
            "models"
        };
        self.cache_dir
            .join(format!("{prefix}--{}", repo.replace('/', "--")))
    }

    fn snapshot(&self, kind: RepoKind, repo: &str) -> Option<PathBuf> {
        let commit = self.commit(kind, repo)?;
        Some(self.repo_dir(kind, repo).join("snapshots").join(commit))
    }

    /// The commit that the cache holds of a repository.
    fn commit(&self, kind: RepoKind, repo: &str) -> Option<String> {
        let reference = self.repo_dir(kind, repo).join("refs").join(REVISION);
        let commit = fs::read_to_string(reference).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_plain(commit))
    }

    /// The path of a file in the cache.
    pub(crate) fn cached(&self, kind: RepoKind, repo: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(kind, repo)?.join(file);
        path.is_file().then_some(path)
    }

    /// True when the cache tells whether the repository has the file: it holds the file, or the
    /// mark that there is none.
    pub(crate) fn is_settled(&self, kind: RepoKind, repo: &str, file: &str) -> bool {
        self.cached(kind, repo, file).is_some() || self.is_known_absent(kind, repo, file)
    }

    /// True when the hub once answered that the repository has no such file.
    pub(super) fn is_known_absent(&self, kind: RepoKind, repo: &str, file: &str) -> bool {
        self.commit(kind, repo)
            .is_some_and(|commit| self.absence_mark(kind, repo, &commit, file).is_file())
    }

    /// Remembers, as the Python library does, that a commit has no such file. A mark that cannot be
    /// written costs a request in the next run, so that failures are not reported.
    pub(super) fn mark_absent(&self, kind: RepoKind, repo: &str, commit: Option<&str>, file: &str) {
        let Some(commit) = commit
            .map(str::to_owned)
            .or_else(|| self.commit(kind, repo))
        else {
            return;
        };
        let mark = self.absence_mark(kind, repo, &commit, file);
        if let Some(parent) = mark.parent() {
            let _ = fs::create_dir_all(parent).and_then(|()| fs::write(&mark, ""));
        }
    }

    fn absence_mark(&self, kind: RepoKind, repo: &str, commit: &str, file: &str) -> PathBuf {
        let dir = self.repo_dir(kind, repo).join(".no_exist");
        dir.join(commit).join(file)
    }
}

/// True for a relative path of plain components: joined to a folder, it stays below that folder.
/// Backslashes and drive letters are refused on every system, since one cache may be shared.
fn is_inside(file: &str) -> bool {
    let mut parts = file.split('/');
    !file.contains(['\\', '\0', ':'])
        && parts.all(|part| !part.is_empty() && part != "." && part != "..")
}

pub(super) enum StoreError {
    Write(PathBuf, io::Error),
    Read(String),
}

/// Writes a body into the cache: a temporary file first, then renamed, so that no reader sees half
/// a file.
pub(super) fn store(
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
        "{:x}.{}.incomplete",
        Sha256::digest(file),
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
        return Err(StoreError::Read(
            "the connection closed before the end of the file".into(),
        ));
    }
    out.sync_all().map_err(failed)?;
    Ok(format!("{:x}", hash.finalize()))
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

#[cfg(test)]
mod tests {
    use super::*;

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
