//! Earlier runs among the run folders: were the same requests sent to the same server before?
//!
//! A server with a prefix cache answers repeated requests faster, and many servers do not report
//! cache hits. The manifest of a run has a digest of all its bodies, which finds a run that sent
//! the same requests in the same order, and a sample of their hashes, which finds one that sent
//! some of them: with the same seed and another number of prompts, many datasets begin with the
//! same prompts.

use std::fmt;
use std::path::Path;

use inferometer_os::files::{self, SMALL_FILE};
use serde::Deserialize;

/// Run folders that are looked into, the newest first: a few milliseconds.
const FOLDERS: usize = 100;
/// Hashes in a sample. A run of `n` bodies is known by `256 / n` of its hashes; where a later run has `m`
/// requests, `256 m / n` of them decide, so that 100 requests are compared with 2,000 earlier ones by 13.
/// They take 2 KiB of the manifest.
const SAMPLE: usize = 256;
/// A smaller fraction of repeated requests is not worth a word: it is the limit of the finding
/// `cache_hits`.
const WORTH_A_WORD: f64 = 0.05;

/// The lowest hashes of a run's bodies (a bottom-k sketch): of the hashes up to its largest one, it has
/// all. 32 bits are enough: a hash that is there by chance is one of four billion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BodySample {
    hashes: Vec<u32>,
}

impl BodySample {
    /// The sample of bodies with these digests.
    pub(crate) fn of(digests: &[u64]) -> Self {
        let mut hashes: Vec<u32> = digests.iter().map(|&digest| hash(digest)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.truncate(SAMPLE);
        Self { hashes }
    }

    /// Reads what [`BodySample`] is written as; `None` for anything else.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes().chunks(8);
        let hashes: Option<Vec<u32>> = digits
            .map(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
            .collect();
        Some(Self { hashes: hashes? })
    }

    /// Fraction of the bodies with these digests that are in the run of the sample; `None` where none of
    /// them is low enough to decide.
    fn fraction_of(&self, digests: &[u64]) -> Option<f64> {
        // A shorter sample has all hashes of its run.
        let known_up_to = match self.hashes.last() {
            Some(&largest) if self.hashes.len() >= SAMPLE => largest,
            _ => u32::MAX,
        };
        let known = digests.iter().map(|&digest| hash(digest));
        let known: Vec<u32> = known.filter(|&hash| hash <= known_up_to).collect();
        let sent = |hash: &&u32| self.hashes.binary_search(hash).is_ok();
        let repeated = known.iter().filter(sent).count();
        (!known.is_empty()).then(|| repeated as f64 / known.len() as f64)
    }
}

impl fmt::Display for BodySample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hashes
            .iter()
            .try_for_each(|hash| write!(f, "{hash:08x}"))
    }
}

const fn hash(digest: u64) -> u32 {
    (digest >> 32) as u32
}

/// What a run is about to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    /// Where to, as in the manifest.
    pub(crate) urls: &'a [String],
    /// The digest of all bodies in their order.
    pub(crate) bodies: &'a str,
    /// The digest of each body.
    pub(crate) digests: &'a [u64],
}

/// An earlier run that sent the same requests to the same server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Repetition {
    /// When it started.
    pub(crate) started: String,
    /// Fraction of the requests of this run that it sent, 0 to 1, estimated; `None` where it sent all of
    /// them in the same order.
    pub(crate) fraction: Option<f64>,
}

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
    body_sample: Option<String>,
}

