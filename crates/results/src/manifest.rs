//! `manifest.json`: everything about a run that is not in its records.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use inferometer_core::{
    ClientHealth, FIRST_MEANING, MEANING, Nanos, Request, Schedule, Verdict, Workload, hex,
};
use inferometer_os::files::{self, SMALL_FILE};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ResultsError;
use crate::atomic::{Links, write_atomically};

/// Version of the manifest's layout.
///
/// 2: settings have names of their own instead of those of command-line flags, and what was
/// measured is apart from them (`facts`).
pub const MANIFEST_FORMAT_VERSION: u32 = 2;

/// Everything about a run that is not in its records.
///
/// Together with the records it determines every reported number. It is written once before the
/// first request, with `partial` set, and again at the end, so that a crash leaves one that can be
/// read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Version of this layout.
    pub format_version: u32,
    /// Version of the definitions by which the records were made: see [`MEANING`].
    #[serde(default = "first_meaning")]
    pub meaning: u32,
    /// What wrote it.
    pub tool: Tool,
    /// When it ran, and whether it reached its end.
    pub run: RunInfo,
    /// The resolved settings. The caller removes secrets.
    pub settings: Value,
    /// What the run found out besides its records: of the workload before it, of the server after
    /// it. Since version 2.
    pub facts: Value,
    /// Where vLLM's result file goes, for a run that is killed before it writes it. Since
    /// version 2.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub intended_result: Value,
    /// The simulated engine and what it counted. Since version 2.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub engine_model: Value,
    /// The command that makes the run again, without secrets. Empty in manifests of earlier
    /// versions, and where the library was used by itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// SHA-256 of the folder's data by file name, in hexadecimal, as the run wrote it. Empty until
    /// the run has ended, and in manifests of earlier versions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Seeds by use.
    pub seeds: BTreeMap<String, u64>,
    /// What was measured.
    pub target: Target,
    /// What was sent.
    pub workload: WorkloadInfo,
    /// When requests were due.
    pub schedule: ScheduleInfo,
    /// Host and process.
    pub environment: Value,
    /// The client's own state.
    pub health: ClientHealth,
    /// What the server's own counters said, where they were read.
    pub server_metrics: Value,
    /// The numbers of the run.
    pub summary: Value,
    /// Whether the numbers can be trusted.
    pub verdict: Option<Verdict>,
}

fn first_meaning() -> u32 {
    FIRST_MEANING
}

/// The program that wrote a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tool {
    /// Program name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `debug` or `release`.
    pub build: String,
    /// Operating system and architecture that it was built for.
    pub platform: String,
}

impl Tool {
    /// This program.
    pub fn this() -> Self {
        Self {
            name: "inferometer".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .to_owned(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// When a run took place, and whether it reached its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    /// Label of the run, if it has one.
    pub label: Option<String>,
    /// Wall-clock time at which the instants of the records begin, RFC 3339.
    pub started: String,
    /// The same instant in nanoseconds since 1970.
    pub started_wall_ns: u64,
    /// The same instant on the host's monotonic clock.
    pub started_monotonic_ns: u64,
    /// How far apart the two readings may be at most, in nanoseconds.
    pub anchor_uncertainty_ns: u64,
    /// Length of the measured part, which rates are divided by, in nanoseconds.
    pub duration_ns: u64,
    /// True until the run reaches its planned end; stays true if it is stopped early or killed.
    pub partial: bool,
    /// True when the records were recovered from the log of a killed run.
    pub recovered: bool,
    /// True when no server was measured: the run took place on the virtual clock of an engine
    /// model.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// Name of the backend.
    pub backend: String,
    /// Full URLs, without user name and password.
    pub urls: Vec<String>,
    /// The model as it was named in requests.
    pub model: String,
    /// What the server loaded the model from, where it reports it.
    pub served_model: Option<String>,
    /// The server's version, where it reports one.
    pub server_version: Option<String>,
    /// The tokenizer used for counting.
    pub tokenizer: Option<String>,
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadInfo {
    /// Number of requests.
    pub requests: usize,
    /// SHA-256 over all requests.
    pub sha256: String,
    /// Warnings about the workload, each one sentence.
    pub warnings: Vec<String>,
}

impl WorkloadInfo {
    /// Describes a workload. The hash covers everything that is sent or that decides when.
    pub fn of(workload: &Workload) -> Self {
        let mut digest = WorkloadDigest::default();
        for request in &workload.requests {
            digest.add(request);
        }
        digest.finish(workload)
    }
}

/// Builds a [`WorkloadInfo`] for a workload that is not in memory as a whole.
#[derive(Debug)]
pub struct WorkloadDigest {
    hash: Sha256,
    requests: usize,
}

impl Default for WorkloadDigest {
    fn default() -> Self {
        Self {
            hash: Sha256::new(),
            requests: 0,
        }
    }
}

impl WorkloadDigest {
    /// Adds the next request.
    pub fn add(&mut self, request: &Request) {
        serde_json::to_writer(&mut self.hash, request)
            .expect("a request is plain data, and hashing cannot fail");
        self.hash.update(b"\n");
        self.requests += 1;
    }

    /// Describes the workload; `workload` has everything but the requests.
    pub fn finish(self, workload: &Workload) -> WorkloadInfo {
        WorkloadInfo {
            requests: self.requests,
            sha256: hex(&self.hash.finalize()),
            warnings: workload.warnings.clone(),
        }
    }
}

/// When requests were due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleInfo {
    /// Number of requests.
    pub requests: usize,
    /// SHA-256 over all due instants as little-endian 64-bit nanoseconds.
    pub sha256: String,
    /// The last due instant in nanoseconds.
    pub last_due_ns: u64,
}

impl ScheduleInfo {
    /// Describes a schedule.
    pub fn of(schedule: &Schedule) -> Self {
        let mut hash = Sha256::new();
        for Nanos(due) in schedule.as_slice() {
            hash.update(due.to_le_bytes());
        }
        Self {
            requests: schedule.len(),
            sha256: hex(&hash.finalize()),
            last_due_ns: schedule.last().0,
        }
    }
}

impl Manifest {
    /// A manifest of this program and format, marked partial, with everything else empty.
    pub fn begin() -> Self {
        Self {
            format_version: MANIFEST_FORMAT_VERSION,
            meaning: MEANING,
            tool: Tool::this(),
            run: RunInfo {
                partial: true,
                ..RunInfo::default()
            },
            ..Self::default()
        }
    }

    /// The settings for display: version 1 kept other values beside them.
    pub fn settings_for_display(&self) -> &Value {
        self.settings.get("flags").unwrap_or(&self.settings)
    }

    /// Writes the manifest as indented JSON, in one step.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ResultsError> {
        write_atomically(path, Links::Replace, |out| {
            serde_json::to_writer_pretty(&mut *out, self)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(ResultsError::io("write", path))
        })
    }

    /// Reads a manifest of this or an older version.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not a manifest; [`ResultsError::TooNew`] for a later version.
    pub fn read(path: &Path) -> Result<Self, ResultsError> {
        let text = files::text(path, SMALL_FILE).map_err(ResultsError::io("read", path))?;
        let manifest: Self = serde_json::from_str(&text)
            .map_err(|error| ResultsError::format(path, error.to_string()))?;
        match manifest.format_version {
            0 => Err(ResultsError::format(
                path,
                "not an inferometer manifest: format_version is missing",
            )),
            1..=MANIFEST_FORMAT_VERSION => Ok(manifest),
            found => Err(ResultsError::TooNew {
                path: path.to_owned(),
                found,
                known: MANIFEST_FORMAT_VERSION,
            }),
        }
    }
}
