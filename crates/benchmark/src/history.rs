//! Earlier runs among the run folders: were the same requests sent to the same server before?
//!
//! A server with a prefix cache answers a repetition faster, and many servers report nothing of it.

use std::path::Path;

use inferometer_os::files::{self, SMALL_FILE};
use serde::Deserialize;

/// Run folders that are looked into, the newest first: a few milliseconds.
const FOLDERS: usize = 100;

/// What is compared of an earlier run's manifest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Earlier {
    run: EarlierRun,
    target: EarlierTarget,
    facts: EarlierFacts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EarlierRun {
    started: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EarlierTarget {
    urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EarlierFacts {
    bodies: Option<String>,
}

/// When the newest run below `runs` started that sent requests with the digest `bodies` to one of
/// `urls`; `None` without such a run. Folders that cannot be read are passed over.
pub(crate) fn repeated_run(runs: &Path, urls: &[String], bodies: &str) -> Option<String> {
    let entries = std::fs::read_dir(runs).ok()?;
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    // Their names begin with the time at which they were made.
    folders.sort_unstable_by(|a, b| b.cmp(a));
    folders.iter().take(FOLDERS).find_map(|folder| {
        let text = files::text(&folder.join("manifest.json"), SMALL_FILE).ok()?;
        let earlier: Earlier = serde_json::from_str(&text).ok()?;
        let same_server = earlier.target.urls.iter().any(|url| urls.contains(url));
        let same_requests = earlier.facts.bodies.as_deref() == Some(bodies);
        (same_server && same_requests).then_some(earlier.run.started)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_same_requests_to_the_same_server_are_a_repetition() {
        let runs = tempfile::tempdir().unwrap();
        let keep = |name: &str, url: &str, bodies: &str| {
            let folder = runs.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            let manifest = json!({
                "run": {"started": name}, "target": {"urls": [url]}, "facts": {"bodies": bodies},
            });
            std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        };
        keep("20261101-100000", "http://a/v1/completions", "12ab");
        keep("20261102-100000", "http://a/v1/completions", "12ab");
        keep("20261103-100000", "http://b/v1/completions", "12ab");
        keep("20261104-100000", "http://a/v1/completions", "ffff");
        std::fs::create_dir(runs.path().join("20261105-100000")).unwrap();
        let urls = ["http://a/v1/completions".to_owned()];
        let found = |bodies| repeated_run(runs.path(), &urls, bodies);
        assert_eq!(found("12ab").as_deref(), Some("20261102-100000"));
        assert_eq!(found("0000"), None);
        assert_eq!(repeated_run(&runs.path().join("none"), &urls, "12ab"), None);
    }
}
