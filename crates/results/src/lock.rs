//! Locks on folders that one process at a time may write in.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The lock on a folder, held until the last clone is dropped, or the process ends, however it ends.
///
/// It is on the folder itself (`flock`), so that it leaves no file. On a file system without locks it
/// does nothing.
#[derive(Clone, Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held, not read")] Option<Arc<File>>);

/// Another process holds the lock of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedBy {
    /// Its process id; `None` where the system does not report it.
    pub process: Option<u32>,
}

impl FolderLock {
    /// Locks the folder at `path`. A folder that cannot be opened is not locked.
    ///
    /// # Errors
    ///
    /// While another process holds the lock.
    pub fn take(path: &Path) -> Result<Self, LockedBy> {
        let Ok(folder) = File::open(path) else {
            return Ok(Self(None));
        };
        match folder.try_lock() {
            Ok(()) => Ok(Self(Some(Arc::new(folder)))),
            Err(TryLockError::WouldBlock) => Err(LockedBy {
                process: holder(&folder),
            }),
            Err(TryLockError::Error(_)) => Ok(Self(None)),
        }
    }
}

/// The process that holds the lock on a file, by Linux's list of locks.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut holders = locks.lines().filter_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 3854 fe:00:10527483 0 EOF
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, place, ..] = fields[..] else {
            return None;
        };
        (place.rsplit(':').next() == Some(&inode)).then_some(process)
    });
    let process = holders.next()?.parse().ok()?;
    // Inodes of several devices may have one number, and a holder in another container has none.
    (holders.next().is_none() && process > 0).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_folder_names_its_process_and_is_free_again_when_the_lock_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let clone = lock.clone();
        drop(lock);
        let refused = FolderLock::take(folder.path()).unwrap_err();
        if Path::new("/proc/locks").exists() {
            assert_eq!(refused.process, Some(std::process::id()));
        }
        drop(clone);
        FolderLock::take(folder.path()).unwrap();
        FolderLock::take(&folder.path().join("none")).unwrap();
    }
}
