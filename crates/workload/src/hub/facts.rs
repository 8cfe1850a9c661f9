//! What the hub's answers say about a file, made safe for paths.

use ureq::http::HeaderMap;

/// What the answers along a chain of redirects say about a file.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) commit: Option<String>,
    pub(super) etag: Option<String>,
}

impl Facts {
    /// Takes over what the headers of one answer say; the first answer that says it counts.
    pub(super) fn learn(&mut self, headers: &HeaderMap) {
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

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// True for names that are plain file names, so that no text from a server becomes a path of the
/// server's choice.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name
            .chars()
            .all(|symbol| symbol.is_ascii_alphanumeric() || "-_.".contains(symbol))
}
