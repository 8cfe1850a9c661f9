//! A workload file to replay, which may be larger than memory.

use std::path::{Path, PathBuf};

use inferometer_core::{Prompt, Request, Workload};
use inferometer_results::{WorkloadDigest, WorkloadInfo};
use inferometer_workload::{Bundle, BundleReader};

use crate::error::{Error, OrError};

/// Files larger than this (64 MiB) are not held in memory. Chosen, not measured.
const LARGE: u64 = 64 << 20;
/// Maximum requests of a chunk. Chosen, not measured.
const CHUNK_REQUESTS: usize = 2048;
/// Maximum bytes of the lines of a chunk (16 MiB). Chosen, not measured.
const CHUNK_BYTES: usize = 16 << 20;

/// A workload file that has been read once and found complete.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Its content. Of a large file, only the first request has its prompt.
    pub bundle: Bundle,
    /// The requests as the manifest describes them; only of a large file.
    pub large: Option<WorkloadInfo>,
}

impl Replay {
    /// Path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// A usage error when it cannot be read or is not a workload file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let large = std::fs::metadata(path).is_ok_and(|file| file.len() > LARGE);
        if large && let Some(replay) = Self::read_lean(path)? {
            return Ok(replay);
        }
        let (bundle, sha256) = Bundle::read(path).or_usage()?;
        Ok(Self {
            path: path.to_owned(),
            sha256,
            bundle,
            large: None,
        })
    }

    /// Reads a file without keeping prompts. `None` if they are needed, because the file has
    /// conversations, in which answers are inserted between them.
    fn read_lean(path: &Path) -> Result<Option<Self>, Error> {
        let mut reader = BundleReader::open(path).or_usage()?;
        let (mut digest, mut requests) = (WorkloadDigest::default(), Vec::new());
        while let Some(request) = reader.next_request().or_usage()? {
            if request.session.is_some() {
                return Ok(None);
            }
            digest.add(&request);
            requests.push(if requests.is_empty() {
                request
            } else {
                without_content(request)
            });
        }
        let (mut bundle, sha256) = reader.finish().or_usage()?;
        bundle.workload.requests = requests;
        let large = Some(digest.finish(&bundle.workload));
        Ok(Some(Self {
            path: path.to_owned(),
            sha256,
            bundle,
            large,
        }))
    }

    /// The whole workload, in memory.
    ///
    /// # Errors
    ///
    /// As [`Replay::each_chunk`].
    pub fn whole(&self) -> Result<Workload, Error> {
        let mut workload = self.bundle.workload.clone();
        if self.large.is_some() {
            workload.requests.clear();
            self.each_chunk(|chunk| {
                workload.requests.extend(chunk);
                Ok(())
            })?;
        }
        Ok(workload)
    }

    /// Reads the file again and passes its requests to `give` in chunks.
    ///
    /// # Errors
    ///
    /// A usage error when the file cannot be read or has changed since the first time; those of
    /// `give`.
    pub fn each_chunk(
        &self,
        mut give: impl FnMut(Vec<Request>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut reader = BundleReader::open(&self.path).or_usage()?;
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(request) = reader.next_request().or_usage()? {
            bytes += reader.line_bytes();
            chunk.push(request);
            if chunk.len() >= CHUNK_REQUESTS || bytes >= CHUNK_BYTES {
                give(std::mem::take(&mut chunk))?;
                bytes = 0;
            }
        }
        give(chunk)?;
        let (_, sha256) = reader.finish().or_usage()?;
        if sha256 != self.sha256 {
            return Err(Error::usage(format!(
                "--workload {}: the file changed while it was read; run again",
                self.path.display()
            )));
        }
        Ok(())
    }
}

/// The parts of a request that are needed besides its serialised form.
fn without_content(request: Request) -> Request {
    Request {
        prompt: Prompt::default(),
        media: Vec::new(),
        audio: None,
        overrides: serde_json::Map::new(),
        ..request
    }
}