impl Earlier {
    /// The manifest of a run folder; `None` where it cannot be read.
    fn read(folder: &Path) -> Option<Self> {
        let text = files::text(&folder.join("manifest.json"), SMALL_FILE).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What of `sent` it sent to the same server, if enough.
    fn repetition(self, sent: &Sent<'_>) -> Option<Repetition> {
        if !self.target.urls.iter().any(|url| sent.urls.contains(url)) {
            return None;
        }
        let started = self.run.started;
        if self.facts.bodies.as_deref() == Some(sent.bodies) {
            return Some(Repetition {
                started,
                fraction: None,
            });
        }
        let sample = BodySample::parse(self.facts.body_sample.as_deref()?)?;
        let fraction = sample.fraction_of(sent.digests)?;
        (fraction >= WORTH_A_WORD).then_some(Repetition {
            started,
            fraction: Some(fraction),
        })
    }
}

impl Repetition {
    /// The fraction as a number.
    fn part(&self) -> f64 {
        self.fraction.unwrap_or(1.0)
    }
}

/// The run below `runs` that sent most of `sent` to one of the same servers, the newest of several alike;
/// `None` without such a run. Folders that cannot be read are passed over.
pub(crate) fn repeated_run(runs: &Path, sent: &Sent<'_>) -> Option<Repetition> {
    let entries = std::fs::read_dir(runs).ok()?;
    let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    // Their names begin with the time at which they were made.
    folders.sort_unstable_by(|a, b| b.cmp(a));
    let mut most: Option<Repetition> = None;
    for folder in folders.iter().take(FOLDERS) {
        let found = Earlier::read(folder).and_then(|earlier| earlier.repetition(sent));
        if let Some(found) = found
            && most.as_ref().is_none_or(|most| found.part() > most.part())
        {
            most = Some(found);
        }
        if most.as_ref().is_some_and(|most| most.part() >= 1.0) {
            break;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Digests as those of bodies are: without a pattern.
    fn digests(range: std::ops::Range<u64>) -> Vec<u64> {
        range
            .map(|n| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31))
            .map(|n| (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .collect()
    }

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
        let found = |folder: &Path, bodies: &str| {
            let sent = Sent {
                urls: &urls,
                bodies,
                digests: &[],
            };
            repeated_run(folder, &sent).map(|found| (found.started, found.fraction))
        };
        assert_eq!(
            found(runs.path(), "12ab"),
            Some(("20261102-100000".to_owned(), None))
        );
        assert_eq!(found(runs.path(), "0000"), None);
        assert_eq!(found(&runs.path().join("none"), "12ab"), None);
    }

    /// With the same seed, 8 and 100 prompts of 16 and 2,000 are the same.
    #[test]
    fn a_part_of_the_requests_is_a_repetition_too() {
        let runs = tempfile::tempdir().unwrap();
        let keep = |name: &str, url: &str, sent: &[u64]| {
            let folder = runs.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            let sample = BodySample::of(sent).to_string();
            let manifest = json!({
                "run": {"started": name}, "target": {"urls": [url]},
                "facts": {"bodies": "other", "body_sample": sample},
            });
            std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        };
        keep("20261101-100000", "http://a/", &digests(0..8));
        keep("20261102-100000", "http://a/", &digests(5000..7000));
        keep("20261103-100000", "http://b/", &digests(0..16));
        keep("20261104-100000", "http://a/", &digests(90_000..90_001));
        let urls = ["http://a/".to_owned()];
        let found = |range| {
            let sent = Sent {
                urls: &urls,
                bodies: "1",
                digests: &digests(range),
            };
            repeated_run(runs.path(), &sent)
                .map(|found| (found.started, found.fraction.unwrap_or(1.0)))
        };
        let of = |run: &str, fraction| Some((run.to_owned(), fraction));
        // All of 8 in 16, and the first 4 of the 8.
        assert_eq!(found(0..16), of("20261101-100000", 0.5));
        assert_eq!(found(0..4), of("20261101-100000", 1.0));
        // Samples decide between large runs: 100 of the 2,000, and 1,000 of which half were sent.
        assert_eq!(found(5000..5100), of("20261102-100000", 1.0));
        let (_, half) = found(4500..5500).unwrap();
        assert!((half - 0.5).abs() < 0.15, "{half}");
        // Less than 5 %, or nothing.
        assert_eq!(found(0..200), None);
        assert_eq!(found(10_000..10_100), None);
    }

    #[test]
    fn a_sample_reads_back() {
        for sent in [digests(0..0), digests(0..3), digests(0..1000)] {
            let sample = BodySample::of(&sent);
            let text = sample.to_string();
            assert_eq!(text.len(), 8 * sent.len().min(SAMPLE));
            assert_eq!(BodySample::parse(&text), Some(sample));
        }
        assert_eq!(BodySample::parse("0000000g"), None);
        assert_eq!(BodySample::parse("00000000é"), None);
    }
}
