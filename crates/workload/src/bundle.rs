//! A workload in a file: the exact requests and their due instants, with a hash of the content.
//!
//! JSON Lines: a header, one request per line, a line with the facts about the whole workload, and
//! a last line with the number of requests and the SHA-256 of all lines before it. A truncated or
//! changed file is refused. Files may be larger than memory: [`BundleWriter`] and [`BundleReader`]
//! hold one request at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use inferometer_core::{Nanos, Request, Schedule, Workload, names};
use inferometer_os::files;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The format version that this program writes; it reads all older ones too.
pub const FORMAT_VERSION: u32 = 2;
const FORMAT: &str = "inferometer-workload";

/// A workload with its schedule.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// What is sent.
    pub workload: Workload,
    /// When it is sent.
    pub schedule: Schedule,
    /// Settings and names that the bundle was made from, for readers of the file.
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
    /// The file is not a bundle, or an incomplete one.
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
    about: Map<String, Value>,
    /// Version 1 had the facts here.
    #[serde(flatten)]
    facts: Option<Facts>,
}

/// Facts of the workload for the result, after its requests.
#[derive(Serialize, Deserialize)]
struct Facts {
    force_ignore_eos: bool,
    warnings: Vec<String>,
    #[serde(default)]
    facts: Map<String, Value>,
}

impl Facts {
    fn add_to(self, workload: &mut Workload) {
        workload.force_ignore_eos = self.force_ignore_eos;
        workload.warnings = self.warnings;
        workload.about = self.facts;
    }
}

#[derive(Deserialize)]
struct Line {
    due: Nanos,
    request: Request,
}

#[derive(Serialize)]
struct LineOf<'a> {
    due: Nanos,
    request: &'a Request,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    requests: usize,
    sha256: String,
}

impl Bundle {
    /// Writes the bundle and returns its content hash.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<String, BundleError> {
        let mut writer = BundleWriter::create(path, &self.about)?;
        for (at, request) in self.workload.requests.iter().enumerate() {
            let due = if at < self.schedule.len() {
                self.schedule.due(at)
            } else {
                self.schedule.last()
            };
            writer.push(due, request)?;
        }
        writer.finish(&self.workload)
    }

    /// Reads a bundle, checks its hash and returns it too.
    ///
    /// # Errors
    ///
    /// As [`BundleReader::open`] and [`BundleReader::next_request`].
    pub fn read(path: &Path) -> Result<(Self, String), BundleError> {
        let mut reader = BundleReader::open(path)?;
        let mut requests = Vec::new();
        while let Some(request) = reader.next_request()? {
            requests.push(request);
        }
        let (mut bundle, sha256) = reader.finish()?;
        bundle.workload.requests = requests;
        Ok((bundle, sha256))
    }
}

/// Writes a bundle request by request.
#[derive(Debug)]
pub struct BundleWriter {
    path: PathBuf,
    /// The file that is written until the bundle is complete, so that an error does not destroy an
    /// older file; `None` where the target is not a regular file, such as a pipe.
    partial: Option<PathBuf>,
    out: Hashed,
    requests: usize,
}

