//! Reading the results of other tools, and of every era of vLLM's, into one neutral form.
//!
//! Numbers that mean the same as one of vLLM's keys get that key; everything else keeps its own
//! name, so that nothing is lost and nothing is mistaken for what it is not. Where tools use one
//! name for different things, the meaning decides: what AIPerf, GenAI-Perf and GuideLLM call
//! inter-token latency is one mean per request, and therefore vLLM's TPOT. GuideLLM's time per
//! output token and llmperf's inter-token latency include the first token, unlike every key of
//! vLLM's, so they keep their own names.

mod flat;
mod nested;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use inferometer_os::files;
use serde_json::Value;
use serde_json::value::RawValue;

/// Bytes of a result file that are read at most.
pub const MAX_RESULT_BYTES: u64 = 4 << 30;

/// The tool that wrote a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// This program.
    Inferometer,
    /// vLLM's benchmark in Python.
    Vllm(VllmEra),
    /// vLLM's benchmark in Rust.
    VllmRust,
    /// SGLang's `bench_serving`.
    Sglang,
    /// NVIDIA AIPerf.
    Aiperf,
    /// NVIDIA GenAI-Perf.
    GenaiPerf,
    /// GuideLLM.
    Guidellm,
    /// Ray's llmperf.
    Llmperf,
}

/// When a version of vLLM's benchmark wrote a result, recognised by its keys. Results of different eras
/// are not comparable without care: connections were not reused before August 2025, for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VllmEra {
    /// Before July 2025: the key `request_goodput:` with a colon.
    Legacy,
    /// July and August 2025.
    Summer2025,
    /// From September 2025: peak metrics.
    Peaks,
    /// From October 2025: failures are counted.
    Failures,
    /// From the end of 2025: `rtfx`.
    Rtfx,
    /// From September 2026: queue times of the client.
    QueueTimes,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inferometer => "inferometer",
            Self::Vllm(VllmEra::Legacy) => "vLLM before July 2025",
            Self::Vllm(VllmEra::Summer2025) => "vLLM of summer 2025",
            Self::Vllm(VllmEra::Peaks) => "vLLM of September 2025",
            Self::Vllm(VllmEra::Failures) => "vLLM of autumn 2025",
            Self::Vllm(VllmEra::Rtfx) => "vLLM of late 2025 to August 2026",
            Self::Vllm(VllmEra::QueueTimes) => "vLLM since September 2026",
            Self::VllmRust => "vLLM's Rust client",
            Self::Sglang => "SGLang",
            Self::Aiperf => "AIPerf",
            Self::GenaiPerf => "GenAI-Perf",
            Self::Guidellm => "GuideLLM",
            Self::Llmperf => "llmperf",
        })
    }
}

/// One run out of a result file.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedRun {
    /// The tool that wrote it.
    pub source: Source,
    /// Values by vLLM's key where there is one, else by their own; in the file's order.
    pub keys: IndexMap<String, Value>,
    /// Lists with one item per request, under vLLM's names and in its units, where they were read.
    pub details: IndexMap<String, Value>,
    /// The file it came from.
    pub file: PathBuf,
    /// Which of the file's runs it is, counted from 0.
    pub position: usize,
}

impl ImportedRun {
    /// A number by its key.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.keys.get(key)? {
            Value::String(text) if text == "inf" => Some(f64::INFINITY),
            value => value.as_f64(),
        }
    }
}

/// Why a file could not be read as a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused.
    #[error("cannot read {}: {source}", on_one_line(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Neither JSON nor JSON Lines.
    #[error("{}: not JSON: {problem}", on_one_line(path))]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What the parser found.
        problem: String,
    },
    /// JSON, but not a result of a known tool.
    #[error(
        "{}: not a result of vLLM, SGLang, AIPerf, GenAI-Perf, GuideLLM, llmperf or inferometer; its keys are {keys}",
        on_one_line(path)
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The first keys found, for people.
        keys: String,
    },
    /// A run folder that cannot be read.
    #[error("{}: {problem}", on_one_line(path))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why, and the remedy.
        problem: String,
    },
}

/// A path without line breaks, which the name of a file may hold.
fn on_one_line(path: &Path) -> String {
    path.display().to_string().replace('\n', "\\n")
}

impl ReadError {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::NotJson { path, .. }
            | Self::Unknown { path, .. }
            | Self::Folder { path, .. } => path,
        }
    }
}

