//! A workload in a file: the exact requests and their due instants, with a hash of the content.
//!
//! JSON Lines: a header, one request a line, and a last line with the number of requests and the SHA-256 of
//! all lines before it. A file that was cut or changed is refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use servebench_core::{Nanos, Request, Schedule, Workload};
use sha2::{Digest, Sha256};

/// The version that this program writes; it reads all older ones.
pub const FORMAT_VERSION: u32 = 1;
const FORMAT: &str = "servebench-workload";

/// A workload with its schedule.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// What is sent.
    pub workload: Workload,
    /// When it is sent.
    pub schedule: Schedule,
    /// Settings and names that the bundle was made from, for people.
    pub about: Map<String, Value>,
}

/// Why a bundle cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no bundle, or not a whole one.
    #[error("{}, line {line}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    format_version: u32,
    force_ignore_eos: bool,
    warnings: Vec<String>,
    about: Map<String, Value>,
    /// Facts of the workload for the result.
    #[serde(default)]
    facts: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    due: Nanos,
    request: Request,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    requests: usize,
    sha256: String,
}

impl Bundle {
    /// Writes the bundle and gives its content hash.
    pub fn write(&self, path: &Path) -> Result<String, BundleError> {
        let failed = |source| BundleError::Io { path: path.to_owned(), source };
        let mut out =
            Hashed { hash: Sha256::new(), inner: BufWriter::new(File::create(path).map_err(failed)?) };
        let header = Header {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            force_ignore_eos: self.workload.force_ignore_eos,
            warnings: self.workload.warnings.clone(),
            about: self.about.clone(),
            facts: self.workload.about.clone(),
        };
        out.line(&header).map_err(failed)?;
        for (at, request) in self.workload.requests.iter().enumerate() {
            let due = if at < self.schedule.len() { self.schedule.due(at) } else { self.schedule.last() };
            out.line(&Line { due, request: request.clone() }).map_err(failed)?;
        }
        let sha256 = format!("{:x}", out.hash.clone().finalize());
        let trailer = Trailer { requests: self.workload.requests.len(), sha256: sha256.clone() };
        out.line(&trailer).and_then(|()| out.inner.flush()).map_err(failed)?;
        Ok(sha256)
    }

    /// Reads a bundle and checks its hash; gives the hash too.
    pub fn read(path: &Path) -> Result<(Self, String), BundleError> {
        let failed = |source| BundleError::Io { path: path.to_owned(), source };
        let wrong =
            |line: usize, message: String| BundleError::Format { path: path.to_owned(), line, message };
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
        let mut hash = Sha256::new();
        let mut text = Vec::new();
        reader.read_until(b'\n', &mut text).map_err(failed)?;
        let header: Header =
            serde_json::from_slice(&text).ok().filter(|header: &Header| header.format == FORMAT).ok_or_else(
                || wrong(1, "this is not a workload written by `servebench workload build`".into()),
            )?;
        if header.format_version > FORMAT_VERSION {
            let newest = format!("format version {} is newer than this program", header.format_version);
            return Err(wrong(1, newest));
        }
        let mut bundle = Self { about: header.about, ..Self::default() };
        bundle.workload.force_ignore_eos = header.force_ignore_eos;
        bundle.workload.warnings = header.warnings;
        bundle.workload.about = header.facts;
        let mut due = Vec::new();
        let mut line = 1;
        loop {
            hash.update(&text);
            text.clear();
            line += 1;
            if reader.read_until(b'\n', &mut text).map_err(failed)? == 0 {
                return Err(wrong(line, "the file was cut: its last line is missing".into()));
            }
            if let Ok(item) = serde_json::from_slice::<Line>(&text) {
                due.push(item.due);
                bundle.workload.requests.push(item.request);
                continue;
            }
            let trailer: Trailer = serde_json::from_slice(&text)
                .map_err(|error| wrong(line, format!("neither a request nor the last line: {error}")))?;
            let sha256 = format!("{:x}", hash.finalize());
            if trailer.sha256 != sha256 || trailer.requests != due.len() {
                return Err(wrong(line, "the content does not match its hash: the file was changed".into()));
            }
            bundle.schedule = Schedule::new(due).map_err(|error| wrong(line, error.to_string()))?;
            return Ok((bundle, sha256));
        }
    }
}

/// Writes lines and hashes them.
struct Hashed {
    hash: Sha256,
    inner: BufWriter<File>,
}

impl Hashed {
    fn line(&mut self, item: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(item)?;
        text.push(b'\n');
        self.hash.update(&text);
        self.inner.write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    use servebench_core::Prompt;

    use super::*;

    fn bundle() -> Bundle {
        let request = |index: usize| Request {
            index,
            prompt: Prompt::Text(format!("prompt {index} \u{2028}\"")),
            prompt_tokens: 3,
            output_tokens: Some(5),
            ..Request::default()
        };
        Bundle {
            workload: Workload {
                requests: vec![request(0), request(1)],
                warnings: vec!["look".into()],
                force_ignore_eos: true,
                about: Map::from_iter([("trace_rows".to_owned(), Value::from(9))]),
            },
            schedule: Schedule::new(vec![Nanos(5), Nanos(7)]).unwrap(),
            about: Map::from_iter([("seed".to_owned(), Value::from(3))]),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.jsonl");
        let bundle = bundle();
        let hash = bundle.write(&path).unwrap();
        assert_eq!(hash, bundle.write(&path).unwrap(), "the same content has the same hash");
        let (read, found) = Bundle::read(&path).unwrap();
        assert_eq!(found, hash);
        assert_eq!(read.workload.requests, bundle.workload.requests);
        assert_eq!(read.schedule, bundle.schedule);
        assert_eq!(read.about, bundle.about);
        assert_eq!(read.workload.about, bundle.workload.about);
        assert!(read.workload.force_ignore_eos);
    }

    #[test]
    fn a_changed_or_cut_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.jsonl");
        bundle().write(&path).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let cut = &whole[..=whole[..whole.len() - 1].rfind('\n').unwrap()];
        for (content, part) in [
            (whole.replace("prompt 1", "prompt 2"), "was changed"),
            (cut.to_owned(), "was cut"),
            ("{}\n".to_owned(), "not a workload"),
            (whole.replace("\"format_version\":1", "\"format_version\":99"), "newer than this program"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Bundle::read(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