impl BundleWriter {
    /// Starts a file. `about` names the settings, for readers of the file.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    pub fn create(path: &Path, about: &Map<String, Value>) -> Result<Self, BundleError> {
        let failed = |source| BundleError::Io {
            path: path.to_owned(),
            source,
        };
        let is_device = path.metadata().is_ok_and(|found| !found.is_file());
        let partial = (!is_device).then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(".partial");
            PathBuf::from(name)
        });
        let file = File::create(partial.as_deref().unwrap_or(path)).map_err(failed)?;
        let mut out = Hashed {
            hash: Sha256::new(),
            inner: BufWriter::new(file),
        };
        let (format, about) = (FORMAT.into(), about.clone());
        out.line(&Header {
            format,
            format_version: FORMAT_VERSION,
            about,
            facts: None,
        })
        .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            out,
            requests: 0,
        })
    }

    /// Appends the next request and its due instant.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn push(&mut self, due: Nanos, request: &Request) -> Result<(), BundleError> {
        self.requests += 1;
        self.out
            .line(&LineOf { due, request })
            .map_err(|source| BundleError::Io {
                path: self.path.clone(),
                source,
            })
    }

    /// Writes the facts about `workload` that are not in its requests, and returns the content
    /// hash.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn finish(mut self, workload: &Workload) -> Result<String, BundleError> {
        let path = self.path.clone();
        let failed = |source| BundleError::Io {
            path: path.clone(),
            source,
        };
        let facts = Facts {
            force_ignore_eos: workload.force_ignore_eos,
            warnings: workload.warnings.clone(),
            facts: workload.about.clone(),
        };
        self.out.line(&facts).map_err(failed)?;
        let sha256 = format!("{:x}", self.out.hash.clone().finalize());
        let trailer = Trailer {
            requests: self.requests,
            sha256: sha256.clone(),
        };
        self.out
            .line(&trailer)
            .and_then(|()| self.out.inner.flush())
            .map_err(failed)?;
        if let Some(partial) = &self.partial {
            std::fs::rename(partial, &self.path).map_err(failed)?;
            self.partial = None;
        }
        Ok(sha256)
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Half a workload is useless, and would be taken for a whole one.
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Reads a bundle request by request. Only [`BundleReader::finish`] shows that it is complete.
#[derive(Debug)]
pub struct BundleReader {
    path: PathBuf,
    lines: BufReader<File>,
    hash: Sha256,
    text: Vec<u8>,
    line: usize,
    due: Vec<Nanos>,
    bundle: Bundle,
    /// The content hash, once it is checked at the end.
    sha256: Option<String>,
}

impl BundleReader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is not a workload, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let failed = |source| BundleError::Io {
            path: path.to_owned(),
            source,
        };
        let mut reader = Self {
            path: path.to_owned(),
            lines: BufReader::with_capacity(1 << 16, files::open(path).map_err(failed)?),
            hash: Sha256::new(),
            text: Vec::new(),
            line: 1,
            due: Vec::new(),
            bundle: Bundle::default(),
            sha256: None,
        };
        reader
            .lines
            .read_until(b'\n', &mut reader.text)
            .map_err(failed)?;
        let header = serde_json::from_slice(&reader.text)
            .ok()
            .filter(|header: &Header| names::current(&header.format) == FORMAT);
        let Some(header) = header else {
            return Err(
                reader.wrong("this is not a workload written by `inferometer workload build`")
            );
        };
        if header.format_version > FORMAT_VERSION {
            let version = header.format_version;
            return Err(reader.wrong(format!(
                "format version {version} is newer than this program"
            )));
        }
        reader.bundle.about = header.about;
        if let Some(facts) = header.facts {
            facts.add_to(&mut reader.bundle.workload);
        }
        Ok(reader)
    }

    /// The next request, `None` after the last; then the hash has been checked.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, ends early, or whose hash does not match.
    pub fn next_request(&mut self) -> Result<Option<Request>, BundleError> {
        while self.sha256.is_none() {
            self.hash.update(&self.text);
            self.text.clear();
            self.line += 1;
            let read = self.lines.read_until(b'\n', &mut self.text);
            if read.map_err(|source| BundleError::Io {
                path: self.path.clone(),
                source,
            })? == 0
            {
                return Err(self.wrong("the file is truncated: its last line is missing"));
            }
            if let Ok(item) = serde_json::from_slice::<Line>(&self.text) {
                self.due.push(item.due);
                return Ok(Some(item.request));
            }
            if let Ok(facts) = serde_json::from_slice::<Facts>(&self.text) {
                facts.add_to(&mut self.bundle.workload);
                continue;
            }
            let trailer: Trailer = serde_json::from_slice(&self.text).map_err(|error| {
                self.wrong(format!("neither a request nor the last line: {error}"))
            })?;
            let sha256 = format!("{:x}", self.hash.clone().finalize());
            if trailer.sha256 != sha256 || trailer.requests != self.due.len() {
                return Err(self.wrong("the content does not match its hash: the file was changed"));
            }
            self.sha256 = Some(sha256);
        }
        Ok(None)
    }

    /// Bytes of the line that held the last request.
    pub fn line_bytes(&self) -> usize {
        self.text.len()
    }

    /// All but the requests, and the hash. Reads to the end first.
    ///
    /// # Errors
    ///
    /// As [`Self::next_request`].
    pub fn finish(mut self) -> Result<(Bundle, String), BundleError> {
        while self.next_request()?.is_some() {}
        let schedule = Schedule::new(std::mem::take(&mut self.due))
            .map_err(|error| self.wrong(error.to_string()));
        self.bundle.schedule = schedule?;
        Ok((self.bundle, self.sha256.unwrap_or_default()))
    }

    fn wrong(&self, message: impl Into<String>) -> BundleError {
        BundleError::Format {
            path: self.path.clone(),
            line: self.line,
            message: message.into(),
        }
    }
}

