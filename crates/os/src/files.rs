//! Reading what a user names: regular files, up to a size.

use std::fs::{self, File};
use std::io::{self, Read};
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
    String::from_utf8(bytes(path, limit)?).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "byte {} is not UTF-8; expected text",
                error.utf8_error().valid_up_to()
            ),
        )
    })
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

    #[cfg(unix)]
    #[test]
    fn devices_without_an_end_are_not_opened() {
        assert!(refusal("/dev/zero").contains("device"));
        assert!(refusal("/dev").contains("folder"));
    }
}
