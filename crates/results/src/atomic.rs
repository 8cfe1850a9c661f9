//! Files that are either complete or absent.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::ResultsError;

/// Writes `path` through a temporary file beside it, so that a reader, or a crash, never sees a
/// partial file.
///
/// What is not a regular file, such as `/dev/stdout`, cannot be replaced and is written directly.
pub(crate) fn write_atomically<T>(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, ResultsError>,
) -> Result<T, ResultsError> {
    if is_special(path) {
        let file = File::options()
            .write(true)
            .open(path)
            .map_err(ResultsError::io("open", path))?;
        let mut buffered = BufWriter::new(file);
        let value = write(&mut buffered)?;
        buffered.flush().map_err(ResultsError::io("write", path))?;
        return Ok(value);
    }
    let folder = folder_of(path);
    let temporary = temporary_in(folder).map_err(ResultsError::io("create a file in", folder))?;
    let mut buffered = BufWriter::with_capacity(1 << 16, temporary);
    let value = write(&mut buffered)?;
    let temporary = buffered
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .map_err(ResultsError::io("write", path))?;
    temporary
        .as_file()
        .sync_all()
        .map_err(ResultsError::io("write", path))?;
    // A symbolic link stays one: its target is what gets replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    temporary
        .persist(&target)
        .map_err(|error| ResultsError::io("write", path)(error.error))?;
    Ok(value)
}

/// Checks that `path` can be written later, without leaving a trace or touching what is there.
pub(crate) fn check_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    if path.exists() {
        File::options().append(true).open(path)?;
        if is_special(path) {
            return Ok(());
        }
    }
    let mut probe = temporary_in(folder_of(path))?;
    // A full disk accepts empty files.
    probe.write_all(b"inferometer")?;
    probe.as_file().sync_data()
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn temporary_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".inferometer-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private by default, but results are meant to be shared; the umask
        // applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        fs::write(&path, "old").unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half").unwrap();
            Err::<(), _>(ResultsError::format(Path::new("x"), "no"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomically(&path, |out| {
            out.write_all(b"new")
                .map_err(ResultsError::io("write", &path))
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        check_writable(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_or_a_folder_in_the_way_is_found_out_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_writable(&folder.path().join("none/result.json")).is_err());
        assert!(check_writable(folder.path()).is_err());
    }
}