/// Writes lines and hashes them.
#[derive(Debug)]
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
    use inferometer_core::Prompt;

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
    fn an_unfinished_file_leaves_the_older_one_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.jsonl");
        std::fs::write(&path, "older").unwrap();
        drop(BundleWriter::create(&path, &Map::new()).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "older");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        Bundle::default().write(&path).unwrap();
        assert!(Bundle::read(&path).is_ok());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        // A device stays what it is.
        let device = Path::new("/dev/null");
        Bundle::default().write(device).unwrap();
        assert!(!device.metadata().unwrap().is_file());
    }

    #[test]
    fn a_bundle_reads_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.jsonl");
        let bundle = bundle();
        let hash = bundle.write(&path).unwrap();
        assert_eq!(
            hash,
            bundle.write(&path).unwrap(),
            "the same content has the same hash"
        );
        let (read, found) = Bundle::read(&path).unwrap();
        assert_eq!(found, hash);
        assert_eq!(read.workload.requests, bundle.workload.requests);
        assert_eq!(read.schedule, bundle.schedule);
        assert_eq!(read.about, bundle.about);
        assert_eq!(read.workload.about, bundle.workload.about);
        assert!(read.workload.force_ignore_eos);
    }

    #[test]
    fn a_file_of_version_1_and_of_the_old_name_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.jsonl");
        let mut text = String::from(concat!(
            r#"{"format":"servebench-workload","format_version":1,"force_ignore_eos":true,"warnings":["look"],"#,
            r#""about":{"seed":3},"facts":{"trace_rows":9}}"#,
            "\n",
            r#"{"due":5,"request":{"index":0,"prompt":{"text":"a"},"prompt_tokens":3,"output_tokens":5}}"#,
            "\n",
        ));
        let hash = format!("{:x}", Sha256::digest(&text));
        text.push_str(&serde_json::json!({"requests": 1, "sha256": hash}).to_string());
        std::fs::write(&path, text + "\n").unwrap();
        let (read, found) = Bundle::read(&path).unwrap();
        assert_eq!(found, hash);
        assert_eq!(read.workload.requests[0].prompt, Prompt::Text("a".into()));
        assert_eq!(
            (read.schedule.due(0), read.about["seed"].as_i64()),
            (Nanos(5), Some(3))
        );
        assert!(read.workload.force_ignore_eos && read.workload.warnings == ["look"]);
        assert_eq!(read.workload.about["trace_rows"], 9);
    }

    #[test]
    fn a_changed_or_truncated_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.jsonl");
        bundle().write(&path).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let cut = &whole[..=whole[..whole.len() - 1].rfind('\n').unwrap()];
        for (content, part) in [
            (whole.replace("prompt 1", "prompt 2"), "was changed"),
            (cut.to_owned(), "is truncated"),
            ("{}\n".to_owned(), "not a workload"),
            (
                whole.replace("\"format_version\":2", "\"format_version\":99"),
                "newer than this program",
            ),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Bundle::read(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
