//! Reading what a user names: regular files, up to a size; and files that this process has open already.

#![expect(
    unsafe_code,
    reason = "descriptors by number have no safe form in the standard library"
)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{FromRawFd, RawFd};
use std::path::Path;

/// Largest file that [`text`] and [`bytes`] are meant for by most callers: settings, tables, lists.
/// The largest ones known are results with details of a million requests, at 30 MB.
pub const SMALL_FILE: u64 = 256 << 20;

/// Opens a regular file for reading.
///
/// # Errors
///
/// Folders, pipes, sockets and devices are refused before they are opened: opening a pipe waits for
/// its writer, and a device may have no end.
pub fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() {
        return Err(io::Error::other(format!(
            "it is a {}; expected a file",
            name(kind)
        )));
    }
    File::open(path)
}

/// The content of a regular file of at most `limit` bytes.
///
/// # Errors
///
/// As [`open`], and for a larger file, of which nothing is kept.
pub fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut content = Vec::new();
    // A file may grow while it is read, so the size it has now is not enough to go by.
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::other(format!(
            "it is larger than {} MB; expected a smaller file",
            limit >> 20
        )));
    }
    Ok(content)
}

/// The same for a text file.
///
/// # Errors
///
/// As [`bytes`], and where the content is not UTF-8.
pub fn text(path: &Path, limit: u64) -> io::Result<String> {
    utf8(bytes(path, limit)?)
}

/// The content of a file as text.
///
/// # Errors
///
/// Where it is not UTF-8.
pub fn utf8(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "byte {} is not UTF-8; expected text",
                error.utf8_error().valid_up_to()
            ),
        )
    })
}

/// The file that this process has open already and that `path` names by its descriptor, for writing:
/// `/dev/stdout`, `/dev/fd/63` of a shell's `>(…)`, also by a link. `None` for any other path.
///
/// It shares its position with the descriptor, so that what is written follows what was printed. Opening
/// the path anew would begin at the start of a file that stdout leads to.
///
/// # Errors
///
/// A descriptor that is not open, or for reading only.
pub fn own(path: &Path) -> Option<io::Result<File>> {
    own_descriptor(path).map(duplicate)
}

/// The number in `/proc/self/fd/N` or `/dev/fd/N`, also at the end of links.
fn own_descriptor(path: &Path) -> Option<RawFd> {
    let folders = ["/proc/self/fd", "/dev/fd"].map(fs::canonicalize);
    let mut path = path.to_owned();
    // The limit of Linux on links in a row.
    for _ in 0..40 {
        let parent = path.parent()?;
        let folder = fs::canonicalize(parent).ok()?;
        if folders.iter().flatten().any(|known| *known == folder) {
            return path.file_name()?.to_str()?.parse().ok();
        }
        path = parent.join(fs::read_link(&path).ok()?);
    }
    None
}

fn duplicate(descriptor: RawFd) -> io::Result<File> {
    // SAFETY: fcntl takes integers here, and refuses a descriptor that is not open.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    if flags >= 0 && flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(io::Error::other("it is open for reading only"));
    }
    // SAFETY: as above. The new descriptor is closed where a program is started.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, and nothing else has it.
    Ok(unsafe { File::from_raw_fd(copy) })
}

#[cfg(unix)]
fn name(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;

    if kind.is_dir() {
        "folder"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }
}

#[cfg(not(unix))]
fn name(kind: fs::FileType) -> &'static str {
    if kind.is_dir() { "folder" } else { "device" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &str) -> String {
        bytes(Path::new(path), 10).unwrap_err().to_string()
    }

    #[test]
    fn only_files_of_the_expected_size_are_read() {
        let dir = std::env::temp_dir().join(format!("inferometer-files-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("x");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(text(&path, 10).unwrap(), "0123456789");
        let error = text(&path, 9).unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
        fs::write(&path, b"a\xff").unwrap();
        let error = text(&path, 9).unwrap_err().to_string();
        assert!(error.contains("byte 1 is not UTF-8"), "{error}");
        let error = bytes(&dir, 9).unwrap_err().to_string();
        assert!(error.contains("folder"), "{error}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_that_is_open_already_is_written_where_it_is() {
        use std::io::{Seek as _, Write as _};
        use std::os::fd::AsRawFd as _;

        let dir = std::env::temp_dir().join(format!("inferometer-own-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("out");
        let mut printed = File::create(&path).unwrap();
        printed.write_all(b"printed ").unwrap();
        let link = dir.join("link");
        std::os::unix::fs::symlink(format!("/dev/fd/{}", printed.as_raw_fd()), &link).unwrap();
        own(&link).unwrap().unwrap().write_all(b"saved ").unwrap();
        assert_eq!(printed.stream_position().unwrap(), 14);
        printed.write_all(b"printed").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"printed saved printed");
        let reading = File::open(&path).unwrap();
        let by_number = |number| format!("/dev/fd/{number}");
        let refused = own(Path::new(&by_number(reading.as_raw_fd()))).unwrap();
        assert!(refused.unwrap_err().to_string().contains("reading only"));
        assert!(own(Path::new("/dev/fd/99999")).unwrap().is_err());
        for other in [path.as_path(), Path::new("/dev/null"), Path::new("none")] {
            assert!(own(other).is_none(), "{}", other.display());
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn devices_without_an_end_are_not_opened() {
        assert!(refusal("/dev/zero").contains("device"));
        assert!(refusal("/dev").contains("folder"));
    }
}