/// Reads all runs of a result file, with their lists of single requests.
///
/// # Errors
///
/// When the file cannot be read, is too large, or is not a result of a known tool.
pub fn read_result(path: &Path) -> Result<Vec<ImportedRun>, ReadError> {
    read(path, true)
}

/// Reads all runs of a result file without the lists of single requests, which is much faster.
///
/// # Errors
///
/// As [`read_result`].
pub fn read_result_summary(path: &Path) -> Result<Vec<ImportedRun>, ReadError> {
    read(path, false)
}

/// A top-level object with its values not yet parsed.
type RawObject<'a> = IndexMap<String, &'a RawValue>;

/// As [`read_result_summary`], but a last line that is cut off, as by a full disk, does not hide the
/// lines before it: why it cannot be read is returned beside their runs.
pub(crate) fn read_whole_lines(
    path: &Path,
) -> Result<(Vec<ImportedRun>, Option<ReadError>), ReadError> {
    read_lines(path, false)
}

fn read(path: &Path, details: bool) -> Result<Vec<ImportedRun>, ReadError> {
    match read_lines(path, details)? {
        (runs, None) => Ok(runs),
        (_, Some(cut_off)) => Err(cut_off),
    }
}

fn read_lines(
    path: &Path,
    details: bool,
) -> Result<(Vec<ImportedRun>, Option<ReadError>), ReadError> {
    let io = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let text = text::decode(files::bytes(path, MAX_RESULT_BYTES).map_err(io)?);
    let (mut runs, mut cut_off) = (Vec::new(), None);
    match parse_document(text.trim(), details) {
        Ok(found) => runs = found,
        Err(whole) => {
            // Not one document: perhaps one per line, as with --append-result.
            let lines = text.lines().map(str::trim).zip(1..);
            let mut lines = lines.filter(|(line, _)| !line.is_empty()).peekable();
            while let Some((line, number)) = lines.next() {
                match parse_document(line, details) {
                    Ok(mut found) => runs.append(&mut found),
                    // Of a file with one line the first message says more.
                    Err(_) if runs.is_empty() => return Err(whole.at(path)),
                    Err(problem @ Problem::NotJson(_)) if lines.peek().is_none() => {
                        cut_off = Some(problem.on_line(number).at(path));
                    }
                    Err(problem) => return Err(problem.on_line(number).at(path)),
                }
            }
        }
    }
    if runs.is_empty() {
        return Err(Problem::NotJson("the file is empty".to_owned()).at(path));
    }
    for (position, run) in runs.iter_mut().enumerate() {
        path.clone_into(&mut run.file);
        run.position = position;
    }
    Ok((runs, cut_off))
}

/// Why a document is not a result, before the file is named.
enum Problem {
    NotJson(String),
    Unknown(String),
}

impl Problem {
    /// The same with the line that it is on.
    fn on_line(self, number: usize) -> Self {
        match self {
            Self::NotJson(problem) => {
                // The parser counts the lines of the document, which is one.
                let problem = problem.split(" at line").next().unwrap_or_default();
                Self::NotJson(format!("line {number}: {problem}"))
            }
            other @ Self::Unknown(_) => other,
        }
    }

    fn at(self, path: &Path) -> ReadError {
        let path = path.to_owned();
        match self {
            Self::NotJson(problem) => ReadError::NotJson { path, problem },
            Self::Unknown(keys) => ReadError::Unknown { path, keys },
        }
    }
}

fn parse_document(text: &str, details: bool) -> Result<Vec<ImportedRun>, Problem> {
    // Python writes bare NaN and Infinity, which JSON does not know.
    let standard = text::without_python_numbers(text);
    if standard.starts_with('[') {
        // A list of runs, as vLLM's sweep writes its summary.
        let items: Vec<&RawValue> = parse(&standard)?;
        let runs = items
            .into_iter()
            .map(|item| parse_object(item.get(), details));
        return Ok(runs.collect::<Result<Vec<_>, _>>()?.concat());
    }
    parse_object(&standard, details)
}

fn parse_object(text: &str, details: bool) -> Result<Vec<ImportedRun>, Problem> {
    let object: RawObject<'_> = parse(text)?;
    if let Some(source) = flat::source_of(&object) {
        return Ok(vec![flat::import(source, &object, details)]);
    }
    let value: Value = parse(text)?;
    nested::import(&value).ok_or_else(|| {
        let first: Vec<_> = object.keys().take(8).map(String::as_str).collect();
        Problem::Unknown(if first.is_empty() {
            "none".to_owned()
        } else {
            first.join(", ")
        })
    })
}

fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::NotJson(error.to_string()))
}
