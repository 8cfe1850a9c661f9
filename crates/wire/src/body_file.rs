//! Bodies of a workload that is larger than memory, in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::prepared::{Prepared, Stored, digest};

/// A file that takes bodies out of memory until they are sent.
///
/// Each is read when its request is due, which takes some microseconds while the system still has
/// it in its page cache.
#[derive(Debug)]
pub struct BodyFile {
    file: Arc<File>,
    end: u64,
}

impl BodyFile {
    /// Writes bodies to `file`, from its start.
    pub fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            end: 0,
        }
    }

    /// Moves the body of a request to the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn take(&mut self, prepared: &mut Prepared) -> io::Result<()> {
        let bytes = prepared.body.bytes()?;
        self.file.write_all_at(&bytes, self.end)?;
        let (file, at, len) = (Arc::clone(&self.file), self.end, bytes.len());
        prepared.body = Stored::File {
            file,
            at,
            len,
            digest: digest(&bytes),
        };
        self.end += len as u64;
        Ok(())
    }
}
